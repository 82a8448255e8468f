"""Kill whole nights, `forget` and `tables withdraw` at many moments, and compare what readers find with whole runs.

    ./submit.sh benchmark kills --moments 20

An undisturbed command is watched first. Then, for each moment and for SIGKILL and SIGTERM, the same command starts from
a copy of the same output and is killed. Readers must find the rows of before or those of an undisturbed command (Delta:
date by date and table by table; all tables of a date that has its run.json), and the same command again must end with
those of an undisturbed one.

The night trains (the input has grown), scores a new date, publishes it, writes the report, and removes the oldest date
and a model. Moments are

- lines of the log, or a part of the time from one to the next: training, Spark's work;
- just before a change that Python makes on the disk, such as the move of the link that shows a run or the commit to a
  Delta table (see `doomed`): publishing, new and old versions of the model, the page, `forget`, `tables withdraw`.

So they are the same ones however busy the machine is. Those after training start from what training leaves: the night
then has nothing to train, which saves time. Signals take turns: SIGKILL to all its processes, as when a machine stops;
SIGTERM to the night alone, as `kill` does; SIGKILL to the step at work, as when memory runs out; SIGTERM to all, as
systemd does.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from itertools import cycle, pairwise
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import click
import numpy as np
import small
from harness import write_json
from rich.console import Console
from rich.table import Table

from recmodel.errors import EXIT_CODES

KINDS = (("KILL all", "TERM alone"), ("KILL step", "TERM all"))
OF_A_COMMAND = (("KILL all", "TERM all"),)
SETTINGS = {"RECMODEL_RETENTION__RUN_DATES": "2", "RECMODEL_RETENTION__MODELS": "2"}
OF_THE_LOG = {"nightly": 0.1, "trained night": 0.1}  # shares of the moments at lines of the log
OF_CHANGES = {  # and those of changes on the disk, by command and part of it
    "trained night": {"publish": 0.2, "page": 0.05, "prune": 0.1},
    "nightly": {"train": 0.1},
    "withdraw": {"withdraw": 0.15},
    "forget": {"forget": 0.2},
}
PARTS = ("log", *(phase for phases in OF_CHANGES.values() for phase in phases))
_DOOMED = Path(__file__).parent / "doomed"
_ANCHOR = re.compile(r"^(\S+ \S+) \w+ recmodel: (?:(?P<stage>.+) started|(?P<step>train|score|report)|"
                     r"(?P<end>\w+ ended with exit code 0|outcome: .*))$")  # fmt: skip
_VISIBLE = ("rename", "write", "create_write_transaction", "delete")  # changes that readers may see
_WAIT = 60.0  # seconds that processes have to end after a signal


@dataclass(frozen=True)
class Moment:
    """When a command is killed."""

    name: str
    change: str = ""  # just before this change that Python makes, such as "score 12"; otherwise
    lines: int = 0  # so many lines of the log that name a stage come first,
    delay: float = 0.0  # then so many seconds


class Change(NamedTuple):
    """A change that a step of a command made on the disk."""

    step: str
    number: int
    what: str
    path: str

    @property
    def phase(self) -> str:
        """What part of a command it belongs to; empty for what nobody could miss."""
        if self.step == "score":
            return "publish" if re.search(r"^file:|/\.store/(edition|current|removed)", self.path) else ""
        pruned = "prune" if "/models/" in self.path else ""
        return {"nightly": pruned, "report": "page", "tables": "withdraw"}.get(self.step, self.step)


@dataclass(frozen=True)
class Trial:
    """What came of one kill."""

    command: str
    format: str
    moment: str
    signal: str
    exit_code: int
    sentence: str
    found: str  # whether readers found the rows of before or after
    wrong_rows: int
    again: int  # exit code of the same command again
    wrong_rows_again: int
    left: str  # in the temporary folder, after the kill and after the same command again

    @property
    def faults(self) -> list[str]:
        """What must not be."""
        documented = self.exit_code in (*EXIT_CODES, *[-signal.SIGKILL] * self.signal.startswith("KILL"))
        tests = {
            "rows": self.wrong_rows or self.wrong_rows_again,
            "exit code": not documented,
            "sentence": not self.sentence and self.exit_code not in (0, -signal.SIGKILL),
            "again": self.again != 0,
        }
        return [name for name, failed in tests.items() if failed]


@click.command(help=__doc__)
@click.option("--moments", default=20, show_default=True, help="In each format; each is tried with both signals.")
@click.option("--format", "formats", type=click.Choice(small.FORMATS), multiple=True, default=small.FORMATS)
@click.option("--only", "parts", type=click.Choice(PARTS), multiple=True, default=PARTS)
@click.option(
    "--users", default=120, show_default=True, help="Of the sample's; fewer make models that the gate refuses."
)
@click.option("--json", "as_json", type=click.Path(path_type=Path))
def main(moments: int, formats: Sequence[str], parts: Sequence[str], users: int, as_json: Path | None) -> None:
    """Try all moments and print a row for each; the exit code is 1 if anything went wrong."""
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="kills-") as scratch:
        for kind in formats:
            place = Place(Path(scratch, kind), kind, users)
            place.prepare()
            for command, phases in OF_CHANGES.items():
                if not {*phases, *["log"] * (command in OF_THE_LOG)} & {*parts}:
                    continue
                for trial in place.trials(command, moments, parts):
                    trials.append(trial)
                    click.echo(" | ".join(map(str, asdict(trial).values())) + f" | {trial.faults or ''}")
                    if as_json:
                        write_json(as_json, [asdict(trial) for trial in trials])
    show(trials)
    sys.exit(any(trial.faults for trial in trials))


class Place:
    """A folder with an output, its models and its input; all of it can be brought back to how it was before a night."""

    def __init__(self, folder: Path, kind: str, users: int) -> None:
        self.folder, self.kind, self.users = folder, kind, users
        self.trial, self.saved, self.trained = folder / "trial", folder / "saved", folder / "trained"
        self.output = small.location(self.trial / "output", kind)
        self.temporary, self.notes = folder / "tmp", folder / "changes"
        self.stage = ""  # that was under way when the last signal was sent at a line of the log
        self.without_training: small.View | None = None  # what readers find after a night whose training failed
        self.days = [str(date.today() - timedelta(days=days)) for days in (2, 1, 0)]

    def prepare(self) -> None:
        """Publish the two dates before tonight, with models of fewer ratings than there are tonight."""
        for day, share in zip(self.days[:2], (0.7, 0.85), strict=True):
            small.write_cut(self.trial / "data", self.users, 500, share)
            self._run([*self.words("nightly"), "--run-date", day])
        small.write_cut(self.trial / "data", self.users, 500)
        shutil.copytree(self.trial, self.saved, symlinks=True)
        self._run(["train", "--gate", "--data", str(self.trial / "data"), "--models", str(self.trial / "models")])
        shutil.copytree(self.trial, self.trained, symlinks=True)

    def restore(self, command: str) -> None:
        """Bring everything back to how it was before a command."""
        for folder in (self.trial, self.temporary):
            shutil.rmtree(folder, ignore_errors=True)
        self.notes.unlink(missing_ok=True)
        self.temporary.mkdir(parents=True)
        shutil.copytree(self.trained if command == "trained night" else self.saved, self.trial, symlinks=True)
        shutil.rmtree(self.trial / "log", ignore_errors=True)

    def words(self, command: str) -> list[str]:
        """The command line."""
        where = ["--models", str(self.trial / "models"), "--output", self.output]
        night = ["nightly", "--data", str(self.trial / "data"), *where, "--master", "local[1]"]
        return {
            "nightly": night,
            "trained night": night,
            "forget": ["forget", "1", "7", "--now", *where],
            "withdraw": ["tables", "withdraw", self.days[1], "--output", self.output],
        }[command]

    def trials(self, command: str, count: int, parts: Sequence[str]) -> Iterator[Trial]:
        """Yield what came of each moment of some parts of a command, of so many moments of all commands."""
        self.restore(command)
        before = small.view(self.output)
        stamp = datetime.now()
        self._run(self.words(command))
        after = small.view(self.output)
        if small.dates_of(before) == small.dates_of(after) and command != "forget":
            raise click.ClickException(f"{command} changed nothing")
        noted = [line.split("\t") for line in self.notes.read_text().splitlines()]
        changes = [Change(step, int(number), what, path) for step, number, what, path in noted]
        lines = [(stamp, "start"), *self._anchors()]
        moments = _moments_of_lines(lines, round(OF_THE_LOG.get(command, 0) * count))
        moments = moments if "log" in parts else []
        for phase, share in OF_CHANGES[command].items():
            of_phase = [change for change in changes if change.phase == phase]
            moments += _moments_of_changes(of_phase, round(share * count)) if phase in parts else []
        for moment, kinds in zip(moments, cycle(KINDS if command in OF_THE_LOG else OF_A_COMMAND), strict=False):
            for kind in kinds:
                yield self._try(command, moment, kind, before, after)

    def _try(self, command: str, moment: Moment, kind: str, before: small.View, after: small.View) -> Trial:
        self.restore(command)
        process = self._start(self.words(command), moment, kind)
        printed = self._kill_at(process, moment, kind)
        now = small.view(self.output)
        found, wrong = self._compare(before, after, now)
        if wrong and "training-failed" in printed:
            found, wrong = "after, older model", _distance(self._night_without_training(), now)
        name = moment.name if moment.change or moment.name.startswith(self.stage) else f"{moment.name}: {self.stage}"
        left = len(list(self.temporary.iterdir()))
        again = self._start(self.words(command))
        said_again, _ = again.communicate(timeout=600)
        done = again.returncode == 2 and command == "withdraw" and found == "after"  # there is no such run any more
        wrong_again = _distance(after, small.view(self.output))
        if again.returncode and not done:
            click.echo(said_again)
        staged = len(list(Path(self.output.removeprefix("file://"), ".store/staging").glob("*")))
        left_now = len(list(self.temporary.iterdir()))
        return Trial(
            command, self.kind, name, kind, process.returncode, _sentence(printed), found, wrong,
            0 if done else again.returncode, wrong_again, f"{left}, {left_now}{f'; staged {staged}' * bool(staged)}",
        )  # fmt: skip

    def _night_without_training(self) -> small.View:
        """What readers find after tonight's scoring with the model of before."""
        if self.without_training is None:
            aside = self.trial.rename(self.folder / "aside")
            shutil.copytree(self.saved, self.trial, symlinks=True)
            with patch.dict(os.environ, {"RECMODEL_TRAINING__MAX_GROWTH": "9"}):
                self._run(self.words("nightly"))
            self.without_training = small.view(self.output)
            shutil.rmtree(self.trial)
            aside.rename(self.trial)
        return self.without_training

    def _compare(self, before: small.View, after: small.View, now: small.View) -> tuple[str, int]:
        """Return what readers find, and how many rows are neither those of before nor those of after."""
        wholes = {"before": before, "after": after}
        distance = {name: _distance(whole, now) for name, whole in wholes.items()}
        nearest = min(distance, key=lambda name: distance[name])
        if distance[nearest] == 0 or self.kind == "linked":
            return nearest, distance[nearest]
        wrong = 0  # Delta: table by table; whole for dates that have a run.json
        for key in now.keys() | before.keys() | after.keys():
            wrong += min(small.differing(whole.get(key), now.get(key)) for whole in wholes.values())
        for day in small.published(self.output):
            of_day = [key for key in before.keys() | after.keys() if key[1] == day]
            if not _is_erasing(before, after):
                wrong += min(
                    sum(small.differing(whole.get(key), now.get(key)) for key in of_day) for whole in wholes.values()
                )
        wrong += small.latest(self.output) not in small.published(self.output)
        return "between tables", wrong

    def _kill_at(self, process: subprocess.Popen, moment: Moment, kind: str) -> str:
        """Kill the command, unless it does so itself before a change; return what it printed."""
        if not moment.change:
            self._wait_for(process, moment)
            self.stage = self._anchors()[-1][1] if self._anchors() else "start"
            number = signal.SIGKILL if kind.startswith("KILL") else signal.SIGTERM
            with suppress(ProcessLookupError):
                if kind.endswith("all"):
                    os.killpg(process.pid, number)
                else:
                    os.kill(_step_of(process.pid) if kind == "KILL step" else process.pid, number)
        printed, _ = process.communicate(timeout=900)
        deadline = time.monotonic() + _WAIT
        while _alive(process.pid):
            if time.monotonic() > deadline:
                raise click.ClickException(f"{kind} at {moment.name}: processes are left after {_WAIT:g} s")
            time.sleep(0.05)
        return printed

    def _wait_for(self, process: subprocess.Popen, moment: Moment) -> None:
        while moment.lines > len(self._anchors()) and process.poll() is None:
            time.sleep(0.02)
        time.sleep(moment.delay)

    def _anchors(self) -> list[tuple[datetime, str]]:
        """The lines of the log of this night so far that name a stage: their times and names."""
        found = []
        for file in sorted((self.trial / "log").glob("*.log")):
            for line in file.read_text(errors="replace").splitlines():
                if match := _ANCHOR.match(line):
                    when = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S,%f")
                    found.append((when, match["stage"] or match["step"] or match["end"].partition(":")[0]))
        return found

    def _start(self, words: list[str], moment: Moment | None = None, kind: str = "") -> subprocess.Popen:
        self.temporary.mkdir(parents=True, exist_ok=True)
        environment = {
            "RECMODEL_PATHS__LOGS": str(self.trial / "log"),
            "RECMODEL_PATHS__BACKTEST": str(self.trial / "backtest"),
            "RECMODEL_SPARK_LOG": str(self.trial / "spark.log"),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": os.pathsep.join([str(_DOOMED), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "KILLS_NOTES": str(self.notes),
            "KILLS_FOLDERS": os.pathsep.join([f"{self.trial}/output/", f"{self.trial}/models/"]),
            "KILLS_BEFORE": moment.change if moment else "",
            "KILLS_SIGNAL": kind,
            **({"KILLS_CALLS": "1"} if self.kind == "delta" else {}),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "recmodel", *words], env={**os.environ, **environment, **SETTINGS}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def _run(self, words: list[str]) -> None:
        """Run a command to its end."""
        process = self._start(words)
        printed, _ = process.communicate(timeout=900)
        if process.returncode:
            raise click.ClickException(f"{' '.join(words)} ended with {process.returncode}:\n{printed}")


