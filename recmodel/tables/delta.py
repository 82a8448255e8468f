"""Delta tables: publishing where there are neither links nor renames, as on an object store.

Below an OUTPUT that is a URI, each table is a Delta table partitioned by run_date:

OUTPUT/recommendations/_delta_log/…                     (and predicted_ratings, users, movies, …)
OUTPUT/recommendations/run_date=YYYY-MM-DD/run-…/*.parquet
OUTPUT/runs/run_date=YYYY-MM-DD/run.json
OUTPUT/latest/runs/run.json                             that of the newest full run
OUTPUT/.store/staging/…                                 what a run under way needs

Spark writes a run's files where they stay. Nobody sees them until one entry in the table's log names them all, in the
place of those of an earlier run of that date. That entry is one object, put if it is not there yet: readers of the
table see all of a run or nothing of it, table by table. run.json comes last: a date without one is not published.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, RemoveAction
from pyarrow import fs

from recmodel import schemas as c
from recmodel import storage
from recmodel.data.statistics import FILE as STATISTICS_FILE
from recmodel.errors import ScoringFailed
from recmodel.records import RunRecord
from recmodel.tables import erasing
from recmodel.tables.base import LATEST, RUN_FILE, Output, StagedRun, dates_to_keep, newest, partition, run_file
from recmodel.tables.erasing import Found, Users


@dataclass(frozen=True)
class DeltaRun(StagedRun):
    """A run whose files are in place, and which its tables do not know yet."""

    run_folder: str  # its name in each table

    @property
    def path_in_table(self) -> str:
        """Where the run's files are in each table."""
        return f"{partition(self.run_date)}/{self.run_folder}"

    def table(self, name: str) -> str:
        """See `StagedRun`."""
        return storage.below(self.output, name, self.path_in_table)

    def publish(self, record: RunRecord, keep_dates: int, attachments: Mapping[str, bytes] | None = None) -> None:
        """See `StagedRun`: by an entry in the log of each table, then run.json."""
        output = DeltaOutput(self.output)
        try:
            for name in c.TABLES:
                self.commit(name)
            published = output.run_dates()
            for name, content in (attachments or {}).items():
                storage.write(storage.below(self.output, c.RUNS_TABLE, partition(self.run_date), name), content)
            storage.write(run_file(self.output, self.run_date), record.to_bytes())
            kept = dates_to_keep(published, self.run_date, keep_dates)
            output.point_latest(kept)
            output.drop(sorted({*published} - {*kept}))
        except (OSError, DeltaError) as error:
            raise ScoringFailed(f"the run could not be published ({error}); the last one still stands") from error
        super().discard()

    def discard(self) -> None:
        """See `StagedRun`. Files that a table's log names already stay: without them nobody could read the table."""
        for name in c.TABLES:
            log = _log(storage.below(self.output, name))
            if log is None or not any(self.run_folder in file for file in log.file_uris()):
                storage.remove(self.table(name))
        super().discard()

    def commit(self, name: str) -> None:
        """Make the files of this run those of its date, in the table's log."""
        folder = storage.file_system(self.table(name))
        day = f"{self.run_date:%Y-%m-%d}"
        actions: list[AddAction | RemoveAction] = []
        schema = None
        for file in folder.get_file_info(fs.FileSelector("")):
            if file.extension == "parquet":
                with folder.open_input_file(file.path) as opened:
                    footer = pq.read_metadata(opened)
                schema = schema or footer.schema.to_arrow_schema()
                modified = file.mtime_ns // 1_000_000
                statistics = json.dumps(_statistics(footer))
                actions.append(
                    AddAction(
                        f"{self.path_in_table}/{file.base_name}",
                        file.size,
                        {c.RUN_DATE: day},
                        modified,
                        True,
                        statistics,
                    )
                )
        if schema is None:
            raise ScoringFailed(f"{self.table(name)} has no files; run again")
        # All columns become nullable: whether Spark calls one so depends on how it was computed.
        columns = [_described(field.with_nullable(True), name) for field in schema]
        written = deltalake.Schema.from_arrow(pa.schema([*columns, pa.field(c.RUN_DATE, pa.date32())]))
        table = deltalake.DeltaTable.create(
            storage.below(self.output, name),
            schema=written,
            mode="ignore",
            partition_by=[c.RUN_DATE],
            description=c.TABLE_COMMENTS[name],
        )
        fields = {field.name: field for field in table.schema().fields}
        new_fields = [field for field in written.fields if field.name not in fields]
        table.create_write_transaction(
            actions,
            mode="overwrite",
            schema=deltalake.Schema([*fields.values(), *new_fields]),
            partition_by=[c.RUN_DATE],
            partition_filters=[(c.RUN_DATE, "=", day)],
        )


