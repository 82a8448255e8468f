"""To PostgreSQL: a run's lists, movies and similar movies become tables that a site reads, in one transaction.

SCHEMA.lists, .movies, .similar_movies      views, which are all that a site reads
SCHEMA.list_entries                         a view of a row for each entry of a list
SCHEMA.exports                              what was exported, and which of it the views show
SCHEMA.lists_all, .movies_all, …            the rows of all exports, by its number
SCHEMA.lists_7, .movies_7, …                their partitions: the rows of export 7; those of the one before it stay too

Rows are loaded by COPY into new tables, each in a transaction of its own: a load that is killed leaves whole tables,
which the next call goes on with, or none. They become partitions, which no reader waits for, and then one row of
`exports` says that they are what the views show. So the switch needs no lock that a reader could hold or wait for, and
each snapshot finds all tables of one export. (To rename tables, or to point views to others, takes exclusive locks on
several of them; queries that join these run into deadlocks with it, and an open transaction holds it up.)
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import errors
from psycopg.sql import SQL, Composed, Identifier, Literal

from recmodel import schemas as c
from recmodel.errors import AnotherRun, ScoringFailed, UsageRejected
from recmodel.progress import NOTICE, Stages, log
from recmodel.tables import as_text
from recmodel.tables.served import TABLES, ServedRun

SETTLE = 5.0  # seconds, at most, for which a query that was planned before there was a new partition is waited for
_LOCK_TIMEOUT = "200ms"  # so long readers wait at most, where an old table is dropped or a view has a new column
_PATIENCE = 2.0  # seconds until the server has noticed that an export before this one has ended
_OLDEST_SERVER = 12  # the first that makes a table a partition while others read
_MARK = "rows of an export of recmodel, by which later exports know that they may drop this table"
_KEYS = {
    c.LISTS_TABLE: (c.USER_ID,),
    c.MOVIES_TABLE: (c.MOVIE_ID,),
    c.SIMILAR_TABLE: (c.MOVIE_ID, c.RANK),
}
# Of lists. They are the same in all rows of a run, and are kept with the export: an unchanged list is an unchanged row.
_OF_RUN = (c.MODEL_VERSION, c.VALID_UNTIL, c.RUN_DATE)
_TYPES = {
    pa.int64(): "bigint", pa.int32(): "integer", pa.float32(): "real", pa.bool_(): "boolean", pa.string(): "text",
    pa.timestamp("us", "UTC"): "timestamp with time zone",
}  # fmt: skip
_CREATE_EXPORTS = """
CREATE TABLE {schema}.exports (
    number INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key TEXT NOT NULL, state TEXT NOT NULL, tables_of INTEGER,
    run_date DATE NOT NULL, model_version TEXT NOT NULL, valid_until TIMESTAMP WITH TIME ZONE, users BIGINT,
    rows BIGINT, changed BIGINT, removed BIGINT, seconds REAL, exported_at TIMESTAMP WITH TIME ZONE);