def show(trials: list[Trial]) -> None:
    """Print a row for each trial."""
    table = Table()
    headings = ("command, moment", "signal", "format", "exit", "sentence", "readers find", "rows lost or wrong",
                "the same command again", "left in /tmp", "")  # fmt: skip
    for heading in headings:
        table.add_column(heading)
    for trial in trials:
        again = f"exit {trial.again}, {trial.wrong_rows_again} rows wrong"
        code = "–" if trial.exit_code == -signal.SIGKILL else str(trial.exit_code)
        table.add_row(
            f"{trial.command}: {trial.moment}", trial.signal, trial.format, code, trial.sentence or "–", trial.found,
            str(trial.wrong_rows), again, trial.left, ", ".join(trial.faults),
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 220).print(table)
    Console().print(f"{len(trials)} kills, {sum(bool(trial.faults) for trial in trials)} with faults")


def _moments_of_lines(lines: list[tuple[datetime, str]], count: int) -> list[Moment]:
    """Spread moments over the longest stages."""
    gaps = [(later - earlier).total_seconds() for (earlier, _), (later, _) in pairwise(lines)]
    longest = sorted(np.argsort(gaps)[::-1][:count])
    return [
        Moment(f"{lines[i][1]}, {share:.0%} of {gaps[i]:.1f} s", lines=int(i), delay=share * gaps[i])
        for i, share in zip(longest, cycle((0.3, 0.7)), strict=False)
    ]


