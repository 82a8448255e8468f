"""What every output format does: readers see a whole run or none of it, and runs come, are replaced and go by date."""

import threading
import time
from datetime import date, timedelta

import duckdb
import pyarrow as pa
import pytest
from support.processes import another_process
from support.runs import DAY, labels, publish, record, stage, write_part

from recmodel import schemas as c
from recmodel import storage
from recmodel.errors import AnotherRun, UsageRejected
from recmodel.records import RunRecord
from recmodel.tables.output import open_output

# Where each format publishes, by the fixtures of a test. A new format adds a line.
FORMATS = {
    "linked folders": lambda fixture: fixture("tmp_path") / "output",
    "Delta on a disk": lambda fixture: (fixture("tmp_path") / "output").as_uri(),
    "Delta on S3": lambda fixture: f"{fixture('s3')}/{fixture('tmp_path').name}",
}


@pytest.fixture(params=FORMATS.values(), ids=FORMATS)
def output(request):
    return open_output(request.param(request.getfixturevalue))


def of_runs_table(output, folder: str) -> RunRecord:
    return RunRecord.parse(storage.read(storage.below(output.location, folder, "run.json")))


def test_a_run_becomes_visible_in_all_its_tables(output):
    run = stage(output, "a", parts=2)
    assert output.run_dates() == []
    with pytest.raises(UsageRejected, match="holds no published run"):
        output.published()
    run.publish(record(model_version="a", users=4), 90, {"note.gz": b"as it is"})
    assert output.run_dates() == [DAY]
    assert [labels(output, DAY, table) for table in c.TABLES] == [["a"] * 4] * len(c.TABLES)
    assert output.read_run(DAY) == record(model_version="a", users=4)
    assert of_runs_table(output, f"runs/run_date={DAY}") == of_runs_table(output, "latest/runs") == output.read_run(DAY)
    assert (output.attachment(DAY, "note.gz"), output.attachment(DAY, "none.gz")) == (b"as it is", None)
    assert output.rejects(DAY).count_rows() == output.recommendations(DAY).count_rows() == 4
    assert output.recommendations_of(DAY, [3, 1, 99]).column(c.USER_ID).to_pylist() == [1, 3]
    assert output.recommendations_of(DAY, [1, 2]).column(c.USER_ID).to_pylist() == [1, 2]
    assert output.user_range(DAY) == (1, 4)
    assert set(output.first_users(DAY, 2)) in ({1, 2}, {3, 4})  # of one file
    assert len(output.files(c.RECOMMENDATIONS_TABLE, DAY)) == 2
    assert storage.names(storage.below(output.location, ".store", "staging")) == []


def test_a_run_replaces_that_of_its_date_and_leaves_the_others(output):
    for label, day in (("a", DAY), ("b", DAY + timedelta(1)), ("c", DAY)):
        publish(output, label, day)
    assert output.run_dates() == [DAY, DAY + timedelta(1)]
    for day, label in ((DAY, "c"), (DAY + timedelta(1), "b")):
        assert [labels(output, day, table) for table in c.TABLES] == [[label] * 2] * len(c.TABLES)
        assert output.read_run(day).model_version == label
    assert of_runs_table(output, "latest/runs").model_version == "b"
    assert (output.published(), output.published(DAY)) == (DAY + timedelta(1), DAY)
    with pytest.raises(UsageRejected, match="there is no run of 2026-01-20 .* the nearest is that of 2026-01-31"):
        output.published(DAY - timedelta(11))


def test_the_oldest_dates_are_dropped_and_a_late_run_of_an_old_date_is_not(output):
    days = [DAY + timedelta(number) for number in range(3)]
    for number, day in enumerate(days):
        publish(output, str(number), day, keep=2)
    assert output.run_dates() == days[1:]
    publish(output, "late", DAY, keep=2)
    assert output.run_dates() == [DAY, days[2]]
    assert [labels(output, day) for day in (DAY, days[2])] == [["late"] * 2, ["2"] * 2]
    assert of_runs_table(output, "latest/runs").model_version == "2"
    publish(output, "only", DAY, keep=1)
    assert output.run_dates() == [DAY]
    assert of_runs_table(output, "latest/runs").model_version == "only"


