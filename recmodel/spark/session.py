"""The Spark session of a job, and what its executors need."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pyspark import SparkConf, SparkContext, SparkFiles
from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession

from recmodel import formatting
from recmodel.errors import RecmodelError, ScoringFailed
from recmodel.progress import log, where_the_trace_is
from recmodel.spark import launch, resources, tasks

_LONGEST_FOLDER = 40  # bytes: the path of a socket may have 104 on some systems, and Spark's names have 60


def start(
    name: str,
    *,
    ship_package: bool = False,
    needs: resources.Needs | None = None,
    wake: Callable[[int], object] | None = None,
) -> SparkSession:
    """Start a session with the settings that this project relies on, added to those of spark-submit.

    Args:
        ship_package: whether executors on other machines get this package.
        needs: what the job needs: executors get room for it unless a setting names a size, and settings that
            contradict it are warned of.
        wake: called once for each slot, so that Java and the Python workers have started, and imported what they need,
            when there is something to do; what it returns does not matter.

    Raises:
        UsageRejected: see `launch`.
        ScoringFailed: Spark does not start; names its reason.
    """
    if SparkContext._gateway is None:  # without a JVM, SparkConf does not know the flags of spark-submit
        launch.prepare()
        SparkContext._ensure_initialized(gateway=launch.gateway())
    conf = SparkConf().setAppName(name)
    conf.setIfMissing("spark.master", "local[*]")
    master = conf.get("spark.master")
    assert master is not None
    if master.startswith("local"):
        conf.setIfMissing("spark.driver.bindAddress", "127.0.0.1")
        conf.setIfMissing("spark.driver.host", "127.0.0.1")
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # the workers' Python, here the driver's
        _talk_through_files(conf)
    conf.setIfMissing("spark.executorEnv.PYTHONSAFEPATH", "1")  # otherwise workers import a random.py that lies here
    if "SPARK_LOCAL_IP" not in os.environ:
        conf.setIfMissing("spark.ui.enabled", "false")  # without that variable its pages listen on all interfaces
    first, more = int(conf.get("spark.ui.port", "4040") or 0), int(conf.get("spark.port.maxRetries", "16") or 0)
    if conf.get("spark.ui.enabled", "true") == "true" and not may_listen(first, more):
        conf.set("spark.ui.enabled", "false")
        log.warning("the ports %d to %d are taken; the run goes on without Spark's page", first, first + more)
    conf.set("spark.sql.session.timeZone", "UTC")
    conf.setIfMissing("spark.sql.execution.arrow.maxRecordsPerBatch", str(1 << 18))  # of tables that are fetched
    if needs is not None:
        _make_room(conf, needs)
    try:
        spark = SparkSession.builder.config(conf=conf).getOrCreate()
    except Exception as error:
        raise ScoringFailed(f"Spark does not start: {cause(error)}{where_the_trace_is()}") from error
    spark.sparkContext.setLogLevel("WARN")
    for logger in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        PySparkLogger.getLogger(logger).handlers.clear()  # which print whole queries; what they say is in our errors
    if ship_package and master.split("[")[0] != "local":
        _ship_package(spark)
    if wake is not None:
        try:
            tasks.each(spark, wake, range(slots(spark)))
        except Exception as error:
            stop(spark)
            raise ScoringFailed(f"Python does not start in Spark: {cause(error)}{where_the_trace_is()}") from error
    return spark


@contextmanager
def starting(name: str, **options: Any) -> Iterator[Future[SparkSession]]:
    """Start a session in the background, while other work is done in the block.

    Gives the session that is to come. If the block fails, the session is stopped.

    Args:
        options: see `start`.
    """
    with ThreadPoolExecutor(1) as thread:
        session = thread.submit(start, name, **options)
        try:
            yield session
        except BaseException:
            with suppress(RecmodelError):  # what has failed in the block is the reason
                stop(session.result())
            raise


def may_listen(first: int, more: int) -> bool:
    """Return whether one of 1 + `more` ports of loopback, from `first` on, is free; 0 is any that is."""

    def is_free(port: int) -> bool:
        with socket.socket() as attempt, suppress(OSError):
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind(("127.0.0.1", port))
            return True
        return False

    return any(map(is_free, range(first, first + more + 1)))


def cause(error: Exception) -> str:
    """Return what to tell people of a Spark error; where Java has ended, it is whatever Python met next."""
    java = getattr(SparkContext._gateway, "proc", None)
    if java is not None:
        with suppress(subprocess.TimeoutExpired):  # it may be ending just now
            return f"Java, in which Spark runs, {formatting.ending(java.wait(0.5))}"
    return telling_line(str(error)) or type(error).__name__


def telling_line(text: str) -> str:
    """Return the most telling line of a Spark error: the end of a worker's trace, Java's last cause, or the first."""
    if "Python worker exited unexpectedly" in text:
        return (
            f"a Python worker {formatting.ending(-signal.SIGKILL)}; give Spark fewer cores, or the machine more memory"
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    in_worker = [i for i, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    if in_worker:
        for line in lines[in_worker[-1] + 1 :]:
            if not line.startswith("File ") and ": " in line and line.split(": ")[0].replace(".", "").isidentifier():
                return line[:300]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    exceptions = [line.removeprefix(": ") for line in lines if line.startswith(": ")]  # as py4j has it
    return (causes[-1:] or exceptions or lines or [""])[0][:300].rstrip(";")


def stop(spark: SparkSession) -> None:
    """End a session, also one whose Java has ended already."""
    try:
        spark.stop()
    except Exception as error:  # noqa: BLE001 - of py4j and of sockets; the reason to stop is what matters
        log.info("Spark could not be stopped: %s", error)


@contextmanager
def stopping(spark: SparkSession) -> Iterator[None]:
    """End a session while other work is done in the block: it takes up to a second, mostly of waiting."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(stop, spark)
        yield


