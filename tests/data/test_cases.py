"""Inputs as people have them: what a table of them gives, or the sentence that refuses it."""

import bz2
import io
import lzma
import zipfile
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pytest
from deltalake import write_deltalake
from support.inputs import LENIENT, STRICT, with_files

from recmodel import schemas as c
from recmodel.data import movielens
from recmodel.errors import InputRejected

HEADER = "userId,movieId,rating,timestamp\n"
TIME = 1_000_000_000  # 2001-09-09T01:46:40Z
RATINGS = HEADER + f"1,1,4.0,{TIME}\n2,2,3.5,{TIME + 1}\n"
ROWS = [(1, 1, 4.0, TIME), (2, 2, 3.5, TIME + 1)]
TABLE = pa.table(list(zip(*ROWS, strict=True)), names=["userId", "movieId", "rating", "timestamp"])
TEXT_ROWS = [("u1", 1, 4.0, TIME), ("u2", 2, 3.5, TIME + 1)]


def with_column(name: str, values: pa.Array) -> pa.Table:
    return TABLE.set_column(TABLE.schema.get_field_index(name), name, values)


def users(*ids: str) -> str:
    """Ratings of users of these ids."""
    return HEADER + "".join(f"{user},{i % 2 + 1},{4.0 - i % 2 / 2},{TIME + i % 2}\n" for i, user in enumerate(ids))


def times(*written: str) -> str:
    return HEADER + "".join(f"{i + 1},{i + 1},{4.0 - i / 2},{time}\n" for i, time in enumerate(written))


def in_format(write, table: pa.Table) -> bytes:
    sink = io.BytesIO()
    write(table, sink)
    return sink.getvalue()


MOMENTS = [datetime.fromtimestamp(TIME + i, timezone.utc) for i in range(2)]
WORKBOOK = io.BytesIO()
with zipfile.ZipFile(WORKBOOK, "w") as workbook:
    workbook.writestr("xl/workbook.xml", "<workbook/>")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        # compressed, and with something around the rows
        ({"ratings.csv.bz2": bz2.compress(RATINGS.encode())}, ROWS),
        ({"ratings.csv": bz2.compress(RATINGS.encode())}, ROWS),
        ({"ratings.csv/part-0.csv.xz": lzma.compress(RATINGS.encode())}, ROWS),
        ({"ratings.csv": "sep=;\r\n" + RATINGS.replace(",", ";").replace("\n", "\r\n")}, ROWS),
        ({"ratings.csv": ('"sep=,"\n' + RATINGS).encode("utf-16")}, ROWS),
        ({"ratings.csv": "\ufeff\n  \n" + RATINGS + "\n\n"}, ROWS),
        ({"ratings.csv": HEADER + f"1,1,4.0,{TIME}\r\n2,2,3.5,{TIME + 1}\r"}, ROWS),
        ({"ratings.csv": HEADER + f'"1","1","4.0","{TIME}"\n2,2,3.5,{TIME + 1}'}, ROWS),
        # parts
        ({"ratings.csv/part-0.csv": RATINGS, "ratings.csv/part-1.csv": HEADER, "ratings.csv/part-2.csv": ""}, ROWS),
        ({"ratings.csv/part-0.csv": RATINGS, "ratings.csv/._part-0.csv": b"\0\5", "ratings.csv/_SUCCESS": ""}, ROWS),
        ({"ratings.parquet/rating=4.0/a.parquet": TABLE}, ROWS),  # DuckDB may write the column into the file, too
        ({"ratings.parquet/a.parquet": TABLE, "ratings.parquet/b.parquet": TABLE[:0]}, ROWS),
        # ids
        ({"ratings.csv": users(" u1", "u2\u00a0")}, TEXT_ROWS),
        ({"ratings.csv": users("\ufeffu1", "u2\u200b")}, TEXT_ROWS),
        ({"ratings.parquet": with_column("userId", pa.array(["u1\n", "u2"], pa.large_string()))}, TEXT_ROWS),
        ({"ratings.parquet": with_column("userId", pa.array(["u1", "u2"]).dictionary_encode())}, TEXT_ROWS),
        ({"ratings.parquet": with_column("userId", pa.array([b"u1", b"u2"], pa.binary(2)))}, TEXT_ROWS),
        ({"ratings.parquet": with_column("userId", pa.array([1, 2], pa.uint64()))}, ROWS),
        ({"ratings.parquet": with_column("userId", pa.array([Decimal("1.00"), Decimal("2.00")]))}, ROWS),
        ({"ratings.csv": users("-1", "2")}, [(-1, *ROWS[0][1:]), ROWS[1]]),
        ({"ratings.csv": users("NULL", "u1", r"\N", "nan")}, "'NULL' is empty, stands for a missing value"),
        ({"ratings.csv": users("1.23457E+12", "1.23457E+12")}, "ids such as 1.23457E.12 were rounded"),
        (
            {"ratings.parquet": with_column("userId", pa.array([2**63, 2**64 - 1], pa.uint64()))},
            "set input.ids to text",
        ),
        # times
        ({"ratings.csv": times("20010909", "20010910")}, [(1, 1, 4.0, 999_993_600), (2, 2, 3.5, 1_000_080_000)]),
        ({"ratings.parquet": with_column("timestamp", pa.array(MOMENTS, pa.timestamp("ns", "Europe/Berlin")))}, ROWS),
        ({"ratings.csv": times("2001-09-09T03:46:40+02:00", "2001-09-09 01:46:41.99Z")}, ROWS),
        ({"ratings.csv": times("-5", "-4")}, [(1, 1, 4.0, -5), (2, 2, 3.5, -4)]),
        ({"ratings.csv": times("4102444800", "4102444800")}, "lies in the future"),
        ({"ratings.csv": times("09/09/2001", "09/10/2001")}, "times must be in seconds or milliseconds since 1970"),
        ({"ratings.parquet": with_column("timestamp", pa.array([timedelta(1)] * 2))}, "times must be in seconds"),
        # ratings
        ({"ratings.parquet": with_column("rating", pa.array([Decimal("4.0"), Decimal("3.5")]))}, ROWS),
        ({"ratings.parquet": with_column("rating", pa.array([True, True]))}, "'True' is not a number"),
        ({"ratings.csv": HEADER + f"1,1,4/5,{TIME}\n"}, "'4/5' is not a number"),
        # headers and lines
        ({"ratings.csv": RATINGS.replace("timestamp", "rating")}, "has 2 columns rating; give each a name of its own"),
        ({"ratings.csv": RATINGS.replace(",", "|")}, "must name the columns, divided by commas, semicolons or tabs"),
        ({"ratings.csv": RATINGS.replace("\n", ",\n").replace("p,", "p")}, "has 5 fields where the header has 4"),
        ({"movies.csv": 'movieId,title,genres\n1,"A\nB",X\n2,C,X\n'}, "line breaks inside quotes are not read"),
        ({"ratings.csv": HEADER.strip() + f',note\n1,1,4.0,{TIME},"a\nb"\n'}, "line breaks inside quotes are not read"),
        # other formats
        ({"ratings.csv": WORKBOOK.getvalue()}, "ratings.csv is a zip file or an Excel workbook"),
        ({"ratings.csv": in_format(pa.orc.write_table, TABLE)}, "ratings.csv is an ORC file; give it as CSV or"),
        ({"ratings.csv": in_format(pa.feather.write_feather, TABLE)}, "ratings.csv is an Arrow or Feather file"),
        ({"ratings.csv": b"Obj\x01\x04"}, "ratings.csv is an Avro file"),
        ({"ratings.csv": '[{"userId": 1}]'}, "ratings.csv is JSON"),
        ({"ratings.csv": RATINGS.encode("utf-32")}, "ratings.csv is in UTF-32"),
        ({"u.xlsx": b"", "ratings.xlsx": b"PK", "movies.csv": ""}, "ratings.xlsx has an ending that is not read"),
        ({"ratings.csv.lz4": pa.compress(RATINGS.encode(), "lz4", asbytes=True)}, "ratings.csv.lz4 has an ending"),
    ],
)
def test_ratings(tmp_path, files, expected):
    folder = with_files(tmp_path, files)
    if isinstance(expected, str):
        with pytest.raises(InputRejected, match=expected):
            movielens.read(folder, STRICT)
    else:
        ratings = movielens.read(folder, STRICT)[1]
        assert [tuple(row.values()) for row in ratings.to_pylist()] == expected


