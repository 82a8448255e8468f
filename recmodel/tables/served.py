"""Served: what of a published run a site is given, read from any output format in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa
import pyarrow.dataset as ds

from recmodel import schemas as c
from recmodel import storage
from recmodel.errors import ScoringFailed, UsageRejected
from recmodel.records import RunRecord
from recmodel.tables.base import Output

TABLES = (c.LISTS_TABLE, c.MOVIES_TABLE, c.SIMILAR_TABLE)
_ROWS = 1 << 12  # in a batch, which becomes some MB of text
_TIMES = 5  # that a run is opened anew, if it is published again at that moment


@dataclass(frozen=True)
class ServedRun:
    """A full run, as it was when it was opened."""

    output: Output
    record: RunRecord
    datasets: dict[str, ds.Dataset]  # by the names in `TABLES`

    @property
    def run_date(self) -> date:
        """The date of the run."""
        return self.record.run_date

    @property
    def key(self) -> str:
        """Names the rows: another when the date was scored again, or users were erased from it."""
        of_rows = [self.record.run_id, str(self.run_date), str(self.record.finished_at), self.record.users_forgotten]
        return storage.sha256_of(of_rows)[:16]

    def valid_until(self) -> datetime | None:
        """Return until when the lists are valid, as the first of them says; None if there are none."""
        return next((batch.column(c.VALID_UNTIL)[0].as_py() for batch in self.batches(c.LISTS_TABLE)), None)

    def schema(self, table: str) -> pa.Schema:
        """Return the columns of a table, with the types that the run's ids have."""
        return c.with_ids(c.TABLES[table], self.record.ids)

    def batches(self, table: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a table, of which few are in memory at a time.

        Raises:
            ScoringFailed: the files are gone or cannot be read.
        """
        schema = self.schema(table)
        there = [name for name in schema.names if name in self.datasets[table].schema.names]
        try:
            # Otherwise more and more is read ahead of a database that takes its time.
            in_turn = {"batch_readahead": 1, "fragment_readahead": 1, "use_threads": False}
            options = ds.ParquetFragmentScanOptions(pre_buffer=False)
            for batch in self.datasets[table].to_batches(
                columns=there, batch_size=_ROWS, fragment_scan_options=options, **in_turn
            ):
                if batch.num_rows:
                    columns = [_column(batch, field) for field in schema]
                    yield pa.RecordBatch.from_arrays(columns, schema.names)
        except OSError as error:
            raise ScoringFailed(
                f"the run of {self.run_date} can no longer be read ({error}); if it was published again, the same "
                "command exports the new one"
            ) from error

    def check_unchanged(self) -> None:
        """Check that what was read is still what is published.

        Raises:
            ScoringFailed: the run was withdrawn or published again, or users were erased from it.
        """
        if self.run_date not in self.output.run_dates() or self.output.read_run(self.run_date) != self.record:
            raise ScoringFailed(
                f"the run of {self.run_date} was changed while it was exported, so that it is not shown; run the same "
                "command again"
            )


@dataclass(frozen=True)
class Exported:
    """What an export did in the database that a site reads."""

    run_date: date
    users: int
    rows: int  # of all tables; in Redis, keys
    changed: int = 0  # of these, those that were written
    removed: int = 0  # rows that the database had and the run has no more
    already: bool = False  # the database had the run already, so nothing was done
    seconds: float = 0.0


def open_run(output: Output, run_date: date | None = None) -> ServedRun:
    """Open a published full run, by default the newest.

    Raises:
        UsageRejected: there is no such run, it is a partial one, or of a version that wrote no lists.
        ScoringFailed: it is published again and again.
    """
    day = output.published(run_date)
    for _ in range(_TIMES):
        record = output.read_run(day)
        if not record.all_users:
            raise UsageRejected(f"the run of {day} is a partial one; export a full run, or score everybody first")
        missing = [table for table in TABLES if not output.files(table, day)]
        if missing:
            raise UsageRejected(
                f"the run of {day} has no table {missing[0]}, as it was made before 0.3.2; score {day} again"
            )
        opened = ServedRun(output, record, {table: output.dataset(table, day) for table in TABLES})
        if day in output.run_dates() and output.read_run(day) == record:
            return opened
    raise ScoringFailed(f"the run of {day} is published again and again; run the same command later")


def _column(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    """Return a column with the type of a field; of nulls, if rows of an earlier version have none."""
    if field.name not in batch.schema.names:
        return pa.nulls(batch.num_rows, field.type)
    column = batch.column(field.name)
    return column if column.type == field.type else column.cast(field.type)  # which copies the whole file's lists
