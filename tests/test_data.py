"""Input: what is read, what is refused and how that is said."""

import contextlib
import csv
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import make_ratings, write_movielens
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recmodel import schemas as c
from recmodel.data import movielens as data
from recmodel.errors import InputRejected
from recmodel.settings import Input

STRICT = Input(rating_min=0.5, rating_max=5.0, max_rejected_share=0.0)
LENIENT = Input(rating_min=0.5, rating_max=5.0, max_rejected_share=1.0)
HEADER = b"userId,movieId,rating,timestamp\n"


def read(folder, limits=STRICT):
    intake = data.Intake(limits)
    catalogue = data.read_catalogue(folder, intake)
    return data.read_ratings(folder, catalogue, intake), catalogue, intake


def with_ratings(folder, content: bytes):
    write_movielens(folder, [])
    (folder / "ratings.csv").write_bytes(content)
    return folder


def test_csv_gives_typed_columns_and_whole_titles(tmp_path):
    rows = make_ratings()
    ratings, catalogue, intake = read(write_movielens(tmp_path, rows))
    assert ratings.schema == c.RATINGS
    assert list(zip(*(ratings.column(name).to_pylist() for name in c.RATINGS.names), strict=True)) == rows
    assert catalogue.schema == c.CATALOGUE
    assert catalogue.column(c.TITLE).to_pylist() == [
        "Matrix, The (1999)", 'Say "Hi" (2001)', "Emma (1996)", "Emma (1996)", "Amélie (2001)", "Never Rated (1990)",
    ]  # fmt: skip
    assert intake.rows == {"movies.csv": 6, "ratings.csv": len(rows)}


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
    expected, catalogue, _ = read(toy)
    content = change((toy / "ratings.csv").read_bytes())
    found, _, intake = read(with_ratings(tmp_path, content))
    assert found == expected
    assert data.fingerprint(found, catalogue) == data.fingerprint(expected, catalogue)
    assert intake.rejected().num_rows == 0


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


def test_links_give_external_ids_in_their_own_form(tmp_path, toy):
    write_movielens(tmp_path, [])
    (tmp_path / "links.csv").write_text("movieId,imdbId,tmdbId\n1,0133093,603\n3,0116191,\n")
    rows = {row[c.MOVIE_ID]: row for row in data.read_catalogue(tmp_path, data.Intake(STRICT)).to_pylist()}
    assert (rows[1][c.IMDB_ID], rows[1][c.TMDB_ID]) == ("0133093", 603)
    assert (rows[3][c.IMDB_ID], rows[3][c.TMDB_ID]) == ("0116191", None)
    assert (rows[4][c.IMDB_ID], rows[4][c.TMDB_ID]) == (None, None)


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

    ratings, _, intake = read(folder, LENIENT)
    assert ratings.column(c.USER_ID).to_pylist() == [1, 2]
    assert intake.rejected().to_pylist() == [
        {"file": "ratings.csv", "row": 4, "column": column, "value": value, "reason": reason}
    ]


def test_row_numbers_stay_right_after_many_bad_rows(tmp_path):
    lines = [b"1,1,4.0,1", b"1,1", b"", b"x,1,4.0,1", b"1,1,4.0,1,9", b"1,1,9,1", b"2,1,4.0,1", b"2"]
    _, _, intake = read(with_ratings(tmp_path, HEADER + b"\n".join(lines)), LENIENT)
    assert intake.rejected().column("row").to_pylist() == [3, 5, 6, 7, 9]


def test_the_share_of_rejects_decides(tmp_path):
    folder = with_ratings(tmp_path, HEADER + b"1,1,4.0,1\n" * 99 + b"1,1,9,1\n")
    read(folder, STRICT.model_copy(update={"max_rejected_share": 0.01}))
    with pytest.raises(InputRejected, match="1 of 100 rows refused"):
        read(folder, STRICT.model_copy(update={"max_rejected_share": 0.009}))


