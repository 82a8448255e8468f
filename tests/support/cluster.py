"""A standalone Spark cluster of several processes on loopback, for tests and benchmarks."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # for what runs for seconds: see tests/conftest.py


def _free_port() -> int:
    with contextlib.closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def standalone(
    folder: Path, workers: int = 2, memory: str = "1500m", *, pinned: bool = False, **environment: str
) -> Iterator[dict]:
    """A master and workers of one core each: its address, and the workers' process ids.

    Args:
        folder: of logs and of what executors are given.
        pinned: each worker, with its executors and their Python, keeps to a processor of its own.
        environment: of master and workers, beside this process' own.
    """
    port = _free_port()
    processes = []

    def start(kind: str, *arguments: str, before: tuple[str, ...] = ()) -> None:
        with (folder / f"{kind}-{len(processes)}.log").open("w") as log:
            processes.append(subprocess.Popen(
                [*before, "spark-class", f"org.apache.spark.deploy.{kind.lower()}.{kind}", "--host", "127.0.0.1",
                 "--webui-port", str(_free_port()), *arguments],
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOG_DIR": str(folder),
                     "SPARK_DAEMON_JAVA_OPTS": QUICK_JAVA, **environment},
            ))  # fmt: skip

    try:
        start("Master", "--port", str(port))
        for i in range(workers):
            start("Worker", "--cores", "1", "--memory", memory, "--work-dir", str(folder / f"worker-{i}"),
                  f"spark://127.0.0.1:{port}", before=("taskset", "--cpu-list", str(i)) if pinned else ())  # fmt: skip
        yield {"master": f"spark://127.0.0.1:{port}", "workers": [process.pid for process in processes[1:]]}
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
