"""A standalone cluster of several processes: its executors are given our code and our Python, and may die."""

import contextlib
import os
import signal
import sys
import tarfile
import time
import venv
from pathlib import Path

import pytest
from support.cluster import QUICK_JAVA, standalone
from support.processes import ROOT, Score, said, spark_submit
from support.runs import published, run_json, without_time

from recmodel.models import versions

NIGHT = "2026-02-01"
ON_LOOPBACK = {"SPARK_LOCAL_IP": "127.0.0.1"}
EXECUTORS = ("--executor-memory", "1g", "--conf", f"spark.executor.extraJavaOptions={QUICK_JAVA}")


@pytest.fixture
def cluster(tmp_path):
    with standalone(tmp_path, PYTHONPATH="") as processes:
        yield processes


def pack(folder: Path, marker: Path) -> Path:
    """An environment as conf/pack.sh packs it, but its libraries (2 GB) are this machine's, found by their path.

    Each Python of it that starts tells `marker` where it was unpacked.
    """
    venv.create(folder / "environment", symlinks=True, with_pip=False)
    (packages,) = (folder / "environment").glob("lib/python*/site-packages")
    libraries = next(path for path in sys.path if path.endswith("site-packages"))
    tell = f"import sys; open({str(marker)!r}, 'a').write(sys.prefix + chr(10))"
    (packages / "libraries.pth").write_text(f"{libraries}\n{tell}\n")
    archive = folder / "environment.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(folder / "environment", arcname=".")
    return archive


def test_plain_spark_submit_ends_with_our_exit_code(toy, toy_models, tmp_path):
    rating = next(version for version in versions.list_versions(toy_models) if "-rating-" in version)
    result = spark_submit(
        ROOT / "jobs/score_all.py", "--data", toy, "--models", toy_models, "--output", tmp_path,
        "--model-version", rating, "--rank-by", "retrieval", environment=ON_LOOPBACK,
    )  # fmt: skip
    assert result.returncode == 2
    assert "was not trained for retrieval" in said(result)


def processes_of(word: str, ancestor: int) -> list[int]:
    """The processes whose command line has that word, below another one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if word in (folder / "cmdline").read_text() and ancestor in ancestors(int(folder.name)):
                found.append(int(folder.name))
    return found


def ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found


def test_executors_are_given_python_and_code_and_die_and_the_rows_are_the_same(
    cluster, nightly, undisturbed, small_parts, tmp_path
):
    """By plain spark-submit. In one run a Python worker dies, an executor, and a worker of the cluster with all it had.

    The rows are those of a run in this process: all bits of them, as the users are in the same partitions.
    """
    marker, output = tmp_path / "prefixes", tmp_path / "output"
    command = (
        "spark-submit", "--master", cluster["master"], *EXECUTORS, "--archives",
        f"{pack(tmp_path, marker)}#environment", ROOT / "jobs/score_all.py",
    )  # fmt: skip
    pythons = {"PYSPARK_PYTHON": "./environment/bin/python", "PYSPARK_DRIVER_PYTHON": sys.executable}
    run = Score(command, nightly.models, output, NIGHT, **ON_LOOPBACK, **pythons)

    def executors_of(worker: int) -> list[int]:
        return processes_of("CoarseGrainedExecutorBackend", worker)

    def doomed(victim: str) -> list[int]:
        # One of them starts its executor later, perhaps after the first parts.
        worker = max(reversed(cluster["workers"]), key=lambda worker: bool(executors_of(worker)))
        executors = executors_of(worker)
        if victim == "python worker":
            return processes_of("pyspark.daemon", executors[0])[-1:] if executors else []
        return executors if victim == "executor" or not executors else [*executors, worker]

    for parts, victim in ((4, "python worker"), (9, "executor"), (16, "worker")):
        run.wait_for_parts(parts)
        # What was killed before may not have been replaced yet.
        pids = next(found for _ in range(600) if (found := doomed(victim)) or time.sleep(0.05))
        assert run.parts() < 34
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    code, printed = run.end()
    assert code == 0, printed
    assert without_time(published(output, NIGHT)) == undisturbed
    assert run_json(output, NIGHT)["model_loads"] >= 1  # how many depends on when each of them died
    prefixes = {Path(line) for line in marker.read_text().splitlines()}
    workers = {tmp_path / "worker-0", tmp_path / "worker-1"}
    assert prefixes
    assert all(prefix.name == "environment" and workers & {*prefix.parents} for prefix in prefixes)
