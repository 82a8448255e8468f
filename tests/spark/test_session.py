"""The Spark session of a job."""

import os
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from pyspark import SparkConf

from recmodel.spark import session


def test_sparks_pages_listen_on_loopback_only(spark):
    port = int(spark.sparkContext.uiWebUrl.rsplit(":", 1)[1])
    listening = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            address, local_port = line.split()[1].split(":")
            if int(local_port, 16) == port and line.split()[3] == "0A":  # LISTEN
                listening.add(address)
    assert listening <= {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1, and the same within IPv6
    assert listening


def test_taken_ports_are_seen():
    assert session.may_listen(0, 0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not session.may_listen(taken.getsockname()[1], 0)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="such a Python is refused where it matters")
def test_workers_leave_the_working_directory_out(spark):
    """Otherwise they import, and run, a random.py that lies there."""

    def path(_: int) -> list[str]:
        return sys.path

    (of_worker,) = spark.sparkContext.range(1, numSlices=1).map(path).collect()
    assert not {"", os.getcwd()} & {*of_worker}


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("x\nCaused by: a.B: first\n\tat z\nCaused by: c.D: last\n\tat y", "c.D: last"),
        ("x\n: java.io.IOException: no\n\tat z", "java.io.IOException: no"),
        ('x\nTraceback (most recent call last):\n  File "a.py"\nKeyError: b\n\tat z', "KeyError: b"),
        (
            "Caused by: a.SparkException: Python worker exited unexpectedly (crashed)",
            "a Python worker was killed by SIGKILL",
        ),
    ],
)
def test_the_cause_of_what_spark_says(said, cause):
    assert session.telling_line(said).startswith(cause)


def test_only_this_user_may_talk_to_the_workers(spark):
    folder = Path(spark.sparkContext.getConf().get("spark.python.unix.domain.socket.dir"))
    assert any(folder.iterdir())
    assert folder.stat().st_mode & 0o077 == 0


def test_sockets_are_no_files_where_paths_are_too_long_for_them(spark, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("long" * 20)))
    conf = SparkConf(loadDefaults=False)
    session._talk_through_files(conf)
    assert not conf.contains("spark.python.unix.domain.socket.enabled")
