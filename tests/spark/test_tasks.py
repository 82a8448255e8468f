"""Functions that Spark runs once for each item."""

import os

import pytest
from pyspark import cloudpickle

from recmodel.scoring import parts
from recmodel.spark import session, tasks


def test_results_come_in_the_order_of_the_items(spark):
    assert tasks.each(spark, lambda item: (item * 2, os.getpid() != 0), [*range(9)]) == [
        (2 * i, True) for i in range(9)
    ]
    assert tasks.each(spark, str, []) == []


def test_a_failure_says_why(spark):
    def divide(item: int) -> float:
        return 1 / item

    with pytest.raises(Exception) as failure:  # noqa: PT011 - what matters is the sentence made of it
        tasks.each(spark, divide, [1, 0])
    assert session.cause(failure.value) == "ZeroDivisionError: division by zero"


def test_workers_get_functions_by_reference():
    """Else each task would bring its own, empty cache of loaded models."""
    assert len(cloudpickle.dumps(parts.score)) < 100
