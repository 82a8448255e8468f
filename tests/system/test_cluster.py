"""A standalone cluster of several processes: its executors are given our code and our Python, and may die."""

import contextlib
import os
import signal
import sys
import tarfile
import venv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.cluster import standalone
from support.inputs import make_ratings
from support.processes import ROOT, Score, said, spark_submit
from support.runs import published, run_json, without_time

from recmodel import schemas as c
from recmodel.models import versions

NIGHT = "2026-02-01"
ON_LOOPBACK = {"SPARK_LOCAL_IP": "127.0.0.1"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    with standalone(folder, PYTHONPATH="") as found:
        yield found | {"folder": folder}


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


@pytest.fixture(scope="module")
def runs(cluster, toy, toy_models, score_here, tmp_path_factory):
    """The toy data scored here, and on the cluster by plain spark-submit with a shipped Python."""
    base = tmp_path_factory.mktemp("runs")
    (base / "users.csv").write_text("userId\n5\n3\n12345\n5\n")
    what = (
        "--data", toy, "--models", toy_models, "--run-date", NIGHT, "--rank-by", "two-stage", "--candidates", "3",
        "--top-n", "2", "--predicted-ratings", "all", "--users", base / "users.csv",
    )  # fmt: skip
    marker = base / "prefixes"
    result = spark_submit(
        "--master", cluster["master"], "--executor-memory", "1g", "--archives", f"{pack(base, marker)}#environment",
        ROOT / "jobs/score_all.py", *what, "--output", base / "there",
        environment={**ON_LOOPBACK, "PYSPARK_PYTHON": "./environment/bin/python",
                     "PYSPARK_DRIVER_PYTHON": sys.executable},
    )  # fmt: skip
    assert result.returncode == 0, said(result)
    score_here(*what, "--output", base / "here")
    return SimpleNamespace(here=base / "here", there=base / "there", prefixes=marker.read_text().splitlines())


def test_executors_take_their_python_from_the_shipped_archive_and_our_code_from_the_job(cluster, runs):
    run = run_json(runs.there, NIGHT)
    assert run["users"] == 3
    assert run["model_loads"] >= 1
    workers = {cluster["folder"] / "worker-0", cluster["folder"] / "worker-1"}
    prefixes = {Path(line) for line in runs.prefixes}
    assert prefixes
    assert all(prefix.name == "environment" and workers & {*prefix.parents} for prefix in prefixes)


def test_executors_in_other_processes_give_the_same_rows(runs):
    """Ids are identical and scores equal to float32's rounding."""
    for table in ("recommendations", "predicted_ratings"):
        one, other = (published(output, NIGHT, table).to_pandas() for output in (runs.here, runs.there))
        assert len(one) == len(other) > 0
        for column in one.columns.drop(c.SCORED_AT, errors="ignore"):
            if one[column].dtype == np.float32:
                assert one[column].to_numpy() == pytest.approx(other[column].to_numpy(), abs=1e-6, nan_ok=True)
            else:
                assert one[column].equals(other[column])  # nulls where nulls are


def test_only_the_users_asked_for_are_scored_and_new_ones_get_what_is_popular(runs):
    rows = published(runs.there, NIGHT).to_pandas()
    assert rows[c.USER_ID].tolist() == [3, 3, 5, 5, 12345, 12345]
    assert rows[c.SOURCE].tolist() == ["model"] * 4 + ["popularity"] * 2
    rated = [row[1] for row in make_ratings()]
    most = sorted(set(rated), key=lambda movie: (-rated.count(movie), movie))[:2]
    assert rows.query("user_id == 12345")[c.MOVIE_ID].tolist() == most
    predicted = published(runs.there, NIGHT, "predicted_ratings").to_pandas()
    assert predicted.groupby(c.USER_ID)[c.MOVIE_ID].apply(list).to_dict() == {
        user: [1, 2, 3, 4, 10, 11] for user in (3, 5)
    }  # fmt: skip


def test_plain_spark_submit_ends_with_our_exit_code(toy, toy_models, tmp_path):
    rating = next(version for version in versions.list_versions(toy_models) if "-rating-" in version)
    result = spark_submit(
        ROOT / "jobs/score_all.py", "--data", toy, "--models", toy_models, "--output", tmp_path,
        "--model-version", rating, "--rank-by", "retrieval", environment=ON_LOOPBACK,
    )  # fmt: skip
    assert result.returncode == 2
    assert "was not trained for retrieval" in said(result)


# -- parts that die; the last test, as the cluster is not whole afterwards --------------------------------------------


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


def test_parts_of_the_cluster_die_and_the_rows_are_the_same(cluster, nightly, undisturbed, small_parts, tmp_path):
    """In one run: a Python worker, an executor, then a worker of the cluster with all it had started."""
    run = Score(
        nightly.models, tmp_path, NIGHT, "--master", cluster["master"], "--executor-memory", "1g", **ON_LOOPBACK
    )
    worker = cluster["workers"][-1]

    def doomed(victim: str) -> list[int]:
        executors = processes_of("CoarseGrainedExecutorBackend", worker)
        if victim == "python worker":
            return processes_of("pyspark.daemon", executors[0])[-1:]
        return executors if victim == "executor" else [*executors, worker]

    for parts, victim in ((4, "python worker"), (9, "executor"), (16, "worker")):
        run.wait_for_parts(parts)
        pids = doomed(victim)
        assert pids
        assert run.parts() < 34
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    code, printed = run.end()
    assert code == 0, printed
    assert without_time(published(tmp_path, NIGHT)) == undisturbed
