"""Reading CSV and Parquet files: what is accepted, what is refused and how that is said."""

import contextlib
import csv
import io
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.inputs import HEADER, LENIENT, read, with_ratings, write_movielens

from recmodel import schemas as c
from recmodel.data import lines as data_lines
from recmodel.data import movielens as data
from recmodel.data.validation import Validation
from recmodel.errors import InputRejected


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.rstrip(b"\n"),
        lambda text: text.replace(b"\n", b"\n\n"),
        lambda text: text.replace(b",", b" , ").replace(b" , movieId , rating , ", b",movieId,rating,"),
        lambda text: text.replace(b"userId", b"user_id").replace(b"movieId", b"movie_id"),
        lambda text: b"\n".join(b",".join(b'"%s"' % value for value in line.split(b",")) for line in text.split()),
    ],
    ids=["CRLF", "BOM", "no last newline", "blank lines", "spaces", "our own names", "all quoted"],
)
def test_harmless_differences_change_nothing(tmp_path, toy, change):
    expected, _, _ = read(toy)
    content = change((toy / "ratings.csv").read_bytes())
    found, _, validation = read(with_ratings(tmp_path, content))
    assert found == expected
    assert validation.rejected().num_rows == 0


def test_parquet_reads_like_csv(tmp_path, toy):
    ratings, catalogue, _ = read(toy)
    movielens = {ours: theirs for theirs, ours in c.MOVIELENS_NAMES.items()}
    renamed = ratings.rename_columns([movielens.get(name, name) for name in ratings.schema.names])
    wider = renamed.set_column(2, "rating", renamed.column("rating").cast(pa.float64()))
    (tmp_path / "ratings.parquet").mkdir()
    pq.write_table(wider.slice(0, 50), tmp_path / "ratings.parquet" / "part-0.parquet")
    pq.write_table(wider.slice(50), tmp_path / "ratings.parquet" / "part-1.parquet")
    pq.write_table(catalogue.select(c.MOVIES.names), tmp_path / "movies.parquet")
    found, found_catalogue, _ = read(tmp_path)
    assert found.sort_by(c.TIMESTAMP) == ratings
    assert found_catalogue == catalogue


def test_ids_keep_all_their_64_bits(tmp_path):
    big = 2**63 - 1
    movies = f"movieId,title,genres\n{big},Far Away,Drama\n"
    ratings, _, _ = read(write_movielens(tmp_path, [(2**53 + 1, big, 4.0, 1)], movies))
    assert ratings.select([c.USER_ID, c.MOVIE_ID]).to_pylist() == [{c.USER_ID: 2**53 + 1, c.MOVIE_ID: big}]


@pytest.mark.parametrize(
    ("line", "column", "value", "reason"),
    [
        (b"x,1,4.0,1", "userId", "x", "is not an integer of 64 bits"),
        (b"1.5,1,4.0,1", "userId", "1.5", "is not an integer of 64 bits"),
        (b"9223372036854775808,1,4.0,1", "userId", "9223372036854775808", "is not an integer of 64 bits"),
        (b"1,,4.0,1", "movieId", "", "is not an integer of 64 bits"),
        (b"1,99,4.0,1", "movieId", "99", "is not in the file of movies"),
        (b"1,1,good,1", "rating", "good", "is not a number"),
        (b"1,1,5.5,1", "rating", "5.5", "is outside the rating scale 0.5 to 5"),
        (b"1,1,nan,1", "rating", "nan", "is outside the rating scale 0.5 to 5"),
        (b"1,1,inf,1", "rating", "inf", "is outside the rating scale 0.5 to 5"),
        (b"1,1,4.0,99999999999", "timestamp", "99999999999", "lies in the future, as seconds since 1970"),
        (b"1,1,4.0,\xff", "timestamp", "\ufffd", "is not an integer of 64 bits"),
        (b"1,1,4.0", "(all)", "1,1,4.0", "has 3 fields where the header has 4"),
    ],
)
def test_a_bad_row_is_named_and_kept(tmp_path, line, column, value, reason):
    content = HEADER + b"1,1,4.0,1\n\n" + line + b"\n2,2,3.0,1\n"
    folder = with_ratings(tmp_path, content)
    with pytest.raises(InputRejected) as caught:
        read(folder)
    assert f"ratings.csv, row 4, column {column}: {value!r} {reason}" in str(caught.value)
    assert "1 of 3 rows" in str(caught.value)

    ratings, _, validation = read(folder, LENIENT)
    assert ratings.column(c.USER_ID).to_pylist() == [1, 2]
    assert validation.rejected().to_pylist() == [
        {"file": "ratings.csv", "row": 4, "column": column, "value": value, "reason": reason}
    ]


def test_row_numbers_stay_right_after_many_bad_rows(tmp_path):
    lines = [b"1,1,4.0,1", b"1,1", b"", b"x,1,4.0,1", b"1,1,4.0,1,9", b"1,1,9,1", b"2,1,4.0,1", b"2"]
    _, _, validation = read(with_ratings(tmp_path, HEADER + b"\n".join(lines)), LENIENT)
    assert validation.rejected().column("row").to_pylist() == [3, 5, 6, 7, 9]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_blocks_of_any_size_give_the_same_rows(tmp_path, monkeypatch, newline):
    """Blocks end anywhere, and begin with a bad row, a blank line, a mark of the byte order or bytes of Latin-1."""
    odd = [
        b"",
        b"1,1",
        b"\xef\xbb\xbf1,1,4.0,1",
        b"\xe9,1,4.0,1",
        b"1,1,4.0,1,\xe9",
        b"x,1,4.0,1",
        b"1,1,4.0,1",
        b",,,",
    ]
    lines = [odd[i] for i in np.random.RandomState(0).randint(0, len(odd), 80)]
    folder = with_ratings(tmp_path, newline.join([HEADER.strip(), *lines]))

    def rows():
        ratings, _, validation = read(folder, LENIENT)
        return ratings.to_pylist(), validation.rejected().to_pylist(), validation.rows

    in_one_block = rows()
    for size in (len(HEADER) + 1, 57, 128):
        monkeypatch.setattr(data_lines, "_BLOCK_BYTES", size)
        assert rows() == in_one_block
    (folder / "ratings.csv").write_bytes(HEADER + b"1,1,4.0," + b"1" * 300)
    with pytest.raises(InputRejected, match="ratings.csv has a line of more than"):
        read(folder)


