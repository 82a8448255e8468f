"""Sources: the directory of input that a command reads, whatever `--data` and the section `input` name.

Tables that are not files are copied to Parquet files first, so that the same code reads, checks and counts all input.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from recmodel import schemas as c
from recmodel import storage
from recmodel.data import addresses, columns, iceberg, layouts, movielens
from recmodel.data.addresses import Address
from recmodel.data.limits import Input
from recmodel.data.reading import READ_AS
from recmodel.errors import InputRejected
from recmodel.pipeline import preflight
from recmodel.progress import NOTICE, log
from recmodel.storage import Location

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_SCHEMAS = {"ratings": c.RATINGS, "movies": c.MOVIES, "links": c.LINKS}


def input_dir(data: str, sample_cache: str, settings: Input) -> Location:
    """Return the directory, a path or a URI, with the tables that `--data` and `input` name.

    Spark is started, and ended, only if one of them is in its catalogue.

    Raises:
        InputRejected: a table is missing or cannot be read; see also `movielens.data_dir`.
        UsageRejected: an address is malformed, what it needs is not installed, or Spark cannot start.
    """
    named = addresses.of_tables(data, settings)
    if not named:
        return movielens.data_dir(data, sample_cache)
    of_spark = [str(address) for address in named.values() if address.kind != "iceberg"]
    if of_spark:
        preflight.check_spark()
    folder = storage.temporary_folder("tables")
    if not {"ratings", "movies"} <= named.keys():
        _link_others(Path(movielens.data_dir(data, sample_cache, local=True)), named, folder)
    with ExitStack() as stack:
        if of_spark:
            from recmodel.spark import queries  # starts Spark, which nothing else here needs

            log.log(NOTICE, "Spark is started to read %s", " and ".join(of_spark))
            spark = stack.enter_context(queries.catalogue())
        for table, address in named.items():
            target = folder / f"{table}.parquet"
            if address.kind == "iceberg":
                _copy_iceberg(address, table, target, settings)
            else:
                _copy_of_spark(spark, address, table, target, settings)
    return folder


def _link_others(files: Path, named: dict[str, Address], folder: Path) -> None:
    for path in files.iterdir():
        if layouts.is_part_of_input(path.name) and layouts.table_of(path) not in named:
            (folder / path.name).symlink_to(path.resolve())


def _copy_iceberg(address: Address, table: str, target: Path, settings: Input) -> None:
    opened = iceberg.open_named(address.name)
    if opened is None:
        _refuse_missing(address, "the catalogue has no such table")
        return
    chosen, unused = _columns(address, table, iceberg.column_names(opened), settings)
    schema = iceberg.arrow_schema(opened, chosen)
    _write(
        target, schema, iceberg.batches(str(address), opened, chosen), f"{address}, {iceberg.described(opened)}{unused}"
    )


def _copy_of_spark(spark: SparkSession, address: Address, table: str, target: Path, settings: Input) -> None:
    from recmodel.spark import queries

    is_query = address.kind == "sql"
    rows = queries.query(spark, address.name) if is_query else queries.open_table(spark, address.name)
    if rows is None:
        _refuse_missing(address, "Spark's catalogue has no such table or view")
        return
    chosen, unused = _columns(address, table, rows.columns, settings)
    read_as = f"{address}, through Spark{unused}"
    if not queries.runs_on_this_machine(spark):
        log.log(NOTICE, "the executors are on other machines, so the rows of %s pass through the driver", address)
        schema, batches = queries.fetch(str(address), rows, chosen)
        _write(target, schema, batches, read_as)
        return
    schema = queries.write(str(address), rows, chosen, partial(_part, target), {READ_AS: read_as.encode()})
    if not target.exists():  # no rows, and no parts
        _write(target, schema, (), read_as)


def _refuse_missing(address: Address, why: str) -> None:
    if not address.may_be_missing:
        raise InputRejected(f"{address} is missing: {why}; check its name")


def _columns(address: Address, table: str, present: list[str], settings: Input) -> tuple[list[str], str]:
    """Return the columns of a table that are read, and what to say of the others."""
    found = columns.locate(str(address), _wanted(address, table, present, settings), present, settings.column_names)
    chosen = [present[position] for position in found if position is not None]
    unused = [name for name in present if name not in chosen]
    return chosen, f", columns that are not used: {', '.join(unused)}" if unused else ""


def _wanted(address: Address, table: str, present: list[str], settings: Input) -> list[str]:
    """Return the names of our columns that a table is read for. Interactions may have weights in place of ratings."""
    wanted = _SCHEMAS[table].names
    if table == "ratings":
        if not columns.has(str(address), c.RATING, present, settings.column_names):
            wanted.remove(c.RATING)
        if settings.weight:
            wanted.append(c.WEIGHT)
    return wanted


@contextmanager
def _part(folder: Path, number: int) -> Iterator[pa.NativeFile]:
    """Open a file of a folder for writing."""
    file = folder / f"part-{number:05d}.parquet"
    with storage.create(file) as sink:
        yield sink
    _date_by_content(file)


def _write(target: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], read_as: str) -> None:
    """Write rows to a Parquet file."""
    with pq.ParquetWriter(target, schema.with_metadata({READ_AS: read_as.encode()})) as writer:
        for batch in batches:
            writer.write_table(pa.Table.from_batches([batch]).cast(schema))
    _date_by_content(target)


def _date_by_content(file: Path) -> None:
    """Give a file a time that stands for its content, as `movielens.identity` compares times."""
    stands_for_content = int(storage.sha256(file)[:12], 16)
    os.utime(file, ns=(stands_for_content, stands_for_content))
