"""Tables: a run is written aside and becomes visible in one step; and the reading of what was published.

OUTPUT/recommendations/run_date=YYYY-MM-DD/*.parquet
OUTPUT/predicted_ratings/run_date=YYYY-MM-DD/*.parquet
OUTPUT/rejects/run_date=YYYY-MM-DD/*.parquet
OUTPUT/runs/run_date=YYYY-MM-DD/run.json
OUTPUT/latest/…                                the same four of the newest run
OUTPUT/.store/edition-000042/…                 all of the above, as it is seen: one edition for each publication
OUTPUT/.store/current                          a link to the edition in use
OUTPUT/.store/staging/…                        a run under way

The folders that readers know are links through `current`, so moving that one link (an atomic rename) shows a run in all
tables at once, replaces an earlier run of its date and drops what is too old. Editions share files by hard links. The
edition before the current one is kept until the next publication: who resolves the link first (`os.path.realpath`) can
read it to the end, whatever is published meanwhile.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from filelock import FileLock, Timeout

from recmodel import columns as c
from recmodel.errors import AnotherRun, ScoringFailed
from recmodel.files import is_writable

_TABLES = (c.RECOMMENDATIONS_TABLE, c.PREDICTED_RATINGS_TABLE, c.REJECTS_TABLE, c.RUNS_TABLE)
_LATEST = "latest"
_RUN_FILE = "run.json"
_PART = re.compile(r"part-(\d+)-")
_EDITION = re.compile(r"edition-(\d+)")


@dataclass(frozen=True)
class Staged:
    """A run that is being written: a folder below OUTPUT, found again by its key when the run is started again."""

    output: Path
    folder: Path
    run_date: date

    def table(self, name: str) -> Path:
        """Where the files of this run's part of a table are written."""
        return self.folder / name

    def scratch(self, name: str) -> Path:
        """A place for what the run needs only while it is under way."""
        return self.folder / "scratch" / name

    def remember(self, name: str, value: dict[str, Any]) -> dict[str, Any]:
        """Keeps `value`, whole or not at all, for when the run is resumed; gives it back."""
        aside = self.scratch(f"{name}.new")
        _write_json(aside, value)
        aside.replace(self.scratch(name))
        return value

    def remembered(self, name: str) -> dict[str, Any] | None:
        """What was kept under that name; None in a run that has not come so far."""
        path = self.scratch(name)
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def finished_parts(self, name: str) -> set[int]:
        """The numbers of the partitions whose files of that table are complete: Spark puts the number in the name."""
        found = (_PART.match(path.name) for path in self.table(name).glob("part-*.parquet"))
        return {int(match[1]) for match in found if match}

    def discard(self) -> None:
        """Forgets the run: nothing of it can be resumed."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def publish(self, run: dict[str, Any], keep_dates: int) -> None:
        """Shows every table of the run, and `run` as its run.json, in the place of an earlier run of its date.

        Args:
            keep_dates: how many of the newest dates stay published, this one included.

        Raises:
            ScoringFailed: it could not be written; what was published before still is.
        """
        store = _store(self.output)
        before = _current(self.output)
        number = 1 + max([_number(path) for path in store.glob("edition-*")], default=0)
        edition = store / f"edition-{number:06d}"
        try:
            _write_json(self.table(c.RUNS_TABLE) / _RUN_FILE, run)
            newest_others = [day for day in reversed(run_dates(self.output)) if day != self.run_date][: keep_dates - 1]
            dates = sorted([self.run_date, *newest_others])
            for name in _TABLES:
                for day in dates:
                    theirs = _partition(edition / name, day)
                    source = self.table(name) if day == self.run_date else before and _partition(before / name, day)
                    if source and source.is_dir():
                        shutil.copytree(source, theirs, copy_function=_link, ignore=shutil.ignore_patterns("_*", ".*"))
                newest = _partition(Path("..") / name, dates[-1])
                (edition / _LATEST).mkdir(exist_ok=True)
                (edition / _LATEST / name).symlink_to(newest)
            os.sync()  # else a power failure could keep the link and lose what it points to
            _point(store / "current", Path(edition.name))
        except OSError as error:
            shutil.rmtree(edition, ignore_errors=True)
            raise ScoringFailed(f"the run could not be published ({error}); the last one still stands") from error
        self.discard()
        for path in store.glob("edition-*"):
            if path not in (edition, before):
                shutil.rmtree(path, ignore_errors=True)


def staged(output: Path, run_date: date, key: str) -> Staged:
    """The folder for a run under way. It is there already if a run of that key was interrupted; others are removed.

    Args:
        key: what the run depends on; another key is another run. Call with the lock of `output` held.

    Raises:
        ScoringFailed: it cannot be made.
    """
    folder = _staging(output, run_date, key)
    staging = folder.parent
    try:
        (folder / "scratch").mkdir(parents=True, exist_ok=True)
        for path in staging.iterdir():
            if path != folder:
                shutil.rmtree(path, ignore_errors=True)
        for name in (*_TABLES, _LATEST):
            target = Path(".store", "current", name)
            if not (output / name).is_symlink():
                (output / name).symlink_to(target)
    except OSError as error:
        raise ScoringFailed(f"cannot write below {output} ({error}); choose another --output") from error
    return Staged(output, folder, run_date)


def resumable(output: Path, run_date: date, key: str) -> bool:
    """Whether a run of that key was interrupted, so that the next one goes on from there."""
    return _staging(output, run_date, key).is_dir()


def ready(output: Path, what: str = "lock") -> None:
    """Whether a run could start and publish, without making anything.

    Raises:
        AnotherRun, ScoringFailed: see `locked`.
    """
    if _store(output).is_dir():
        with locked(output, what):
            return
    if not is_writable(output):
        raise ScoringFailed(f"cannot write below {output}; choose another --output")


@contextmanager
def locked(output: Path, what: str = "lock") -> Iterator[None]:
    """The right to write below `output`, or to do what else one process may do there at a time.

    The system takes it back when its holder ends, however it ends.

    Raises:
        AnotherRun: another process has it.
        ScoringFailed: nothing can be written there.
    """
    try:
        _store(output).mkdir(parents=True, exist_ok=True)
        held = FileLock(_store(output) / what, blocking=False).acquire()
    except Timeout:
        raise AnotherRun(f"another run writes to {output}; wait until it has ended") from None
    except OSError as error:
        raise ScoringFailed(f"cannot write below {output} ({error}); choose another --output") from error
    with held:
        yield


def _store(output: Path) -> Path:
    return output / ".store"


def _staging(output: Path, run_date: date, key: str) -> Path:
    return _store(output) / "staging" / f"{run_date:%Y-%m-%d}-{key}"


def _current(output: Path) -> Path | None:
    """The edition in use."""
    link = _store(output) / "current"
    return link.parent / os.readlink(link) if link.is_symlink() else None


def _number(edition: Path) -> int:
    found = _EDITION.fullmatch(edition.name)
    return int(found[1]) if found else 0


def _partition(table: Path, day: date) -> Path:
    return table / f"{c.RUN_DATE}={day:%Y-%m-%d}"


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def _point(link: Path, target: Path) -> None:
    """Makes `link` a symbolic link to `target`, in one step."""
    aside = link.with_name(f"{link.name}.new")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    aside.replace(link)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, default=str) + "\n", encoding="utf-8")


# -- reading ----------------------------------------------------------------------------------------------------------


def run_dates(output: Path) -> list[date]:
    """The dates of all published runs, ascending."""
    files = (output / c.RUNS_TABLE).glob(f"{c.RUN_DATE}=*/{_RUN_FILE}")
    return sorted(date.fromisoformat(file.parent.name.partition("=")[2]) for file in files)


def read_run(output: Path, run_date: date) -> dict[str, Any]:
    """The run.json of a published run."""
    return json.loads((_partition(output / c.RUNS_TABLE, run_date) / _RUN_FILE).read_text(encoding="utf-8"))


def recommendations_of(output: Path, run_date: date, user_ids: list[int]) -> pa.Table:
    """The published recommendations of some users, by user_id and rank."""
    rows = _recommendations(output, run_date).to_table(filter=pc.field(c.USER_ID).isin(user_ids))
    return rows.sort_by([(c.USER_ID, "ascending"), (c.RANK, "ascending")])


def first_users(output: Path, run_date: date, count: int) -> list[int]:
    """Some users of a run, the first of its first file."""
    head = _recommendations(output, run_date).head(count * 1000, columns=[c.USER_ID])
    return pc.unique(head.column(c.USER_ID)).to_pylist()[:count]


def user_range(output: Path, run_date: date) -> tuple[int, int] | None:
    """The smallest and the largest user_id of a run; None if it has no rows."""
    found = pc.min_max(_recommendations(output, run_date).to_table(columns=[c.USER_ID]).column(c.USER_ID)).as_py()
    return None if found["min"] is None else (found["min"], found["max"])


def _recommendations(output: Path, run_date: date) -> ds.Dataset:
    """As it is now, even while another run is being published."""
    return ds.dataset(_partition(output / c.RECOMMENDATIONS_TABLE, run_date).resolve(), format="parquet")
