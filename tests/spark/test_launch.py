"""Spark's start, and what is said where it does not."""

import pytest

from recmodel.spark import launch


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("WARNING: modules\nError: Invalid argument to --conf: x\n\nUsage: …", "Invalid argument to --conf: x"),
        ('Exception in thread "main" org.apache.spark.SparkException: No master\n\tat a.b(C.scala)', "No master"),
        ("Error occurred during initialization\nNo space\n", "Error occurred during initialization; No space"),
        ("", "Java ended at once"),
    ],
)
def test_the_reason_in_what_spark_said(said, reason):
    assert launch._reason(said) == reason
