"""Iceberg tables as input: their live rows, in a folder and by the name that a catalogue has for them."""

import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyiceberg import manifest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _FastAppendFiles
from pyiceberg.typedef import Record
from pyiceberg.types import StringType
from pyiceberg.utils.config import Config
from support.inputs import LENIENT, LISTED, RATED, read, with_files

from recmodel import schemas as c
from recmodel.data import iceberg, layouts, pieces
from recmodel.data import movielens as data
from recmodel.errors import InputRejected, UsageRejected


@pytest.fixture
def lake(tmp_path):
    catalogue = SqlCatalog("lake", uri=f"sqlite:///{tmp_path}/lake.db", warehouse=f"file://{tmp_path}/lake")
    catalogue.create_namespace("shop")
    return catalogue


def filled(lake, name: str, *parts: pa.Table):
    table = lake.create_table(f"shop.{name}", parts[0].schema)
    for part in parts:
        table.append(part)
    return table


def rows_by_pair(table: pa.Table) -> list[dict]:
    return table.sort_by([(c.USER_ID, "ascending"), (c.MOVIE_ID, "ascending")]).to_pylist()


def test_a_folder_is_read_by_its_live_rows_under_the_names_that_columns_have_now(tmp_path, toy, lake):
    old_name = RATED.rename_columns(["member", "movieId", "rating", "timestamp"])
    table = filled(lake, "ratings", old_name[:50], old_name[50:])
    table.delete("member <= 20")
    with table.update_schema() as change:
        change.rename_column("member", "userId")
    folder = with_files(tmp_path / "data", {})
    (folder / "ratings.csv").unlink()
    (folder / "ratings").symlink_to(tmp_path / "lake/shop/ratings")

    ratings, _, validation = read(folder)
    expected = read(toy)[0].filter(pc.greater(pc.field(c.USER_ID), 20))
    assert rows_by_pair(ratings) == rows_by_pair(expected)
    snapshot = f"Iceberg table, snapshot {table.current_snapshot().snapshot_id}"
    assert validation.files[-1].layout == f"{snapshot}, in one piece, as it has deletes or changed columns"
    size = data.ratings_size(folder)
    assert size.rows == data.count_ratings(folder) == expected.num_rows
    assert size.bytes == sum(task.file.file_size_in_bytes for task in table.scan().plan_files())

    table.append(pa.table({"userId": [50], "movieId": [77], "rating": [4.0], "timestamp": [1]}))
    (reject,) = read(folder, LENIENT)[2].rejected().to_pylist()
    assert (reject["file"], reject["value"]) == ("ratings", "77")


def test_data_files_that_hold_the_live_rows_are_pieces(tmp_path, toy, lake):
    """Also where rows were deleted, by new files, and where a column was added, which older files lack."""
    table = filled(lake, "ratings", RATED[:50], RATED[50:])
    table.delete("userId <= 20")
    with table.update_schema() as change:
        change.add_column("note", StringType())
    folder = with_files(tmp_path / "data", {})
    (folder / "ratings.csv").unlink()
    (folder / "ratings").symlink_to(tmp_path / "lake/shop/ratings")
    expected = read(toy)[0].filter(pc.greater(pc.field(c.USER_ID), 20))
    files = pieces.whole(layouts.find(folder, "ratings"))
    assert [type(piece) for piece in files] == [pieces.ParquetPiece] * len(files)
    bad = {"userId": [50, 51], "movieId": [1, 77], "rating": [4.0, 4.0], "timestamp": [1, 1], "note": ["a", "b"]}
    table.append(pa.table(bad))
    ratings, _, validation = read(folder, LENIENT)
    assert rows_by_pair(ratings)[:-1] == rows_by_pair(expected)
    assert validation.files[-1].layout == f"Iceberg table, snapshot {table.current_snapshot().snapshot_id}"
    (reject,) = validation.rejected().to_pylist()
    assert (reject["row"], reject["value"]) == (2, "77")
    assert re.fullmatch(r"ratings/data/.*\.parquet", reject["file"])
    with table.update_schema(allow_incompatible_changes=True) as change:
        change.delete_column("note")
    assert [type(piece) for piece in pieces.whole(layouts.find(folder, "ratings"))] == [pieces.IcebergPiece]