def test_latest_is_the_newest_full_run_that_is_not_in_the_future(output):
    """Partial runs of versions that published them among the full ones included."""
    tomorrow = date.today() + timedelta(1)
    publish(output, "mistyped", date(2999, 1, 31))
    assert (output.newest(), storage.names(storage.below(output.location, "latest"))) == (None, [])
    with pytest.raises(UsageRejected, match="all runs .* are in the future; name one, such as --run-date 2999-01-31"):
        output.published()
    publish(output, "full", tomorrow - timedelta(2))
    stage(output, "few", tomorrow - timedelta(1)).publish(record(tomorrow - timedelta(1), all_users=False), 90)
    assert output.newest() == output.published() == tomorrow - timedelta(2)
    assert of_runs_table(output, "latest/runs").model_version == "full"
    publish(output, "tomorrow's", tomorrow)
    assert of_runs_table(output, "latest/runs").model_version == "tomorrow's"


def test_partial_runs_are_published_where_no_reader_of_full_runs_meets_them(output):
    publish(output, "full")
    partial = open_output(output.location, partial=True)
    assert partial.location == storage.below(output.location, "partial")
    with output.locked(), partial.locked():  # also while a full run is under way, whose staged work stays
        night = stage(output, "night", DAY + timedelta(1))
        for label, day in (("few", DAY), ("others", DAY + timedelta(1))):
            stage(partial, label, day).publish(record(day, all_users=False, users=2), 90)
    assert output.resumable(DAY + timedelta(1), "key")
    assert (output.run_dates(), output.published(), labels(output)) == ([DAY], DAY, ["full"] * 2)
    assert of_runs_table(output, "latest/runs").all_users
    assert (partial.published(), labels(partial, DAY)) == (DAY + timedelta(1), ["few"] * 2)
    assert not of_runs_table(partial, "latest/runs").all_users
    night.publish(record(DAY + timedelta(1)), 90)
    assert labels(partial, DAY + timedelta(1)) == ["others"] * 2


def test_a_withdrawn_run_is_gone_and_latest_follows(output):
    days = [DAY + timedelta(number) for number in range(3)]
    for label, day in zip("abc", days, strict=True):
        publish(output, label, day)
    opened = output.recommendations(days[2])
    output.withdraw(days[2])
    assert opened.to_table().column("label").to_pylist() == ["c"] * 2  # who has opened it reads to the end
    assert (output.run_dates(), output.newest()) == (days[:2], days[1])
    assert of_runs_table(output, "latest/runs").model_version == "b"
    assert [labels(output, days[0], table) for table in c.TABLES] == [["a"] * 2] * len(c.TABLES)
    with pytest.raises(UsageRejected, match="there is no run of 2026-02-02 .* the nearest is that of 2026-02-01"):
        output.withdraw(days[2])
    output.withdraw(days[0])
    assert of_runs_table(output, "latest/runs").model_version == "b"
    publish(output, "again", days[2])
    assert (labels(output, days[2]), output.newest()) == (["again"] * 2, days[2])
    for day in days[1:]:
        output.withdraw(day)
    assert (output.run_dates(), output.newest(), storage.names(f"{output.location}/latest")) == ([], None, [])
    with pytest.raises(UsageRejected, match="holds no published run"):
        output.withdraw(days[1])


def test_an_interrupted_run_is_found_again_by_its_key_alone_and_seen_by_nobody(output):
    publish(output, "a")
    run = stage(output, "b", key="b", parts=3)
    run.remember("plan", {"starts": [1]})
    for number in (0, 12):
        storage.write(f"{run.finished}/{number}", b"")
    assert (output.resumable(DAY, "b"), output.resumable(DAY, "c")) == (True, False)
    again = output.stage(DAY, "b")
    assert again.table("recommendations") == run.table("recommendations")
    assert again.finished_parts() == {0, 12}
    assert (again.remembered("plan"), again.remembered("more")) == ({"starts": [1]}, None)
    assert labels(output) == ["a"] * 2
    other = output.stage(DAY, "c")
    assert other.finished_parts() == set()
    assert not output.resumable(DAY, "b")
    other.discard()
    assert (output.resumable(DAY, "c"), labels(output)) == (False, ["a"] * 2)


