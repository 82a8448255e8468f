"""To PostgreSQL: a run's lists, movies and similar movies become tables that a site reads, in one transaction.

SCHEMA.lists, .movies, .similar_movies     views, which are all that a site reads; they keep their rights
SCHEMA.list_entries                        a view of a row for each entry of a list
SCHEMA.exports                             what was exported, and when
SCHEMA.lists_7, .movies_7, …               the rows of export 7; those of the export before it stay until the next

Rows are loaded by COPY into new tables, each in a transaction of its own: a load that is killed leaves whole tables,
which the next call goes on with, or none. Then the views are pointed to them, all in one transaction. That needs a
lock on the views, which waits for those who read them, and lets later readers wait meanwhile; so it gives up after a
fraction of a second and tries again. The fraction is below `deadlock_timeout` (1 s), so no reader is ever the victim of
a deadlock with it. COPY's FREEZE shows the rows also to transactions that began before they were loaded.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import errors
from psycopg.sql import SQL, Composed, Identifier, Literal

from recmodel import schemas as c
from recmodel.errors import AnotherRun, RecmodelError, ScoringFailed, UsageRejected
from recmodel.progress import NOTICE, Stages, log
from recmodel.tables import as_text
from recmodel.tables.served import TABLES, ServedRun

PATIENCE = 60.0  # seconds in which the views are to be free for a moment
_LOCK_TIMEOUT = "200ms"
_EXPORTS, _ENTRIES = "exports", "list_entries"
_LOADED = re.compile(rf"({'|'.join(TABLES)})_(\d+)")
_KEYS = {
    c.LISTS_TABLE: (c.USER_ID,),
    c.MOVIES_TABLE: (c.MOVIE_ID,),
    c.SIMILAR_TABLE: (c.MOVIE_ID, c.RANK),
}
# They are the same in all rows of a run, and are kept with the export: an unchanged list is an unchanged row.
_OF_RUN = (c.MODEL_VERSION, c.VALID_UNTIL)
_TYPES = {
    pa.int64(): "bigint", pa.int32(): "integer", pa.float32(): "real", pa.bool_(): "boolean", pa.string(): "text",
    pa.timestamp("us", "UTC"): "timestamp with time zone",
}  # fmt: skip
_CREATE_EXPORTS = """
CREATE TABLE {schema}.exports (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key TEXT NOT NULL, state TEXT NOT NULL, tables_of BIGINT,
    run_date DATE NOT NULL, model_version TEXT NOT NULL, valid_until TIMESTAMP WITH TIME ZONE, users BIGINT,
    rows BIGINT, changed BIGINT, removed BIGINT, seconds REAL, exported_at TIMESTAMP WITH TIME ZONE);
CREATE UNIQUE INDEX exports_current ON {schema}.exports (state) WHERE state = 'current';
COMMENT ON TABLE {schema}.exports IS 'what was exported, and when; readers may look, and only the export writes';
COMMENT ON COLUMN {schema}.exports.key IS 'names the rows of the run: another when they are others';
COMMENT ON COLUMN {schema}.exports.state IS 'loading, current, previous: its tables are still there, or replaced';
COMMENT ON COLUMN {schema}.exports.tables_of IS 'the number at the end of the names of its tables';
COMMENT ON COLUMN {schema}.exports.changed IS 'rows that were written';
COMMENT ON COLUMN {schema}.exports.removed IS 'rows that were deleted because the run has them no more';
"""
_CREATE_ENTRIES = """
CREATE VIEW {schema}.list_entries AS
SELECT l.user_id, e.rank::integer AS rank, e.movie_id, e.score, e.predicted_rating, e.source, l.model_version,
    l.valid_until, l.run_date
FROM {schema}.lists l
CROSS JOIN LATERAL ROWS FROM (jsonb_to_recordset(l.recommendations)
    AS (movie_id {movie}, score real, predicted_rating real, source text))
    WITH ORDINALITY AS e (movie_id, score, predicted_rating, source, rank);
