"""Queries: tables and queries of Spark's catalogue, fetched row by row to the driver.

The executors pack rows as Arrow data, and the driver holds one partition at a time: no file system has to be shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa

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


def fetch(name: str, rows: DataFrame, columns: list[str]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return the Arrow schema of some columns, and their rows in the order of the result.

    Raises:
        InputRejected: a column has a type that Arrow lacks, or, while the rows are read, the query fails.
    """
    from pyspark.sql.pandas.types import to_arrow_schema

    with _readable(name):
        rows = rows.select(*(f"`{column.replace('`', '``')}`" for column in columns))
        schema = to_arrow_schema(rows.schema, timezone="UTC")
        packed = rows.mapInArrow(_packer(), "batch binary")

    def batches() -> Iterator[pa.RecordBatch]:
        with _readable(name):
            for row in packed.toLocalIterator(prefetchPartitions=True):
                for batch in pa.ipc.open_stream(row.batch):
                    yield pa.RecordBatch.from_arrays(
                        [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)],
                        schema=schema,
                    )

    return schema, batches()


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