def test_the_input_that_several_dates_share_stays_for_them_alone(output):
    def keep() -> str:
        kept_in = output.kept_input("of-a-back-fill")
        storage.write(storage.below(kept_in, "ratings"), b"")
        return kept_in

    def is_kept() -> bool:
        return storage.read(storage.below(output.kept_input("of-a-back-fill"), "ratings")) is not None

    assert output.kept_input(None) is None
    for day in (DAY, DAY + timedelta(1)):
        output.stage(day, "key", keep())
        assert is_kept()
    output.discard_kept_input()
    assert not is_kept()
    assert output.resumable(day, "key")
    for end in (lambda: output.stage(DAY, "alone"), output.discard_staged):
        keep()
        end()
        assert not is_kept()


def test_a_column_that_a_newer_version_adds_leaves_older_runs_readable(output):
    publish(output, "a")
    newer = output.stage(DAY + timedelta(1), "newer")
    for table in c.TABLES:
        rows = pa.table({c.USER_ID: pa.array([1], pa.int64()), "label": ["b"], c.BECAUSE_TITLE: ["Heat (1995)"]})
        write_part(newer, table, 0, rows)
    newer.publish(record(DAY + timedelta(1)), 90)
    rows = output.recommendations(DAY + timedelta(1)).to_table()
    assert rows.column(c.BECAUSE_TITLE).to_pylist() == ["Heat (1995)"]
    assert labels(output) == ["a"] * 2


def test_who_has_opened_a_run_can_read_it_after_the_next_publication(output):
    publish(output, "a")
    opened = [output.dataset(table, DAY) for table in c.TABLES]
    publish(output, "b")
    assert [rows.to_table().column("label").to_pylist() for rows in opened] == [["a"] * 2] * len(opened)


def test_readers_in_a_loop_never_see_a_mixture_or_nothing(output):
    """While a date is published again and again. Who is overtaken by two publications has to open the run again."""
    publish(output, "0", parts=2)
    stop, errors, seen = threading.Event(), [], {"pyarrow": set(), "duckdb": set()}

    def by_duckdb():
        rows = output.recommendations(DAY)  # noqa: F841 - named in the query
        with duckdb.connect() as connection:
            return [label for (label,) in connection.sql("select label from rows").fetchall()]

    def read(name, query):
        while not stop.wait(0.02):
            try:
                rows = query()
            except Exception as error:  # noqa: BLE001 - to be seen by the test
                if "No such file or directory" not in str(error):
                    errors.append((name, error))
                continue
            seen[name] |= set(rows)
            if len(rows) != 4 or len(set(rows)) != 1:
                errors.append((name, rows))

    readers = (("pyarrow", lambda: labels(output)), ("duckdb", by_duckdb))
    threads = [threading.Thread(target=read, args=reader) for reader in readers]
    for thread in threads:
        thread.start()
    started, number = time.monotonic(), 0
    while time.monotonic() < started + 3 or (min(map(len, seen.values())) < 4 and not errors):
        number += 1
        publish(output, str(number), parts=2)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert min(map(len, seen.values())) > 3, seen


def test_one_writer_at_a_time_and_the_system_releases_what_a_killed_one_held(output):
    script = (
        "import sys; from recmodel.tables.output import open_output; "
        "right = open_output(sys.argv[1]).locked(); right.__enter__()"
    )
    output.check_ready()
    with another_process(script, output.location) as holder:
        with pytest.raises(AnotherRun, match=f"another run writes to {output.location}"), output.locked():
            pass
        with pytest.raises(AnotherRun):
            output.check_ready()
        with output.locked("nightly"):  # another right
            pass
        holder.kill()
    with output.locked():
        pass
    output.check_ready()
