"""Tables: a run is written aside and becomes visible in one step; and the reading of what was published.

OUTPUT/recommendations/run_date=YYYY-MM-DD/*.parquet
OUTPUT/predicted_ratings/run_date=YYYY-MM-DD/*.parquet
OUTPUT/rejects/run_date=YYYY-MM-DD/*.parquet
OUTPUT/users/run_date=YYYY-MM-DD/*.parquet     how many ratings each user has
OUTPUT/runs/run_date=YYYY-MM-DD/run.json
OUTPUT/latest/…                                the same of the newest run
OUTPUT/.store/edition-000042/…                 all of the above, as it is seen: one edition for each publication
OUTPUT/.store/current                          a link to the edition in use
OUTPUT/.store/staging/…                        a run under way

The folders that readers know are links through `current`, so moving that one link (an atomic rename) shows a run in all
tables at once, replaces an earlier run of its date and drops what is too old. Editions share files by hard links. The
edition before the current one is kept until the next publication: who resolves the link first (`os.path.realpath`) can
read it to the end, whatever is published meanwhile.

An OUTPUT that is a URI has neither links nor renames: see `delta_tables`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from filelock import FileLock, Timeout

from recmodel import schemas as c
from recmodel import storage
from recmodel.errors import AnotherRun, ScoringFailed, UsageRejected
from recmodel.files import is_writable
from recmodel.storage import Location

_TABLES = (c.RECOMMENDATIONS_TABLE, c.PREDICTED_RATINGS_TABLE, c.REJECTS_TABLE, c.USERS_TABLE, c.RUNS_TABLE)
LATEST = "latest"
RUN_FILE = "run.json"
_PART = re.compile(r"part-(\d+)-.*\.parquet")
_EDITION = re.compile(r"edition-(\d+)")


@dataclass(frozen=True)
class Staged:
    """A run that is being written below OUTPUT, found again by its key when the run is started again."""

    output: str
    folder: str  # of what the run needs while it is under way
    run_date: date

    def table(self, name: str) -> str:
        """The location where the files of this run's part of a table are written."""
        return storage.below(self.folder, name)

    def scratch(self, name: str) -> str:
        """A location for what the run needs only while it is under way."""
        return storage.below(self.folder, "scratch", name)

    def remember(self, name: str, value: dict[str, Any]) -> dict[str, Any]:
        """Keeps `value`, whole or not at all, for when the run is resumed; gives it back."""
        write_json(self.scratch(name), value)
        return value

    def remembered(self, name: str) -> dict[str, Any] | None:
        """What was kept under that name; None in a run that has not come so far."""
        content = storage.read(self.scratch(name))
        return json.loads(content) if content else None

    def finished_parts(self, name: str) -> set[int]:
        """The numbers of the partitions whose files of that table are complete: Spark puts the number in the name."""
        found = (_PART.fullmatch(file) for file in storage.names(self.table(name)))
        return {int(match[1]) for match in found if match}

    def discard(self) -> None:
        """Forgets the run: nothing of it can be resumed."""
        storage.remove(self.folder)

    @abstractmethod
    def publish(self, run: dict[str, Any], keep_dates: int) -> None:
        """Shows every table of the run, and `run` as its run.json, in the place of an earlier run of its date.

        Args:
            keep_dates: how many of the newest dates stay published, this one included.

        Raises:
            ScoringFailed: it could not be written; what was published before still is.
        """


