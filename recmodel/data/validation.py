"""Validation: how many rows of the input may be rejected, and a record of those that were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from recmodel import schemas as c
from recmodel.data.limits import Input
from recmodel.data.reading import Checked
from recmodel.errors import InputRejected

_MAX_REJECTS = 1_000_000  # kept in memory; a file with more is refused whatever its size


@dataclass
class Validation:
    """Counts the rows of all files of a run, keeps the rejected ones, and refuses a file with too many of them."""

    limits: Input
    rows: dict[str, int] = field(default_factory=dict)  # read, by file name
    used: dict[str, int] = field(default_factory=dict)  # accepted, by file name
    rejects: list[pa.RecordBatch] = field(default_factory=list)

    def accept(self, path: Path, blocks: Iterable[Checked]) -> Iterator[pa.RecordBatch]:
        """Yield the accepted rows of the blocks of one file.

        Raises:
            InputRejected: after the last block, if a greater share of the rows was rejected than the settings
                allow; names file, column, row and value of the first.
        """
        rejects: list[pa.RecordBatch] = []
        total = count = 0
        for block in blocks:
            total += block.rows_in
            count += block.rejected.num_rows
            if block.rejected.num_rows:
                rejects.append(block.rejected)
            if count > _MAX_REJECTS:
                break
            yield block.accepted
        self.rows[path.name] = self.rows.get(path.name, 0) + total  # files of several folders may share a name
        self.used[path.name] = self.used.get(path.name, 0) + total - count
        self.rejects += rejects
        if count > min(_MAX_REJECTS, self.limits.max_rejected_share * total):
            first = rejects[0].slice(0, 1).to_pylist()[0]
            raise InputRejected(
                f"{path}, row {first['row']}, column {first['column']}: {first['value']!r} {first['reason']} "
                f"({count:,} of {total:,} rows refused, {self.limits.max_rejected_share:.2%} allowed); "
                "correct the file or raise input.max_rejected_share"
            )

    def rejected(self) -> pa.Table:
        """Return every row rejected so far (`schemas.REJECTS`)."""
        return pa.Table.from_batches(self.rejects, schema=c.REJECTS)