COMMENT ON VIEW {schema}.list_entries IS 'the lists with a row for each entry, by rank: the first are recommended, the
rest is the reserve';
"""


@dataclass(frozen=True)
class Loaded:
    """What an export has done in the database."""

    users: int
    rows: int  # of all tables
    changed: int  # of these, those that were written
    removed: int  # rows that the run has no more
    already: bool = False  # the run had been exported before, so nothing was done


def export(run: ServedRun, address: str, schema: str, stages: Stages, *, changed_only: bool = False) -> Loaded:
    """Load a run and show it to readers.

    Args:
        address: a URI as libpq takes it. What it lacks comes from libpq's own variables and files.
        changed_only: write and delete the rows that differ from those that are shown, instead of all in new tables.

    Raises:
        AnotherRun: another export into the schema is under way.
        UsageRejected: the server refuses the role, a right is missing, or the schema has ids of another kind.
        ScoringFailed: anything else; readers have what they had before.
    """
    with _sentences(schema), _connected(address) as connection:
        return _Export(connection, schema, run, stages).do(changed_only)


class _Export:
    """One export into a schema, over one connection."""

    def __init__(self, connection: psycopg.Connection, schema: str, run: ServedRun, stages: Stages) -> None:
        self.connection, self.schema, self.run, self.stages = connection, schema, run, stages
        self.started = time.monotonic()

    def do(self, changed_only: bool) -> Loaded:
        """See `export`."""
        self.prepare()
        current = self.one("SELECT number, key, tables_of, users, rows FROM {schema}.exports WHERE state = 'current'")
        if current and current[1] == self.run.key:
            self.tidy()
            return Loaded(current[3], current[4], 0, 0, already=True)
        self.check_kinds()
        if changed_only and current and all(self.has_columns(table, current[2]) for table in TABLES):
            loaded = self.merge(current[2])
        else:
            if changed_only:
                log.log(NOTICE, "there is nothing in %s that rows could be compared with: all are loaded", self.schema)
            loaded = self.replace()
        self.tidy()
        return loaded

    # -- the steps ---------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Take the lock of exports, and make what is missing of the schema."""
        if not self.one("SELECT pg_try_advisory_lock(hashtext('recmodel export'), hashtext({name}))")[0]:
            raise AnotherRun(f"another export into the schema {self.schema} is under way; wait until it has ended")
        if not self.one("SELECT 1 FROM pg_namespace WHERE nspname = {name}"):
            self.execute("CREATE SCHEMA {schema}")
            self.execute("COMMENT ON SCHEMA {schema} IS 'recommendations, as recmodel exports them'")
        if not self.exists(_EXPORTS):
            with self.connection.transaction():
                self.execute(_CREATE_EXPORTS)

    def check_kinds(self) -> None:
        """Refuse a run whose ids are of another kind than those that readers know."""
        for table in TABLES:
            there = self.columns(table)
            for field in self.run.schema(table):
                if there.get(field.name, _type(field.type)) != _type(field.type):
                    raise UsageRejected(
                        f"{self.schema}.{table} has {field.name} as {there[field.name]}, and the run of "
                        f"{self.run.run_date} has {_type(field.type)}; export to another --schema, or drop this one"
                    )

    def replace(self) -> Loaded:
        """Load all rows into new tables, and point the views to them."""
        number = self.number()
        rows, until = {}, None
        for table in TABLES:
            name = f"{table}_{number}"
            with self.stages(f"load {table}"):
                if not self.exists(name):
                    with self.connection.transaction():
                        self.create(Identifier(self.schema, name), table)
                        until = self.copy(Identifier(self.schema, name), table, freeze=True) or until
                        self.finish(name, table)
                rows[table] = self.one("SELECT count(*) FROM {table}", table=Identifier(self.schema, name))[0]
        until = until or self.valid_until()
        total = sum(rows.values())
        loaded = Loaded(rows[c.LISTS_TABLE], total, total, 0)
        with self.stages("show the new tables"):
            self.switch(number, loaded, until)
        return loaded

    def merge(self, tables_of: int) -> Loaded:
        """Write and delete what differs, in one transaction; no reader waits."""
        until = None
        for table in TABLES:
            with self.stages(f"load {table}"):
                self.create(Identifier(f"new_{table}"), table, temporary=True)
                until = self.copy(Identifier(f"new_{table}"), table) or until
                self.execute("ANALYZE {table}", table=Identifier(f"new_{table}"))
        rows = {
            table: self.one("SELECT count(*) FROM {table}", table=Identifier(f"new_{table}"))[0] for table in TABLES
        }
        number = self.number()
        self.run.check_unchanged()
        changed = removed = 0
        with self.stages("write what has changed"), self.connection.transaction():
            for table in TABLES:
                names = {
                    "old": Identifier(self.schema, f"{table}_{tables_of}"), "new": Identifier(f"new_{table}"),
                    "columns": _list(_stored(table)), "key": _list(_KEYS[table]),
                    "same_key": SQL(" AND ").join(SQL("o.{0} = n.{0}").format(Identifier(k)) for k in _KEYS[table]),
                    "of_old": _list(_stored(table), "o"), "of_new": _list(_stored(table), "n"),
                    "taken": SQL(", ").join(SQL("{0} = excluded.{0}").format(Identifier(k)) for k in _stored(table)),
                }  # fmt: skip
                gone = "DELETE FROM {old} o WHERE NOT EXISTS (SELECT FROM {new} n WHERE {same_key})"
                removed += self.execute(gone, **names).rowcount
                others = (
                    "INSERT INTO {old} ({columns}) SELECT {columns} FROM {new} n WHERE NOT EXISTS (SELECT FROM {old} o "
                    "WHERE {same_key} AND ROW ({of_old}) IS NOT DISTINCT FROM ROW ({of_new})) "
                    "ON CONFLICT ({key}) DO UPDATE SET {taken}"
                )
                changed += self.execute(others, **names).rowcount
            loaded = Loaded(rows[c.LISTS_TABLE], sum(rows.values()), changed, removed)
            self.execute("UPDATE {schema}.exports SET state = 'replaced' WHERE state = 'current'")
            self.record(number, tables_of, loaded, until)
        return loaded

    def switch(self, number: int, loaded: Loaded, until: datetime | None) -> None:
        """Point the views to new tables as soon as nobody holds a lock on them, and record the export."""
        self.run.check_unchanged()
        give_up = time.monotonic() + PATIENCE
        while not self.switched(number, loaded, until):
            if time.monotonic() > give_up:
                raise ScoringFailed(
                    f"for {PATIENCE:.0f} s the views in {self.schema} were never free to be changed{self.holders()}; "
                    "readers have what they had, the new tables are loaded, and the same command shows them"
                )
            time.sleep(0.3)

    def switched(self, number: int, loaded: Loaded, until: datetime | None) -> bool:
        """Point the views to new tables and record the export; return False if somebody holds a lock."""
        with suppress(errors.LockNotAvailable), self.connection.transaction():
            self.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
            self.execute(
                "UPDATE {schema}.exports SET state = CASE state WHEN 'current' THEN 'previous' ELSE 'replaced' END "
                "WHERE state IN ('current', 'previous')"
            )
            self.record(number, number, loaded, until)
            for table in TABLES:
                self.point(table, number)
            return True
        return False

    def tidy(self) -> None:
        """Drop tables that nobody reads, and erase from those of the last export users whom the run has no more."""
        shown = "SELECT state, tables_of FROM {schema}.exports WHERE state IN ('current', 'previous')"
        kept: dict[str, int] = dict(self.execute(shown).fetchall())
        found = self.connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = %s::regnamespace",
            [_quoted(self.schema)],
        )
        for (name,) in found.fetchall():
            match = _LOADED.fullmatch(name)
            if match and int(match[2]) not in kept.values():
                try:
                    with self.connection.transaction():
                        self.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
                        self.execute("DROP TABLE {table}", table=Identifier(self.schema, name))
                except errors.LockNotAvailable:
                    log.log(NOTICE, "%s.%s is still read; the next export drops it", self.schema, name)
        self.execute("UPDATE {schema}.exports SET state = 'replaced' WHERE state = 'loading'")
        if "previous" in kept and self.exists(f"{c.LISTS_TABLE}_{kept['previous']}"):
            tables = {
                "old": Identifier(self.schema, f"{c.LISTS_TABLE}_{kept['previous']}"),
                "new": Identifier(self.schema, f"{c.LISTS_TABLE}_{kept['current']}"),
            }
            self.execute(
                "DELETE FROM {old} o WHERE NOT EXISTS (SELECT FROM {new} n WHERE n.user_id = o.user_id)", **tables
            )

    # -- tables ------------------------------------------------------------------------------------------------------

    def create(self, name: Identifier, table: str, *, temporary: bool = False) -> None:
        """Make an empty table for the rows of one of `TABLES`, without a primary key."""
        columns = [SQL("{} {}").format(Identifier(field.name), SQL(_ddl(field))) for field in self.fields(table)]
        kind = SQL("TEMPORARY TABLE" if temporary else "TABLE")
        self.execute("CREATE {kind} {table} ({columns})", kind=kind, table=name, columns=SQL(", ").join(columns))

    def copy(self, name: Identifier, table: str, *, freeze: bool = False) -> datetime | None:
        """Load all rows of a table; return until when the lists are valid, if it is that table."""
        until: datetime | None = None
        columns, end = _list(_stored(table)), SQL(" WITH (FREEZE)" if freeze else "")
        with (
            self.connection.cursor() as cursor,
            cursor.copy(SQL("COPY {} ({}) FROM STDIN{}").format(name, columns, end)) as stream,
        ):
            for batch in self.run.batches(table):
                stream.write(as_text.as_copy(batch.select(_stored(table))))
                if c.VALID_UNTIL in batch.schema.names:
                    earliest = pc.min(batch.column(c.VALID_UNTIL)).as_py()
                    until = min(filter(None, (until, earliest)), default=None)
        return until

    def finish(self, name: str, table: str) -> None:
        """Make the primary key of a loaded table, and what readers and the planner want to know of it."""
        whole = Identifier(self.schema, name)
        self.execute("ALTER TABLE {table} ADD PRIMARY KEY ({key})", table=whole, key=_list(_KEYS[table]))
        self.comment("TABLE", whole, table, _stored(table))
        self.execute("ANALYZE {table}", table=whole)

    def point(self, table: str, number: int) -> None:
        """Let the view of a table show the rows of an export."""
        view, is_new = Identifier(self.schema, table), not self.exists(table)
        shown = [
            SQL("(SELECT x.{0} FROM {1}.exports x WHERE x.state = 'current') AS {0}").format(
                Identifier(name), Identifier(self.schema)
            )
            if name in _of_run(table) else SQL("t.{}").format(Identifier(name))
            for name in (*c.TABLES[table].names, *([c.RUN_DATE] if _of_run(table) else []))
        ]  # fmt: skip
        self.execute(
            "CREATE OR REPLACE VIEW {view} AS SELECT {shown} FROM {rows} t",
            view=view, shown=SQL(", ").join(shown), rows=Identifier(self.schema, f"{table}_{number}"),
        )  # fmt: skip
        if is_new or len(self.columns(table)) != len(shown):
            self.comment("VIEW", view, table, c.TABLES[table].names)
        if table == c.LISTS_TABLE and not self.exists(_ENTRIES):
            movie = SQL(_ddl(self.run.schema(c.MOVIES_TABLE).field(c.MOVIE_ID)))
            self.execute(_CREATE_ENTRIES, movie=movie)

    def comment(self, kind: str, name: Identifier, table: str, columns: list[str]) -> None:
        """Say what a table and its columns are, in the words of `schemas`."""
        of = {"kind": SQL(kind), "table": name}
        self.execute("COMMENT ON {kind} {table} IS {text}", text=Literal(c.TABLE_COMMENTS[table]), **of)
        for column in columns:
            text = Literal(c.comment(c.TABLES[table].field(column)))
            self.execute("COMMENT ON COLUMN {table}.{column} IS {text}", text=text, column=Identifier(column), **of)

    def fields(self, table: str) -> list[pa.Field]:
        """Return the columns that are stored in a row."""
        return [self.run.schema(table).field(name) for name in _stored(table)]

    def columns(self, name: str) -> dict[str, str]:
        """Return the types of a table's or view's columns, as PostgreSQL calls them; none if it is not there."""
        rows = self.connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = to_regclass(%s) "
            "AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            [f"{_quoted(self.schema)}.{_quoted(name)}"],
        )
        return dict(rows.fetchall())

    def has_columns(self, table: str, number: int) -> bool:
        """Return whether the table of an export has the columns that it would have now."""
        return self.columns(f"{table}_{number}") == {field.name: _type(field.type) for field in self.fields(table)}

    def exists(self, name: str) -> bool:
        """Return whether the schema has a table or view of that name."""
        row = self.one("SELECT to_regclass({whole}) IS NOT NULL", whole=f"{_quoted(self.schema)}.{_quoted(name)}")
        return bool(row[0])

    # -- the table `exports` -----------------------------------------------------------------------------------------

    def number(self) -> int:
        """Return the number of this export: that of an interrupted one of the same rows, or else a new one."""
        begun = self.one(
            "SELECT number FROM {schema}.exports WHERE state = 'loading' AND key = {key} ORDER BY number DESC",
            key=self.run.key,
        )
        if begun:
            return int(begun[0])
        made = self.one(
            "INSERT INTO {schema}.exports (key, state, run_date, model_version) "
            "VALUES ({key}, 'loading', {day}, {version}) RETURNING number",
            key=self.run.key, day=self.run.run_date, version=self.run.record.model_version,
        )  # fmt: skip
        return int(made[0])

    def record(self, number: int, tables_of: int, loaded: Loaded, until: datetime | None) -> None:
        """Write that an export is what readers find."""
        self.execute(
            "UPDATE {schema}.exports SET state = 'current', tables_of = {tables_of}, valid_until = {until}, "
            "users = {users}, rows = {rows}, changed = {changed}, removed = {removed}, seconds = {seconds}, "
            "exported_at = now() WHERE number = {number}",
            tables_of=tables_of, until=until, users=loaded.users, rows=loaded.rows, changed=loaded.changed,
            removed=loaded.removed, seconds=round(time.monotonic() - self.started, 3), number=number,
        )  # fmt: skip

    def valid_until(self) -> datetime | None:
        """Return until when the lists of the run are valid, of its first row."""
        return next((batch.column(c.VALID_UNTIL)[0].as_py() for batch in self.run.batches(c.LISTS_TABLE)), None)

    def holders(self) -> str:
        """Return who holds locks on the views, as the end of a sentence."""
        row = self.connection.execute(
            "SELECT a.pid, a.usename, a.state, date_trunc('second', now() - a.xact_start) FROM pg_locks l "
            "JOIN pg_stat_activity a USING (pid) WHERE l.granted AND pid <> pg_backend_pid() "
            "AND l.relation = ANY(SELECT to_regclass(name) FROM unnest(%s::text[]) name) ORDER BY a.xact_start LIMIT 1",
            [[f"{_quoted(self.schema)}.{_quoted(table)}" for table in TABLES]],
        ).fetchone()
        return f", as the process {row[0]} of {row[1]} reads them ({row[2]}, since {row[3]})" if row else ""

    # -- statements --------------------------------------------------------------------------------------------------

    def sql(self, statement: str, **values: Any) -> Composed:
        """Return a statement with names and values in their places; {schema} is the schema, {name} its name."""
        known = {"schema": Identifier(self.schema), "name": Literal(self.schema)}
        filled = {
            name: value if isinstance(value, SQL | Composed | Identifier | Literal) else Literal(value)
            for name, value in values.items()
        }
        return SQL(statement).format(**known, **filled)

    def execute(self, statement: str, **values: Any) -> psycopg.Cursor:
        """Run a statement; see `sql`."""
        return self.connection.execute(self.sql(statement, **values))

    def one(self, statement: str, **values: Any) -> Any:
        """Return the first row of a query; None without one."""
        return self.execute(statement, **values).fetchone()


