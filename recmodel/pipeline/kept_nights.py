"""Kept nights: where a backtest keeps what is done, and who may write there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from recmodel.errors import AnotherRun

FOLDER = ".kept"  # below a backtest's output; in it is a folder for each preset,
MODELS = "models"  # which has the preset's model versions


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the right to write to the output folder of a backtest.

    Raises:
        AnotherRun: another backtest holds it.
    """
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / FOLDER / "lock", blocking=False).acquire()
    except Timeout:
        raise AnotherRun(f"another backtest writes to {folder}; wait until it has ended") from None
    with lock:
        yield