def _fields() -> list[bytes]:
    """Four kinds of fields, with about as many of each: a field is then a single draw, which is what takes time."""
    half_precision = np.arange(2**16, dtype=np.uint16).view(np.float16)
    numbers = half_precision[(half_precision >= -1) & (half_precision <= 6)].tolist()
    special = [
        b"", b" ", b"nan", b"inf", b"-0", b"1e2", b"+1", b"007", b"0x1F", b"1_000", b"9223372036854775807",
        b"9223372036854775808", b"32503680000", b'"1"', b'"', b'""', b'1"1', b"\xff", b"\xc3\x28", b"\x00",
        b"\xef\xbb\xbf", b"<b>1</b>", b"'; DROP TABLE ratings; --", "\u0661".encode(), b"1;2", b"x" * 9000,
    ]  # fmt: skip
    random = np.random.RandomState(0)
    noise = [random.bytes(size).translate(None, b"\r\n") for size in random.randint(0, 7, len(numbers))]
    integers = [b"%d" % value for value in range(-5, 13)]
    return [*map(str.encode, map(str, numbers)), *noise, *integers * 900, *special * 600]


FIELD = st.sampled_from(_fields())
GOOD = st.sampled_from([
    b"%d,%d,%.1f,77" % (user, movie, half / 2) for user in range(1, 10) for movie in (1, 2, 3) for half in range(1, 11)
])  # fmt: skip
LINE = st.one_of(GOOD, st.tuples(FIELD, FIELD, FIELD, FIELD).map(b",".join), st.lists(FIELD, max_size=6).map(b",".join))


@settings(max_examples=max(2_000, settings.default.max_examples), suppress_health_check=[HealthCheck.too_slow])
@given(
    lines=st.lists(LINE, max_size=8),
    newline=st.sampled_from([b"\n", b"\r\n"]),
    bom=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_no_row_is_lost_or_read_wrongly(broken, lines, newline, bom):
    """Rows in = rows used + rows refused, and a used row holds what Python's own csv module reads in its line."""
    folder, catalogue = broken
    (folder / "ratings.csv").write_bytes(bom + newline.join([HEADER.strip(), *lines]))
    validation = Validation(LENIENT)
    ratings = data.read_ratings(folder, catalogue, validation)
    rejected = validation.rejected().column("row").to_pylist()
    refused = set(rejected)
    blank = {
        number for number, line in enumerate(lines, start=2) if line.replace(b'""', b"") in (b"", b",,,")
    } - refused
    used = [line for number, line in enumerate(lines, start=2) if number not in refused | blank]
    assert validation.rows["ratings.csv"] == ratings.num_rows + len(rejected) == len(lines) - len(blank)
    assert [tuple(row.values()) for row in ratings.to_pylist()] == [_as_python_reads(line) for line in used]


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A folder, for ratings to be written to, and its catalogue."""
    folder = write_movielens(tmp_path_factory.mktemp("broken") / "data", [])
    return folder, data.read_catalogue(folder, Validation(LENIENT))


def _as_python_reads(line: bytes) -> tuple:
    (row,) = csv.reader([line.decode()])
    fields = [field.strip() for field in row]
    # If most of a column's first values are written like that, 7.0 is an id, and times may have fractions.
    whole = [*(field.removesuffix(".0") for field in fields[:3]), re.sub(r"\.\d*$", "", fields[3])]
    user, movie, timestamp = (int(whole[i], 16 if "x" in whole[i].lower() else 10) for i in (0, 1, 3))
    return user, movie, float(np.float32(fields[2])), timestamp


@settings(max_examples=max(500, settings.default.max_examples))
@given(at=st.floats(0, 1), what=st.one_of(st.just(b""), st.binary(min_size=1, max_size=9)), cut=st.booleans())
def test_a_damaged_parquet_file_gets_a_sentence_or_its_rows(broken, toy_parquet, at, what, cut):
    """Cut off, or overwritten in one place: no crash, and no other rows than those of the file."""
    folder, catalogue = broken
    position = int(at * len(toy_parquet))
    content = toy_parquet[:position] + what + (b"" if cut else toy_parquet[position + len(what) :])
    (folder / "ratings.parquet").write_bytes(content)
    (folder / "ratings.csv").unlink(missing_ok=True)
    validation = Validation(LENIENT)
    with contextlib.suppress(InputRejected):
        ratings = data.read_ratings(folder, catalogue, validation)
        assert ratings.num_rows + validation.rejected().num_rows == validation.rows["ratings.parquet"]
    (folder / "ratings.parquet").unlink()


@pytest.fixture(scope="module")
def toy_parquet(toy):
    ratings, _, _ = read(toy)
    sink = io.BytesIO()
    pq.write_table(ratings, sink, write_page_checksum=True)
    return sink.getvalue()
