"""Which files of a directory hold a table: one file, parts, a Delta table, a zip file."""

import gzip
import itertools
import os
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from support.inputs import LENIENT, LISTED, RATED, csv_text, read, with_files

from recmodel import schemas as c
from recmodel.data import layouts
from recmodel.data import movielens as data
from recmodel.errors import InputRejected


def by_pair(ratings: pa.Table) -> pa.Table:
    return ratings.sort_by([(c.USER_ID, "ascending"), (c.MOVIE_ID, "ascending"), (c.TIMESTAMP, "ascending")])


def parts(table: pa.Table, count: int = 3) -> list[pa.Table]:
    bounds = np.linspace(0, table.num_rows, count + 1).astype(int)
    return [table.slice(start, end - start) for start, end in itertools.pairwise(bounds)]


@pytest.mark.parametrize(
    ("names", "table"),
    [
        (("ratings.csv", "ratings.parquet"), "ratings"),
        (("ratings.csv", "ratings.csv.gz"), "ratings"),
        (("movies.csv", "movies/part-0.parquet"), "movies"),
        (("movies.csv", "u.item"), "movies"),
        (("RATINGS.CSV", "ratings.tsv.zst"), "ratings"),
        (("ratings.csv", "links.csv", "links.parquet"), "links"),
    ],
)
def test_two_candidates_for_a_table_are_refused_with_both_names(tmp_path, names, table):
    folder = with_files(tmp_path, dict.fromkeys(names, b"userId,movieId\n1,1\n"))
    with pytest.raises(InputRejected) as caught:
        layouts.find_optional(folder, table)
    assert all(name.split("/")[0] in str(caught.value) for name in names if table in name or name == "u.item")


def test_other_files_of_a_directory_are_no_candidates(tmp_path, toy):
    others = ["ratings.csv.bak", "ratings_old.csv", "my ratings.csv", "ratings.xlsx", ".ratings.csv.crc", "README"]
    folder = with_files(tmp_path, dict.fromkeys(others, b"?") | {"ratings.csv": csv_text(RATED)})
    assert read(folder)[0] == read(toy)[0]


@pytest.mark.parametrize("written_by", ["spark csv", "spark parquet", "spark gzip", "polars", "hive", "no ending"])
def test_folders_of_part_files_read_like_one_file(tmp_path, toy, written_by):
    names = {
        "spark csv": "ratings.csv/part-{:05}-9f-c000.csv",
        "spark parquet": "ratings.parquet/part-{:05}-9f-c000.snappy.parquet",
        "spark gzip": "ratings.csv/part-{:05}-9f-c000.csv.gz",
        "polars": "ratings/{:08}.parquet",
        "hive": "ratings/{:06}_0",
        "no ending": "ratings.parquet/part-{:05}",
    }
    contents = {
        "spark csv": lambda t: csv_text(t).encode(),
        "spark gzip": lambda t: gzip.compress(csv_text(t).encode()),
    }
    content = contents.get(written_by, lambda t: t)
    files = {names[written_by].format(i): content(part) for i, part in enumerate(parts(RATED))}
    top = names[written_by].split("/")[0]
    files |= {f"{top}/_SUCCESS": b"", f"{top}/.part-0.crc": b"?", f"{top}/_temporary/0/part-9.csv": b"x\n9\n"}
    folder = with_files(tmp_path, files)
    ratings, _, validation = read(folder)
    assert ratings == read(toy)[0]
    assert validation.files[-1].parts == 3
    assert data.count_ratings(folder) == RATED.num_rows
    size = data.ratings_size(folder)
    stored = sum((folder / name).stat().st_size for name in files if name.split("/")[1][0] not in "._")
    assert (size.file, size.bytes) == (top, stored)
    assert data.estimate_ratings(folder, RATED.num_rows, size.file, size.bytes) == RATED.num_rows


def test_rejects_name_the_part_and_its_row(tmp_path):
    bad = b"userId,movieId,rating,timestamp\n1,1,4.0,1\n\n2,x,4.0,1\n3,1\n"
    rows = {"movieId": [1, 99], "userId": [1, 2], "rating": [4.0, 4.0], "timestamp": [1, 1]}
    text = with_files(tmp_path / "text", {"ratings.csv/a.csv": csv_text(RATED), "ratings.csv/b=1/c.csv": bad})
    _, _, validation = read(text, LENIENT)
    rejects = validation.rejected().select(["file", "row"]).to_pylist()
    assert rejects == [{"file": "ratings.csv/b=1/c.csv", "row": row} for row in (4, 5)]
    with pytest.raises(InputRejected, match=r"text/ratings.csv/b=1/c.csv, row 4, column movieId: 'x'"):
        read(text)
    parquet = with_files(tmp_path / "pq", {"ratings/a.parquet": RATED, "ratings/b.parquet": pa.table(rows)})
    _, _, validation = read(parquet, LENIENT)
    assert validation.rejected().select(["file", "row"]).to_pylist() == [{"file": "ratings/b.parquet", "row": 2}]
    assert validation.rows["ratings"] == RATED.num_rows + 2


