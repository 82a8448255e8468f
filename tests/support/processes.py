"""The project's commands in processes of their own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def submit(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """./submit.sh, as its users call it."""
    return subprocess.run(
        [str(ROOT / "submit.sh"), *map(str, arguments)],
        capture_output=True, text=True, timeout=600, check=False, env={**os.environ, **(environment or {})},
    )  # fmt: skip


@contextmanager
def another_process(script: str, *arguments: object) -> Iterator[subprocess.Popen]:
    """A Python process that has come to the end of `script`, and stays there until it is left or killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{script}; print('there', flush=True); sys.stdin.read()", *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "there\n"
        yield process
    finally:
        process.communicate()


def spark_submit(*arguments, environment=None):
    """Plain spark-submit, without submit.sh."""
    return subprocess.run(
        ["spark-submit", *map(str, arguments)],
        capture_output=True, text=True, timeout=600, check=False, cwd="/", env={**os.environ, **(environment or {})},
    )  # fmt: skip


def said(result) -> str:
    """All that a command printed, on one line: spark-submit sends both of a job's streams to its own stdout."""
    return re.sub(r"\s+", " ", result.stdout + result.stderr)
