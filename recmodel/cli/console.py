"""The terminal and the log: one sentence for people, the whole story in a file.

Where a command keeps a log and does not print to a terminal but to cron's mail, the journal or a file, each line that
it prints carries a time, and nothing is drawn.
"""

from __future__ import annotations

import codecs
import io
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import click
from pythonjsonlogger.json import JsonFormatter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recmodel import formatting, progress, storage
from recmodel.errors import EXIT_CODES, RecmodelError, ScoringFailed, UsageRejected
from recmodel.progress import FAILURE_SUFFIX, HEADING, NIGHT_LOG, NOTICE, log, where_the_trace_is
from recmodel.version import __version__

out = Console(highlight=False)
if not out.is_terminal:
    out.width = 120  # of a log or a mail; a terminal has its own
err = Console(stderr=True, highlight=False)


def run(command: click.Command, *, name: str | None = None, unexpected: int = ScoringFailed.exit_code) -> None:
    """Run a job's command and leave the process with its exit code, one of `errors.EXIT_CODES`.

    An expected failure prints its sentence; any other prints one line. The trace goes to the log.

    Args:
        name: what the command is called; None: the file that was started.
        unexpected: the exit code for a failure that nobody foresaw, and where the command was interrupted.
    """
    log.addHandler(_ShowNotices(NOTICE))
    log.setLevel(logging.INFO)  # notices are below Python's default, and not every job opens a log
    with suppress(ValueError):  # in another thread than the main one
        signal.signal(signal.SIGTERM, _terminate)
    codecs.register_error("recmodel", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="recmodel")
    try:
        command(prog_name=name, standalone_mode=False)
    except SystemExit as end:  # by nightly; and by click and rich with 1 if nobody reads what is printed
        code = end.code or 0
        sys.exit(code if code in EXIT_CODES else unexpected)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last resort: it is reported in a line
        sys.exit(complain(error, unexpected))


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Return what is printed where a stream's encoding lacks characters (a handler of `codecs`)."""
    assert isinstance(error, UnicodeEncodeError)
    return formatting.ascii_only(error.object[error.start : error.end]), error.end


def complain(error: BaseException, unexpected: int) -> int:
    """Report what failed, to people and in the log; return the exit code.

    Args:
        unexpected: the exit code if nobody foresaw this.
    """
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code if error.exit_code in EXIT_CODES else UsageRejected.exit_code
    if isinstance(error, RecmodelError):
        log.error("failed with exit code %d", error.exit_code, exc_info=error)
        _print_failure("Error", str(error))
        return error.exit_code
    if isinstance(error, (click.exceptions.Abort, KeyboardInterrupt)):
        how = _interrupted_how(error)
        log.error("interrupted %s", how)
        _print_failure("Interrupted", f"{how}; nothing that was published before is lost")
        return unexpected
    log.error("failed unexpectedly", exc_info=error)
    if storage.is_full_disk(error):
        where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else where_the_trace_is()
        what = "what was unfinished is removed; make room and run the same command again"
        _print_failure("Error", f"no space left on device{where}; {what}")
        return unexpected
    first_line = (str(error).strip().splitlines() or ["no message"])[0][:300]
    _print_failure("Unexpected error", f"{type(error).__name__}: {first_line}{where_the_trace_is()}")
    return unexpected


def sentence_of(error: BaseException, at: str = "") -> str:
    """Return why a command ended, in a sentence.

    Args:
        at: the step that was at work.
    """
    if isinstance(error, (click.exceptions.Abort, KeyboardInterrupt)):
        return f"interrupted {_interrupted_how(error)}{f' during {at}' if at else ''}"
    return str(error) or type(error).__name__


