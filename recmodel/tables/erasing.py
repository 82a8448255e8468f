"""Erasing: which published rows are of certain users or name them, and files without these rows.

Rows of a table with a column user_id are those with the user's id. Of the other tables only the rejects name users. A
rejected row does if the rejected value is that of a column of user ids, or the whole row, and holds the id. Rejects of
other columns, such as a rating that is off the scale, hold no user.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from recmodel import schemas as c
from recmodel.data import columns
from recmodel.data.statistics import InteractionStatistics
from recmodel.records import RunRecord
from recmodel.schemas import Id

_WHOLE_ROW = "(all)"  # the column of a reject that is not for one column's sake
_OF_DUPLICATE = re.compile(f"{c.USER_ID} (.*?), {c.MOVIE_ID} ")  # see `duplicates.as_rejects`
_BETWEEN_FIELDS = re.compile(r"::|[,;\t|]")


@dataclass(frozen=True)
class Found:
    """What a published run holds of the users."""

    run_date: date
    rows: dict[str, int] = field(default_factory=dict)  # by table; only those that have any
    histories: int = 0  # users whose ratings are kept for the report
    users: frozenset[Id] = frozenset()  # whom the tables have

    @property
    def anything(self) -> bool:
        """Whether there is anything to erase."""
        return bool(self.rows or self.histories)

    def noted_in(self, run: RunRecord) -> RunRecord:
        """Return the run.json that says how many users were erased since the run was published."""
        return run.model_copy(update={"users_forgotten": run.users_forgotten + len(self.users)})


@dataclass(frozen=True)
class Users:
    """Some users, and what the columns with their ids are called in the input."""

    ids: tuple[Id, ...]
    column: str = ""  # `input.columns.user_id` of the run

    def of_run(self, run: RunRecord) -> Users:
        """Return the same users, for the rejects of a run."""
        named = (run.settings.get("input") or {}).get("columns") or {}
        return Users(self.ids, named.get(c.USER_ID, ""))

    def rows(self) -> pc.Expression:
        """Return the filter for their rows, in a table with a column user_id."""
        return pc.field(c.USER_ID).isin(pa.array(self.ids))

    def named_by(self, rejects: pa.Table) -> pa.Array:
        """Return which rejected rows (`schemas.REJECTS`) name one of them, as bool."""
        wanted = {str(user) for user in self.ids}
        # A whole row cannot be divided where an id holds what is between its fields.
        inside = [user for user in wanted if _BETWEEN_FIELDS.search(user) or '"' in user]
        is_of_users: dict[str, bool] = {}
        names = []
        for column, value in zip(rejects["column"].to_pylist(), rejects["value"].to_pylist(), strict=True):
            if column not in is_of_users:
                is_of_users[column] = columns.may_be(c.USER_ID, column or "", self.column)
            if value is None:
                names.append(False)
            elif column == _WHOLE_ROW:
                names.append(not wanted.isdisjoint(_fields(value)) or any(user in value for user in inside))
            else:
                names.append(is_of_users[column] and (_bare(value) in wanted or _is_cut(value, wanted)))
        return pa.array(names, pa.bool_())


def _fields(row: str) -> Iterable[str]:
    of_duplicate = _OF_DUPLICATE.match(row)
    if of_duplicate:
        return {of_duplicate[1]}
    return map(_bare, _BETWEEN_FIELDS.split(row))


def _is_cut(value: str, wanted: Collection[str]) -> bool:
    """Return whether a value is the beginning of a long id, as rejects have it; see `lines.printable`."""
    return value.endswith("…") and any(user.startswith(value[:-1]) for user in wanted)


def _bare(value: str) -> str:
    return value.strip().strip("\"'").strip()


# The tables that can hold a user.
TABLES = tuple(name for name, schema in c.TABLES.items() if c.USER_ID in schema.names or name == c.REJECTS_TABLE)


def found(run_date: date, users: Users, tables: dict[str, ds.Dataset], statistics: bytes | None) -> Found:
    """Return what a run holds of the users.

    Args:
        tables: the rows of the run, by table; of those in `TABLES`.
        statistics: those that are published with it.
    """
    rows, of_tables = {}, set()
    for name, table in tables.items():
        if name == c.REJECTS_TABLE:
            count = pc.sum(users.named_by(table.to_table())).as_py() or 0
        else:
            ids = table.to_table(columns=[c.USER_ID], filter=users.rows()).column(c.USER_ID)
            of_tables.update(pc.unique(ids).to_pylist())
            count = len(ids)
        if count:
            rows[name] = count
    kept = InteractionStatistics.from_bytes(statistics).histories if statistics else {}
    histories = len(kept.keys() & set(users.ids))
    return Found(run_date, rows, histories, frozenset(of_tables))


def statistics_without(content: bytes, users: Collection[Id]) -> bytes:
    """Return published statistics without the histories of these users. Counts by movie and star stay."""
    statistics = InteractionStatistics.from_bytes(content)
    for user in users:
        statistics.histories.pop(user, None)
    return statistics.to_bytes()


def write_without(source: str, target: str, table: str, users: Users, store: fs.FileSystem) -> bool:
    """Write a Parquet file of a table without the rows of the users; return False, and write none, if it has none.

    The folder of `target` is there. The order of the other rows, the schema and the compression stay.

    Raises:
        OSError: it cannot be read or written.
    """
    rows = ds.dataset(source, filesystem=store, format="parquet")
    if table == c.REJECTS_TABLE:
        rejects = rows.to_table()
        named = users.named_by(rejects)
        if not pc.any(named).as_py():
            return False
        batches: Iterable[pa.RecordBatch] = rejects.filter(pc.invert(named)).to_batches()
    else:
        if not rows.count_rows(filter=users.rows()):
            return False
        batches = rows.to_batches(filter=~users.rows())
    footer = pq.read_metadata(source, filesystem=store)
    compression = footer.row_group(0).column(0).compression if footer.num_row_groups else "snappy"
    schema = pq.read_schema(source, filesystem=store)
    with pq.ParquetWriter(target, schema, compression=compression.lower(), filesystem=store) as writer:
        for batch in batches:
            if batch.num_rows:
                writer.write_batch(batch)
    return True
