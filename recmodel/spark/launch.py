"""Launch: the JVM that runs Spark, started with the flags of spark-submit from a job's command line.

A job that spark-submit has started has a JVM already, and nothing here changes it.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recmodel import settings, storage
from recmodel.errors import UsageRejected
from recmodel.formatting import is_secret
from recmodel.progress import log as logger

if TYPE_CHECKING:
    from py4j.java_gateway import JavaGateway

_SCORE = Path(__file__).parents[1] / "jobs" / "score_all.py"


def prepare(flags: Sequence[str] = ()) -> None:
    """Set Spark's flags, our Spark settings and our log file in the environment, unless it has its own.

    If the driver is to run on the cluster, this process becomes spark-submit.

    Args:
        flags: those of spark-submit, each followed by its value.
    """
    if is_submitted():
        return
    if "SPARK_HOME" not in os.environ:  # otherwise that Spark has its own configuration
        os.environ.setdefault("SPARK_CONF_DIR", str(settings.conf_file("spark-defaults.conf").parent))
    os.environ.setdefault("RECMODEL_SPARK_LOG", str(Path(settings.load().paths.logs) / "spark.log"))
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if master(flags).startswith("local"):  # otherwise other machines must reach the driver
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    for flag in flags:
        name, _, value = flag.partition("=")
        if value and is_secret(name):
            logger.warning(
                "%s is on the command line, which all on this machine can see; set it in spark-defaults.conf",
                name,
            )
    if flags:
        os.environ["PYSPARK_SUBMIT_ARGS"] = shlex.join([*flags, "pyspark-shell"])
    _share_temporary_folder()
    if _value(flags, "--deploy-mode") == "cluster":
        from pyspark.find_spark_home import _find_spark_home

        submit = str(Path(_find_spark_home(), "bin/spark-submit"))
        # The job gets all flags again: on the cluster, it ignores those of Spark.
        job_flags = sys.argv[2:] if sys.argv[1:2] == ["score"] else sys.argv[1:]
        os.execv(submit, [submit, *flags, str(_SCORE), *job_flags])


def gateway() -> JavaGateway:
    """Start a JVM for Spark. What it writes to stderr goes to Spark's log file.

    Raises:
        UsageRejected: it does not start; names Spark's own reason.
    """
    from pyspark.errors import PySparkRuntimeError
    from pyspark.java_gateway import launch_gateway

    if is_submitted():
        return launch_gateway()  # type: ignore[no-untyped-call, unused-ignore]
    log = Path(os.environ["RECMODEL_SPARK_LOG"])
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        opened = open(log, "a+b", opener=storage.private)  # noqa: SIM115 - it is closed below
    except OSError as error:
        raise UsageRejected(f"cannot write Spark's log ({error}); set RECMODEL_SPARK_LOG to another file") from None
    with opened as file:
        before = file.seek(0, os.SEEK_END)
        try:
            return launch_gateway(popen_kwargs={"stderr": file})  # type: ignore[no-untyped-call, unused-ignore]
        except PySparkRuntimeError:
            file.seek(before)
            output = file.read().decode(errors="replace")
    raise UsageRejected(f"Spark does not start: {_reason(output)} (its whole output is in {log})")


def is_submitted() -> bool:
    """Return whether spark-submit has started this process, and so a JVM."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def _value(flags: Sequence[str], name: str) -> str | None:
    return flags[flags.index(name) + 1] if name in flags else None


def master(flags: Sequence[str] = ()) -> str:
    """Return where Spark will run: what spark-submit says, or what its flags and defaults tell before it starts.

    Args:
        flags: those of spark-submit; none: those that `prepare` has set.
    """
    if is_submitted():
        from pyspark import SparkConf, SparkContext

        SparkContext._ensure_initialized()
        return SparkConf().get("spark.master", "local[*]") or ""
    flags = flags or shlex.split(os.environ.get("PYSPARK_SUBMIT_ARGS", ""))
    folder = os.environ.get("SPARK_CONF_DIR") or str(Path(os.environ.get("SPARK_HOME", ""), "conf"))
    defaults = Path(folder, "spark-defaults.conf")
    lines = [*flags, *(defaults.read_text().splitlines() if defaults.is_file() else [])]
    matches = (re.match(r"\s*spark\.master[\s=:]+(\S+)", line) for line in lines)
    return _value(flags, "--master") or next((match[1] for match in matches if match), "local[*]")


def _share_temporary_folder() -> None:
    """Let Java, and so Spark's shuffles, use the temporary folder that Python uses; of itself it knows /tmp only."""
    folder, given = tempfile.gettempdir(), os.environ.get("SPARK_SUBMIT_OPTS", "")
    if folder != "/tmp" and "-Djava.io.tmpdir" not in given:
        os.environ["SPARK_SUBMIT_OPTS"] = f'{given} "-Djava.io.tmpdir={folder}"'.strip()


def _reason(output: str) -> str:
    """Return the most telling sentence of what spark-submit or Java wrote before it ended."""
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith("WARNING")]
    for line in lines:
        if line.startswith(("Error: ", "Exception in thread ")):
            return re.sub(r'^Error: |^Exception in thread "\S+" (\S+: )?', "", line)[:300]
    return "; ".join(lines[:2])[:300] or "Java ended at once"
