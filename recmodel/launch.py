"""Launching: what Spark's processes find in their environment, and handing a job to spark-submit.

Takes a command line on which spark-submit's flags and a job's are mixed; gives this process away to spark-submit.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from recmodel import settings
from recmodel.errors import UsageRejected

_SWITCHES = {"--supervise", "--verbose"}
_TAKE_A_VALUE = {
    "--master", "--deploy-mode", "--name", "--jars", "--packages", "--exclude-packages", "--repositories",
    "--py-files", "--files", "--archives", "--conf", "--properties-file", "--driver-memory", "--driver-java-options",
    "--driver-library-path", "--driver-class-path", "--driver-cores", "--executor-memory", "--executor-cores",
    "--num-executors", "--total-executor-cores", "--queue", "--principal", "--keytab", "--proxy-user", "--remote",
}  # fmt: skip


def prepare_environment() -> None:
    """Our Spark settings and log file for the JVM to come, where the environment does not name others.

    Raises:
        UsageRejected: there is no Java.
    """
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        raise UsageRejected(
            "no Java found; install Java 17 or newer (Debian: openjdk-17-jre-headless) or set JAVA_HOME"
        )
    if "SPARK_HOME" not in os.environ:  # else that Spark has a configuration of its own
        os.environ.setdefault("SPARK_CONF_DIR", str(settings.conf_file("spark-defaults.conf").parent))
    os.environ.setdefault("RECMODEL_SPARK_LOG", str(Path(settings.load().paths.logs) / "spark.log"))


def spark_submit(job: Path, arguments: Sequence[str]) -> NoReturn:
    """Becomes `spark-submit` of the job, with the arguments sorted into its flags and the job's.

    Raises:
        UsageRejected: a flag lacks its value, or there is no Java.
    """
    for_spark, for_job = sort_flags(arguments)
    prepare_environment()
    for variable in ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"):
        os.environ.setdefault(variable, sys.executable)
    master = for_spark[for_spark.index("--master") + 1] if "--master" in for_spark else "local[*]"
    if master.startswith("local"):  # else other machines must reach the driver
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    found = importlib.util.find_spec("pyspark")
    assert found is not None
    assert found.origin is not None
    home = os.environ.setdefault("SPARK_HOME", str(Path(found.origin).parent))
    submit = str(Path(home) / "bin" / "spark-submit")
    os.execv(submit, [submit, *for_spark, str(job), *for_job])


def sort_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """(those that are spark-submit's, with their values, the rest).

    Raises:
        UsageRejected: a flag lacks its value.
    """
    for_spark, for_job = [], []
    left = iter(arguments)
    for argument in left:
        name, has_value, value = argument.partition("=")
        if argument in _SWITCHES:
            for_spark.append(argument)
        elif name in _TAKE_A_VALUE:
            given = value if has_value else next(left, None)
            if given is None:
                raise UsageRejected(f"{argument} needs a value")
            for_spark += [name, given]
        else:
            for_job.append(argument)
    return for_spark, for_job