@pytest.mark.parametrize(
    ("written", "genres"),
    [
        (["Action, Comedy", "Drama"], ["Action|Comedy", "Drama"]),
        (["Action;Comedy", "Drama"], ["Action|Comedy", "Drama"]),
        (["Action|Sci-Fi, old", "Drama"], ["Action|Sci-Fi, old", "Drama"]),
        (["NULL", r"\N"], [None, None]),
        (["Drama||Action|", "|"], ["Drama|Action", None]),
    ],
)
def test_genres(tmp_path, written, genres):
    movies = "movieId,title,genres\n" + "".join(f'{i},T,"{text}"\n' for i, text in enumerate(written))
    assert movielens.read(with_files(tmp_path, {"movies.csv": movies}), LENIENT)[0][c.GENRES].to_pylist() == genres


def test_times_that_are_hardly_seconds_are_said(tmp_path):
    (file,) = movielens.read(with_files(tmp_path, {"ratings.csv": times("2001", "2002")}), STRICT)[2].files[1:]
    assert "though most are of its first day" in file.sentence()


@pytest.mark.parametrize(
    ("names", "found"), [(["a\\ratings.csv", "a\\movies.csv"], True), (["a/ratings.csv", "b/ratings.csv"], False)]
)
def test_folders_in_a_zip_file(tmp_path, names, found):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for name in names:
            archive.writestr(name, RATINGS if "ratings" in name else "movieId,title,genres\n1,A,X\n2,B,X\n")
    if found:
        assert movielens.read(movielens.data_dir(str(tmp_path / "data.zip"), ""), STRICT)[1].num_rows == 2
    else:
        with pytest.raises(InputRejected, match="holds ratings in a and b"):
            movielens.data_dir(str(tmp_path / "data.zip"), "")


def test_a_delta_table_with_deletion_vectors_is_refused(tmp_path):
    """Its files hold deleted rows too, and only the vectors tell which they are."""
    folder = with_files(tmp_path, {"ratings.csv": ""})
    (folder / "ratings.csv").unlink()
    write_deltalake(folder / "ratings", TABLE, configuration={"delta.enableDeletionVectors": "true"})
    with pytest.raises(InputRejected, match=r"ratings is a Delta table .*deletionVectors.*; export it as Parquet"):
        movielens.read(folder, STRICT)
