"""The contract of an output format: how runs are written unseen, become visible in one step, and are read again.

`Output` is a place where runs are published, `StagedRun` one run under way. A format implements the abstract methods of
both; `tests/tables/test_output_contract.py` is its specification.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from filelock import FileLock, Timeout

from recmodel import dates, storage
from recmodel import schemas as c
from recmodel.data.statistics import FILE as STATISTICS_FILE
from recmodel.errors import AnotherRun, ScoringFailed, UsageRejected
from recmodel.records import RunRecord
from recmodel.schemas import Id
from recmodel.tables import erasing
from recmodel.tables.erasing import Found, Users

LATEST = "latest"
PARTIAL = "partial"  # the folder of the partial runs of an output; see `output.open_output`
RUN_FILE = "run.json"
_STAGED = re.compile(r"(\d{4}-\d\d-\d\d)-")
_KEPT = "input-"  # how the folders of kept inputs begin


def partition(run_date: date) -> str:
    """Return the name of a run's folder in a table."""
    return f"{c.RUN_DATE}={run_date:%Y-%m-%d}"


def dates_to_keep(published: list[date], run_date: date, limit: int) -> list[date]:
    """Return the dates that stay published with a new run, ascending: its own and the newest others, `limit` in all."""
    others = [day for day in reversed(published) if day != run_date]
    return sorted([run_date, *others[: limit - 1]])


def newest(published: list[date], is_full: Callable[[date], bool]) -> date | None:
    """Return the date that `latest` shows: that of the newest full run that is not in the future; None without one.

    Where no run is full, as in the place of partial runs, the newest run counts.

    Args:
        published: all dates, ascending.
        is_full: whether the run of a date scored everybody; asked of few of them.
    """
    past = [day for day in reversed(published) if not dates.is_future(day)]
    return next((day for day in past if is_full(day)), past[0] if past else None)


@dataclass(frozen=True)
class StagedRun(ABC):
    """A run that is being written below OUTPUT and that no reader sees, found again by its key when it is resumed."""

    output: str
    folder: str  # of what the run needs while it is under way
    run_date: date

    def table(self, name: str) -> str:
        """Return the location where the files of this run's part of a table are written."""
        return storage.below(self.folder, name)

    def scratch(self, name: str) -> str:
        """Return a location for what the run needs only while it is under way."""
        return storage.below(self.folder, "scratch", name)

    def remember(self, name: str, value: dict[str, Any]) -> dict[str, Any]:
        """Keep `value`, whole or not at all, for when the run is resumed; return it."""
        storage.write(self.scratch(name), json.dumps(value, indent=2, default=str).encode())
        return value

    def remembered(self, name: str) -> dict[str, Any] | None:
        """Return what was kept under that name; None in a run that has not come so far."""
        content = storage.read(self.scratch(name))
        return json.loads(content) if content else None

    @property
    def finished(self) -> str:
        """Where a file for each finished part is written, named by its number, once the part's own files are."""
        return self.scratch("finished")

    def finished_parts(self) -> set[int]:
        """Return the numbers of the parts whose files are complete."""
        return {int(name) for name in storage.names(self.finished) if name.isdigit()}

    def discard(self) -> None:
        """Remove the run: nothing of it can be resumed."""
        storage.remove(self.folder)

    @abstractmethod
    def publish(self, record: RunRecord, keep_dates: int, attachments: Mapping[str, bytes] | None = None) -> None:
        """Show every table of the run, and `record` as its run.json, in the place of an earlier run of its date.

        Args:
            keep_dates: how many of the newest dates stay published, this one included.
            attachments: small files next to run.json, by name.

        Raises:
            ScoringFailed: it could not be written; what was published before still is.
        """


