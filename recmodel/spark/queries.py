"""Queries: tables and queries of Spark's catalogue, as Parquet files of this machine.

Executors of this machine write the files themselves. Others pack rows as Arrow data, and the driver holds one partition
at a time: no file system has to be shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from recmodel.errors import InputRejected, RecmodelError
from recmodel.spark import session

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@contextmanager
def catalogue() -> Iterator[SparkSession]:
    """Start a session that ends with the block; one that runs already is used, and goes on.

    Raises:
        UsageRejected, ScoringFailed: see `session.start`.
    """
    from pyspark import SparkContext

    is_own = SparkContext._active_spark_context is None
    spark = session.start("recmodel input")
    try:
        yield spark
    finally:
        if is_own:
            session.stop(spark)


def open_table(spark: SparkSession, name: str) -> DataFrame | None:
    """Return a table or view; None if Spark's catalogue has none of that name.

    Raises:
        InputRejected: it cannot be opened.
    """
    with _readable(f"table:{name}"):
        return spark.table(name) if spark.catalog.tableExists(name) else None


def query(spark: SparkSession, statement: str) -> DataFrame:
    """Return the result of a query. Nothing but a query is run.

    Raises:
        InputRejected: it is not valid.
    """
    with _readable("sql:"):
        return spark.sql(f"SELECT * FROM (\n{statement.rstrip().rstrip(';')}\n)")


def runs_on_this_machine(spark: SparkSession) -> bool:
    """Return whether the executors see what the driver sees, as they are on the same machine."""
    return str(spark.sparkContext.master).startswith("local")


def write(
    name: str,
    rows: DataFrame,
    columns: list[str],
    make: Callable[[int], AbstractContextManager[pa.NativeFile]],
    metadata: dict[bytes, bytes],
) -> pa.Schema:
    """Let Spark's tasks write some columns, each its part of the rows to a Parquet file of its own, at the same time.

    Args:
        make: opens the file of a part, by its number; the parts are in the order of the result.
        metadata: of the schema of the files, which is returned.

    Raises:
        InputRejected: see `fetch`.
    """
    rows, schema = _selected(name, rows, columns)
    schema = schema.with_metadata(metadata)

    def write_part(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        context = TaskContext.get()
        assert context is not None
        with make(context.partitionId()) as sink, pq.ParquetWriter(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(_as(schema, batch))
        yield from ()

    with _readable(name):
        rows.mapInArrow(write_part, "nothing int").collect()
    return schema


def fetch(name: str, rows: DataFrame, columns: list[str]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return the Arrow schema of some columns, and their rows in the order of the result.

    Raises:
        InputRejected: a column has a type that Arrow lacks, or, while the rows are read, the query fails.
    """
    rows, schema = _selected(name, rows, columns)
    packed = rows.mapInArrow(_packer(), "batch binary")

    def batches() -> Iterator[pa.RecordBatch]:
        with _readable(name):
            for row in packed.toLocalIterator(prefetchPartitions=True):
                for batch in pa.ipc.open_stream(row.batch):
                    yield _as(schema, batch)

    return schema, batches()


def _selected(name: str, rows: DataFrame, columns: list[str]) -> tuple[DataFrame, pa.Schema]:
    from pyspark.sql.pandas.types import to_arrow_schema

    with _readable(name):
        rows = rows.select(*(f"`{column.replace('`', '``')}`" for column in columns))
        return rows, to_arrow_schema(rows.schema, timezone="UTC")


def _as(schema: pa.Schema, batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _packer() -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return a function that packs each batch into one binary value."""

    def pack(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as writer:
                writer.write_batch(batch)
            yield pa.RecordBatch.from_arrays([pa.array([sink.getvalue().to_pybytes()], pa.binary())], names=["batch"])

    return pack


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except RecmodelError:
        raise
    except Exception as error:  # Spark's own, Java's by py4j, and those of Python workers
        raise InputRejected(
            f"{name} cannot be read by Spark: {session.cause(error)}; correct the address or the query"
        ) from error