def _stored(table: str) -> list[str]:
    return [name for name in c.TABLES[table].names if name not in _of_run(table)]


def _of_run(table: str) -> tuple[str, ...]:
    return (*_OF_RUN, c.RUN_DATE) if table == c.LISTS_TABLE else ()


def _type(kind: pa.DataType) -> str:
    """Return the name that PostgreSQL has for a type."""
    if pa.types.is_list(kind) and not pa.types.is_nested(kind.value_type):
        return f"{_type(kind.value_type)}[]"
    return "jsonb" if pa.types.is_nested(kind) else _TYPES[kind]


def _ddl(field: pa.Field) -> str:
    """Return the type of a column. Ids that are text are in the order of their bytes, as in all tables."""
    is_text_id = pa.types.is_string(field.type) and field.name in (c.USER_ID, c.MOVIE_ID, c.SIMILAR_MOVIE_ID)
    return _type(field.type) + (' COLLATE "C"' if is_text_id else "")


def _list(names: list[str] | tuple[str, ...], of: str = "") -> Composed:
    return SQL(", ").join(Identifier(of, name) if of else Identifier(name) for name in names)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# -- connections and errors --------------------------------------------------------------------------------------------

_REFUSED = re.compile(r"authentication|password|pg_hba\.conf|does not exist|permission denied|not permitted to log in")
_SECONDS_TO_CONNECT = 10


