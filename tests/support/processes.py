"""The project's commands: in processes of their own, as their users run them, and in this one, which is cheaper."""

import io
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIME = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "  # before each line of a command that keeps a log


def submit(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """./submit.sh, as its users call it."""
    return subprocess.run(
        [str(ROOT / "submit.sh"), *map(str, arguments)],
        capture_output=True, text=True, timeout=600, check=False, env={**os.environ, **(environment or {})},
    )  # fmt: skip


def here(*arguments: object, encoding: str = "utf-8") -> subprocess.CompletedProcess:
    """`recmodel …` from its first line to its exit code, in this process; Spark's commands need the fixture `spark`."""
    from recmodel.__main__ import main

    words = ["recmodel", *map(str, arguments)]
    streams = [io.TextIOWrapper(io.BytesIO(), encoding, write_through=True) for _ in range(2)]
    code: object = 0
    with (
        redirect_stdout(streams[0]), redirect_stderr(streams[1]), _logging_as_before(),
        patch.object(sys, "argv", words), patch.dict(os.environ),
    ):  # fmt: skip
        terminate = signal.getsignal(signal.SIGTERM)
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        finally:
            with suppress(ValueError):  # not the main thread, so nothing has changed
                signal.signal(signal.SIGTERM, terminate)
    return subprocess.CompletedProcess(words, code, *(stream.buffer.getvalue().decode(encoding) for stream in streams))


def commands_here(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.CompletedProcess]:
    """Lets code that starts `recmodel …` in processes of their own run the same command lines `here`; their results."""
    from recmodel.pipeline import processes

    run, results = subprocess.run, []

    def run_here(command: list[object], **keywords: Any) -> subprocess.CompletedProcess:
        if command[:3] != [sys.executable, "-m", "recmodel"]:
            return run(command, **keywords)
        results.append(here(*command[3:]))
        return results[-1]

    monkeypatch.setattr(subprocess, "run", run_here)
    monkeypatch.setattr(processes, "run", lambda words, *_: run_here(words).returncode)
    return results


@contextmanager
def _logging_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(), logging.getLogger("recmodel")]
    before = [(logger.handlers[:], logger.level) for logger in loggers]
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger, (handlers, level) in zip(loggers, before, strict=True):
            for handler in {*logger.handlers} - {*handlers}:
                handler.close()
            logger.handlers[:], logger.level = handlers, level


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
    """All that a command printed, without times, on one line: spark-submit sends both streams to its own stdout."""
    without_times = re.sub(TIME, "", result.stdout + result.stderr, flags=re.MULTILINE)
    return re.sub(r"\s+", " ", without_times)


class Score:
    """A command that scores the sample, in a process group of its own, that can be killed."""

    def __init__(
        self, command: Sequence[object], models: Path, output: Path, run_date: str, **environment: str
    ) -> None:
        self.staged = f".store/staging/{run_date}-*/recommendations/part-*.parquet"
        self.output = output
        what = ("--data", "sample", "--models", models, "--output", output, "--run-date", run_date)
        self.process = subprocess.Popen(
            [*map(str, (*command, *what))], cwd="/", env={**os.environ, **environment},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def parts(self) -> int:
        """How many partitions are finished."""
        return len(list(self.output.glob(self.staged)))

    def wait_for_parts(self, count: int) -> None:
        deadline = time.monotonic() + 240
        while self.parts() < count:
            assert self.process.poll() is None, self.process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def kill(self) -> int:
        """SIGKILL to the driver and all it started; how many partitions were finished then."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        return self.parts()

    def end(self) -> tuple[int, str]:
        """Waits for the end; the exit code and all that was printed."""
        printed, _ = self.process.communicate(timeout=400)
        return self.process.returncode, printed
