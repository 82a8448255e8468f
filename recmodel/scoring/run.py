"""Run: a run under way, as its workers find it: where its input is staged, and where its tables are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from recmodel import schemas as c
from recmodel import storage
from recmodel.data.staged import StagedInput
from recmodel.schemas import Ids

TO_SCORE = "to_score"  # users, where others keep the lists of an earlier run
SUPERSEDED = "superseded-"  # begins the names of files of rejects that are no rejects of the reading


@dataclass(frozen=True)
class Run:
    """A run under way, as its workers find it."""

    input: StagedInput
    ids: Ids
    ratings_file: str  # its name in the input
    tables: Mapping[str, str]  # where each table is written, by name
    finished: str  # where a file for each finished part is written
    # The files of an earlier run, by table, whose lists stand but for the users to score; None: everybody is scored.
    before: Mapping[str, list[str]] | None

    def write(self, table: str, file: str, rows: pa.Table) -> None:
        """Write a file of a table."""
        storage.write_rows(storage.below(self.tables[table], file), rows)

    def clear(self) -> None:
        """Remove what was counted before, by parts that may have been other ones."""
        for folder in (self.tables[c.USERS_TABLE], self.input.at(TO_SCORE)):
            storage.remove(folder)
        rejects = storage.file_system(self.tables[c.REJECTS_TABLE])
        for name in storage.names(self.tables[c.REJECTS_TABLE]):
            if name.startswith(SUPERSEDED):
                rejects.delete_file(name)
