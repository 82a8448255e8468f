"""Linked folders: what readers of paths find, links and copies, and failures and kills at any moment of publishing."""

import os
import re
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from unittest.mock import Mock

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from support.processes import ROOT
from support.runs import DAY, publish, record, run_json, stage

from recmodel import schemas as c
from recmodel.errors import ScoringFailed
from recmodel.tables import linked
from recmodel.tables.output import open_output


@pytest.fixture
def output(tmp_path):
    return open_output(tmp_path)


def visible(folder: Path) -> dict[str, list[str]]:
    """What a reader of paths finds in each table: the label of each file, by date."""
    found = {
        table: sorted(
            f"{path.parent.name[9:]} {pq.read_table(path).column('label')[0]}"
            for path in (folder / table).glob("*/*.parquet")
        )
        for table in c.TABLES
    }
    days = [path.name[9:] for path in (folder / "runs").glob("*") if (path / "run.json").exists()]
    return found | {"runs": sorted(f"{day} {run_json(folder, day)['model_version']}" for day in days)}


def all_tables(*runs: str) -> dict[str, list[str]]:
    return {name: list(runs) for name in (*c.TABLES, "runs")}


def test_readers_of_paths_see_all_tables_of_a_run_at_once(output, tmp_path):
    run = stage(output, "a")
    assert visible(tmp_path) == all_tables()
    run.publish(record(model_version="a"), 90)
    assert visible(tmp_path) == all_tables("2026-01-31 a")
    assert not Path(run.folder).exists()
    publish(output, "b", DAY + timedelta(1))
    publish(output, "c")
    assert visible(tmp_path) == all_tables("2026-01-31 c", "2026-02-01 b")
    for table in c.TABLES:
        (file,) = (tmp_path / "latest" / table).iterdir()
        assert file.resolve() == next((tmp_path / table / "run_date=2026-02-01").iterdir()).resolve()
    assert (tmp_path / "latest/runs/run.json").resolve() == (tmp_path / "runs/run_date=2026-02-01/run.json").resolve()


def test_files_are_on_disk_once_and_the_edition_before_stays_readable(output, tmp_path):
    publish(output, "a")
    publish(output, "b", DAY + timedelta(1))
    opened = Path(os.path.realpath(tmp_path / "recommendations"))
    (file,) = opened.glob("run_date=2026-01-31/*")
    publish(output, "c")
    assert ds.dataset(opened, format="parquet").to_table().column("label").to_pylist() == ["a", "a", "b", "b"]
    (kept,) = (tmp_path / "recommendations").glob("run_date=2026-02-01/*")
    assert kept.stat().st_nlink == 2
    publish(output, "d")
    assert not file.exists()
    assert len(list((tmp_path / ".store").glob("edition-*"))) == 2


SHOWS = 2 * (len(c.TABLES) + 1)  # the last call of a publication, after two for each table and two for `runs`


@pytest.mark.parametrize("failing", [0, 1, 2, SHOWS - 2, SHOWS - 1, SHOWS])
def test_a_failure_while_publishing_leaves_the_last_run(output, tmp_path, monkeypatch, failing):
    """Even ones link a table's file, odd ones `latest`, and the last one shows the edition."""
    publish(output, "a")
    calls = []

    def faulty(function):
        def call(*arguments, **keywords):
            calls.append(function)
            if len(calls) == failing + 1:
                raise OSError(28, "No space left on device")
            return function(*arguments, **keywords)

        return call

    monkeypatch.setattr(linked.os, "link", faulty(os.link))
    monkeypatch.setattr(linked.shutil, "copy2", faulty(linked.shutil.copy2))
    monkeypatch.setattr(Path, "symlink_to", faulty(Path.symlink_to))
    run = stage(output, "b")
    calls.clear()
    if failing % 2 == 0 and failing != SHOWS:  # a copy stands in for a link
        run.publish(record(model_version="b"), 90)
        assert visible(tmp_path) == all_tables("2026-01-31 b")
    else:
        with pytest.raises(ScoringFailed, match=r"No space left on device.*the last one still stands"):
            run.publish(record(model_version="b"), 90)
        assert visible(tmp_path) == all_tables("2026-01-31 a")
        assert [path.name for path in (tmp_path / ".store").glob("edition-*")] == ["edition-000001"]
    monkeypatch.undo()
    publish(output, "c")
    assert visible(tmp_path) == all_tables("2026-01-31 c")