class DeltaOutput(Output):
    """Delta tables below a URI. The lock holds among the processes of one machine."""

    def dataset(self, table: str, run_date: date) -> ds.Dataset:
        """See `Output`."""
        rows = deltalake.DeltaTable(storage.below(self.location, table))
        return rows.to_pyarrow_dataset(file_pruning_predicate=[(c.RUN_DATE, "=", f"{run_date:%Y-%m-%d}")])

    def files(self, table: str, run_date: date) -> list[str]:
        """See `Output`."""
        rows = _log(storage.below(self.location, table))
        return (
            [] if rows is None else rows.file_uris(file_pruning_predicate=[(c.RUN_DATE, "=", f"{run_date:%Y-%m-%d}")])
        )

    def withdraw(self, run_date: date) -> None:
        """See `Output`: first run.json, from when on it is not published, then the rows of each table."""
        days = self.run_dates()
        if not days or (run_date not in days and not any(self.files(table, run_date) for table in c.TABLES)):
            self.published(run_date)  # there is none; otherwise an earlier call was interrupted
        try:
            self.point_latest([day for day in days if day != run_date])
            self.drop([run_date])
        except (OSError, DeltaError) as error:
            raise ScoringFailed(f"{run_date} is not withdrawn from all tables ({error}); withdraw it again") from error

    def erase(self, users: Users, found: list[Found], wait: float) -> None:
        """See `Output`: by an entry in the log of each table, then what lies next to run.json.

        Args:
            wait: 0: remove the files that held them at once. Otherwise they stay for a week, as Delta has it, for
                readers who have opened a table before; the first run or call after that removes them.
        """
        try:
            for run in found:
                self._write_without(users, run)
            for name in c.TABLES:
                table = _log(storage.below(self.location, name))
                if table:
                    self._delete_unpublished(table)
                    hours = None if wait else 0
                    table.vacuum(hours, dry_run=False, enforce_retention_duration=bool(wait), full=True)
            for run in found:
                folder = storage.below(self.location, c.RUNS_TABLE, partition(run.run_date))
                content = self.attachment(run.run_date, STATISTICS_FILE)
                if content and run.histories:
                    storage.write(
                        storage.below(folder, STATISTICS_FILE), erasing.statistics_without(content, users.ids)
                    )
                record = run.noted_in(self.read_run(run.run_date))
                storage.write(run_file(self.location, run.run_date), record.to_bytes())
            self.point_latest(self.run_dates())
        except (OSError, DeltaError) as error:
            raise ScoringFailed(f"the users are not erased from all tables ({error}); call it again") from error

    def _write_without(self, users: Users, run: Found) -> None:
        """Write the tables of a run anew without the users, and show them in the place of what is there.

        Not by Delta's own deletion: of text it makes views in the files, which PyArrow's filters do not understand.
        """
        anew = DeltaRun(self.location, storage.below(self._staging, "erasing"), run.run_date, f"run-{uuid.uuid4()}")
        record = self.read_run(run.run_date)
        for name in run.rows:
            store, target = storage.file_system(storage.below(self.location, name)), anew.path_in_table
            store.create_dir(target)
            for fragment in self.dataset(name, run.run_date).get_fragments():
                file = f"{target}/{fragment.path.rpartition('/')[2]}"
                if not erasing.write_without(fragment.path, file, name, users.of_run(record), store):
                    store.copy_file(fragment.path, file)
            anew.commit(name)

    def point_latest(self, days: list[date]) -> None:
        """Let `latest` show the newest of these dates, as `newest` has it; nothing if there is none."""
        latest = newest(days, self.is_full)
        if latest is None:
            storage.remove(storage.below(self.location, LATEST))
        else:
            content = storage.read(run_file(self.location, latest)) or b""
            storage.write(storage.below(self.location, LATEST, c.RUNS_TABLE, RUN_FILE), content)

    def drop(self, days: list[date]) -> None:
        """Remove these dates, and what else no reader can find or still be reading.

        That is rows of dates without a run.json, which a command that was interrupted has left, and files of replaced
        and abandoned runs.
        """
        for day in days:
            storage.remove(storage.below(self.location, c.RUNS_TABLE, partition(day)))
        for name in c.TABLES:
            table = _log(storage.below(self.location, name))
            if table is not None:  # otherwise no version that has it has published yet
                self._delete_unpublished(table)
                table.vacuum(dry_run=False, full=True)  # Delta keeps files for a week

    def _delete_unpublished(self, table: deltalake.DeltaTable) -> None:
        """Delete the rows of dates that have no run.json."""
        days = sorted({str(part[c.RUN_DATE]) for part in table.partitions()} - {*map(str, self.run_dates())})
        if days:
            table.delete(" OR ".join(f"{c.RUN_DATE} = '{day}'" for day in days))

    def _open_stage(self, folder: str, run_date: date) -> DeltaRun:
        note = storage.below(folder, "run_folder")
        if storage.read(note) is None:  # otherwise an interrupted run is continued
            storage.write(note, f"run-{uuid.uuid4()}".encode())
        return DeltaRun(self.location, folder, run_date, (storage.read(note) or b"").decode())

    def _lock_file(self, purpose: str) -> Path:
        digest = hashlib.sha256(f"{self.location} {purpose}".encode()).hexdigest()
        return storage.shared_temporary_folder() / f"recmodel-{digest[:16]}.lock"

    def _check_writable(self) -> None:
        """Whether a store can be written shows only when it is; whether it is there shows before."""
        storage.check_bucket(self.location)


