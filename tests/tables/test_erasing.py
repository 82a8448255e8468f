"""Erasing users from every output format: their rows go, all other rows stay, and readers see before or after."""

import threading
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.runs import DAY, record, write_part

from recmodel import schemas as c
from recmodel import storage
from recmodel.data.statistics import FILE, InteractionStatistics
from recmodel.errors import ScoringFailed
from recmodel.tables import linked
from recmodel.tables.erasing import Users
from recmodel.tables.output import open_output

NEXT = DAY + timedelta(1)
OF_USERS = [name for name, schema in c.TABLES.items() if c.USER_ID in schema.names]
OF_OTHERS = sorted({*c.TABLES} - {*OF_USERS, c.REJECTS_TABLE})
REJECTS = [  # column, value, and whether it names the user 7
    ("userId", "7", True),
    ("userId", "77", False),
    ("user_id", " '7' ", True),
    ("customer", "7", False),
    ("rating", "7", False),
    ("(all)", "user_id 7, movie_id 1, rating 4.0, timestamp 5", True),
    ("(all)", "user_id 1, movie_id 7, rating 7.0, timestamp 7", False),
    ("(all)", "7,1193", True),
    ("(all)", "17::1193", False),
]


@pytest.fixture(params=["path", "URI"])
def output(request, tmp_path):
    """Two runs of the users 1 to 8, in two files a table; in one user 7 is only in a file of its own."""
    place = tmp_path / "output"
    if request.param == "S3":
        output = open_output(f"{request.getfixturevalue('s3')}/{tmp_path.name}")
    else:
        output = open_output(place if request.param == "path" else place.as_uri())
    for day in (DAY, NEXT):
        run = output.stage(day, "key")
        for table in OF_OTHERS:
            write_part(run, table, 0, c.TABLES[table].empty_table())
        for table in OF_USERS:
            for part, users in enumerate([[1, 2, 3, 4], [5, 6, 7, 8]] if day == DAY else [[1, 2], [7]]):
                rows = pa.table({c.USER_ID: pa.array(users), c.RANK: pa.array([1] * len(users), pa.int32())})
                write_part(run, table, part, rows)
        rows = [("ratings.csv", None, column, value, "x") for column, value, _ in REJECTS]
        columns = [list(column) for column in zip(*rows, strict=True)]
        write_part(run, c.REJECTS_TABLE, 0, pa.table(columns, schema=c.REJECTS))
        run.publish(record(day, users=8), 90, {FILE: statistics()})
    return output


def write_users(run, users: pa.Table, rejects: pa.Table | None = None) -> None:
    """One file of each table: these users where it has any."""
    rejects = c.REJECTS.empty_table() if rejects is None else rejects
    for table, schema in c.TABLES.items():
        rows = rejects if table == c.REJECTS_TABLE else users if table in OF_USERS else schema.empty_table()
        write_part(run, table, 0, rows)


def statistics() -> bytes:
    history = [{c.TITLE: "Heat", c.RATING: 4.0}]
    ids, counts = np.array([1, 2]), np.array([3, 4])
    return InteractionStatistics({"ratings.csv": 7}, {4.0: 7}, ids, counts, {1: history, 7: history}).to_bytes()


def users_of(output, day, table=c.RECOMMENDATIONS_TABLE) -> list[int]:
    return sorted(output.dataset(table, day).to_table(columns=[c.USER_ID]).column(c.USER_ID).to_pylist())


def erase(output, *users: int) -> list:
    whom = Users(users)
    with output.locked():
        found = output.find(whom)
        output.erase(whom, found, 0)
    return found


@pytest.mark.parametrize("output", ["path", "URI", "S3"], indirect=True)
def test_users_are_gone_from_every_table_and_date_and_all_others_stay(output):
    found = erase(output, 7, 99)
    assert [run.run_date for run in found] == [DAY, NEXT]
    named = sum(is_named for *_, is_named in REJECTS)
    assert all(run.rows == dict.fromkeys(OF_USERS, 1) | {c.REJECTS_TABLE: named} for run in found)
    assert all((run.histories, run.users) == (1, {7}) for run in found)
    for table in OF_USERS:
        assert users_of(output, DAY, table) == [1, 2, 3, 4, 5, 6, 8]
        assert users_of(output, NEXT, table) == [1, 2]
    for day in (DAY, NEXT):
        left = [(row["column"], row["value"]) for row in output.rejects(day).to_table().to_pylist()]
        assert left == [(column, value) for column, value, is_named in REJECTS if not is_named]
        kept = InteractionStatistics.from_bytes(output.attachment(day, FILE))
        assert (list(kept.histories), kept.stars, kept.ratings.tolist()) == ([1], {4.0: 7}, [3, 4])
        assert (output.read_run(day).users, output.read_run(day).users_forgotten) == (8, 1)
    newest = storage.read(storage.below(output.location, "latest/runs/run.json"))
    assert newest == output.read_run(NEXT).to_bytes()
    assert erase(output, 7, 99) == []
    assert output.read_run(DAY).users_forgotten == 1