def test_columns_of_the_path_are_columns(tmp_path, toy):
    folder = with_files(tmp_path, {"ratings.parquet/.keep": b""})
    options = {"format": "parquet", "partitioning_flavor": "hive", "existing_data_behavior": "overwrite_or_ignore"}
    ds.write_dataset(RATED, folder / "ratings.parquet", partitioning=["rating"], **options)
    assert by_pair(read(folder)[0]) == by_pair(read(toy)[0])
    text = with_files(tmp_path / "text", {})
    (text / "ratings.csv").unlink()
    for user in set(RATED["userId"].to_pylist()):
        of_user = RATED.filter(pa.compute.equal(RATED["userId"], user)).drop_columns("userId")
        with_files(text, {f"ratings.csv/User%49d={user}/data_0.csv": csv_text(of_user)})
    assert by_pair(read(text)[0]) == by_pair(read(toy)[0])


def test_all_columns_may_be_in_the_path(tmp_path):
    with_files(tmp_path, {"u.csv/userId=7/a.csv": "x,y\n1,2\n3,4\n", "p/userId=7/a.parquet": pa.table({"x": [1, 2]})})
    for name in ("u.csv", "p"):
        assert data.read_ids(tmp_path / name, c.USERS, data.Validation(LENIENT))[c.USER_ID].to_pylist() == [7]


def test_a_row_in_the_folder_of_null_is_refused(tmp_path):
    part = csv_text(RATED.drop_columns("userId"))
    folder = with_files(tmp_path, {"ratings.csv/userId=__HIVE_DEFAULT_PARTITION__/part-0.csv": part})
    _, _, validation = read(folder, LENIENT)
    assert validation.rejected().num_rows == RATED.num_rows
    assert set(validation.rejected()["column"].to_pylist()) == {"userId"}


def test_parts_may_differ_in_types_order_and_columns(tmp_path, toy):
    first, second, third, fourth = parts(RATED, 4)
    as_text = pa.table([column.cast(pa.string()) for column in second.columns], names=second.schema.names)
    narrow = third.cast(pa.schema([("userId", pa.int32()), ("movieId", pa.uint16()), ("rating", pa.float32()),
                                   ("timestamp", pa.timestamp("ms", "Europe/Berlin"))]), safe=False)  # fmt: skip
    times = pa.array([value * 1000 for value in third["timestamp"].to_pylist()], pa.timestamp("ms", "Europe/Berlin"))
    encoded = fourth.set_column(0, "userId", fourth["userId"].combine_chunks().dictionary_encode())
    folder = with_files(tmp_path, {
        "ratings.parquet/0.parquet": first.select(["timestamp", "rating", "movieId", "userId"]),
        "ratings.parquet/1.parquet": as_text.append_column("note", pa.array(["x"] * as_text.num_rows)),
        "ratings.parquet/2.parquet": narrow.set_column(3, "timestamp", times),
        "ratings.parquet/3.parquet": encoded,
    })  # fmt: skip
    ratings, _, validation = read(folder)
    assert ratings == read(toy)[0]
    assert "columns that are not used: note" in validation.files[-1].assumptions


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"ratings.csv/a.csv": b"x", "ratings.csv/b.parquet": RATED}, "holds both text and Parquet"),
        ({"ratings.csv/a.csv": b"x", "ratings.csv/a.csv.gz": b"x"}, "a.csv and ratings.csv/a.csv.gz, which may"),
        ({"ratings.csv/_SUCCESS": b""}, "ratings.csv holds no CSV and no Parquet files"),
        ({"ratings.csv/part-0.csv.lz4": b"BZh9"}, "part-0.csv.lz4 is in a format that cannot be read"),
        ({"ratings.csv/a.csv": b"1,1,4.0,1\n"}, "a.csv has no column userId (it has 1, 1, 4.0, 1); its first line"),
        ({"ratings/metadata/v1.metadata.json": b"{}", "ratings/data/0.parquet": RATED}, "Iceberg table that cannot"),
        ({"ratings/.hoodie/x": b"", "ratings/0.parquet": RATED}, "is a Hudi table"),
        ({"ratings.parquet/_delta_log/0.json": b"?"}, "is a Delta table that cannot be read"),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_table_gets_one_sentence(tmp_path, files, sentence):
    with pytest.raises(InputRejected) as caught:
        read(with_files(tmp_path, files))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_directory_that_is_one_deeper_is_named(tmp_path):
    with_files(tmp_path / "ml-1m", {})
    with pytest.raises(
        InputRejected, match=rf"neither movies.csv nor movies.parquet; give the directory {tmp_path}/ml-1m"
    ):
        read(tmp_path)