def test_a_movie_that_comes_twice_is_refused(tmp_path):
    folder = write_movielens(tmp_path, [], "movieId,title,genres\n1,A,X\n2,B,X\n1,C,X\n3, ,X\n")
    with pytest.raises(InputRejected, match=r"row 4, column movieId: '1' appears a second time"):
        read(folder)
    _, catalogue, intake = read(folder, LENIENT)
    assert catalogue.column(c.TITLE).to_pylist() == ["A", "B"]
    assert intake.rejected().column("reason").to_pylist() == ["appears a second time", "is not a title"]


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("ratings.csv", None, "holds neither ratings.csv nor ratings.parquet"),
        ("movies.csv", None, "holds neither movies.csv nor movies.parquet"),
        ("ratings.csv", b"", "ratings.csv is empty"),
        ("ratings.csv", b"userId,rating,timestamp\n", "ratings.csv has no column movieId (it has userId, rating"),
        ("movies.csv", b"movieId,title,genres\n", "movies.csv holds no movies"),
        ("ratings.parquet", b"PAR1 not really", "ratings.parquet cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_gets_one_sentence(tmp_path, file, content, sentence):
    folder = write_movielens(tmp_path, [])
    if file == "ratings.parquet":
        (folder / "ratings.csv").unlink()
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(InputRejected) as caught:
        read(folder)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


VALUE = st.one_of(
    st.integers(-5, 12).map(lambda value: str(value).encode()),
    st.floats(-1, 6, width=16).map(lambda value: str(value).encode()),
    st.sampled_from([
        b"", b" ", b"nan", b"inf", b"-0", b"1e2", b"+1", b"007", b"0x1F", b"1_000", b"9223372036854775807",
        b"9223372036854775808", b"32503680000", b'"1"', b'"', b'""', b'1"1', b"\xff", b"\xc3\x28", b"\x00",
        b"\xef\xbb\xbf", b"<b>1</b>", b"'; DROP TABLE ratings; --", "\u0661".encode(), b"1;2", b"x" * 9000,
    ]),
    st.binary(max_size=6).map(lambda value: value.replace(b"\n", b"").replace(b"\r", b"")),
)  # fmt: skip
GOOD = st.tuples(st.integers(1, 9), st.sampled_from([1, 2, 3]), st.integers(1, 10)).map(
    lambda row: b"%d,%d,%.1f,77" % (row[0], row[1], row[2] / 2)
)
LINE = st.one_of(
    GOOD, st.lists(VALUE, min_size=4, max_size=4).map(b",".join), st.lists(VALUE, max_size=6).map(b",".join)
)


@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    lines=st.lists(LINE, max_size=8),
    newline=st.sampled_from([b"\n", b"\r\n"]),
    bom=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_no_row_is_lost_or_read_wrongly(broken_folder, lines, newline, bom):
    """Rows in = rows used + rows refused, and a used row says what Python's own csv module reads in its line."""
    (broken_folder / "ratings.csv").write_bytes(bom + newline.join([HEADER.strip(), *lines]))
    ratings, _, intake = read(broken_folder, LENIENT)
    refused = set(intake.rejected().column("row").to_pylist())
    blank = {
        number for number, line in enumerate(lines, start=2) if line.replace(b'""', b"") in (b"", b",,,")
    } - refused
    used = [line for number, line in enumerate(lines, start=2) if number not in refused | blank]
    assert intake.rows["ratings.csv"] == ratings.num_rows + intake.rejected().num_rows == len(lines) - len(blank)
    assert [tuple(row.values()) for row in ratings.to_pylist()] == [_as_python_reads(line) for line in used]


@pytest.fixture(scope="module")
def broken_folder(tmp_path_factory):
    return write_movielens(tmp_path_factory.mktemp("broken") / "data", [])


def _as_python_reads(line: bytes) -> tuple:
    (row,) = csv.reader([line.decode()])
    fields = [field.strip() for field in row]
    user, movie, timestamp = (int(fields[i], 16 if "x" in fields[i].lower() else 10) for i in (0, 1, 3))
    return user, movie, float(np.float32(fields[2])), timestamp


@settings(max_examples=500, deadline=None)
@given(at=st.floats(0, 1), what=st.one_of(st.just(b""), st.binary(min_size=1, max_size=9)), cut=st.booleans())
def test_a_damaged_parquet_file_gets_a_sentence_or_its_rows(broken_folder, toy_parquet, at, what, cut):
    """Cut off, or overwritten in one place: no crash, and no row beside those of the file."""
    position = int(at * len(toy_parquet))
    content = toy_parquet[:position] + what + (b"" if cut else toy_parquet[position + len(what) :])
    (broken_folder / "ratings.parquet").write_bytes(content)
    path = broken_folder / "ratings.csv"
    path.unlink(missing_ok=True)
    intake = data.Intake(LENIENT)
    catalogue = data.read_catalogue(broken_folder, intake)
    with contextlib.suppress(InputRejected):
        ratings = data.read_ratings(broken_folder, catalogue, intake)
        assert ratings.num_rows + intake.rejected().num_rows == intake.rows["ratings.parquet"]
    (broken_folder / "ratings.parquet").unlink()


@pytest.fixture(scope="module")
def toy_parquet(toy):
    ratings, _, _ = read(toy)
    sink = io.BytesIO()
    pq.write_table(ratings, sink, write_page_checksum=True)
    return sink.getvalue()


def test_a_title_of_a_million_characters_and_one_of_html_are_titles(tmp_path):
    long, html = "Ω" * 1_000_000, "<script>alert('1')</script>; DROP TABLE movies"
    folder = write_movielens(tmp_path, [(1, 1, 4.0, 1)], f'movieId,title,genres\n1,{long},X\n2,"{html}",X\n')
    _, catalogue, _ = read(folder)
    assert catalogue.column(c.TITLE).to_pylist() == [long, html]
