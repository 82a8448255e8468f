"""Steps of a night as processes: how they are ended, and the temporary folder that they share.

Python, Java and Spark leave files in the temporary folder when they are killed. So a night has one of its own there. It
is removed when the night ends; that of a night which was killed is removed by the next night, as nobody holds its lock.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from recmodel.progress import log
from recmodel.storage import SHARED_TEMPORARY

_PREFIX = "recmodel-night-"
_SECONDS_OF_ITS_OWN, _SECONDS_AFTER_SIGTERM = 2, 15  # that a step has to end when the night is interrupted

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
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_unused(folder: Path) -> None:
    """Remove the temporary folder of a night if neither the night nor a step of it is still there."""
    with suppress(OSError):  # in use, or somebody else's
        lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            log.info("removed the temporary folder of a night that was killed: %s", folder)
        finally:
            os.close(lock)