def test_what_is_skipped_in_a_folder_is_said(tmp_path):
    files = {"ratings.csv/part-0.csv": csv_text(RATED), "ratings.csv/empty.csv": b"", "ratings.csv/notes/a.json": b"{}"}
    _, _, validation = read(with_files(tmp_path, files))
    assert validation.files[-1].assumptions == ["files that are not read: notes/a.json"]
    assert validation.files[-1].sentence() == (
        f"ratings.csv: CSV in 1 file, UTF-8; files that are not read: notes/a.json; {RATED.num_rows} rows, 0 rejected"
    )


def test_a_delta_table_is_read_by_its_live_rows(tmp_path, toy):
    folder = with_files(tmp_path, {"ratings.csv": b""})
    (folder / "ratings.csv").unlink()
    path = str(folder / "ratings.parquet")
    write_deltalake(path, RATED, partition_by=["rating"])
    DeltaTable(path).delete("userId <= 20")
    write_deltalake(path, DeltaTable(path).to_pyarrow_table(), mode="overwrite")
    expected = read(toy)[0].filter(pa.compute.field(c.USER_ID) > 20)
    ratings, _, validation = read(folder)
    assert by_pair(ratings) == by_pair(expected)
    assert validation.files[-1].layout == "Delta table, version 2"
    assert data.count_ratings(folder) == data.ratings_size(folder).rows == expected.num_rows
    live = sum(os.path.getsize(file.removeprefix("file://")) for file in DeltaTable(path).file_uris())
    assert data.ratings_size(folder).bytes == live
    bad = pa.table({"userId": [50], "movieId": [77], "rating": [4.0], "timestamp": [1]})
    write_deltalake(path, bad, mode="append")
    (reject,) = read(folder, LENIENT)[2].rejected().to_pylist()
    assert (reject["row"], reject["value"]) == (1, "77")
    assert (folder / reject["file"]).is_file()


GENRES_100K = ["unknown", "Action", "Children's", "Drama"]
MOVIES_100K = {1: "Amélie (2001)", 2: "Toy: a|story (1995)".replace("|", "/"), 3: '"Quoted" (1990)', 4: "unknown"}


def write_100k(folder):
    flags = {1: "0|0|0|1", 2: "0|1|1|0", 3: "1|0|0|0", 4: "0|0|0|0"}
    items = "".join(f"{i}|{title}|01-Jan-1995||http://x/{i}|{flags[i]}\n" for i, title in MOVIES_100K.items())
    return with_files(folder, {
        "u.data": "196\t1\t3\t881250949\n186\t2\t5\t891717742\n22\t3\t1\t878887116\n",
        "u.item": items.encode("latin-1"),
        "u.genre": "".join(f"{name}|{i}\n" for i, name in enumerate(GENRES_100K)) + "\n",
        "u1.base": "1\t1\t5\t874965758\n",
    })  # fmt: skip


def test_movielens_100k(tmp_path):
    ratings, catalogue, validation = read(write_100k(tmp_path))
    assert [tuple(row.values()) for row in ratings.to_pylist()] == [
        (196, 1, 3.0, 881250949), (186, 2, 5.0, 891717742), (22, 3, 1.0, 878887116),
    ]  # fmt: skip
    assert catalogue[c.TITLE].to_pylist() == [*MOVIES_100K.values()]
    assert catalogue[c.GENRES].to_pylist() == ["Drama", "Action|Children's", *["(no genres listed)"] * 2]
    assert data.count_ratings(tmp_path) == 3
    assert validation.rows == {"u.item": 4, "u.data": 3}
    with (tmp_path / "u.data").open("a") as file:
        file.write("1\t2\t3\nx\t1\t3\t1\n")
    rejects = read(tmp_path, LENIENT)[2].rejected().to_pylist()
    assert [(reject["row"], reject["reason"]) for reject in rejects] == [
        (4, "has 3 fields where 4 belong"), (5, "is not an integer of 64 bits"),
    ]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_movielens_1m_and_10m(tmp_path, encoding):
    folder = with_files(tmp_path, {
        "ratings.dat": "1::1::5::978300760\n1::2::0.5::978302109\n2::1::3::978301968\n3:::1::2::1\n",
        "movies.dat": "1::Amélie: x::y (2001)::Comedy|Romance\n2::\"Hi\" (1990)::Children's\n3::no\n".encode(encoding),
        "users.dat": "1::F::1::10::48067\n",
    })  # fmt: skip
    ratings, catalogue, validation = read(folder, LENIENT)
    assert [tuple(row.values()) for row in ratings.to_pylist()] == [
        (1, 1, 5.0, 978300760), (1, 2, 0.5, 978302109), (2, 1, 3.0, 978301968),
    ]  # fmt: skip
    assert catalogue[c.TITLE].to_pylist() == ["Amélie: x::y (2001)", '"Hi" (1990)']
    assert [(row["row"], row["value"]) for row in validation.rejected().to_pylist()] == [(3, "3::no"), (4, ":1")]
    assert data.count_ratings(folder) == 4


