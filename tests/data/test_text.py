"""Text files as people's programs write them: encodings, compression, delimiters, line ends, quotes."""

import contextlib
import csv
import gzip
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.inputs import LENIENT, LISTED, MOVIES_CSV, RATED, csv_text, read, with_files, with_ratings, write_movielens

from recmodel import schemas as c
from recmodel.data import lines as data_lines
from recmodel.data import movielens as data
from recmodel.data.validation import Validation
from recmodel.errors import InputRejected


def zst(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("delimiter", "decimal"), [(",", "."), (";", ","), ("\t", ","), (",", ",")])
def test_however_it_is_written_it_is_the_same(tmp_path, toy, encoding, newline, delimiter, decimal):
    ratings_csv, movies_csv = (csv_text(table, delimiter, decimal, newline) for table in (RATED, LISTED))
    files = {"ratings.csv": ratings_csv.encode(encoding), "movies.csv": movies_csv.encode(encoding)}
    folder = with_files(tmp_path, files)
    ratings, catalogue, validation = read(folder)
    assert (ratings, catalogue) == read(toy)[:2]
    assert data.count_ratings(folder) == RATED.num_rows
    movies_file, ratings_file = validation.files
    names = {"utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "cp1252": "Windows-1252", "utf-8-sig": "UTF-8"}
    assert movies_file.encoding == names.get(encoding, encoding.upper())
    assert ("decimal comma" in ratings_file.assumptions) == (decimal == ",")


@pytest.mark.parametrize(
    ("ending", "pack"),
    [
        ("csv.gz", gzip.compress),
        ("csv.zst", zst),
        ("csv.zst", lambda text: zst(text[:200]) + zst(text[200:])),
        ("csv.gz", lambda text: gzip.compress(text[:200]) + gzip.compress(text[200:])),
        ("csv.gz", lambda text: text),  # unpacked by a browser that kept the name
        ("csv", gzip.compress),
        ("tsv.gz", lambda text: gzip.compress(text.replace(b",", b"\t"))),
        ("csv.gz", lambda text: gzip.compress(text.decode().encode("utf-16"))),
    ],
)
def test_compressed_files_read_like_others(tmp_path, toy, ending, pack):
    packed = pack(csv_text(RATED).encode())
    folder = with_files(tmp_path, {f"ratings.{ending}": packed, "movies.csv.gz": gzip.compress(MOVIES_CSV.encode())})
    assert read(folder)[:2] == read(toy)[:2]
    assert data.count_ratings(folder) == RATED.num_rows
    size = data.ratings_size(folder)
    assert size == (f"ratings.{ending}", len(packed), None)
    assert data.estimate_ratings(folder, 80, size.file, size.bytes) == 80


@pytest.mark.parametrize("pack", [gzip.compress, zst])
@pytest.mark.parametrize("table", ["ratings", "movies"])
def test_a_compressed_file_that_ends_early_is_refused(tmp_path, pack, table):
    text = {"ratings": csv_text(RATED) * 90, "movies": MOVIES_CSV + "".join(f"{i},A{i**7},B\n" for i in range(99, 999))}
    whole = pack(text[table].encode())
    folder = with_files(tmp_path, {f"{table}.csv.gz": whole[: len(whole) * 2 // 3]})
    with pytest.raises(InputRejected, match=rf"{table}.csv.gz cannot be read \(.+\); export it again"):
        read(folder)


def test_titles_of_windows_are_right_and_said(tmp_path):
    titles = ["Amélie (2001)", "Það (1999)", "“Quoted” – yes… (2000)", "Œuvre (1990)", "Plain (1980)"]
    lines = "movieId,title,genres\n" + "".join(f'{i},"{title}",Drama\n' for i, title in enumerate(titles))
    _, catalogue, validation = read(with_files(tmp_path, {"movies.csv": lines.encode("cp1252")}), LENIENT)
    assert catalogue[c.TITLE].to_pylist() == titles
    assert validation.files[0].sentence() == "movies.csv: CSV, Windows-1252; 5 rows, 0 rejected"


def test_bytes_that_windows_lacks_are_latin_1(tmp_path):
    _, catalogue, validation = read(
        with_files(tmp_path, {"movies.csv": b"movieId,title,genres\n1,\x81\xe9,X\n"}), LENIENT
    )
    assert catalogue[c.TITLE].to_pylist() == ["\x81é"]
    assert validation.files[0].encoding == "Latin-1"


def test_a_damaged_row_in_utf_8_is_refused_alone(tmp_path):
    content = "movieId,title,genres\n1,Amélie,X\n2,Éléonore,X\n".encode() + b"3,\xe9,X\n4,B,X\n"
    _, catalogue, validation = read(with_files(tmp_path, {"movies.csv": content}), LENIENT)
    assert catalogue[c.MOVIE_ID].to_pylist() == [1, 2, 4]
    assert [row["row"] for row in validation.rejected().to_pylist() if row["file"] == "movies.csv"] == [4]
    assert validation.files[0].encoding == "UTF-8"


@pytest.mark.parametrize(
    "header",
    [
        "userId,movieId,rating,timestamp,Größe",
        '"userId","movieId","rating","timestamp","a,b"',
        'userId,movieId,rating,timestamp,"a ""b"""',
        "userId, movieId ,rating,timestamp,",
        'userId,movieId,rating,timestamp,a"b',
        'userId,movieId,rating,timestamp,"a;b;c;d;e;f;g"',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_headers_as_they_come(tmp_path, header, encoding):
    ratings, _, validation = read(with_ratings(tmp_path, f"{header}\n1,1,4.0,7,é\n2,2,3.0,8,\n".encode(encoding)))
    assert ratings[c.USER_ID].to_pylist() == [1, 2]
    assert sum("columns that are not used" in assumption for assumption in validation.files[-1].assumptions) == 1


def test_an_index_that_pandas_wrote_is_left_out(tmp_path, toy):
    folder = with_files(tmp_path, {})
    for name, table in (("ratings", RATED), ("movies", LISTED)):
        table.to_pandas().to_csv(folder / f"{name}.csv")
    ratings, catalogue, validation = read(folder)
    assert (ratings, catalogue) == read(toy)[:2]
    assert "columns that are not used: (without a name)" in validation.files[-1].assumptions


NOTES = ["", "good", "good, but long", 'say "hi", or not', ",", '"', "1,2,3,4", "x,4.0,9,y", "a;b", "\té", '",",']


@pytest.mark.parametrize("position", range(5))
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_in_quotes_divide_nothing(tmp_path, toy, position, delimiter, monkeypatch):
    notes = pa.array([NOTES[i % len(NOTES)].replace(",", delimiter) for i in range(RATED.num_rows)])
    table = RATED.add_column(position, "note", notes)
    folder = with_files(tmp_path, {"ratings.csv": csv_text(table, delimiter)})
    for size in (1 << 22, 100, 1):
        monkeypatch.setattr(data_lines, "_BLOCK_BYTES", max(size, 60))
        ratings, _, validation = read(folder)
        assert ratings == read(toy)[0]
        assert validation.files[-1].assumptions[-1] == "columns that are not used: note"


def test_quotes_as_spark_writes_them(tmp_path):
    titles = ['"Great Performances" Cats (1998)', 'A "B", C', "C:\\", 'x "', "plain", 'back\\slash "and" quote']
    as_spark = ['"' + title.replace('"', '\\"') + '"' if '"' in title else title for title in titles]
    movies = "movieId,title,genres\n" + "".join(f"{i},{title},Drama\n" for i, title in enumerate(as_spark))
    header = "userId,movieId,note,rating,timestamp\n"
    ratings = header + "".join(f"{i},{i},{note},4.0,7\n" for i, note in enumerate(as_spark))
    ratings, catalogue, _ = read(with_files(tmp_path, {"movies.csv": movies, "ratings.csv": ratings}))
    assert catalogue[c.TITLE].to_pylist() == titles
    assert ratings[c.MOVIE_ID].to_pylist() == [*range(len(titles))]


def test_row_numbers_and_order_stay_right_among_quotes(tmp_path):
    lines = ["1,1,4.0,1,", "2,1,4.0,1,\"a,b\"", "", "x,1,4.0,1,\"a,b\"", "3,1,4.0,1,\"a,b", "4,1,4.0,1,c\"", "5,1,4.0",
             "6,1,\"4,0\",1,", "\"7\",1,4.0,1,\"a,\"\"b\"", "8,1,4.0,1,\"a,b\" c", "9,1,4.0,1,\"a,b\""]  # fmt: skip
    folder = with_ratings(tmp_path, "\n".join(["userId,movieId,rating,timestamp,note", *lines]).encode())
    ratings, _, validation = read(folder, LENIENT)
    assert ratings[c.USER_ID].to_pylist() == [1, 2, 4, 7, 9]
    assert [(row["row"], row["column"]) for row in validation.rejected().to_pylist()] == [
        (5, "userId"), (6, "(all)"), (8, "(all)"), (9, "rating"), (11, "(all)"),
    ]  # fmt: skip


def test_a_quote_that_is_not_closed_swallows_nothing(tmp_path):
    lines = [f"{i},1,4.0,1,ok" for i in range(1, 60)]
    lines[20] = '21,1,4.0,1,"open, and never closed'
    lines[40] = '41,1,4.0,1,"open'
    content = "\n".join(["userId,movieId,rating,timestamp,note", *lines]).encode()
    ratings, _, validation = read(with_ratings(tmp_path, content), LENIENT)
    assert ratings.num_rows == 57
    assert validation.rejected()["row"].to_pylist() == [22, 42]


FIELDS = [
    b"1", b"2", b"3", b"10", b"7", b"1.5", b"1,5", b"4,0", b"4.0", b"5", b"0,5", b'"4,5"', b'"4.5"', b'"3"', b'"a,b"',
    b'"a;b"', b'"a\tb"', b'"', b'""', b'"""', b'a"b', b"", b" ", b" 3 ", b"x", b"\xff", b"\xc3\xa9", b"1.0", b"nan",
    b"-1", b"\x00", b"9007199254740993", b"99999999999999999999", b'"1,2,3"', b'",4,0,"', b'1"', b'"1', b"::",
    b"=1+1", b"\x1f", b"\xef\xbb\xbf", b"\xef\xbb\xbf1", b'"a \\"b, c\\""', b'\\"', b'"\\"',
]  # fmt: skip
COLUMNS = ["userId", "movieId", "rating", "timestamp"]


@settings(max_examples=max(1_500, settings.default.max_examples), suppress_health_check=[HealthCheck.too_slow])
@given(
    delimiter=st.sampled_from([b",", b";", b"\t"]),
    extra=st.integers(0, 4),
    good=st.integers(0, 3),
    lines=st.lists(st.lists(st.sampled_from(FIELDS), min_size=0, max_size=7), max_size=6),
    newline=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    decimal=st.sampled_from([b".", b","]),
)
def test_no_row_of_any_layout_is_lost_or_read_wrongly(broken, delimiter, extra, good, lines, newline, decimal):
    """Rows in = rows used + rows refused, and a used row holds what Python's own csv module reads in its line."""
    folder, catalogue = broken
    header = [*COLUMNS[:extra], "note", *COLUMNS[extra:]]
    plain = [b"7", b"2", b"4%b5" % decimal, b"77"]
    if decimal == delimiter:
        plain[2] = b'"%b"' % plain[2]
    rows = [delimiter.join([*plain[:extra], b'"so, so; yes"', *plain[extra:]])] * good + [
        delimiter.join(line) for line in lines
    ]
    (folder / "ratings.csv").write_bytes(newline.join([delimiter.join(name.encode() for name in header), *rows]))
    validation = Validation(LENIENT)
    ratings = data.read_ratings(folder, catalogue, validation)
    refused = validation.rejected()["row"].to_pylist()
    assert len(set(refused)) == len(refused)
    expected, blank = [], 0
    for number, row in enumerate(rows, start=2):
        fields = None
        for line in (row, row.replace(b'\\"', b'""')):  # Spark's way of writing quotes is tried last
            with contextlib.suppress(csv.Error):
                fields = next(csv.reader([line.decode("latin-1")], delimiter=delimiter.decode(), strict=True), [])
                break
        values = fields and len(fields) == 5 and [fields[header.index(name)].strip() for name in COLUMNS]
        if number in refused:
            continue
        if not row or (values and not any(values)):
            blank += 1
            continue
        assert values, row
        user, movie, time = (float(values[i]) if "." in values[i] else int(values[i]) for i in (0, 1, 3))
        rating = float(values[2].replace(",", "."))
        assert math.isfinite(rating)
        expected.append((user, movie, float(np.float32(rating)), int(time)))
    assert [tuple(row.values()) for row in ratings.to_pylist()] == expected
    assert validation.rows["ratings.csv"] == len(expected) + len(refused) == len(rows) - blank


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A folder, for ratings to be written to, and its catalogue."""
    folder = write_movielens(tmp_path_factory.mktemp("broken") / "data", [])
    return folder, data.read_catalogue(folder, Validation(LENIENT))


HEADS = [
    b"", b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd", b"\xff\xfe", b"\xfe\xff", b"u\0s\0e\0r\0", b"1::2::3::4\n", b"PAR1",
    b"userId,movieId,rating,timestamp\n", b"\xef\xbb\xbfuserId;movieId;rating\r",
]  # fmt: skip


@settings(max_examples=max(500, settings.default.max_examples))
@given(
    content=st.binary(max_size=300),
    name=st.sampled_from(["csv", "csv.gz", "parquet", "dat", "tsv"]),
    head=st.sampled_from(HEADS),
)
def test_whatever_the_bytes_there_is_a_sentence_or_rows(broken, content, name, head):
    folder, catalogue = broken
    for file in folder.glob("ratings*"):
        file.unlink()
    (folder / f"ratings.{name}").write_bytes(head + content)
    validation = Validation(LENIENT)
    with contextlib.suppress(InputRejected):
        ratings = data.read_ratings(folder, catalogue, validation)
        assert ratings.num_rows + validation.rejected().num_rows == validation.rows[f"ratings.{name}"]
        data.count_ratings(folder)
    (folder / f"ratings.{name}").unlink()
