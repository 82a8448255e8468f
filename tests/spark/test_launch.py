"""Spark's start, and what is said where it does not."""

import os

import pytest

from recmodel.errors import UsageRejected
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


@pytest.mark.parametrize(("home", "where"), [("", ""), ("/nowhere", " in JAVA_HOME, /nowhere")])
def test_a_missing_java_is_said_before_anything_starts(monkeypatch, home, where):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("JAVA_HOME", home)
    before = dict(os.environ)
    with pytest.raises(UsageRejected, match=f"no Java found{where}; install Java 17 or newer"):
        launch.prepare()
    assert dict(os.environ) == before