def test_a_failed_withdrawal_leaves_the_run(output, tmp_path, monkeypatch):
    for label, day in (("a", DAY), ("b", DAY + timedelta(1))):
        publish(output, label, day)
    with monkeypatch.context() as patch:
        patch.setattr(linked.os, "sync", Mock(side_effect=OSError(28, "No space left on device")))
        with pytest.raises(ScoringFailed, match=r"could not be withdrawn .*No space left on device.*it still stands"):
            output.withdraw(DAY)
    assert visible(tmp_path) == all_tables("2026-01-31 a", "2026-02-01 b")
    output.withdraw(DAY + timedelta(1))
    assert visible(tmp_path) == all_tables("2026-01-31 a")


def test_a_process_killed_at_any_moment_leaves_a_whole_run(tmp_path):
    """Publishing over and over in processes that are killed: what readers find is one run, in all tables."""
    script = (
        "import itertools, os, sys\n"
        "from support.runs import publish\n"
        "from recmodel.tables.output import open_output\n"
        "while line := sys.stdin.readline():\n"
        "    if os.fork() == 0:\n"  # this copy, with all that is imported, is killed
        "        for number in itertools.count(int(line)):\n"
        "            publish(open_output(sys.argv[1]), str(number))\n"
        "            if number == int(line): print(os.getpid(), flush=True)\n"
        "    print(os.wait(), flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")}, cwd=ROOT,
    ) as process:  # fmt: skip
        for attempt in range(24):
            print(attempt * 1000, file=process.stdin, flush=True)
            publisher = int(process.stdout.readline())
            threading.Event().wait(0.0015 * attempt)
            os.kill(publisher, 9)
            process.stdout.readline()  # it is dead now
            labels = {tuple(rows) for rows in visible(tmp_path).values()}
            assert len(labels) == 1
            assert len(labels.pop()) == 1


def test_spark_in_a_loop_never_sees_a_mixture_or_nothing(output, tmp_path, spark):
    """A query that listed files just before a publication, and opened them after the next, may have to start again."""
    publish(output, "0", parts=2)
    stop, errors, seen = threading.Event(), [], set()

    def read():
        while not stop.is_set():
            try:
                rows = spark.read.parquet(os.path.realpath(tmp_path / "recommendations")).select("label").collect()
            except Exception as error:  # noqa: BLE001 - Spark has several
                # Hadoop says AccessDenied of a folder that is removed while it is being listed.
                overtaken = "FileNotFound|NoSuchFile|No such file|does not exist|AccessDenied|UNABLE_TO_INFER_SCHEMA"
                if not re.search(overtaken, repr(error) + str(error)):
                    errors.append(str(error))
                continue
            labels = [row.label for row in rows]
            seen.update(labels)
            if len(labels) != 4 or len(set(labels)) != 1:
                errors.append(labels)

    reader = threading.Thread(target=read)
    reader.start()
    for burst in range(20):
        for number in range(10):
            publish(output, f"{burst}-{number}", parts=2)
        before, deadline = len(seen), time.monotonic() + 20
        while len(seen) == before and time.monotonic() < deadline:
            stop.wait(0.05)  # for a read that nothing overtakes, however slow Spark is
        if burst > 5 and len(seen) > 3:
            break
    stop.set()
    reader.join()
    assert errors == []
    assert len(seen) > 3, seen


def test_an_output_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ScoringFailed, match=r"cannot write below .*file.*choose another --output"):
        open_output(tmp_path / "file").stage(DAY, "a")
    with pytest.raises(ScoringFailed, match=r"cannot write below .*file.*choose another --output"):
        open_output(tmp_path / "file").check_ready()
    (tmp_path / "runs").mkdir()
    with pytest.raises(ScoringFailed, match=r"File exists.*choose another --output"):
        open_output(tmp_path).stage(DAY, "a")
