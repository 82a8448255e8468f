"""Kill whole nights, `forget` and `tables withdraw` at many moments, and compare what readers find with whole runs.

    ./submit.sh benchmark kills --moments 20

An undisturbed command is watched first. Then, for each moment, the same command starts from a copy of the same output
and is killed: at a line of its log, or a part of the time to the next one later. Readers must find the rows of before
or those of an undisturbed command (Delta: date by date and table by table; all tables of a date that has its
run.json), and the same command again must end with those of an undisturbed one.

The night trains (the input has grown), scores a new date, publishes it, writes the report, and removes the oldest date
and a model. Signals take turns: SIGKILL to all its processes, as when a machine stops; SIGTERM to all, as systemd
does; SIGKILL to the step at work, as when memory runs out; SIGTERM to the night alone, as `kill` does.
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
from unittest.mock import patch

import click
import numpy as np
import small
from harness import write_json
from rich.console import Console
from rich.table import Table

from recmodel.errors import EXIT_CODES

KINDS = ("KILL all", "TERM all", "KILL step", "TERM alone")
SETTINGS = {"RECMODEL_RETENTION__RUN_DATES": "2", "RECMODEL_RETENTION__MODELS": "2"}
_ANCHOR = re.compile(r"^(\S+ \S+) \w+ recmodel: (?:(?P<stage>.+) started|(?P<step>train|score|report)|"
                     r"(?P<end>\w+ ended with exit code 0|outcome: .*))$")  # fmt: skip
_WAIT = 60.0  # seconds that processes have to end after a signal


@dataclass(frozen=True)
class Moment:
    """When a command is killed."""

    name: str
    anchor: int  # so many lines of the log that name a stage, or changes on the disk, come first; 0: the start
    delay: float = 0.0  # seconds after that
    on_disk: bool = False


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
        documented = self.exit_code in EXIT_CODES or (self.exit_code == -signal.SIGKILL and self.signal == "KILL all")
        tests = {
            "rows": self.wrong_rows or self.wrong_rows_again,
            "exit code": not documented,
            "sentence": not self.sentence and self.exit_code not in (0, -signal.SIGKILL),
            "again": self.again != 0,
        }
        return [name for name, failed in tests.items() if failed]


@click.command(help=__doc__)
@click.option("--moments", default=20, show_default=True, help="In each format: half of them in nights.")
@click.option("--format", "formats", type=click.Choice(small.FORMATS), multiple=True, default=small.FORMATS)
@click.option("--only", type=click.Choice(["nightly", "forget", "withdraw"]), multiple=True)
@click.option("--users", default=120, show_default=True, help="Of the sample's.")
@click.option("--seed", default=0, show_default=True, help="Of the moments.")
@click.option("--json", "as_json", type=click.Path(path_type=Path))
def main(
    moments: int, formats: Sequence[str], only: Sequence[str], users: int, seed: int, as_json: Path | None
) -> None:
    """Try all moments and print a row for each; the exit code is 1 if anything went wrong."""
    random, trials = np.random.default_rng(seed), []
    shares = {"withdraw": moments // 4, "forget": moments // 4, "nightly": moments - 2 * (moments // 4)}
    with tempfile.TemporaryDirectory(prefix="kills-") as scratch:
        for kind in formats:
            place = Place(Path(scratch, kind), kind, users)
            place.prepare()
            for command, count in shares.items():
                if not only or command in only:
                    for trial in place.trials(command, count, random):
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
        self.trial, self.saved = folder / "trial", folder / "saved"
        self.output = small.location(self.trial / "output", kind)
        self.temporary = folder / "tmp"
        self.without_training: small.View | None = None  # what readers find after a night whose training failed
        self.days = [str(date.today() - timedelta(days=days)) for days in (2, 1, 0)]

    def prepare(self) -> None:
        """Publish the two dates before tonight, with models of fewer ratings than there are tonight."""
        for day, share in zip(self.days[:2], (0.7, 0.85), strict=True):
            small.write_cut(self.trial / "data", self.users, 500, share)
            self._run([*self.words("nightly"), "--run-date", day])
        small.write_cut(self.trial / "data", self.users, 500)
        shutil.copytree(self.trial, self.saved, symlinks=True)

    def restore(self) -> None:
        """Bring everything back to how it was."""
        for folder in (self.trial, self.temporary):
            shutil.rmtree(folder, ignore_errors=True)
        self.temporary.mkdir(parents=True)
        shutil.copytree(self.saved, self.trial, symlinks=True)
        shutil.rmtree(self.trial / "log", ignore_errors=True)

    def words(self, command: str) -> list[str]:
        """The command line."""
        where = ["--models", str(self.trial / "models"), "--output", self.output]
        return {
            "nightly": ["nightly", "--data", str(self.trial / "data"), *where, "--master", "local[1]"],
            "forget": ["forget", "1", "7", "--now", *where],
            "withdraw": ["tables", "withdraw", self.days[1], "--output", self.output],
        }[command]

    def trials(self, command: str, count: int, random: np.random.Generator) -> Iterator[Trial]:
        """Yield what came of each of so many moments."""
        self.restore()
        before = small.view(self.output)
        stamp = datetime.now()
        changes = self._run(self.words(command), watched=True)
        lines = self._anchors()
        after = small.view(self.output)
        if small.dates_of(before) == small.dates_of(after) and command != "forget":
            raise click.ClickException(f"{command} changed nothing")
        kinds = cycle(KINDS if command == "nightly" else ("KILL all", "TERM all"))
        for moment, kind in zip(_moments(command, count, changes, stamp, lines, random), kinds, strict=False):
            yield self._try(command, moment, kind, before, after)

    def _try(self, command: str, moment: Moment, kind: str, before: small.View, after: small.View) -> Trial:
        self.restore()
        process = self._start(self.words(command))
        printed = self._kill_at(process, moment, kind)
        now = small.view(self.output)
        found, wrong = self._compare(before, after, now)
        if wrong and "training-failed" in printed:
            found, wrong = "after, older model", _distance(self._night_without_training(), now)
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
            command, self.kind, moment.name, kind, process.returncode, _sentence(printed), found, wrong,
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
        if moment.on_disk:
            self._watch(process, moment.anchor)
        else:
            while moment.anchor > len(self._anchors()) and process.poll() is None:
                time.sleep(0.005)
            time.sleep(moment.delay)
        group, number = kind.endswith("all"), signal.SIGKILL if kind.startswith("KILL") else signal.SIGTERM
        with suppress(ProcessLookupError):
            if group:
                os.killpg(process.pid, number)
            else:
                os.kill(_step_of(process.pid) if kind == "KILL step" else process.pid, number)
        printed, _ = process.communicate(timeout=600)
        deadline = time.monotonic() + _WAIT
        while _alive(process.pid):
            if time.monotonic() > deadline:
                raise click.ClickException(f"{kind} at {moment.name}: processes are left after {_WAIT:g} s")
            time.sleep(0.05)
        return printed

    def _anchors(self) -> list[tuple[datetime, str]]:
        """The lines of the log of this night so far that name a stage: their times and names."""
        found = []
        for file in sorted((self.trial / "log").glob("*.log")):
            for line in file.read_text(errors="replace").splitlines():
                if match := _ANCHOR.match(line):
                    when = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S,%f")
                    found.append((when, match["stage"] or match["step"] or match["end"].partition(":")[0]))
        return found

    def _start(self, words: list[str]) -> subprocess.Popen:
        self.temporary.mkdir(parents=True, exist_ok=True)
        logs = {
            "RECMODEL_PATHS__LOGS": str(self.trial / "log"),
            "RECMODEL_SPARK_LOG": str(self.trial / "spark.log"),
            "TMPDIR": str(self.temporary),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "recmodel", *words], env={**os.environ, **logs, **SETTINGS}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def _watch(self, process: subprocess.Popen, until: int) -> int:
        """Wait until what readers could find has changed so many times, or the end; return how many times it has."""
        folder, changes, last = Path(self.output.removeprefix("file://")), 0, None
        while True:
            ended = process.poll() is not None
            state = []
            for at, folders, names in os.walk(folder):
                state += [at, *names, *(name for name in folders if Path(at, name).is_symlink())]
            with suppress(OSError):
                state.append(os.readlink(folder / ".store/current"))
            changes += last is not None and state != last
            last = state
            if ended or changes >= until:
                return changes
            time.sleep(0.001)

    def _run(self, words: list[str], *, watched: bool = False) -> int:
        """Run a command to its end; return how often what is on the disk has changed, if it is watched."""
        process = self._start(words)
        changes = self._watch(process, sys.maxsize) if watched and words[0] != "nightly" else 0
        printed, _ = process.communicate(timeout=900)
        if process.returncode:
            raise click.ClickException(f"{' '.join(words)} ended with {process.returncode}:\n{printed}")
        return changes


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


def _moments(
    command: str, count: int, changes: int, started: datetime, lines: list[tuple[datetime, str]],
    random: np.random.Generator,
) -> list[Moment]:  # fmt: skip
    """Draw moments: in a night, of each stage one after the other; otherwise at changes on the disk."""
    if command != "nightly":
        picked = np.unique(np.linspace(0, changes, count).round().astype(int))
        return [Moment(f"change {i} of {changes} on the disk", int(i), on_disk=True) for i in picked]
    times = [started, *(when for when, _ in lines)]
    names = ["start", *(name for _, name in lines)]
    gaps = [max((later - earlier).total_seconds(), 0.02) for earlier, later in pairwise([*times, times[-1]])]
    important = [i for i, gap in enumerate(gaps) if gap > 0.3 or names[i] in ("publish", "outcome")]
    picked = sorted(important[int(i)] for i in np.linspace(0, len(important) - 1, count))
    moments = []
    for i in picked:
        share = float(random.uniform(0, 1)) * (0.9 if i + 1 < len(gaps) else 1)
        moments.append(Moment(f"{names[i]}, {share:.0%} of {gaps[i]:.1f} s", i, share * gaps[i]))
    return moments


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