def zipped(archive, files: dict[str, bytes]):
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(zipfile.ZipInfo(name, (2003, 2, 1, 12, 0, 0)), content)
    return archive


def test_a_zip_file_reads_like_what_is_in_it(tmp_path):
    folder = write_100k(tmp_path / "ml-100k")
    files = {f"ml-100k/{path.name}": path.read_bytes() for path in folder.iterdir()}
    archive = zipped(tmp_path / "ml-100k.zip", files | {"__MACOSX/ml-100k/._u.data": b"?", "../../evil": b"?"})
    unpacked = data.data_dir(str(archive), "")
    assert read(unpacked)[:2] == read(folder)[:2]
    assert sorted(path.name for path in unpacked.iterdir()) == ["u.data", "u.genre", "u.item"]
    again = data.data_dir(str(archive), "")
    assert again != unpacked
    assert data.identity(again) == data.identity(unpacked)


@pytest.mark.parametrize("top", ["", "ml-latest/", "a/b/"])
def test_a_zip_file_of_folders(tmp_path, toy, top):
    files = {f"{top}ratings.csv/{i}.csv": csv_text(part).encode() for i, part in enumerate(parts(RATED))}
    archive = zipped(tmp_path / "data.ZIP", files | {f"{top}movies.csv": csv_text(LISTED).encode()})
    assert read(data.data_dir(str(archive), ""))[:2] == read(toy)[:2]


def test_a_zip_file_that_cannot_be_used_gets_one_sentence(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"README": b"?"})
    with pytest.raises(InputRejected, match="a.zip holds no ratings; a MovieLens archive has"):
        data.data_dir(str(archive), "")
    archive = zipped(tmp_path / "b.zip", {"ratings.csv": os.urandom(9000), "movies.csv": b"?"})
    content = archive.read_bytes()
    for damaged in (content[:4000], content[:2000] + b"!" + content[2001:], b""):
        archive.write_bytes(damaged)
        with pytest.raises(InputRejected, match="b.zip cannot be unpacked"):
            data.data_dir(str(archive), "")


def test_the_users_may_lie_in_any_layout(tmp_path):
    expected = pa.table({c.USER_ID: [3, 5]}, schema=c.USERS)
    files = {
        "u.csv": "user_id\n5\n3\n5\n",
        "u.tsv": "note\tUserID\nx\t3\ny\t5\n",
        "u.txt": b"\xef\xbb\xbfuserId;\r\n3;\r\n5;\r\n",
        "u.gz": gzip.compress(b"userId\n5\n3"),
        "u": pa.table({"userId": [5.0, 3.0]}),
        "f/a.csv": "uid\n3\n",
        "f/b.csv": "uid\n5\n",
    }
    with_files(tmp_path, files)
    for name in ("u.csv", "u.tsv", "u.txt", "u.gz", "u", "f"):
        assert data.read_ids(tmp_path / name, c.USERS, data.Validation(LENIENT)) == expected, name


def test_parquet_of_delta_is_never_read_by_its_files(tmp_path):
    """Another reader would find 3 files here, two of them dead."""
    path = tmp_path / "users"
    for user in (1, 2, 3):
        write_deltalake(str(path), pa.table({"userId": [user]}), mode="overwrite")
    assert len(list(path.glob("*.parquet"))) == 3
    assert data.read_ids(path, c.USERS, data.Validation(LENIENT))[c.USER_ID].to_pylist() == [3]
    assert pq.read_table(next(path.glob("*.parquet"))).num_rows == 1