CREATE UNIQUE INDEX exports_current ON {schema}.exports (state) WHERE state = 'current';
COMMENT ON TABLE {schema}.exports IS 'what was exported, and which of it the views show';
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
COMMENT ON VIEW {schema}.list_entries IS
    'the lists with a row for each entry, by rank: those of recommendations, then the reserve';
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
        current = self.one("SELECT key, tables_of, users, rows FROM {schema}.exports WHERE state = 'current'")
        key, tables_of, users, rows = current or (None, 0, 0, 0)
        if key == self.run.key:
            self.tidy()
            return Loaded(users, rows, 0, 0, already=True)
        comparable = bool(current) and all(self.has_columns(table, tables_of) for table in TABLES)
        if changed_only and not comparable:
            log.log(NOTICE, "%s has nothing yet that rows could be compared with: all of them are loaded", self.schema)
        loaded = self.merge(tables_of) if changed_only and comparable else self.replace()
        self.tidy()
        return loaded

    # -- the steps ---------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Take the lock of exports, refuse ids of another kind, and make what is missing of the schema."""
        give_up = time.monotonic() + _PATIENCE
        while not self.one("SELECT pg_try_advisory_lock(hashtext('recmodel export'), hashtext({name}))")[0]:
            if time.monotonic() > give_up:
                raise AnotherRun(f"another export into the schema {self.schema} is under way; wait until it has ended")
            time.sleep(0.1)
        self.check_kinds()
        if not self.one("SELECT 1 FROM pg_namespace WHERE nspname = {name}"):
            self.execute("CREATE SCHEMA {schema}")
            self.execute("COMMENT ON SCHEMA {schema} IS 'recommendations, as recmodel exports them'")
        if not self.exists("exports"):
            with self.connection.transaction():
                self.execute(_CREATE_EXPORTS)
        for table in TABLES:
            self.define(table)

    def check_kinds(self) -> None:
        """Refuse a run whose columns are of another kind than those that readers know."""
        for table in TABLES:
            there = self.columns(table)
            for field in self.run.schema(table):
                if there.get(field.name, _type(field.type)) != _type(field.type):
                    raise UsageRejected(
                        f"{self.schema}.{table} has {field.name} as {there[field.name]}, and the run of "
                        f"{self.run.run_date} has {_type(field.type)}; export to another --schema, or drop this one"
                    )

    def replace(self) -> Loaded:
        """Load all rows into new tables, and let the views show them."""
        number, rows = self.number(), {}
        self.drop_others(number)
        for table in TABLES:
            name = Identifier(self.schema, f"{table}_{number}")
            with self.stages(f"load {table}"):
                if f"{table}_{number}" not in self.loaded():
                    with self.connection.transaction():
                        self.create(name, table, number)
                        self.execute("COMMENT ON TABLE {0} IS {1}", name, _MARK)
                        self.copy(name, table, freeze=True)
                        self.execute("ALTER TABLE {table} ADD PRIMARY KEY ({key})", table=name, key=_list(_KEYS[table]))
                rows[table] = self.count(name)
        loaded = Loaded(rows[c.LISTS_TABLE], sum(rows.values()), sum(rows.values()), 0)
        with self.stages("show the new tables"):
            for table in TABLES:
                self.attach(table, number)
            before = self.readers()
            for table in TABLES:  # the server does this by itself for partitions only, and some time later
                self.execute("ANALYZE {table}", table=Identifier(self.schema, f"{table}_all"))
            self.wait_for(before)
            self.run.check_unchanged()
            with self.connection.transaction():
                self.execute(
                    "UPDATE {schema}.exports SET state = CASE state WHEN 'current' THEN 'previous' ELSE 'replaced' END "
                    "WHERE state IN ('current', 'previous')"
                )
                self.record(number, number, loaded)
        return loaded

    def readers(self) -> set[str]:
        """Return the transactions that have read, or have planned to read, the tables of all exports."""
        rows = self.execute(
            "SELECT virtualtransaction FROM pg_locks WHERE mode = 'AccessShareLock' AND pid <> pg_backend_pid() "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
            "AND relation IN (SELECT to_regclass(name) FROM unnest({0}::text[]) AS name)",
            [self.whole(f"{table}_all") for table in TABLES],
        )
        return {name for (name,) in rows.fetchall()}

    def wait_for(self, before: set[str]) -> None:
        """Wait until transactions have ended, but not for ever.

        A query that was planned before there was a new partition, and looks at `exports` once the row there names it,
        would find nothing. From one to the other it takes far less than a millisecond; a transaction that stays open
        for longer has most likely read what it wanted.
        """
        give_up = time.monotonic() + SETTLE
        while before & self.readers() and time.monotonic() < give_up:
            time.sleep(0.02)

    def merge(self, tables_of: int) -> Loaded:
        """Write and delete what differs, in one transaction."""
        rows, changed, removed = {}, 0, 0
        for table in TABLES:
            with self.stages(f"load {table}"):
                self.create(Identifier(f"new_{table}"), table, temporary=True)
                self.copy(Identifier(f"new_{table}"), table)
                self.execute("ANALYZE {table}", table=Identifier(f"new_{table}"))
                rows[table] = self.count(Identifier(f"new_{table}"))
        number = self.number()
        self.run.check_unchanged()
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
            self.record(number, tables_of, loaded)
        return loaded

    def tidy(self) -> None:
        """Drop tables that the views show no more, and erase from the last ones whom the run has no more."""
        kept = self.drop_others()
        self.execute("UPDATE {schema}.exports SET state = 'replaced' WHERE state = 'loading'")
        if "previous" in kept:
            old, new = (Identifier(self.schema, f"{c.LISTS_TABLE}_{kept[state]}") for state in ("previous", "current"))
            users = "DELETE FROM {old} o WHERE NOT EXISTS (SELECT FROM {new} n WHERE n.user_id = o.user_id)"
            self.execute(users, old=old, new=new)

    def drop_others(self, loading: int | None = None) -> dict[str, int]:
        """Drop tables of other exports than the current and the previous one; return the numbers of these.

        Args:
            loading: the number of an export whose tables stay too.
        """
        shown = "SELECT state, tables_of FROM {schema}.exports WHERE state IN ('current', 'previous')"
        kept: dict[str, int] = dict(self.execute(shown).fetchall())
        for name in self.loaded():
            if int(name.rpartition("_")[2]) not in (loading, *kept.values()):
                self.drop(name)
        return kept

    def loaded(self) -> list[str]:
        """Return the names of the tables that exports have made. One of such a name may be somebody else's."""
        rows = self.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = {name}::regnamespace "
            "AND obj_description(oid, 'pg_class') = {0}",
            _MARK,
        )
        return [name for (name,) in rows.fetchall()]

    def drop(self, name: str) -> None:
        """Drop a table, unless somebody still reads it."""
        try:
            with self.connection.transaction():
                self.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
                self.execute("DROP TABLE {table}", table=Identifier(self.schema, name))
        except errors.LockNotAvailable:
            log.log(NOTICE, "%s.%s is not dropped, as a transaction is open that reads it: the next call drops it",
                    self.schema, name)  # fmt: skip

    # -- tables ------------------------------------------------------------------------------------------------------

    def define(self, table: str) -> None:
        """Make what is missing of a view and of the table that it reads; a later version may have more columns."""
        whole, there = Identifier(self.schema, f"{table}_all"), [*self.columns(table)]
        wanted = [*c.TABLES[table].names, *([c.RUN_DATE] if table == c.LISTS_TABLE else [])]
        shown = [*there, *(name for name in wanted if name not in there)]
        if shown == there:
            return
        with self.connection.transaction():
            self.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
            if not self.exists(f"{table}_all"):
                self.create(whole, table)
            for column in self.definitions(table):
                self.execute("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column}", table=whole, column=column)
            current = "(SELECT x.{0} FROM {schema}.exports x WHERE x.state = 'current')"
            values = [
                self.sql(f"{current} AS {{0}}" if name in _OF_RUN else "t.{0}", Identifier(name)) for name in shown
            ]
            self.execute(
                "CREATE OR REPLACE VIEW {view} AS SELECT {values} FROM {rows} t WHERE t.export = {number}",
                view=Identifier(self.schema, table), values=SQL(", ").join(values), rows=whole,
                number=self.sql(current, Identifier("tables_of")),
            )  # fmt: skip
            known = [name for name in shown if name in c.TABLES[table].names]
            self.comment("VIEW", Identifier(self.schema, table), table, known)
            self.comment("TABLE", whole, table, _stored(table))
            if table == c.LISTS_TABLE and not self.exists("list_entries"):
                self.execute(_CREATE_ENTRIES, movie=SQL(_ddl(self.run.schema(c.MOVIES_TABLE).field(c.MOVIE_ID))))

    def create(self, name: Identifier, table: str, number: int | None = None, *, temporary: bool = False) -> None:
        """Make an empty table for the rows of one of `TABLES`: of an export, to be a partition, or else of all."""
        columns, kind, end = self.definitions(table), "TEMPORARY TABLE" if temporary else "TABLE", ""
        if number is not None:  # the check spares ATTACH PARTITION a look at all rows
            columns.append(self.sql("export INTEGER NOT NULL DEFAULT {0} CHECK (export = {0})", Literal(number)))
        elif not temporary:
            columns.append(SQL("export INTEGER NOT NULL").format())
            end = "PARTITION BY LIST (export)"
        self.execute(f"CREATE {kind} {{table}} ({{columns}}) {end}", table=name, columns=SQL(", ").join(columns))

    def definitions(self, table: str) -> list[Composed]:
        """Return the columns of the rows of a table, each with its type."""
        fields = [self.run.schema(table).field(name) for name in _stored(table)]
        return [SQL("{} {}").format(Identifier(field.name), SQL(_ddl(field))) for field in fields]

    def copy(self, name: Identifier, table: str, *, freeze: bool = False) -> None:
        """Load all rows of a table."""
        columns, end = _list(_stored(table)), SQL(" WITH (FREEZE)" if freeze else "")
        with (
            self.connection.cursor() as cursor,
            cursor.copy(SQL("COPY {} ({}) FROM STDIN{}").format(name, columns, end)) as stream,
        ):
            for batch in self.run.batches(table):
                stream.write(as_text.as_copy(batch.select(_stored(table))))

    def attach(self, table: str, number: int) -> None:
        """Make the table of an export a partition of that which the view reads."""
        name = f"{table}_{number}"
        if not self.one("SELECT relispartition FROM pg_class WHERE oid = {0}::regclass", self.whole(name))[0]:
            self.execute(
                "ALTER TABLE {all} ATTACH PARTITION {new} FOR VALUES IN ({number})",
                all=Identifier(self.schema, f"{table}_all"), new=Identifier(self.schema, name), number=number,
            )  # fmt: skip

    def comment(self, kind: str, name: Identifier, table: str, columns: list[str]) -> None:
        """Say what a table and its columns are, in the words of `schemas`."""
        self.execute(f"COMMENT ON {kind} {{0}} IS {{1}}", name, c.TABLE_COMMENTS[table])
        for column in columns:
            text = c.comment(c.TABLES[table].field(column))
            self.execute("COMMENT ON COLUMN {0}.{1} IS {2}", name, Identifier(column), text)

    def count(self, name: Identifier) -> int:
        """Return the number of rows of a table."""
        return int(self.one("SELECT count(*) FROM {0}", name)[0])

    def columns(self, name: str) -> dict[str, str]:
        """Return the types of a table's or view's columns, as PostgreSQL calls them; none if it is not there."""
        rows = self.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = to_regclass({0}) "
            "AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            self.whole(name),
        )
        return dict(rows.fetchall())

    def has_columns(self, table: str, number: int) -> bool:
        """Return whether the table of an export has the columns that it would have now."""
        wanted = {name: _type(self.run.schema(table).field(name).type) for name in _stored(table)}
        return self.columns(f"{table}_{number}").items() >= wanted.items()

    def exists(self, name: str) -> bool:
        """Return whether the schema has a table or view of that name."""
        return bool(self.one("SELECT to_regclass({0}) IS NOT NULL", self.whole(name))[0])

    def whole(self, name: str) -> str:
        """Return a name with that of the schema, as PostgreSQL reads it in a text; neither needs quotes."""
        return f"{self.schema}.{name}"

    # -- the table `exports` -----------------------------------------------------------------------------------------

    def number(self) -> int:
        """Return the number of this export: that of an interrupted one of the same rows, or else a new one."""
        begun = self.one(
            "SELECT number FROM {schema}.exports WHERE state = 'loading' AND key = {0} ORDER BY number DESC",
            self.run.key,
        )
        made = begun or self.one(
            "INSERT INTO {schema}.exports (key, state, run_date, model_version) VALUES ({0}, 'loading', {1}, {2}) "
            "RETURNING number",
            self.run.key, self.run.run_date, self.run.record.model_version,
        )  # fmt: skip
        return int(made[0])

    def record(self, number: int, tables_of: int, loaded: Loaded) -> None:
        """Write that an export is what the views show."""
        self.execute(
            "UPDATE {schema}.exports SET state = 'current', tables_of = {tables_of}, valid_until = {until}, "
            "users = {users}, rows = {rows}, changed = {changed}, removed = {removed}, seconds = {seconds}, "
            "exported_at = now() WHERE number = {number}",
            tables_of=tables_of, until=self.valid_until(), users=loaded.users, rows=loaded.rows, changed=loaded.changed,
            removed=loaded.removed, seconds=round(time.monotonic() - self.started, 3), number=number,
        )  # fmt: skip

    def valid_until(self) -> datetime | None:
        """Return until when the lists of the run are valid, as its first row says; None if it has no rows."""
        return next((batch.column(c.VALID_UNTIL)[0].as_py() for batch in self.run.batches(c.LISTS_TABLE)), None)

    # -- statements --------------------------------------------------------------------------------------------------

    def sql(self, statement: str, *parts: Any, **values: Any) -> Composed:
        """Return a statement with names and values in their places; {schema} is the schema, {name} its name."""

        def filled(value: Any) -> SQL | Composed | Identifier | Literal:
            return value if isinstance(value, SQL | Composed | Identifier | Literal) else Literal(value)

        known = {"schema": Identifier(self.schema), "name": Literal(self.schema)}
        named = {name: filled(value) for name, value in values.items()}
        return SQL(statement).format(*map(filled, parts), **known, **named)

    def execute(self, statement: str, *parts: Any, **values: Any) -> psycopg.Cursor:
        """Run a statement; see `sql`."""
        return self.connection.execute(self.sql(statement, *parts, **values))

    def one(self, statement: str, *parts: Any, **values: Any) -> Any:
        """Return the first row of a query; None without one."""
        return self.execute(statement, *parts, **values).fetchone()


def _stored(table: str) -> list[str]:
    """Return the names of the columns that the rows of a table have."""
    return [name for name in c.TABLES[table].names if name not in _OF_RUN]


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
        if connection.info.server_version < _OLDEST_SERVER * 10_000:
            raise UsageRejected(
                f"the server is PostgreSQL {connection.info.server_version // 10_000}; 12 is the oldest"
            )
        connection.execute("SET statement_timeout = 0")  # those of a site's own queries are for seconds
        yield connection


@contextmanager
def _sentences(schema: str) -> Iterator[None]:
    """Let each failure of the database be a sentence with its remedy."""
    still = "readers have what they had before, and the same command goes on"
    try:
        yield
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
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.removeprefix("connection failed: ")
