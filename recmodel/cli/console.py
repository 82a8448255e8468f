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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import click
from pythonjsonlogger.json import JsonFormatter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from recmodel import formatting, progress, storage
from recmodel.errors import EXIT_CODES, RecmodelError, ScoringFailed, UsageRejected
from recmodel.formatting import redacted
from recmodel.progress import FAILURE_SUFFIX, HEADING, NIGHT_LOG, NOTICE, log, where_the_trace_is
from recmodel.version import __version__


class _Console(Console):
    """A console to which text is text: titles and ids hold no markup, nothing that a terminal obeys and no secrets."""

    def render_str(self, text: str, **options: Any) -> Text:
        """See `Console`; all text that is printed comes through here, that of tables too."""
        return super().render_str(formatting.inert(redacted(text)), **options)

    def on_broken_pipe(self) -> None:
        """Go on in silence, as for `recmodel … | head`: what a command does does not depend on who reads it."""
        self.quiet = True
        _silence(self.file)


def _silence(stream: IO[str]) -> None:
    """Let what is still written to a stream that nobody reads go nowhere, at the end of the process too."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _console(**options: Any) -> Console:
    return _Console(highlight=False, markup=False, emoji=False, **options)


out = _console()
if not out.is_terminal:
    out.width = 120  # of a log or a mail; a terminal has its own
err = _console(stderr=True)


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
        _flush(sys.stdout, sys.stderr)
    except SystemExit as end:  # by nightly; and by click where nobody reads the help any more
        _flush(sys.stdout, sys.stderr)
        nobody_reads = type(sys.stdout).__module__.startswith("click.")  # which has put something in its place
        code = 0 if nobody_reads else end.code or 0
        sys.exit(code if code in EXIT_CODES else unexpected)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last resort: it is reported in a line
        code = complain(error, unexpected)
        _flush(sys.stdout, sys.stderr)
        sys.exit(code)
    finally:
        with suppress(ValueError):  # it is over: a signal while Python ends must not change how
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _flush(stream: IO[str], *others: IO[str]) -> None:
    """Write out what was printed; nobody may be reading it any more."""
    try:
        stream.flush()
    except BrokenPipeError:
        _silence(stream)
    if others:
        _flush(*others)


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
        error.message = formatting.inert(redacted(error.message))  # type: ignore[misc]
        error.show()
        return error.exit_code if error.exit_code in EXIT_CODES else UsageRejected.exit_code
    if isinstance(error, RecmodelError):
        log.error("failed with exit code %d", error.exit_code, exc_info=error)
        _print_failure("Error", str(error))
        return error.exit_code
    if isinstance(error, (click.exceptions.Abort, KeyboardInterrupt)):
        how = _interrupted_how(error)
        log.error("interrupted %s", how)
        what = getattr(error.__cause__ or error, "what_is_so", "nothing that was published before is lost")
        _print_failure("Interrupted", f"{how}; {what}")
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


@contextmanager
def when_interrupted(what_is_so: Callable[[], str]) -> Iterator[None]:
    """Let the sentence of an interruption say what is so then, if it falls into this block."""
    try:
        yield
    except KeyboardInterrupt as error:
        error.what_is_so = what_is_so()  # type: ignore[attr-defined]
        raise


def start_again() -> None:
    """Start the running command anew, in the place of this process, which has taken more memory than it needs."""
    log.info("starting again")
    _flush(sys.stdout, sys.stderr)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


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
            out.rule(Text(message, "bold"), align="left")
        elif record.levelno == HEADING:
            _print_line(out, message)
        elif record.levelno == logging.WARNING:
            _print_line(err, message, Text("Warning: ", "bold yellow"))


def _print_failure(kind: str, sentence: str) -> None:
    """Print why a command failed, and leave it for the night that started it, if one did."""
    progress.leave_for_the_night(sentence, FAILURE_SUFFIX)
    _print_line(err, sentence, Text(f"{kind}: ", "bold red"))


def _print_line(to: Console, text: str, start: Text | str = "") -> None:
    """Print text, which may have several lines, after its time where there is no terminal; see the module.

    Args:
        start: goes before each line of the text.
    """
    time_of_line = f"{datetime.now():%Y-%m-%d %H:%M:%S} " if not to.is_terminal and progress.log_file() else ""
    for line in text.split("\n") if time_of_line else [text]:
        to.print(time_of_line, start, sep="", end="", soft_wrap=True)
        to.print(line, soft_wrap=not to.is_terminal or to is err)


def conclude(*views: Table | str, private: bool = False) -> None:
    """Print what a command did, and log it line by line, so that the log tells it too.

    Args:
        private: whether the views show what a user likes, which is not logged.
    """
    with_file = _console(file=io.StringIO(), width=_LOG_WIDTH)
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
        out.print(Text.assemble(("✓", "green"), f" {name} ", (seconds, "dim")))
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
        os.close(storage.private(str(path), os.O_WRONLY | os.O_CREAT))
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        reason = error.strerror or error
        raise UsageRejected(f"cannot log to {folder} ({reason}); set paths.logs, or RECMODEL_PATHS__LOGS") from None
    fields = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    handler.setFormatter(_JsonLines(fields) if as_json else _Lines(fields))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)  # type: ignore[no-untyped-call, unused-ignore]
    logging.getLogger("py4j").setLevel(logging.WARNING)
    log.info("started: %s; recmodel %s, Python %s", " ".join(sys.argv), __version__, sys.version.split()[0])
    return path


class _Lines(logging.Formatter):
    """Lines of a log, without secrets; what a record holds beyond its first line is indented, so it looks like none."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        return formatting.inert(redacted(super().format(record))).replace("\n", "\n  ")


class _JsonLines(JsonFormatter):
    """The same as JSON, an object a line."""

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """See `JsonFormatter`."""
        return {
            name: redacted(value) if isinstance(value, str) else value
            for name, value in super().process_log_record(log_data).items()
        }


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
        pairs.add_row(Text(name, "dim"), str(value))
    return pairs


def stars(rating: float | None) -> str:
    """Return a rating as stars, to the nearest half: 3.6 is ★★★½."""
    if rating is None or rating != rating:
        return "–"
    halves = round(rating * 2)
    return f"{rating:.1f} {'★' * (halves // 2)}{'½' if halves % 2 else ''}"