def test_a_table_on_s3_is_read_where_it_lies(tmp_path, toy, s3):
    lake = SqlCatalog("lake", uri=f"sqlite:///{tmp_path}/lake.db", warehouse=f"{s3}/lake", **{
        "s3.endpoint": os.environ["AWS_ENDPOINT_URL"], "s3.region": "us-east-1",
    })  # fmt: skip
    lake.create_namespace("shop")
    filled(lake, "ratings", RATED)
    filled(lake, "movies", LISTED)
    folder = f"{s3}/lake/shop"
    assert data.data_dir(folder, "") == folder
    assert rows_by_pair(read(folder)[0]) == rows_by_pair(read(toy)[0])


def delete_on_read(table, positions: list[int]) -> None:
    """Delete rows of the table's only file as Spark does with merge-on-read, which PyIceberg reads but cannot write."""
    (task,) = table.scan().plan_files()
    place = f"{table.location()}/data/deletes.parquet"
    path, position = (
        pa.field(name, kind, nullable=False, metadata={"PARQUET:field_id": number})  # reserved by Iceberg
        for name, kind, number in (("file_path", pa.string(), "2147483546"), ("pos", pa.int64(), "2147483545"))
    )
    rows = pa.table([[task.file.file_path] * len(positions), positions], schema=pa.schema([path, position]))
    pq.write_table(rows, place.removeprefix("file://"))
    deletes = manifest.DataFile.from_args(
        content=manifest.DataFileContent.POSITION_DELETES, file_path=place, file_format=manifest.FileFormat.PARQUET,
        partition=Record(), record_count=len(positions),
        file_size_in_bytes=Path(place.removeprefix("file://")).stat().st_size,
    )  # fmt: skip
    deletes.spec_id = table.spec().spec_id

    class Writer(manifest.ManifestWriterV2):
        def content(self):
            return manifest.ManifestContent.DELETES

    class Commit(_FastAppendFiles):
        def _existing_manifests(self):
            output = table.io.new_output(f"{table.location()}/metadata/deletes.avro")
            with Writer(table.spec(), table.schema(), output, self._snapshot_id, "deflate") as writer:
                added = {"status": manifest.ManifestEntryStatus.ADDED, "snapshot_id": self._snapshot_id}
                writer.add(manifest.ManifestEntry.from_args(**added, data_file=deletes))
            return [*super()._existing_manifests(), writer.to_manifest_file()]

    with table.transaction() as change, Commit(operation=Operation.OVERWRITE, transaction=change, io=table.io):
        pass


def test_rows_that_are_deleted_on_read_are_not_there(tmp_path, toy, lake):
    delete_on_read(filled(lake, "ratings", RATED), [0, 7, RATED.num_rows - 1])
    folder = with_files(tmp_path / "data", {})
    (folder / "ratings.csv").unlink()
    (folder / "ratings").symlink_to(tmp_path / "lake/shop/ratings")
    ratings, *_ = read(folder)
    expected = read(toy)[0]
    live = [row for row in range(expected.num_rows) if row not in (0, 7, expected.num_rows - 1)]
    assert rows_by_pair(ratings) == rows_by_pair(expected.take(live))
    assert data.count_ratings(folder) == len(live)


def test_a_catalogue_gives_the_columns_in_the_order_asked_for(tmp_path, monkeypatch, lake):
    filled(lake, "movies", LISTED)
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__URI", f"sqlite:///{tmp_path}/lake.db")
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())  # which it reads once in a process
    table = iceberg.open_named("lake.shop.movies")
    rows = pa.Table.from_batches(iceberg.batches("movies", table, ["title", "movieId"]))
    assert rows.to_pydict() == LISTED.select(["title", "movieId"]).to_pydict()
    assert iceberg.open_named("lake.shop.no_such") is None


def test_what_cannot_be_opened_gets_one_sentence(tmp_path, monkeypatch, lake):
    with pytest.raises(UsageRejected, match=r"the catalogue unknown of iceberg:unknown\.a\.b .*\.pyiceberg\.yaml"):
        iceberg.open_named("unknown.a.b")
    table = filled(lake, "ratings", RATED)
    for task in table.scan().plan_files():
        (tmp_path / task.file.file_path.removeprefix(f"file://{tmp_path}/")).unlink()
    with pytest.raises(InputRejected, match=r"^ratings is an Iceberg table that cannot be read \([^\n]+$"):
        list(iceberg.batches("ratings", table, ["userId"]))
    monkeypatch.setitem(__import__("sys").modules, "pyiceberg.catalog", None)
    with pytest.raises(UsageRejected, match=r"pip install '\.\[iceberg\]'"):
        iceberg.open_named("lake.shop.ratings")
