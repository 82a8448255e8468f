"""Publishing as Delta tables, on an S3 server on loopback: readers see a whole run or none of it."""

import threading
from datetime import date, timedelta

import deltalake
import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recmodel import schemas as c
from recmodel import storage
from recmodel.tables import delta as delta_tables
from recmodel.tables import linked as tables

DAY = date(2026, 1, 31)
DATA = ("recommendations", "predicted_ratings", "rejects", "users")


def stage(output: str, label: str, day: date = DAY, key: str = "key") :
    """A run whose files are there as Spark leaves them: two files, of users 1 and 2, and 3 and 4."""
    staged = tables.staged(output, day, key)
    for name in DATA:
        for part in (0, 1):
            users = pa.array([2 * part + 1, 2 * part + 2], pa.int64())
            rows = pa.table({c.USER_ID: users, c.RANK: pa.array([1, 1], pa.int32()), "label": [label, label]})
            with storage.create(f"{staged.table(name)}/part-{part:05d}-x.zstd.parquet") as sink:
                pq.write_table(rows, sink)
    return staged


def labels(output: str, day: date = DAY, table: str = "recommendations") -> list[str]:
    return delta_tables.dataset(output, table, day).to_table().column("label").to_pylist()


def test_a_run_on_s3_replaces_that_of_its_date_and_the_oldest_dates_go(s3):
    output = f"{s3}/replaces"
    for label, day in (("a", DAY), ("b", DAY + timedelta(1)), ("c", DAY)):
        stage(output, label, day).publish({"label": label}, 90)
    assert tables.run_dates(output) == [DAY, DAY + timedelta(1)]
    assert [labels(output, DAY, name) for name in DATA] == [["c"] * 4] * len(DATA)
    assert (labels(output, DAY + timedelta(1)), tables.read_run(output, DAY)) == (["b"] * 4, {"label": "c"})
    assert b'"b"' in storage.read(f"{output}/latest/runs/run.json")
    assert tables.recommendations_of(output, DAY, [3, 1]).column(c.USER_ID).to_pylist() == [1, 3]
    assert tables.user_range(output, DAY) == (1, 4)
    stage(output, "d", DAY + timedelta(2)).publish({"label": "d"}, 2)
    assert tables.run_dates(output) == [DAY + timedelta(1), DAY + timedelta(2)]
    assert labels(output) == []
    assert storage.names(f"{output}/.store/staging") == []


def test_a_table_on_s3_gets_the_columns_of_a_newer_version(s3):
    output = f"{s3}/columns"
    stage(output, "a").publish({}, 90)
    newer = stage(output, "b", DAY + timedelta(1))
    for name in DATA:
        rows = pa.table({c.USER_ID: pa.array([1], pa.int64()), "label": ["b"], c.BECAUSE_TITLE: ["Heat (1995)"]})
        with storage.create(f"{newer.table(name)}/part-00000-x.zstd.parquet") as sink:
            pq.write_table(rows, sink)
    newer.publish({}, 90)
    table = deltalake.DeltaTable(f"{output}/recommendations").to_pyarrow_dataset().to_table().to_pydict()
    of = dict(zip(zip(table[c.RUN_DATE], table[c.USER_ID], strict=True), table[c.BECAUSE_TITLE], strict=True))
    assert of == {(DAY, user): None for user in (1, 2, 3, 4)} | {
        (DAY + timedelta(1), user): title for user, title in ((1, "Heat (1995)"), (3, None), (4, None))
    }


def test_a_reader_of_a_user_opens_one_file(s3):
    """By the statistics in the log, without reading the files' footers."""
    output = f"{s3}/skips"
    stage(output, "a").publish({}, 90)
    dataset = deltalake.DeltaTable(f"{output}/recommendations").to_pyarrow_dataset()
    (fragment,) = dataset.get_fragments(pc.field(c.USER_ID) == 3)
    assert "part-00001" in fragment.path


def test_an_interrupted_run_on_s3_is_found_again_and_seen_by_nobody(s3):
    output = f"{s3}/interrupted"
    stage(output, "a").publish({"label": "a"}, 90)
    place = stage(output, "b", key="other").table("recommendations")
    again = tables.staged(output, DAY, "other")
    assert (again.table("recommendations"), again.finished_parts("recommendations")) == (place, {0, 1})
    assert labels(output) == ["a"] * 4
    assert tables.staged(output, DAY, "third").finished_parts("recommendations") == set()
    again.discard()
    assert (storage.names(place), labels(output)) == ([], ["a"] * 4)


def test_readers_of_s3_never_see_a_mixture_or_nothing(s3):
    output = f"{s3}/loop"
    stage(output, "0").publish({"label": "0"}, 90)
    stop, seen, errors = threading.Event(), {"pyarrow": set(), "duckdb": set()}, []

    def by_duckdb():
        rows = delta_tables.dataset(output, "recommendations", DAY)  # noqa: F841 - named in the query
        with duckdb.connect() as connection:
            return [label for (label,) in connection.sql("select label from rows").fetchall()]

    def read(name, query):
        while not stop.is_set():
            found = query()
            seen[name] |= set(found)
            if len(found) != 4 or len(set(found)) != 1:
                errors.append((name, found))

    readers = (("pyarrow", lambda: labels(output)), ("duckdb", by_duckdb))
    threads = [threading.Thread(target=read, args=args) for args in readers]
    for thread in threads:
        thread.start()
    i = 0
    while any(len(found) < 4 for found in seen.values()) and i < 200:
        i += 1
        stage(output, str(i)).publish({"label": str(i)}, 90)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert all(len(found) > 3 for found in seen.values()), seen