def _interrupted_how(error: BaseException) -> str:
    return "by SIGTERM" if isinstance(error.__cause__ or error, _Terminated) else "at the keyboard"


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command in the way that Ctrl-C does."""


def _terminate(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the process at once
    raise _Terminated


class _ShowNotices(logging.Handler):
    """Print what the library logs for people: notices and headings to stdout, warnings to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record; errors are printed by whoever ends the process."""
        message = record.getMessage()
        if record.levelno == NOTICE:
            _print_line(out, message)
        elif record.levelno == HEADING and out.is_terminal:
            out.rule(f"[bold]{escape(message)}", align="left")
        elif record.levelno == HEADING:
            _print_line(out, message)
        elif record.levelno == logging.WARNING:
            _print_line(err, message, "[bold yellow]Warning:[/] ")


def _print_failure(kind: str, sentence: str) -> None:
    """Print why a command failed, and leave it for the night that started it, if one did."""
    log_of_night = os.environ.get(NIGHT_LOG)
    if log_of_night:
        with suppress(OSError):
            Path(log_of_night + FAILURE_SUFFIX).write_text(sentence, encoding="utf-8")
    _print_line(err, sentence, f"[bold red]{kind}:[/] ")


def _print_line(to: Console, text: str, start: str = "") -> None:
    """Print text, which may have several lines, after its time where there is no terminal; see the module.

    Args:
        start: goes before the text; may have markup, which the text has not.
    """
    time_of_line = f"{datetime.now():%Y-%m-%d %H:%M:%S} " if not to.is_terminal and progress.log_file() else ""
    for line in text.split("\n") if time_of_line else [text]:
        to.print(f"{time_of_line}{start}", end="", soft_wrap=True)
        to.print(line, markup=False, soft_wrap=not to.is_terminal or to is err)


def conclude(*views: Table | str, private: bool = False) -> None:
    """Print what a command did, and log it line by line, so that the log tells it too.

    Args:
        private: whether the views show what a user likes, which is not logged.
    """
    with_file = Console(file=io.StringIO(), width=_LOG_WIDTH, highlight=False)
    for view in views:
        with with_file.capture() as captured:
            with_file.print(view)
        lines = [line.rstrip() for line in captured.get().splitlines() if line.strip()]
        for line in [] if private else lines:
            log.info("%s", line)
        if out.is_terminal or not progress.log_file():
            out.print(view)
        else:
            _print_line(out, "\n".join(lines))


_LOG_WIDTH = 160


@contextmanager
def show_stage(name: str) -> Iterator[progress.Progress]:
    """Show a stage while it runs: on a terminal how far it is, and at its end what it took; see `progress.Stages`."""
    started = time.monotonic()
    with err.status(f"{name} …") as status:  # draws nothing where stderr is no terminal

        def update(done: int, total: int, unit: str) -> None:
            status.update(f"{name} … {progress.describe(done, total, unit, time.monotonic() - started)}")

        yield update
    seconds = f"{time.monotonic() - started:.1f} s"
    if out.is_terminal:
        out.print(f"[green]✓[/] {name} [dim]{seconds}[/]")
    else:
        _print_line(out, f"{name}: {seconds}")


def start_log(folder: str, job: str, *, as_json: bool = False) -> Path:
    """Open this run's log file, which gets all that Python logs from now on: text, or a JSON object per line.

    A step of a night adds to the night's log, which `nightly` names in the environment.

    Raises:
        UsageRejected: it cannot be made.
    """
    of_night = os.environ.get(NIGHT_LOG)
    path = Path(of_night or Path(folder) / f"{job}-{datetime.now():%Y%m%d-%H%M%S}.log")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        reason = error.strerror or error
        raise UsageRejected(f"cannot log to {folder} ({reason}); set paths.logs, or RECMODEL_PATHS__LOGS") from None
    fields = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    handler.setFormatter(JsonFormatter(fields) if as_json else logging.Formatter(fields))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)  # type: ignore[no-untyped-call, unused-ignore]
    logging.getLogger("py4j").setLevel(logging.WARNING)
    log.info("started: %s; recmodel %s, Python %s", " ".join(sys.argv), __version__, sys.version.split()[0])
    return path


def table(title: str | None, left: Sequence[str], right: Sequence[str] = ()) -> Table:
    """Return an empty table in the house style, with these headings: text to the left, numbers to the right."""
    empty = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for heading in left:
        empty.add_column(heading, overflow="fold", min_width=min(10, len(heading)))
    for heading in right:
        empty.add_column(heading, justify="right", no_wrap=True)
    return empty


def facts(rows: Mapping[str, object]) -> Table:
    """Return names and values in two columns."""
    pairs = table(None, ["", ""])
    pairs.show_header = False
    for name, value in rows.items():
        pairs.add_row(f"[dim]{name}[/]", escape(str(value)))
    return pairs


def stars(rating: float | None) -> str:
    """Return a rating as stars, to the nearest half: 3.6 is ★★★½."""
    if rating is None or rating != rating:
        return "–"
    halves = round(rating * 2)
    return f"{rating:.1f} {'★' * (halves // 2)}{'½' if halves % 2 else ''}"