class Output(ABC):
    """A place where runs are published: OUTPUT in a certain format.

    Args:
        location: a path or a URI.
    """

    def __init__(self, location: str | Path) -> None:
        self.location = str(location)

    # -- what a format decides --------------------------------------------------------------------------------------

    @abstractmethod
    def dataset(self, table: str, run_date: date) -> ds.Dataset:
        """Return a published run's rows of a table, as they are now, even while another run is being published."""

    @abstractmethod
    def files(self, table: str, run_date: date) -> list[str]:
        """Return the paths or URIs of the Parquet files of a published run in a table."""

    @abstractmethod
    def withdraw(self, run_date: date) -> None:
        """Take a published run back, with all its rows; `latest` follows. Call with the lock held.

        Raises:
            UsageRejected: no such run is published; names the nearest.
            ScoringFailed: it could not be done; the same call does what is left to do.
        """

    @abstractmethod
    def erase(self, users: Users, found: list[Found], wait: float) -> None:
        """Remove rows and histories of users from runs, and whatever else holds what readers no longer see.

        Call it with the lock held, also if nothing is found: files of before may still be there.

        Args:
            found: see `find`.
            wait: seconds that readers have who have begun to read before; what that means is the format's.

        Raises:
            ScoringFailed: it could not be done; the same call does what is left to do.
        """

    @abstractmethod
    def _open_stage(self, folder: str, run_date: date) -> StagedRun:
        """Return the run that is staged in that folder, which may be there already."""

    @abstractmethod
    def _lock_file(self, purpose: str) -> Path:
        """Return the local file whose lock is the right to do something here."""

    @abstractmethod
    def _check_writable(self) -> None:
        """Raise OSError if it is certain that nothing can be written here; write nothing."""

    # -- writing ----------------------------------------------------------------------------------------------------

    def stage(self, run_date: date, key: str, kept_in: str | None = None) -> StagedRun:
        """Return the place for a run under way, which exists if a run of that key was interrupted; remove all others.

        Args:
            key: names what the run depends on; another key is another run. Call with the lock held.
            kept_in: what `kept_input` has returned; None: no kept input stays.

        Raises:
            ScoringFailed: the place cannot be made.
        """
        try:
            for name in storage.names(self._staging):
                folder = storage.below(self._staging, name)
                if name != _stage_name(run_date, key) and folder != kept_in:
                    storage.remove(folder)
            return self._open_stage(storage.below(self._staging, _stage_name(run_date, key)), run_date)
        except OSError as error:
            raise self._cannot_write(error) from error

    def kept_input(self, key: str | None) -> str | None:
        """Return where runs of several dates keep an input that they share, by its key; None for None."""
        return key and storage.below(self._staging, f"{_KEPT}{key}")

    def discard_kept_input(self) -> None:
        """Remove the input that runs of several dates have shared. Call it with the lock held."""
        for name in storage.names(self._staging):
            if name.startswith(_KEPT):
                storage.remove(storage.below(self._staging, name))

    def find(self, users: Users) -> list[Found]:
        """Return what the published runs hold of some users, by date; runs that hold nothing are left out."""
        runs = []
        for day in self.run_dates():
            tables = {name: self.dataset(name, day) for name in erasing.TABLES if self.files(name, day)}
            statistics = self.attachment(day, STATISTICS_FILE)
            runs.append(erasing.found(day, users.of_run(self.read_run(day)), tables, statistics))
        return [run for run in runs if run.anything]

    def discard_staged(self) -> list[str]:
        """Remove all interrupted runs, which hold their input; return their names. Call it with the lock held."""
        names = storage.names(self._staging)
        for name in names:
            folder = storage.below(self._staging, name)
            if match := _STAGED.match(name):
                self._open_stage(folder, date.fromisoformat(match[1])).discard()
            else:
                storage.remove(folder)
        return names

    def resumable(self, run_date: date, key: str) -> bool:
        """Return whether a run of that key was interrupted, so that the next one continues it."""
        return _stage_name(run_date, key) in storage.names(self._staging)

    def check_ready(self, purpose: str = "lock") -> None:
        """Check that a run could start, without making anything.

        Raises:
            AnotherRun, ScoringFailed: see `locked`.
        """
        if self._lock_file(purpose).exists():  # otherwise nobody has ever held it
            with self.locked(purpose):
                pass
        try:
            self._check_writable()
        except OSError as error:
            raise self._cannot_write(error) from error

    @contextmanager
    def locked(self, purpose: str = "lock") -> Iterator[None]:
        """Hold the right to write here, or to do what else one process may do here at a time.

        The system releases it when its holder ends, however it ends.

        Raises:
            AnotherRun: another process holds it.
            ScoringFailed: nothing can be written here.
        """
        file = self._lock_file(purpose)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(file, blocking=False).acquire()
        except Timeout:
            raise AnotherRun(f"another run writes to {self.location}; wait until it has ended") from None
        except OSError as error:
            raise self._cannot_write(error) from error
        with lock:
            yield

    @property
    def _staging(self) -> str:
        """The folder of the runs under way."""
        return storage.below(self.location, ".store", "staging")

    def _cannot_write(self, error: OSError) -> ScoringFailed:
        return ScoringFailed(f"cannot write below {self.location} ({error}); choose another --output")

    # -- reading ----------------------------------------------------------------------------------------------------

    def run_dates(self) -> list[date]:
        """Return the dates of all published runs, ascending."""
        folders = storage.folders_with(storage.below(self.location, c.RUNS_TABLE), RUN_FILE)
        parts = (name.partition("=") for name in folders)
        return [date.fromisoformat(day) for column, _, day in parts if column == c.RUN_DATE]

    def newest(self) -> date | None:
        """Return the date that `latest` shows; see `newest`."""
        return newest(self.run_dates(), self.is_full)

    def is_full(self, run_date: date) -> bool:
        """Return whether a published run scored everybody."""
        return self.read_run(run_date).all_users

    def published(self, run_date: date | None = None) -> date:
        """Return that date, or for None the newest; see `newest`.

        Raises:
            UsageRejected: no such run is published; names the nearest.
        """
        published = self.run_dates()
        if not published:
            raise UsageRejected(f"{self.location} holds no published run; score first, or give another --output")
        if run_date is None:
            latest = newest(published, self.is_full)
            if latest is None:
                raise UsageRejected(
                    f"all runs in {self.location} are in the future; name one, such as --run-date {published[0]}"
                )
            return latest
        if run_date not in published:
            nearest = min(published, key=lambda day: abs(day - run_date))
            raise UsageRejected(f"there is no run of {run_date} in {self.location}; the nearest is that of {nearest}")
        return run_date

    def read_run(self, run_date: date) -> RunRecord:
        """Return the run.json of a published run."""
        return RunRecord.parse(storage.read(run_file(self.location, run_date)) or b"")

    def attachment(self, run_date: date, name: str) -> bytes | None:
        """Return a file that was published next to run.json; None if the run has none of that name."""
        return storage.read(storage.below(self.location, c.RUNS_TABLE, partition(run_date), name))

    def recommendations(self, run_date: date) -> ds.Dataset:
        """Return the recommendations of a published run (`schemas.RECOMMENDATION`)."""
        return self.dataset(c.RECOMMENDATIONS_TABLE, run_date)

    def rejects(self, run_date: date) -> ds.Dataset:
        """Return the input rows that a published run rejected (`schemas.REJECTS`)."""
        return self.dataset(c.REJECTS_TABLE, run_date)

    def recommendations_of(self, run_date: date, user_ids: list[Id]) -> pa.Table:
        """Return the published recommendations of some users, by user_id and rank."""
        rows = self.recommendations(run_date).to_table(filter=pc.field(c.USER_ID).isin(user_ids))
        return rows.sort_by([(c.USER_ID, "ascending"), (c.RANK, "ascending")])

    def first_users(self, run_date: date, count: int) -> list[int]:
        """Return some users of a run, the first of its first file."""
        head = self.recommendations(run_date).head(count * 1000, columns=[c.USER_ID])
        return pc.unique(head.column(c.USER_ID)).to_pylist()[:count]

    def user_range(self, run_date: date) -> tuple[int, int] | None:
        """Return the smallest and the largest user_id of a run; None if it has no rows."""
        ids = self.recommendations(run_date).to_table(columns=[c.USER_ID]).column(c.USER_ID)
        ends = pc.min_max(ids).as_py()
        return None if ends["min"] is None else (ends["min"], ends["max"])


def run_file(location: str | Path, run_date: date) -> str:
    """Return where the run.json of a run is."""
    return storage.below(location, c.RUNS_TABLE, partition(run_date), RUN_FILE)


def _stage_name(run_date: date, key: str) -> str:
    return f"{run_date:%Y-%m-%d}-{key}"
