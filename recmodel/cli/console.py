"""The terminal and the log: one sentence for people, the whole story in a file.

Takes a job's click command; gives an exit code that says what happened.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from pythonjsonlogger.json import JsonFormatter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recmodel import formatting
from recmodel import schemas as c
from recmodel.errors import RecmodelError

out = Console(highlight=False)
if not out.is_terminal:
    out.width = 120  # of a log or a mail; a terminal has its own
err = Console(stderr=True, highlight=False)
log = logging.getLogger("recmodel")
log.addHandler(logging.NullHandler())  # before `start_log` nothing is logged, least of all to the terminal


DRY = "this was --dry-run: nothing was written, but for a log"
Progress = Callable[[int, int, str], None]  # told what is done, of how much, and what is counted


class Stages:
    """Times the stages of a job. Says what each took, and on a terminal how far the one under way is."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[Progress]:
        """One stage; what runs inside may say how far it is."""
        log.info("%s started", name)
        started = time.monotonic()
        with err.status(f"{name} …") as status:  # draws nothing where stderr is no terminal

            def progress(done: int, total: int, unit: str) -> None:
                status.update(f"{name} … {how_far(done, total, unit, time.monotonic() - started)}")

            yield progress
        self.seconds[name] = round(time.monotonic() - started, 3)
        log.info("%s took %.3f s", name, self.seconds[name])
        out.print(f"[green]✓[/] {name} [dim]{self.seconds[name]:.1f} s[/]")


def how_far(done: int, total: int, unit: str, seconds: float) -> str:
    """What is done, how fast, and how long the rest takes at the average speed so far."""
    shown = f"{done:,} of {total:,} {unit}"
    if not done:
        return shown
    return f"{shown}, {done / seconds:,.0f} {unit}/s, {formatting.seconds(seconds / done * (total - done))} left"


def start_log(folder: str, job: str, *, as_json: bool = False) -> Path:
    """Opens this run's log file, which from now on gets everything that Python logs: text, or a JSON object a line."""
    path = Path(folder) / f"{job}-{datetime.now():%Y%m%d-%H%M%S}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path)
    fields = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    handler.setFormatter(JsonFormatter(fields) if as_json else logging.Formatter(fields))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)  # type: ignore[no-untyped-call, unused-ignore]
    logging.getLogger("py4j").setLevel(logging.WARNING)
    log.info("started: %s", " ".join(sys.argv))
    return path


def run(command: click.Command, *, name: str | None = None, unexpected: int = 1) -> None:
    """Runs a job's command and leaves the process with its exit code.

    An expected failure prints its sentence; any other prints one line. The trace goes to the log.

    Args:
        name: what the command is called; None: the file that was started.
        unexpected: the exit code for a failure that nobody foresaw.
    """
    try:
        command(prog_name=name, standalone_mode=False)
    except click.exceptions.Abort:
        log.error("interrupted")
        err.print("Interrupted")
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except RecmodelError as error:
        sys.exit(complain(error))
    except Exception as error:
        log.exception("failed unexpectedly")
        first_line = (str(error).strip().splitlines() or ["no message"])[0][:300]
        _say("Unexpected error", f"{type(error).__name__}: {first_line}{where_the_trace_is()}")
        sys.exit(unexpected)


def complain(error: RecmodelError) -> int:
    """Says what failed, for people and for the log; gives the exit code."""
    log.error("failed with exit code %d", error.exit_code, exc_info=error)
    _say("Error", str(error))
    return error.exit_code


def warn(sentence: str) -> None:
    """Says what may go wrong, and goes on."""
    log.warning("%s", sentence)
    err.print("[bold yellow]Warning:[/]", end=" ")
    err.print(sentence, markup=False, soft_wrap=True)


def _say(kind: str, sentence: str) -> None:
    err.print(f"[bold red]{kind}:[/]", end=" ")
    err.print(sentence, markup=False, soft_wrap=True)


def where_the_trace_is() -> str:
    """The end of a sentence about a failure; empty where nothing is logged."""
    files = [
        handler.baseFilename for handler in logging.getLogger().handlers if isinstance(handler, logging.FileHandler)
    ]
    return f" (the trace is in {files[0]})" if files else ""


def table(title: str | None, left: Sequence[str], right: Sequence[str] = ()) -> Table:
    """An empty table in the house style, with these headings: text to the left, numbers to the right."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for heading in left:
        made.add_column(heading, overflow="fold", min_width=min(10, len(heading)))
    for heading in right:
        made.add_column(heading, justify="right", no_wrap=True)
    return made


def facts(rows: Mapping[str, object]) -> Table:
    """Names and values in two columns."""
    made = table(None, ["", ""])
    made.show_header = False
    for name, value in rows.items():
        made.add_row(f"[dim]{name}[/]", escape(str(value)))
    return made


def recommendations(title: str, rows: list[dict[str, Any]]) -> Table:
    """Rows of the table recommendations, for people; those of popularity and of older versions have no reasons."""
    reasons = ["because you liked"] * any(row.get(c.BECAUSE_TITLE) for row in rows)
    made = table(title, ["rank", "title", *reasons, "predicted rating"], ["score", "movie id"])
    for row in rows:
        score = row[c.RETRIEVAL_SCORE]
        made.add_row(
            str(row[c.RANK]),
            escape(row[c.TITLE]),
            *(escape(row[c.BECAUSE_TITLE] or "–") for _ in reasons),
            stars(row[c.PREDICTED_RATING]),
            "popular" if row[c.SOURCE] == c.SOURCE_POPULARITY else "–" if score is None else f"{score:.4f}",
            str(row[c.MOVIE_ID]),
        )
    return made


def stars(rating: float | None) -> str:
    """A rating as stars, to the nearest half: 3.6 is ★★★½."""
    if rating is None or rating != rating:
        return "–"
    halves = round(rating * 2)
    return f"{rating:.1f} {'★' * (halves // 2)}{'½' if halves % 2 else ''}"