@pytest.mark.parametrize("output", ["path", "URI"], indirect=True)
def test_no_file_has_them_any_more_and_files_without_them_are_the_same(output):
    folder = Path(output.location.removeprefix("file://"))
    untouched = {file.stat().st_ino for file in folder.glob("recommendations/*/**/part-00000-*.parquet")}
    assert len(untouched) == 2
    if storage.is_uri(output.location):
        untouched = set()  # of a Delta table, all files of a date are written again
    erase(output, 7)
    left = [file for file in folder.rglob("*.parquet") if "_delta_log" not in file.parts]
    for file in left:
        rows = pq.read_table(file, partitioning=None)
        assert c.USER_ID not in rows.schema.names or 7 not in rows.column(c.USER_ID).to_pylist()
    assert untouched <= {file.stat().st_ino for file in left}


def test_interrupted_runs_are_discarded(output):
    run = output.stage(NEXT, "other")
    write_part(run, c.RECOMMENDATIONS_TABLE, 0, pa.table({c.USER_ID: [7]}))
    storage.write(run.scratch("ratings.parquet"), b"7")
    assert len(output.discard_staged()) == 1
    assert (output.discard_staged(), output.resumable(NEXT, "other")) == ([], False)
    assert users_of(output, NEXT) == [1, 2, 7]


def test_a_run_that_was_replaced_is_gone_too(tmp_path):
    """The edition before stays for readers, until somebody is forgotten."""
    output = open_output(tmp_path)
    for users in ([1, 7], [1]):
        run = output.stage(DAY, "key")
        write_users(run, pa.table({c.USER_ID: users}))
        run.publish(record(), 90)
    assert len(list(tmp_path.glob(".store/edition-*"))) == 2
    assert erase(output, 7) == []
    assert len(list(tmp_path.glob(".store/edition-*"))) == 1
    assert users_of(output, DAY) == [1]


def test_readers_see_all_of_a_user_or_nothing(output):
    seen, stop = set(), threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(tuple(7 in users_of(output, day) for day in (DAY, NEXT)))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        whom = Users((7,))
        output.erase(whom, output.find(whom), 0.5)
    finally:
        stop.set()
        reader.join()
    between_two_reads = {(True, False)} | ({(False, True)} if storage.is_uri(output.location) else set())
    assert seen <= {(True, True), (False, False)} | between_two_reads  # Delta: run by run
    assert (False, False) in seen


def test_a_failure_leaves_everything_as_it_was(tmp_path, monkeypatch):
    output = open_output(tmp_path)
    run = output.stage(DAY, "key")
    write_users(run, pa.table({c.USER_ID: [1, 7]}))
    run.publish(record(), 90)

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(linked, "_replace_link", no_space)
        with pytest.raises(ScoringFailed, match="nothing was erased .*No space left.* call it again"):
            erase(output, 7)
    assert users_of(output, DAY) == [1, 7]
    assert [run.run_date for run in erase(output, 7)] == [DAY]
    assert users_of(output, DAY) == [1]


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_ids_that_are_text_are_erased_as_they_are(tmp_path, scheme):
    """Whatever SQL would make of them; and a run that lacks a table has nothing to erase in it."""
    output = open_output(f"{scheme}{tmp_path}/o")
    run = output.stage(DAY, "key")
    ids = ["007", "7", "O'Hara", 'a"b', "x, y"]
    rejected = pa.table([["r.csv"], [2], ["userId"], ["O'Hara"], ["x"]], schema=c.REJECTS)
    write_users(run, pa.table({c.USER_ID: ids}), rejected)
    run.publish(record(), 90)
    whom = Users(("007", "O'Hara", "nobody", 'a"b'))
    (found,) = output.find(whom)
    assert (found.rows, found.users) == (dict.fromkeys(OF_USERS, 3) | {c.REJECTS_TABLE: 1}, {"007", "O'Hara", 'a"b'})
    output.erase(whom, [found], 0)
    assert users_of(output, DAY) == ["7", "x, y"]
    assert (output.rejects(DAY).count_rows(), output.find(whom)) == (0, [])


def test_ids_with_separators_and_long_ones_are_found_in_rejects():
    rejects = pa.table({
        "column": ["(all)", "(all)", "userId"], "value": ['"a,b",1193,5', "a,1193,5", "long" * 19 + "lon…"],
    })  # fmt: skip
    assert Users(("a,b", "long" * 40)).named_by(rejects).to_pylist() == [True, False, True]
