"""Linked folders: publishing on a file system with links.

OUTPUT/recommendations/run_date=YYYY-MM-DD/*.parquet        (and predicted_ratings, users, movies, …)
OUTPUT/runs/run_date=YYYY-MM-DD/run.json
OUTPUT/latest/…                                the same of the newest full run
OUTPUT/.store/edition-000042/…                 all of the above, as it is seen: one edition for each publication
OUTPUT/.store/current                          a link to the edition in use
OUTPUT/.store/staging/…                        a run under way

The folders that readers know are links through `current`. Moving that one link is an atomic rename: it shows a run in
all tables at once, replaces an earlier run of its date and drops dates that are too old. Editions share files by hard
links. The edition before the current one is kept until the next publication: a reader that resolves the link first
(`os.path.realpath`) can read it to the end, whatever is published meanwhile.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path

import pyarrow.dataset as ds
from pyarrow import fs

from recmodel import schemas as c
from recmodel import storage
from recmodel.data.statistics import FILE as STATISTICS_FILE
from recmodel.errors import ScoringFailed
from recmodel.progress import NOTICE, log
from recmodel.records import RunRecord
from recmodel.tables import erasing
from recmodel.tables.base import LATEST, RUN_FILE, Output, StagedRun, dates_to_keep, newest, partition
from recmodel.tables.erasing import Found, Users

_FOLDERS = (*c.TABLES, c.RUNS_TABLE)
_EDITION = re.compile(r"edition-(\d+)")


class LinkedRun(StagedRun):
    """A run that a new edition, and one moved link, will show."""

    def publish(self, record: RunRecord, keep_dates: int, attachments: Mapping[str, bytes] | None = None) -> None:
        """See `StagedRun`."""
        output = LinkedOutput(self.output)
        before = output.current_edition()

        def folder_of(table: str, day: date) -> Path | None:
            return Path(self.table(table)) if day == self.run_date else before and before / table / partition(day)

        try:
            for name, content in {**(attachments or {}), RUN_FILE: record.to_bytes()}.items():
                storage.write(storage.below(self.table(c.RUNS_TABLE), name), content)
            days = dates_to_keep(output.run_dates(), self.run_date, keep_dates)
            latest = newest(days, lambda day: record.all_users if day == self.run_date else output.is_full(day))
            edition = output.show(days, latest, folder_of)
        except OSError as error:
            raise ScoringFailed(
                f"the run could not be published ({error}); the last one still stands, and the same command goes on "
                f"with what is in {self.folder}"
            ) from error
        self.discard()
        _remove_editions(output.store, {edition, before})


class LinkedOutput(Output):
    """Folders of Parquet files behind one link."""

    @property
    def store(self) -> Path:
        """The folder of editions and of runs under way."""
        return Path(self.location, ".store")

    def current_edition(self) -> Path | None:
        """Return the edition in use; None before the first publication."""
        link = self.store / "current"
        return link.parent / os.readlink(link) if link.is_symlink() else None

    def dataset(self, table: str, run_date: date) -> ds.Dataset:
        """See `Output`."""
        return ds.dataset(self._partition(table, run_date), format="parquet")

    def files(self, table: str, run_date: date) -> list[str]:
        """See `Output`."""
        return [str(file) for file in sorted(self._partition(table, run_date).glob("*.parquet"))]

    def show(self, days: list[date], latest: date | None, folder_of: Callable[[str, date], Path | None]) -> Path:
        """Show a new edition that has these dates, by moving one link; return it.

        Args:
            latest: one of them, which `latest` is to show; None: it shows nothing.
            folder_of: where the files of a table are for each of the dates.

        Raises:
            OSError: it could not be written; the edition in use is the same as before.
        """
        number = 1 + max([_edition_number(path) for path in self.store.glob("edition-*")], default=0)
        edition = self.store / f"edition-{number:06d}"
        try:
            for name in _FOLDERS:
                (edition / name).mkdir(parents=True)
                for day in days:
                    source = folder_of(name, day)
                    if source and source.is_dir():
                        target = edition / name / partition(day)
                        ignored = shutil.ignore_patterns("_*", ".*")
                        shutil.copytree(source, target, copy_function=_link, ignore=ignored)
                (edition / LATEST).mkdir(exist_ok=True)
                if latest:
                    (edition / LATEST / name).symlink_to(Path("..") / name / partition(latest))
            os.sync()  # otherwise a power failure could keep the link and lose what it points to
            _replace_link(self.store / "current", Path(edition.name))
        except OSError:
            shutil.rmtree(edition, ignore_errors=True)
            raise
        return edition

    def withdraw(self, run_date: date) -> None:
        """See `Output`: by an edition without the run. The next publication frees the disk of its files."""
        self.published(run_date)
        before = self.current_edition()
        days = [day for day in self.run_dates() if day != run_date]
        try:
            latest = newest(days, self.is_full)
            edition = self.show(days, latest, lambda table, day: before and before / table / partition(day))
        except OSError as error:
            raise ScoringFailed(f"the run of {run_date} could not be withdrawn ({error}); it still stands") from error
        _remove_editions(self.store, {edition, before})

    def erase(self, users: Users, found: list[Found], wait: float) -> None:
        """See `Output`: by an edition without them. Then no earlier edition stays, nor a file that only they had.

        Args:
            wait: how long earlier editions stay, for readers who have resolved the link before.
        """
        before, scratch = self.current_edition(), Path(self._staging, "erasing")
        runs = {run.run_date: run for run in found}
        try:
            shutil.rmtree(scratch, ignore_errors=True)
            if before and runs:
                for run in found:
                    self._write_without(users, run, before, scratch)
                latest = newest(self.run_dates(), self.is_full)
                self.show(
                    self.run_dates(),
                    latest,
                    lambda table, day: (scratch if day in runs else before) / table / partition(day),
                )
        except OSError as error:
            raise ScoringFailed(f"nothing was erased ({error}); everything is as it was: call it again") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        if self._earlier_editions() and wait:
            log.log(
                NOTICE, "waiting %g s for those who are reading, before the old files of %s go", wait, self.location
            )
            time.sleep(wait)
        _remove_editions(self.store, {self.current_edition()})
        left = self._earlier_editions()
        if left:
            raise ScoringFailed(f"{left[0]} cannot be removed and still has the users; remove it, or call it again")

    def _earlier_editions(self) -> list[Path]:
        """Editions that readers no longer find, and what is left of them."""
        current = self.current_edition()
        return [path for name in ("edition-*", "removed-*") for path in self.store.glob(name) if path != current]

    def _write_without(self, users: Users, run: Found, before: Path, scratch: Path) -> None:
        """Write the files of a run without the users to `scratch`; those that have none of them are linked."""
        record, day = self.read_run(run.run_date), partition(run.run_date)
        for table in _FOLDERS:
            target = scratch / table / day
            if (before / table / day).is_dir():
                target.mkdir(parents=True)
            for file in (before / table / day).glob("[!._]*"):
                if table in erasing.TABLES:
                    source, copy = str(file), str(target / file.name)
                    if not erasing.write_without(source, copy, table, users.of_run(record), fs.LocalFileSystem()):
                        _link(source, copy)
                elif table == c.RUNS_TABLE and file.name == RUN_FILE:
                    (target / file.name).write_bytes(run.noted_in(record).to_bytes())
                elif table == c.RUNS_TABLE and file.name == STATISTICS_FILE and run.histories:
                    (target / file.name).write_bytes(erasing.statistics_without(file.read_bytes(), users.ids))
                else:
                    _link(str(file), str(target / file.name))

    def _partition(self, table: str, run_date: date) -> Path:
        """The folder of a run in the edition in use."""
        return Path(self.location, table, partition(run_date)).resolve()

    def _open_stage(self, folder: str, run_date: date) -> LinkedRun:
        Path(folder, "scratch").mkdir(parents=True, exist_ok=True)
        for name in (*_FOLDERS, LATEST):
            link = Path(self.location, name)
            if not link.is_symlink():
                link.symlink_to(Path(".store", "current", name))
        return LinkedRun(self.location, folder, run_date)

    def _lock_file(self, purpose: str) -> Path:
        return self.store / purpose

    def _check_writable(self) -> None:
        if not storage.is_writable(self.store):
            raise PermissionError("no right to make files there")


def _edition_number(edition: Path) -> int:
    match = _EDITION.fullmatch(edition.name)
    return int(match[1]) if match else 0


def _remove_editions(store: Path, keep: set[Path | None]) -> None:
    for path in store.glob("edition-*"):
        if path not in keep:
            with suppress(OSError):  # the run is published; the next one tries again
                path.rename(path.with_name(f"removed-{path.name}"))  # so that no reader meets half of it
    for path in store.glob("removed-*"):
        shutil.rmtree(path, ignore_errors=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def _replace_link(link: Path, target: Path) -> None:
    """Make `link` a symbolic link to `target`, in one step."""
    aside = link.with_name(f"{link.name}.new")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    aside.replace(link)
