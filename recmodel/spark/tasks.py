"""Tasks: a function that Spark runs once for each number, in Python workers, and what it returns."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def each(spark: SparkSession, work: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """Call `work` with each of the items, each in a task of its own; return the results in their order.

    Spark schedules, retries and balances the tasks. Data do not pass through it: each task reads and writes its own
    files, which spares the conversion of every row to Java's and back.
    """
    if not items:
        return []

    def of_task(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            results = [pickle.dumps(work(items[number])) for number in batch.column(0).to_pylist()]
            yield pa.RecordBatch.from_arrays([pa.array(results, pa.binary())], names=["result"])

    rows = spark.range(0, len(items), 1, len(items)).mapInArrow(of_task, "result binary").collect()
    return [pickle.loads(row.result) for row in rows]