@contextmanager
def _connected(address: str) -> Iterator[psycopg.Connection]:
    try:
        connection = psycopg.connect(
            address, autocommit=True, connect_timeout=_SECONDS_TO_CONNECT, application_name="recmodel export",
            client_encoding="UTF8",
        )  # fmt: skip
    except psycopg.ProgrammingError:  # repeats what it does not understand, which may be a password
        raise UsageRejected(
            "the address is none that PostgreSQL understands; write it like postgresql://user@host:5432/database"
        ) from None
    except psycopg.OperationalError as error:
        reason = _first_line(error)
        if _REFUSED.search(reason):
            raise UsageRejected(
                f"PostgreSQL refuses the connection ({reason}); correct the address, or the password in PGPASSWORD, "
                "~/.pgpass or the variable that --to env: names"
            ) from None
        raise ScoringFailed(
            f"PostgreSQL cannot be reached ({reason}); run the same command again when it can"
        ) from None
    with connection:
        yield connection


@contextmanager
def _sentences(schema: str) -> Iterator[None]:
    """Let each failure of the database be a sentence with its remedy."""
    still = "readers have what they had before, and the same command goes on"
    try:
        yield
    except RecmodelError:
        raise
    except errors.InsufficientPrivilege as error:
        raise UsageRejected(
            f"a right is missing ({_first_line(error)}); the role needs CREATE on the database, or a schema {schema} "
            "of its own, and TEMPORARY for --changed-only"
        ) from error
    except (
        errors.WrongObjectType,
        errors.DuplicateTable,
        errors.InvalidTableDefinition,
        errors.UndefinedColumn,
    ) as error:
        raise UsageRejected(
            f"the schema {schema} has something else of a name that the export needs ({_first_line(error)}); export to "
            "another --schema"
        ) from error
    except errors.ReadOnlySqlTransaction as error:
        raise UsageRejected(f"the server takes no changes ({_first_line(error)}); name the primary in --to") from error
    except errors.DiskFull as error:
        raise ScoringFailed(f"PostgreSQL's disk is full ({_first_line(error)}); make room there; {still}") from error
    except psycopg.Error as error:
        raise ScoringFailed(f"PostgreSQL has stopped the export ({_first_line(error)}); {still}") from error


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
