"""Partial runs: one adds to an earlier one of its date, so that nobody loses a list because somebody else gets one."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recmodel import schemas as c
from recmodel import storage
from recmodel.tables.base import Output, StagedRun

_KEPT = "rows-kept.parquet"  # not called like the files that Spark writes, and after them


def keep_other_lists(output: Output, staged: StagedRun, asked: pa.Table) -> int:
    """Add to a staged partial run the rows of the published one of its date, of users who are not asked for again.

    Args:
        output: the place of partial runs.
        asked: `schemas.USERS` of the staged run.

    Returns:
        The number of users whose lists are kept.

    Raises:
        OSError: the rows cannot be read or written.
    """
    if staged.run_date not in output.run_dates():
        return 0
    others, kept = ~pc.field(c.USER_ID).isin(asked.column(c.USER_ID).combine_chunks()), set()
    for table in (c.RECOMMENDATIONS_TABLE, c.PREDICTED_RATINGS_TABLE, c.LISTS_TABLE):
        if not output.files(table, staged.run_date):  # of a version that lacked it
            continue
        before = output.dataset(table, staged.run_date)
        names = [name for name in c.TABLES[table].names if name in before.schema.names]
        rows = before.scanner(columns=names, filter=others)
        with (
            storage.create(storage.below(staged.table(table), _KEPT)) as sink,
            pq.ParquetWriter(sink, rows.projected_schema) as writer,
        ):
            for batch in rows.to_batches():
                writer.write_batch(batch)
                kept.update(pc.unique(batch.column(c.USER_ID)).to_pylist())
    return len(kept)
