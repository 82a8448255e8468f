"""Steps of a night as processes: how they are ended, and the temporary folder that they share.

Python, Java and Spark leave files in the temporary folder when they are killed. So a night has one of its own there. It
is removed when the night ends; that of a night which was killed is removed by the next night, as nobody holds its lock.
Before that, the processes that have it are ended: those that steps which were killed have left.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from recmodel.progress import log
from recmodel.storage import SHARED_TEMPORARY

_PREFIX = "recmodel-night-"
_SECONDS_OF_ITS_OWN, _SECONDS_AFTER_SIGTERM = 2, 15  # that a step has to end when the night is interrupted
_SECONDS_LEFT_ALONE = 5  # that what a step has left has to end by itself

_held: list[int] = []  # open files whose locks say that the folder is in use; steps hold them too


def run(words: Sequence[str], environment: Mapping[str, str], seconds: float | None = None) -> int:
    """Run a command; return its exit code, below 0 that of the signal that killed it.

    However this call ends, the command has ended. It may clean up first, unless that takes long.

    Args:
        seconds: that it may take; None: no limit.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    with subprocess.Popen(words, env={**environment}, pass_fds=_held) as process:
        try:
            return process.wait(seconds)
        except BaseException as error:
            if not isinstance(error, subprocess.TimeoutExpired):  # the step may have got the same signal
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_SECONDS_OF_ITS_OWN)
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS_AFTER_SIGTERM)
            process.kill()
            raise


@contextmanager
def temporary_folder() -> Iterator[None]:
    """Give this process, and those that it starts, a temporary folder of their own; remove those of killed nights."""
    shared = Path(tempfile.gettempdir())
    for folder in shared.glob(f"{_PREFIX}*"):
        _remove_unused(folder)
    made = Path(tempfile.mkdtemp(prefix=".recmodel-", dir=shared))
    lock = os.open(made, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    folder = made.rename(shared / f"{_PREFIX}{made.name.rpartition('-')[2]}")  # seen by others when it is locked
    before = os.environ.get("TMPDIR")
    os.environ |= {"TMPDIR": str(folder), SHARED_TEMPORARY: str(shared)}
    tempfile.tempdir = None  # so that it is looked up again
    _held.append(lock)
    try:
        yield
    finally:
        _held.remove(lock)
        os.environ.pop(SHARED_TEMPORARY)
        os.environ.pop("TMPDIR")
        if before is not None:
            os.environ["TMPDIR"] = before
        tempfile.tempdir = None
        _end_all_in(folder)
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_unused(folder: Path) -> None:
    """Remove the temporary folder of a night if neither the night nor a step of it is still there."""
    with suppress(OSError):  # in use, or somebody else's
        lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _end_all_in(folder)
            shutil.rmtree(folder, ignore_errors=True)
            log.info("removed the temporary folder of a night that was killed: %s", folder)
        finally:
            os.close(lock)


def _end_all_in(folder: Path) -> None:
    """End the processes whose temporary folder this is, where the system lists processes as Linux does.

    Spark's Java ends by itself when its Python is gone. But if its temporary folder goes while it starts, it never
    ends, and keeps the output of the night open, so that cron waits for it.
    """
    deadline = time.monotonic() + _SECONDS_LEFT_ALONE
    while (left := _processes_in(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in left:
        log.warning("process %d, which a step left behind, is ended", process)
        with suppress(OSError):
            os.kill(process, signal.SIGKILL)


def _processes_in(folder: Path) -> list[int]:
    """Return the ids of the other processes that were started with this temporary folder."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended, or is somebody else's
            if f"TMPDIR={folder}".encode() in environment.read_bytes().split(b"\0"):
                found.append(int(environment.parent.name))
    return [process for process in found if process != os.getpid()]
