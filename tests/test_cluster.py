"""A standalone cluster of several processes whose executors have no Python but the one that is shipped to them."""

import json
import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

from cluster import standalone

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
