"""Publishing as linked folders: readers see a whole run or none of it."""

import json
import os
import re
import subprocess
import sys
import threading
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from support.processes import another_process

from recmodel import schemas as c
from recmodel import storage
from recmodel.errors import AnotherRun, ScoringFailed
from recmodel.tables import linked as tables

DAY = date(2026, 1, 31)
DATA = ("recommendations", "predicted_ratings", "rejects", "users")


def stage(output, label: str, day: date = DAY, files: int = 1) :
    staged = tables.staged(output, day, label)
    for name in DATA:
        for file in range(files):
            rows = pa.table({c.USER_ID: [2, 1], c.RANK: [1, 1], "label": [label, label]})
            with storage.create(f"{staged.table(name)}/part-{file:05d}-{label}.parquet") as sink:
                pq.write_table(rows, sink)
    return staged


def run(output, label: str, day: date = DAY, keep: int = 90) -> None:
    stage(output, label, day).publish({"label": label}, keep)


def visible(output) -> dict[str, list[str]]:
    """The labels that a reader finds in each table, by date."""
    found = {
        name: sorted(
            f"{path.parent.name[9:]} {path.stem.split('-')[-1]}" for path in (output / name).glob("*/*.parquet")
        )
        for name in DATA
    }
    runs = (output / "runs").glob("*/run.json")
    return found | {"runs": sorted(f"{path.parent.name[9:]} {json.loads(path.read_text())['label']}" for path in runs)}


def all_tables(*runs: str) -> dict[str, list[str]]:
    return {name: list(runs) for name in (*DATA, "runs")}


def test_a_run_becomes_visible_in_all_its_tables(tmp_path):
    staged = stage(tmp_path, "a")
    assert visible(tmp_path) == all_tables()
    staged.publish({"label": "a"}, 90)
    assert visible(tmp_path) == all_tables("2026-01-31 a")
    assert tables.run_dates(tmp_path) == [DAY]
    assert tables.read_run(tmp_path, DAY) == {"label": "a"}
    assert tables.recommendations_of(tmp_path, DAY, [1]).num_rows == 1
    assert tables.recommendations_of(tmp_path, DAY, [1, 2]).column(c.USER_ID).to_pylist() == [1, 2]
    assert tables.user_range(tmp_path, DAY) == (1, 2)
    assert not Path(staged.folder).exists()


def test_a_run_replaces_that_of_its_date_and_leaves_the_others(tmp_path):
    for label, day in (("a", DAY), ("b", DAY + timedelta(1)), ("c", DAY)):
        run(tmp_path, label, day)
    assert visible(tmp_path) == all_tables("2026-01-31 c", "2026-02-01 b")
    assert sorted(path.name for path in (tmp_path / "latest/recommendations").iterdir()) == ["part-00000-b.parquet"]


def test_the_oldest_dates_are_dropped_and_a_late_run_of_an_old_date_is_not(tmp_path):
    for day in range(5):
        run(tmp_path, str(day), DAY + timedelta(day), keep=3)
    assert visible(tmp_path) == all_tables("2026-02-02 2", "2026-02-03 3", "2026-02-04 4")
    run(tmp_path, "late", DAY, keep=3)
    assert visible(tmp_path) == all_tables("2026-01-31 late", "2026-02-03 3", "2026-02-04 4")
    assert (tmp_path / "latest/runs/run.json").read_text() == (
        tmp_path / "runs/run_date=2026-02-04/run.json"
    ).read_text()
    run(tmp_path, "only", DAY, keep=1)
    assert visible(tmp_path) == all_tables("2026-01-31 only")


def test_files_are_on_disk_once_and_the_edition_before_stays_readable(tmp_path):
    run(tmp_path, "a")
    run(tmp_path, "b", DAY + timedelta(1))
    opened = Path(os.path.realpath(tmp_path / "recommendations"))
    (file,) = opened.glob("run_date=2026-01-31/*")
    run(tmp_path, "c")
    assert ds.dataset(opened, format="parquet").to_table().column("label").to_pylist() == ["a", "a", "b", "b"]
    (kept,) = (tmp_path / "recommendations").glob("run_date=2026-02-01/*")
    assert kept.stat().st_nlink == 2
    run(tmp_path, "d")
    assert not file.exists()
    assert len(list((tmp_path / ".store").glob("edition-*"))) == 2


def test_an_interrupted_run_is_found_again_by_its_key_alone(tmp_path):
    stage(tmp_path, "a", files=3)
    again = tables.staged(tmp_path, DAY, "a")
    assert again.finished_parts("recommendations") == {0, 1, 2}
    Path(again.table("recommendations"), "_temporary").mkdir()
    assert tables.staged(tmp_path, DAY, "b").finished_parts("recommendations") == set()
    assert not Path(again.folder).exists()


