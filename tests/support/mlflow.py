"""MLflow's own server: temporary, on a free port, with SQLite and a folder for what is logged."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import util
from pathlib import Path

from support.databases import free_port

# Of MLflow's server, what mlflow-skinny does not bring.
MISSING = [
    name for name in ("mlflow", "aiohttp", "alembic", "flask_cors", "sqlalchemy") if util.find_spec(name) is None
]


@contextmanager
def server() -> Iterator[str]:
    """Its address."""
    folder, port = Path(tempfile.mkdtemp(prefix="recmodel-mlflow-")), free_port()
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts"),
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not _answers(f"{address}/health"):
            assert process.poll() is None, f"MLflow's server has ended with {process.returncode}"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False
