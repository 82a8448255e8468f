"""Executors in processes of their own: they are given our code and our Python, and the rows are the same."""

import json
import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.cluster import standalone
from support.inputs import make_ratings
from support.processes import ROOT, spark_submit
from support.runs import published

from recmodel import schemas as c

DAY = "2026-02-01"


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


def test_executors_take_their_python_from_the_shipped_archive_and_our_code_from_the_job(toy, toy_models, tmp_path):
    marker = tmp_path / "prefixes"
    archive = pack(tmp_path, marker)
    output = tmp_path / "output"
    with standalone(tmp_path, PYTHONPATH="") as cluster:
        done = subprocess.run(
            [sys.executable, "-m", "recmodel", "score", "--data", toy, "--models", toy_models, "--output", output,
             "--run-date", DAY, "--master", cluster["master"], "--executor-memory", "1g",
             "--archives", f"{archive}#environment"],
            capture_output=True, text=True, check=False,
            env={**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": "./environment/bin/python",
                 "PYSPARK_DRIVER_PYTHON": sys.executable},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = json.loads((output / f"runs/run_date={DAY}/run.json").read_text())
    assert run["users"] == 40
    assert run["model_loads"] >= 1
    prefixes = {Path(line) for line in marker.read_text().splitlines()}
    workers = {tmp_path / "worker-0", tmp_path / "worker-1"}
    assert prefixes
    assert all(prefix.name == "environment" and workers & {*prefix.parents} for prefix in prefixes)


@pytest.fixture(scope="module")
def toy_runs(toy, toy_models, tmp_path_factory):
    """The toy data scored by one local JVM with two threads, and by two executors in processes of their own."""
    base = tmp_path_factory.mktemp("toy-runs")
    users = base / "users.csv"
    users.write_text("userId\n5\n3\n12345\n5\n")
    made = {}
    for name, master in (("local", "local[2]"), ("cluster", "local-cluster[2,1,1536]")):
        made[name] = SimpleNamespace(output=base / name)
        result = spark_submit(
            "--master", master, "--conf", "spark.executor.memory=1g",
            ROOT / "jobs/score_all.py", "--data", toy, "--models", toy_models, "--output", base / name,
            "--run-date", "2026-01-31", "--rank-by", "two-stage", "--candidates", "3", "--top-n", "2",
            "--predicted-ratings", "all", "--users", users,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
    return made


def test_executors_in_other_processes_give_the_same_rows(toy_runs):
    """recmodel reaches them with the job; ids are identical and scores equal to float32's rounding."""
    for table in ("recommendations", "predicted_ratings"):
        one, other = (published(toy_runs[name].output, "2026-01-31", table) for name in ("local", "cluster"))
        assert len(one) == len(other) > 0
        for column in one.columns.drop(c.SCORED_AT, errors="ignore"):
            if one[column].dtype == np.float32:
                assert one[column].to_numpy() == pytest.approx(other[column].to_numpy(), abs=1e-6, nan_ok=True)
            else:
                assert one[column].equals(other[column])  # nulls where nulls are


def test_only_the_users_asked_for_are_scored_and_new_ones_get_what_is_popular(toy_runs, toy):
    rows = published(toy_runs["local"].output, "2026-01-31")
    assert rows[c.USER_ID].tolist() == [3, 3, 5, 5, 12345, 12345]
    assert rows[c.SOURCE].tolist() == ["model"] * 4 + ["popularity"] * 2
    rated = [row[1] for row in make_ratings()]
    most = sorted(set(rated), key=lambda movie: (-rated.count(movie), movie))[:2]
    assert rows.query("user_id == 12345")[c.MOVIE_ID].tolist() == most
    predicted = published(toy_runs["local"].output, "2026-01-31", "predicted_ratings")
    assert predicted.groupby(c.USER_ID)[c.MOVIE_ID].apply(list).to_dict() == {
        user: [1, 2, 3, 4, 10, 11] for user in (3, 5)
    }  # fmt: skip