class LinkedRun(Staged):
    """A run on a file system with links."""

    def publish(self, run: dict[str, Any], keep_dates: int) -> None:
        """See `Staged`: by a new edition, and one moved link."""
        output = Path(self.output)
        store = _store(output)
        before = _current(output)
        number = 1 + max([_number(path) for path in store.glob("edition-*")], default=0)
        edition = store / f"edition-{number:06d}"
        try:
            write_json(storage.below(self.table(c.RUNS_TABLE), RUN_FILE), run)
            dates = kept_dates(run_dates(self.output), self.run_date, keep_dates)
            for name in _TABLES:
                for day in dates:
                    theirs = _partition(edition / name, day)
                    own = Path(self.table(name))
                    source = own if day == self.run_date else before and _partition(before / name, day)
                    if source and source.is_dir():
                        shutil.copytree(source, theirs, copy_function=_link, ignore=shutil.ignore_patterns("_*", ".*"))
                newest = _partition(Path("..") / name, dates[-1])
                (edition / LATEST).mkdir(exist_ok=True)
                (edition / LATEST / name).symlink_to(newest)
            os.sync()  # else a power failure could keep the link and lose what it points to
            _point(store / "current", Path(edition.name))
        except OSError as error:
            shutil.rmtree(edition, ignore_errors=True)
            raise ScoringFailed(f"the run could not be published ({error}); the last one still stands") from error
        self.discard()
        for path in store.glob("edition-*"):
            if path not in (edition, before):
                with suppress(OSError):  # the run is published; the next one tries again
                    path.rename(path.with_name(f"removed-{path.name}"))  # so that nobody finds half of it
        for path in store.glob("removed-*"):
            shutil.rmtree(path, ignore_errors=True)


def staged(output: Location, run_date: date, key: str) -> Staged:
    """The place for a run under way. It is there already if a run of that key was interrupted; others are removed.

    Args:
        key: what the run depends on; another key is another run. Call with the lock of `output` held.

    Raises:
        ScoringFailed: it cannot be made.
    """
    staging, name = _staging(output, run_date, key)
    try:
        for other in storage.names(staging):
            if other != name:
                storage.remove(storage.below(staging, other))
        if storage.is_uri(output):
            from recmodel.tables import delta as delta_tables

            return delta_tables.staged(str(output), storage.below(staging, name), run_date)
        Path(staging, name, "scratch").mkdir(parents=True, exist_ok=True)
        for table in (*_TABLES, LATEST):
            if not Path(output, table).is_symlink():
                Path(output, table).symlink_to(Path(".store", "current", table))
    except OSError as error:
        raise ScoringFailed(f"cannot write below {output} ({error}); choose another --output") from error
    return LinkedRun(str(output), storage.below(staging, name), run_date)


def kept_dates(published: list[date], run_date: date, keep: int) -> list[date]:
    """The dates that stay published beside a new run, ascending: that run's and the newest others, `keep` in all."""
    others = [day for day in reversed(published) if day != run_date]
    return sorted([run_date, *others[: keep - 1]])


def resumable(output: Location, run_date: date, key: str) -> bool:
    """Whether a run of that key was interrupted, so that the next one goes on from there."""
    staging, name = _staging(output, run_date, key)
    return name in storage.names(staging)


def ready(output: Location, what: str = "lock") -> None:
    """Whether a run could start, without making anything.

    Raises:
        AnotherRun, ScoringFailed: see `locked`.
    """
    if _lock_file(output, what).exists():  # else nobody has ever held it
        with locked(output, what):
            pass
    if not storage.is_uri(output) and not is_writable(_store(Path(output))):
        raise ScoringFailed(f"cannot write below {output}; choose another --output")


@contextmanager
def locked(output: Location, what: str = "lock") -> Iterator[None]:
    """The right to write below `output`, or to do what else one process may do there at a time.

    The system takes it back when its holder ends, however it ends. For a URI it holds among the processes of a machine.

    Raises:
        AnotherRun: another process has it.
        ScoringFailed: nothing can be written there.
    """
    file = _lock_file(output, what)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(file, blocking=False).acquire()
    except Timeout:
        raise AnotherRun(f"another run writes to {output}; wait until it has ended") from None
    except OSError as error:
        raise ScoringFailed(f"cannot write below {output} ({error}); choose another --output") from error
    with held:
        yield


def _lock_file(output: Location, what: str) -> Path:
    if not storage.is_uri(output):
        return _store(Path(output)) / what
    named = hashlib.sha256(f"{output} {what}".encode()).hexdigest()
    return Path(tempfile.gettempdir(), f"recmodel-{named[:16]}.lock")


def _store(output: Path) -> Path:
    return output / ".store"


def _staging(output: Location, run_date: date, key: str) -> tuple[str, str]:
    """The folder of the runs under way, and the name of that run's in it."""
    return storage.below(output, ".store", "staging"), f"{run_date:%Y-%m-%d}-{key}"