def _moments_of_changes(changes: list[Change], count: int) -> list[Moment]:
    """Pick changes: each that makes something visible and the one after it, as many as may be, then some others."""
    visible = [i for i, change in enumerate(changes) if change.what in _VISIBLE]
    shown = [visible[i] for i in _spread(len(visible), (count + 1) // 2)]
    following = [i + 1 for i in shown if i + 1 < len(changes)]
    picked = list(dict.fromkeys([*shown, *following, *_spread(len(changes), count)]))[:count]
    moments = []
    for i in sorted(picked):
        step, number, what, path = changes[i]
        name = f"{changes[i].phase}, before change {i + 1} of {len(changes)}: {what} {Path(path).name}"
        moments.append(Moment(name, change=f"{step} {number}"))
    return moments


def _spread(size: int, count: int) -> list[int]:
    """So many whole numbers below `size`, evenly spread."""
    return np.unique(np.linspace(0, size - 1, min(size, count)).round().astype(int)).tolist()


def _distance(one: small.View, other: small.View) -> int:
    """Return how many rows are in one view only."""
    return sum(small.differing(one.get(key), other.get(key)) for key in one.keys() | other.keys())


def _is_erasing(before: small.View, after: small.View) -> bool:
    return small.dates_of(before) == small.dates_of(after)


def _sentence(printed: str) -> str:
    """The last sentence that says why it ended."""
    lines = [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line) for line in printed.splitlines()]
    telling = [line for line in lines if re.match("Error|Interrupted|Unexpected|Warning|outcome", line)]
    return telling[-1] if telling else ""


def _step_of(night: int) -> int:
    """The process of the step at work; the night itself between steps."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == night:
                return int(folder.name)
    return night


def _alive(session: int) -> bool:
    """Whether a process of that session still runs."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                return True
    return False


if __name__ == "__main__":
    main()
