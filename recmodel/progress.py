"""Progress: the stages of a job, timed and logged.

Library code logs and never prints. Whoever wants to see the stages while they run hands `Stages` a display, as the
command line does.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from recmodel import formatting, storage

# Levels between INFO and WARNING: what a person at the command line should read.
NOTICE, HEADING = 25, 26
logging.addLevelName(NOTICE, "NOTICE")
logging.addLevelName(HEADING, "STEP")

NIGHT_LOG = "RECMODEL_NIGHT_LOG"  # the variable by which a night tells its steps which log they add to
# Of files next to that log, in which a step leaves sentences for its night: why it failed, or what else went wrong.
FAILURE_SUFFIX, FINDINGS_SUFFIX = ".failure", ".findings"

log = logging.getLogger("recmodel")
log.addHandler(logging.NullHandler())  # nothing is printed unless a program configures logging

Progress = Callable[[int, int, str], None]  # (what is done, of how much, what is counted)
Display = Callable[[str], AbstractContextManager[Progress]]  # shows the stage of that name while it runs


@contextmanager
def hidden(_name: str) -> Iterator[Progress]:
    """Show nothing: the display of a program that only logs."""
    yield lambda done, total, unit: None


@contextmanager
def unrepeated() -> Iterator[None]:
    """Log notices for the file alone inside this block, which does again what people have read about already."""

    def for_the_file(record: logging.LogRecord) -> bool:
        if record.levelno == NOTICE:
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        return True

    log.addFilter(for_the_file)
    try:
        yield
    finally:
        log.removeFilter(for_the_file)


class Stages:
    """Time the stages of a job, each a `with stages("name") as progress`.

    Args:
        display: shows each stage while it runs.
    """

    def __init__(self, display: Display = hidden) -> None:
        self.seconds: dict[str, float] = {}
        self._display = display

    @contextmanager
    def __call__(self, name: str) -> Iterator[Progress]:
        """Run one stage; what runs inside may report how far it is."""
        log.info("%s started", name)
        started = time.monotonic()
        with self._display(name) as progress:
            yield progress
        self.seconds[name] = round(time.monotonic() - started, 3)
        log.info("%s took %.3f s", name, self.seconds[name])


def describe(done: int, total: int, unit: str, seconds: float) -> str:
    """Return what is done, how fast, and how long the rest takes at the average speed so far."""
    count = f"{done:,} of {total:,} {unit}"
    if not done:
        return count
    return f"{count}, {done / seconds:,.0f} {unit}/s, {formatting.seconds(seconds / done * (total - done))} left"


def log_file() -> str | None:
    """Return the file that this process logs to; None where it logs to none."""
    files = [handler.baseFilename for handler in logging.getLogger().handlers if hasattr(handler, "baseFilename")]
    return files[0] if files else None


def leave_for_the_night(sentence: str, suffix: str) -> None:
    """Leave a sentence for the night that this process is a step of; nothing happens if it is none."""
    log_of_night = os.environ.get(NIGHT_LOG)
    if log_of_night:
        with suppress(OSError), open(log_of_night + suffix, "a", encoding="utf-8", opener=storage.private) as file:
            file.write(f"{' '.join(formatting.redacted(sentence).split())}\n")


def where_the_trace_is() -> str:
    """Return the end of a sentence about a failure, which names the log file; empty where nothing is logged to one."""
    file = log_file()
    return f" (the trace is in {file})" if file else ""