def slots(spark: SparkSession) -> int:
    """Return how many tasks run at a time."""
    context = spark.sparkContext
    return resources.slots(dict(context.getConf().getAll()), context.defaultParallelism)


def _talk_through_files(conf: SparkConf) -> None:
    """Let Java and the Python workers talk through sockets that are files.

    Over TCP, each task waits 40 ms in the end: one side for an acknowledgement that the other delays. Who may open such
    a file needs no password, so they are in a private folder. Where its path is longer than sockets allow, TCP is kept.
    """
    name = "spark.python.unix.domain.socket"
    if conf.contains(f"{name}.enabled") or len(tempfile.gettempdir()) > _LONGEST_FOLDER:
        return
    folder = tempfile.TemporaryDirectory(prefix="recmodel-")
    atexit.register(folder.cleanup)
    conf.set(f"{name}.enabled", "true").set(f"{name}.dir", folder.name)


def _make_room(conf: SparkConf, needs: resources.Needs) -> None:
    given = dict(conf.getAll())
    if resources.derives_overhead(given):
        conf.set("spark.executor.memoryOverhead", f"{resources.memory_overhead(given, needs) >> 20}m")
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for sentence in resources.contradictions(dict(conf.getAll()), needs, machine):
        log.warning("%s", sentence)


def driver_peak_mib(spark: SparkSession) -> dict[str, int]:
    """Return the peak resident memory of the driver's two processes so far, in MiB."""
    jvm = spark.sparkContext._jvm
    assert jvm is not None
    pids = {"driver_python": os.getpid(), "driver_jvm": jvm.java.lang.ProcessHandle.current().pid()}
    return {name: _peak_kib(pid) >> 10 for name, pid in pids.items()}


def _peak_kib(pid: int) -> int:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0])


def _ship_package(spark: SparkSession) -> None:
    """Send the executors exactly the code that the driver runs, whether they have it installed or not."""
    package = Path(__file__).parents[1]
    if not package.is_dir():
        return  # the driver itself runs from an archive of --py-files, which Spark ships
    archive = Path(SparkFiles.getRootDirectory()).parent / "recmodel.zip"  # Spark removes that folder in the end
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in sorted(package.rglob("*.py")):
            zipped.write(path, path.relative_to(package.parent))
    spark.sparkContext.addPyFile(str(archive))
