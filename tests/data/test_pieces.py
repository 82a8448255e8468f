"""Pieces of a table, read by many, give what one reading of the whole table gives."""

from dataclasses import asdict, replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.inputs import LENIENT, MOVIES, csv_text, write_movielens

from recmodel import schemas as c
from recmodel.data import intake, kept, layouts, pieces, reading, tally, values
from recmodel.data import movielens as data
from recmodel.data.feedback import of_ratings
from recmodel.data.tally import Tally
from recmodel.data.validation import Validation
from recmodel.data.values import Decisions
from recmodel.errors import InputRejected
from recmodel.schemas import INTEGER_IDS

COLUMNS = ["userId", "movieId", "rating", "timestamp"]
FIELDS = {
    "userId": ["1", "2", "0007", "3.0", "x", "", '"4"'],
    "movieId": ["1", "2", "99", "3.0", " 3 "],
    "rating": ["4", "4.5", "3,5", '"2,5"', "9", "", "nan", "bad"],
    "timestamp": ["7", "1000000000", "1000000000000", "2001-09-09T01:46:40Z", "20010909", "5.5", "", "99999999999999"],
    "note": ["", "a", '"a, b"', '"a', "é"],
}
LINE = st.tuples(*map(st.sampled_from, FIELDS.values())).map(",".join)
GOOD = st.sampled_from(["1,1,4.0,1000000000,", "2,2,3.5,1000000007,a", '3,3,5.0,1000000009,"a, b"'])
ODD = st.sampled_from(["", ",,,,", "1,1", "1,1,4.0,7,a,b", "\ufeff1,1,4.0,7,"])
FILE = st.lists(st.one_of(GOOD, LINE, ODD), max_size=12)


def read_at_once(table, contract):
    found, rows, rejects = Tally(), [], []
    rows += tally.accepted(table, contract, found, lambda block: rejects.append(block.rejected))
    return found, rows, rejects


def read_by_many(shares, contract):
    """Each share for itself, knowing the decisions of the first; those that are overruled are read again."""

    def read(number, decisions):
        found, rejects = Tally(decisions=decisions), []
        rows = [*tally.accepted(shares[number], contract, found, lambda block: rejects.append(block.rejected))]
        return found, rows, rejects

    read_once = [read(0, Decisions())]
    read_once += [read(number, read_once[0][0].decisions.copy()) for number in range(1, len(shares))]
    while again := tally.overruled([found for found, _, _ in read_once]):
        for number, decisions in again.items():
            read_once[number] = read(number, decisions)
    tallies = [found for found, _, _ in read_once]
    rejects = []
    for (_, _, rejected), before in zip(read_once, tally.lines_before(shares, tallies), strict=True):
        rejects += [{**row, "row": row["row"] + before} for batch in rejected for row in batch.to_pylist()]
    return tally.merged(shares, tallies), [row for _, rows, _ in read_once for row in rows], rejects


def rows_of(batches):
    return [tuple(row.values()) for batch in batches for row in batch.to_pylist()]


def rejects_of(batches):
    return [row for batch in batches for row in batch.to_pylist()]


def assert_the_same(folder, catalogue, shares_of):
    """The table read in shares, by one and by many, and read as its files are."""
    validation = Validation(LENIENT)

    contract = data.ratings_request(folder, catalogue, validation, of_ratings(LENIENT)).contract
    source = layouts.find(folder, "ratings")
    try:
        shares = shares_of(source)
    except InputRejected as error:
        shares = None
        refusal = str(error)
    whole, rows, rejects = read_at_once(pieces.whole(source), contract)
    if shares is None:
        assert whole.failure.partition("(")[0] == refusal.partition("(")[0]
        return
    in_turn, rows_in_turn, rejects_in_turn = read_at_once([piece for share in shares for piece in share], contract)
    merged, rows_of_many, rejects_of_many = read_by_many(shares, contract)
    assert in_turn.failure == merged.failure == whole.failure
    if whole.failure:
        return
    assert rows_of(rows_in_turn) == rows_of(rows_of_many) == rows_of(rows)
    assert rejects_of(rejects_in_turn) == rejects_of_many == rejects_of(rejects)
    for other in (in_turn, merged):
        assert comparable(other) == comparable(whole)
    assert_the_same_when_kept(folder, pieces.whole(source), contract)


def assert_the_same_when_kept(folder, share, contract):
    """What is kept of a table, up to a time, is what reading it up to that time finds."""
    job = intake.Job(contract, f"{folder}-kept", f"{folder}-rejects", MOVIES, INTEGER_IDS, rated=True)
    (piece,) = intake.kept_pieces([share], [intake.take(intake.Work(0, share), job)], job)
    then = replace(contract, as_of="then", last_second=1_000_000_003)
    expected, rows, rejects = read_at_once(share, then)
    found, kept_rejects = Tally(), []
    kept_rows = rows_of(kept.accepted(piece, then, found, lambda block: kept_rejects.append(block.rejected)))
    assert sorted((user, MOVIES[place], *row) for user, place, *row in kept_rows) == sorted(rows_of(rows))
    assert sorted(rejects_of(kept_rejects), key=repr) == sorted(rejects_of(rejects), key=repr)
    expected.decisions, expected.observed = found.decisions, found.observed  # of all rows, as nothing depends on them
    assert comparable(found) == comparable(expected)