def _log(location: str) -> deltalake.DeltaTable | None:
    """Return a table; None where there is none yet. Not by deltalake's own question, which stops all threads."""
    return deltalake.DeltaTable(location) if storage.names(storage.below(location, "_delta_log")) else None


def _described(column: pa.Field, table: str) -> pa.Field:
    """Return a column with what it says as its comment, and without other metadata."""
    schema = c.TABLES[table]
    known = column.name in schema.names
    return column.with_metadata({"comment": c.comment(schema.field(column.name))} if known else None)


def _statistics(footer: pq.FileMetaData) -> dict[str, Any]:
    """Of one file, as Delta has them: the number of rows, and for each column its nulls and the range of its values.

    Readers skip files by the ranges. They are of all columns or of none, since deltalake's PyArrow datasets take one
    that is missing for an empty one; but for lists, of which there are none.
    """
    lowest: dict[str, Any] = {}
    highest: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for column, name in enumerate(footer.schema.names):
        if footer.schema.column(column).path != name:
            continue  # inside a list
        groups = [footer.row_group(i).column(column).statistics for i in range(footer.num_row_groups)]
        if not all(group is not None and group.has_null_count for group in groups):
            return {"numRecords": footer.num_rows}
        nulls[name] = sum(group.null_count for group in groups)
        if nulls[name] < footer.num_rows:
            ranges = [group for group in groups if group.num_values]
            if not all(group.has_min_max for group in ranges):
                return {"numRecords": footer.num_rows}
            lowest[name] = _as_json(min(group.min for group in ranges))
            highest[name] = _as_json(max(group.max for group in ranges))
    return {"numRecords": footer.num_rows, "minValues": lowest, "maxValues": highest, "nullCount": nulls}


def _as_json(value: Any) -> Any:
    """Delta has times in milliseconds, rounded down, and dates as they are written."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    return value.isoformat() if isinstance(value, date) else value