def _current(output: Path) -> Path | None:
    """The edition in use."""
    link = _store(output) / "current"
    return link.parent / os.readlink(link) if link.is_symlink() else None


def _number(edition: Path) -> int:
    found = _EDITION.fullmatch(edition.name)
    return int(found[1]) if found else 0


def partition(day: date) -> str:
    """The name of a run's folder in a table."""
    return f"{c.RUN_DATE}={day:%Y-%m-%d}"


def _partition(table: Path, day: date) -> Path:
    return table / partition(day)


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


def write_json(location: str, value: dict[str, Any]) -> None:
    """One file, in one step."""
    storage.write(location, (json.dumps(value, indent=2, default=str) + "\n").encode())


# -- reading ----------------------------------------------------------------------------------------------------------


def run_file(output: Location, run_date: date) -> str:
    """Where the run.json of a run is."""
    return storage.below(output, c.RUNS_TABLE, partition(run_date), RUN_FILE)


def run_dates(output: Location) -> list[date]:
    """The dates of all published runs, ascending."""
    folders = storage.folders_with(storage.below(output, c.RUNS_TABLE), RUN_FILE)
    partitions = (name.partition("=") for name in folders)
    return [date.fromisoformat(day) for column, _, day in partitions if column == c.RUN_DATE]


def published(output: Location, run_date: date | None) -> date:
    """That date, or the newest for None.

    Raises:
        UsageRejected: there is no such run; names the nearest.
    """
    dates = run_dates(output)
    if not dates:
        raise UsageRejected(f"{output} holds no published run; score first, or give another --output")
    chosen = run_date or dates[-1]
    if chosen not in dates:
        nearest = min(dates, key=lambda day: abs(day - chosen))
        raise UsageRejected(f"there is no run of {chosen} in {output}; the nearest is that of {nearest}")
    return chosen


def read_run(output: Location, run_date: date) -> dict[str, Any]:
    """The run.json of a published run."""
    return json.loads(storage.read(run_file(output, run_date)) or b"")


def recommendations_of(output: Location, run_date: date, user_ids: list[int]) -> pa.Table:
    """The published recommendations of some users, by user_id and rank."""
    rows = recommendations(output, run_date).to_table(filter=pc.field(c.USER_ID).isin(user_ids))
    return rows.sort_by([(c.USER_ID, "ascending"), (c.RANK, "ascending")])


def first_users(output: Location, run_date: date, count: int) -> list[int]:
    """Some users of a run, the first of its first file."""
    head = recommendations(output, run_date).head(count * 1000, columns=[c.USER_ID])
    return pc.unique(head.column(c.USER_ID)).to_pylist()[:count]


def user_range(output: Location, run_date: date) -> tuple[int, int] | None:
    """The smallest and the largest user_id of a run; None if it has no rows."""
    found = pc.min_max(recommendations(output, run_date).to_table(columns=[c.USER_ID]).column(c.USER_ID)).as_py()
    return None if found["min"] is None else (found["min"], found["max"])


def recommendations(output: Location, run_date: date) -> ds.Dataset:
    """A published run's rows, as they are now, even while another run is being published."""
    return _dataset(output, c.RECOMMENDATIONS_TABLE, run_date)


def rejects(output: Location, run_date: date) -> ds.Dataset:
    """The input rows that a published run refused (`columns.REJECTS`)."""
    return _dataset(output, c.REJECTS_TABLE, run_date)


def files(output: Location, name: str, run_date: date) -> list[str]:
    """The Parquet files of a published run in a table, as Spark reads them."""
    if storage.is_uri(output):
        from recmodel.tables import delta as delta_tables

        return [storage.spark_path(file) for file in delta_tables.files(str(output), name, run_date)]
    return [str(file) for file in sorted(_partition(Path(output, name), run_date).resolve().glob("*.parquet"))]


def _dataset(output: Location, name: str, run_date: date) -> ds.Dataset:
    if storage.is_uri(output):
        from recmodel.tables import delta as delta_tables

        return delta_tables.dataset(str(output), name, run_date)
    return ds.dataset(_partition(Path(output, name), run_date).resolve(), format="parquet")