def comparable(found: Tally) -> dict:
    fields = asdict(found)
    fields["findings"]["lines"] = None  # of where reading has begun
    return fields


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    folder = write_movielens(tmp_path_factory.mktemp("pieces") / "data", [])
    (folder / "ratings.csv").unlink()
    (folder / "ratings").mkdir()
    return folder, data.read_catalogue(folder, Validation(LENIENT))


@pytest.fixture(autouse=True)
def _by_the_first_value(monkeypatch):
    """As rows are few here, the first value decides how a column is written, not the first 2,000."""
    monkeypatch.setattr(values, "SAMPLE_ROWS", 1)


def write(folder, files):
    for path in (folder / "ratings").iterdir():
        path.unlink()
    for number, content in enumerate(files):
        path = folder / "ratings" / f"part-{number}.{'csv' if isinstance(content, bytes) else 'parquet'}"
        path.write_bytes(content) if isinstance(content, bytes) else pq.write_table(*content[:1], path, **content[1])


@settings(
    max_examples=max(120, settings.default.max_examples),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    files=st.lists(FILE, min_size=1, max_size=3),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    bom=st.sampled_from(["", "\ufeff"]),
    ends=st.booleans(),
    size=st.integers(1, 120),
)
@example(files=[["1,1,4.0,7,"] * 3], newline="\n", bom="", ends=True, size=31)
def test_text_in_pieces_of_any_size_gives_the_same(empty, monkeypatch, files, newline, bom, ends, size):
    folder, catalogue = empty
    header = ",".join(FIELDS)
    write(folder, [(bom + newline.join([header, *lines]) + newline * ends).encode() for lines in files])
    monkeypatch.setattr(pieces, "TEXT_BYTES", size)
    assert_the_same(folder, catalogue, lambda source: reading.shares(source, c.RATINGS))


VALUES = {
    "userId": st.integers(1, 9) | st.none(),
    "movieId": st.sampled_from([1, 2, 3, 99]),
    "rating": st.sampled_from([0.5, 4.0, 9.0, float("nan"), None]),
    "timestamp": st.sampled_from([None, 7, 10**9, 10**12, 10**18]),
}
TABLE = st.lists(st.tuples(*VALUES.values()), min_size=1, max_size=12).map(
    lambda rows: pa.table(list(zip(*rows, strict=True)), pa.schema([
        ("userId", pa.int64()), ("movieId", pa.int64()), ("rating", pa.float64()), ("timestamp", pa.int64())
    ]))
)  # fmt: skip
# Row groups 7 and 8 together: a set of them would be in another order.
NINE = pa.table([[*range(1, 10)], [1] * 9, [4.0] * 9, [10**9] * 9], list(VALUES))
TYPES = st.sampled_from([pa.int64(), pa.string(), pa.float64()])


@settings(
    max_examples=max(120, settings.default.max_examples),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    files=st.lists(st.tuples(TABLE, TYPES, st.integers(1, 5)), min_size=1, max_size=3),
    rows=st.integers(1, 9),
    bytes_=st.sampled_from([1, 1500, 1 << 20]),
)
@example(files=[(NINE, pa.int64(), 1)], rows=7, bytes_=1)
@example(files=[(NINE.set_column(3, "timestamp", pa.array([None, None, 10**12, None] + 5 * [None])), pa.int64(), 1)],
         rows=1, bytes_=1)  # fmt: skip
def test_parquet_in_pieces_of_any_size_gives_the_same(empty, monkeypatch, files, rows, bytes_):
    folder, catalogue = empty
    as_written = [
        (table.set_column(3, "timestamp", table["timestamp"].cast(type_, safe=False)), {"row_group_size": size})
        for table, type_, size in files
    ]
    write(folder, as_written)
    monkeypatch.setattr(pieces, "PARQUET_BYTES", bytes_)
    monkeypatch.setattr(pieces, "PARQUET_ROWS", rows)
    assert_the_same(folder, catalogue, lambda source: reading.shares(source, c.RATINGS))


def test_large_files_are_divided_and_small_ones_joined(empty, monkeypatch):
    folder, _ = empty
    rows = pa.table({name: [1.0] * 1000 for name in COLUMNS})
    small, large = csv_text(rows[:10]).encode(), csv_text(rows).encode()
    write(folder, [small, small, large, small])
    monkeypatch.setattr(pieces, "TEXT_BYTES", len(large) // 3 + 1)
    shares = reading.shares(layouts.find(folder, "ratings"), c.RATINGS)
    assert [len(share) for share in shares] == [2, 1, 1, 1, 1]
    assert [pieces.is_continuation(share) for share in shares] == [False, False, True, True, False]