@pytest.mark.parametrize("failing", range(11))
def test_a_failure_while_publishing_leaves_the_last_run(tmp_path, monkeypatch, failing):
    """Of eleven calls, even ones link a table's file, odd ones `latest`, and the last one shows the edition."""
    run(tmp_path, "a")
    calls = []

    def faulty(function):
        def call(*arguments, **keywords):
            calls.append(function)
            if len(calls) == failing + 1:
                raise OSError(28, "No space left on device")
            return function(*arguments, **keywords)

        return call

    monkeypatch.setattr(tables.os, "link", faulty(os.link))
    monkeypatch.setattr(tables.shutil, "copy2", faulty(tables.shutil.copy2))
    monkeypatch.setattr(Path, "symlink_to", faulty(Path.symlink_to))
    staged = stage(tmp_path, "b")
    calls.clear()
    if failing in (0, 2, 4, 6, 8):  # a copy stands in for a link
        staged.publish({"label": "b"}, 90)
        assert visible(tmp_path) == all_tables("2026-01-31 b")
    else:
        with pytest.raises(ScoringFailed, match="No space left on device.*the last one still stands"):
            staged.publish({"label": "b"}, 90)
        assert visible(tmp_path) == all_tables("2026-01-31 a")
        assert [path.name for path in (tmp_path / ".store").glob("edition-*")] == ["edition-000001"]
    monkeypatch.undo()
    run(tmp_path, "c")
    assert visible(tmp_path) == all_tables("2026-01-31 c")


def test_a_process_killed_at_any_moment_leaves_a_whole_run(tmp_path):
    """Publishing over and over in a process that is killed: what readers find is one run, in all tables."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import itertools, pathlib, test_tables\n"
        "output = pathlib.Path(sys.argv[2])\n"
        "for i in itertools.count(): test_tables.run(output, f'{i:06d}'); print(i, flush=True)\n"
    )
    for attempt in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", script, Path(__file__).parent, tmp_path], stdout=subprocess.PIPE, text=True
        )
        process.stdout.readline()
        threading.Event().wait(0.003 * attempt)
        process.kill()
        process.wait()
        labels = {tuple(rows) for rows in visible(tmp_path).values()}
        assert len(labels) == 1
        assert len(labels.pop()) == 1
        process.stdout.close()


def test_readers_in_a_loop_never_see_a_mixture_or_nothing(tmp_path, spark):
    """While a date is published again and again. A query that listed files just before may have to start again."""
    run(tmp_path, "0", DAY)
    stop, errors, seen = threading.Event(), [], {"duckdb": set(), "pyarrow": set(), "spark": set()}
    pattern = f"{tmp_path}/recommendations/*/*.parquet"

    def by_duckdb():
        with duckdb.connect() as connection:
            return connection.sql(f"select label from read_parquet('{pattern}')").fetchall()

    def by_pyarrow():
        return [(label,) for label in ds.dataset(os.path.realpath(tmp_path / "recommendations"), format="parquet")
                .to_table(columns=["label"]).column("label").to_pylist()]  # fmt: skip

    def by_spark():
        return [
            tuple(row)
            for row in spark.read.parquet(os.path.realpath(tmp_path / "recommendations")).select("label").collect()
        ]

    def read(name, query):
        while not stop.is_set():
            try:
                rows = query()
            except (duckdb.IOException, FileNotFoundError):
                continue  # listed just before the publication, opened just after
            except Exception as error:  # noqa: BLE001 - Spark has several
                if not re.search(
                    "FileNotFound|No such file|does not exist|UNABLE_TO_INFER_SCHEMA", repr(error) + str(error)
                ):
                    errors.append((name, str(error)))
                continue
            labels = {label for (label,) in rows}
            seen[name] |= labels
            if len(rows) != 4 or len(labels) != 1:
                errors.append((name, rows))

    readers = (("duckdb", by_duckdb), ("pyarrow", by_pyarrow), ("spark", by_spark))
    threads = [threading.Thread(target=read, args=args) for args in readers]
    stage(tmp_path, "1", files=2).publish({"label": "1"}, 90)
    for thread in threads:
        thread.start()
    for i in range(2, 90):
        stage(tmp_path, str(i), files=2).publish({"label": str(i)}, 90)
        if i > 60 and len(seen["spark"]) < 4:
            stop.wait(1)  # Spark takes most of a second to read
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert all(len(labels) > 3 for labels in seen.values()), seen


def test_one_writer_at_a_time_and_the_system_releases_what_a_killed_one_held(tmp_path):
    script = (
        "import sys, pathlib; from recmodel.tables import linked as tables; "
        "right = tables.locked(pathlib.Path(sys.argv[1])); right.__enter__()"
    )
    with another_process(script, tmp_path) as holder:
        with pytest.raises(AnotherRun, match="another run writes to"), tables.locked(tmp_path):
            pass
        holder.kill()
    with tables.locked(tmp_path):
        pass


def test_an_output_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ScoringFailed, match="cannot write below .*file.*choose another --output"):
        tables.staged(tmp_path / "file", DAY, "a")
    (tmp_path / "runs").mkdir()
    with pytest.raises(ScoringFailed, match="File exists.*choose another --output"):
        tables.staged(tmp_path, DAY, "a")
