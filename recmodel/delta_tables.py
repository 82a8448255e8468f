"""Delta tables: publishing where there are neither links nor renames, as on an object store.

Below an OUTPUT that is a URI, each table is a Delta table partitioned by run_date:

OUTPUT/recommendations/_delta_log/…                     (and predicted_ratings, rejects)
OUTPUT/recommendations/run_date=YYYY-MM-DD/run-…/*.parquet
OUTPUT/runs/run_date=YYYY-MM-DD/run.json
OUTPUT/latest/runs/run.json                             that of the newest run
OUTPUT/.store/staging/…                                 what a run under way needs

Spark writes a run's files where they stay, and nobody sees them until one entry in the table's log names them all, in
the place of those of an earlier run of that date. That entry is one object, put if it is not there yet: readers of the
table see all of a run or nothing of it, table by table. run.json comes last: a date without one is not published.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import date
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, RemoveAction
from pyarrow import fs

from recmodel import columns as c
from recmodel import stores, tables
from recmodel.errors import ScoringFailed

_DATA = (c.RECOMMENDATIONS_TABLE, c.PREDICTED_RATINGS_TABLE, c.REJECTS_TABLE)
_KEY = c.USER_ID  # readers skip files by it


@dataclass(frozen=True)
class DeltaRun(tables.Staged):
    """A run whose files are in place, and which its tables do not know yet."""

    run_folder: str  # its name in each table

    def table(self, name: str) -> str:
        """See `tables.Staged`."""
        return stores.below(self.output, name, tables.partition(self.run_date), self.run_folder)

    def publish(self, run: dict[str, Any], keep_dates: int) -> None:
        """See `tables.Staged`: by an entry in the log of each table, then run.json."""
        try:
            for name in _DATA:
                self._commit(name)
            published = tables.run_dates(self.output)
            tables.write_json(tables.run_file(self.output, self.run_date), run)
            kept = tables.kept_dates(published, self.run_date, keep_dates)
            if self.run_date == kept[-1]:
                tables.write_json(stores.below(self.output, tables.LATEST, c.RUNS_TABLE, tables.RUN_FILE), run)
            self._drop(sorted({*published} - {*kept}))
        except (OSError, DeltaError) as error:
            raise ScoringFailed(f"the run could not be published ({error}); the last one still stands") from error
        super().discard()

    def discard(self) -> None:
        """See `tables.Staged`."""
        for name in _DATA:
            stores.remove(self.table(name))
        super().discard()

    def _commit(self, name: str) -> None:
        """Makes the files of this run those of its date."""
        folder = stores.file_system(self.table(name))
        place = f"{tables.partition(self.run_date)}/{self.run_folder}"
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
                    AddAction(f"{place}/{file.base_name}", file.size, {c.RUN_DATE: day}, modified, True, statistics)
                )
        if schema is None:
            raise ScoringFailed(f"{self.table(name)} has no files; run again")
        written = deltalake.Schema.from_arrow(schema.remove_metadata().append(pa.field(c.RUN_DATE, pa.date32())))
        table = deltalake.DeltaTable.create(
            stores.below(self.output, name), schema=written, mode="ignore", partition_by=[c.RUN_DATE]
        )
        known = {field.name for field in table.schema().fields}
        if new := [field for field in written.fields if field.name not in known]:  # of a newer version of this program
            table.alter.add_columns(new)
        table.create_write_transaction(
            actions,
            mode="overwrite",
            schema=table.schema(),
            partition_by=[c.RUN_DATE],
            partition_filters=[(c.RUN_DATE, "=", day)],
        )

    def _drop(self, dates: list[date]) -> None:
        """Removes what is too old, and files that no reader can still be at: of replaced and of abandoned runs."""
        for day in dates:
            stores.remove(stores.below(self.output, c.RUNS_TABLE, tables.partition(day)))
        for name in _DATA:
            table = deltalake.DeltaTable(stores.below(self.output, name))
            if dates:
                table.delete(" OR ".join(f"{c.RUN_DATE} = '{day:%Y-%m-%d}'" for day in dates))
            table.vacuum(dry_run=False, full=True)  # after the week that Delta keeps them


def staged(output: str, folder: str, run_date: date) -> DeltaRun:
    """See `tables.staged`."""
    note = stores.below(folder, "run_folder")
    if stores.read(note) is None:  # else an interrupted run goes on
        stores.write(note, f"run-{uuid.uuid4()}".encode())
    return DeltaRun(output, folder, run_date, (stores.read(note) or b"").decode())


def dataset(output: str, name: str, run_date: date) -> ds.Dataset:
    """A run's rows of a table, as they are now."""
    table = deltalake.DeltaTable(stores.below(output, name))
    return table.to_pyarrow_dataset(partitions=[(c.RUN_DATE, "=", f"{run_date:%Y-%m-%d}")])


def _statistics(footer: pq.FileMetaData) -> dict[str, Any]:
    """Of one file, as Delta has them: the number of rows, and the range of users by which readers skip it."""
    found: dict[str, Any] = {"numRecords": footer.num_rows}
    if footer.num_rows and _KEY in footer.schema.names:
        column = footer.schema.names.index(_KEY)
        groups = [footer.row_group(i).column(column).statistics for i in range(footer.num_row_groups)]
        if all(group is not None and group.has_min_max for group in groups):
            low, high = min(group.min for group in groups), max(group.max for group in groups)
            found |= {"minValues": {_KEY: low}, "maxValues": {_KEY: high}, "nullCount": {_KEY: 0}}
    return found
