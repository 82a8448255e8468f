"""PostgreSQL: a connection, statements with the names of a schema in them, and failures as sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from recmodel.errors import RecmodelError, ScoringFailed, UsageRejected

_OLDEST_SERVER = 12  # the first that makes a table a partition while others read
_REFUSED = re.compile(r"authentication|password|pg_hba\.conf|does not exist|permission denied|not permitted to log in")
_STILL = "readers have what they had before, and the same command goes on"
_FAILURES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], type[RecmodelError], str], ...] = (
    (errors.InsufficientPrivilege, UsageRejected, "a right is missing ({reason}); the role needs CREATE on the "
     "database, or a schema {schema} of its own, and TEMPORARY for --changed-only"),
    ((errors.WrongObjectType, errors.DuplicateTable, errors.InvalidTableDefinition, errors.UndefinedColumn),
     UsageRejected, "the schema {schema} has something else of a name that the export needs ({reason}); export to "
     "another --schema"),
    (errors.ReadOnlySqlTransaction, UsageRejected, "the server takes no changes ({reason}); name the primary in --to"),
    (errors.DiskFull, ScoringFailed, f"PostgreSQL's disk is full ({{reason}}); make room there; {_STILL}"),
    (psycopg.Error, ScoringFailed, f"PostgreSQL has stopped the export ({{reason}}); {_STILL}"),
)  # fmt: skip


class Database:
    """A connection, and the schema that its statements name."""

    def __init__(self, connection: psycopg.Connection, schema: str) -> None:
        self.connection, self.schema = connection, schema

    def name(self, of: str) -> Identifier:
        """Return the name of a table or view of the schema."""
        return Identifier(self.schema, of)

    def sql(self, statement: str, *parts: Any, **values: Any) -> Composed:
        """Return a statement with names and values in their places; {schema} is the schema, {name} its name."""
        named = {"schema": Identifier(self.schema), "name": self.schema, **values}
        return SQL(statement).format(*map(_filled, parts), **{name: _filled(value) for name, value in named.items()})

    def execute(self, statement: str, *parts: Any, **values: Any) -> psycopg.Cursor:
        """Run a statement; see `sql`."""
        return self.connection.execute(self.sql(statement, *parts, **values))

    def one(self, statement: str, *parts: Any, **values: Any) -> Any:
        """Return the first row of a query; None without one."""
        return self.execute(statement, *parts, **values).fetchone()

    @contextmanager
    def transaction(self, lock_timeout: str = "0") -> Iterator[None]:
        """Let all statements inside count, or none; LockNotAvailable if one waits too long for a lock ("0": never)."""
        with self.connection.transaction():
            self.execute("SET LOCAL lock_timeout = {0}", lock_timeout)
            yield

    def columns(self, name: str) -> dict[str, str]:
        """Return the types of a table's or view's columns, as PostgreSQL calls them; none if it is not there."""
        rows = self.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = to_regclass({0}) "
            "AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            self.name(name).as_string(),
        )
        return dict(rows.fetchall())


def names(columns: list[str] | tuple[str, ...], of: str = "") -> Composed:
    """Return columns, of a table or an alias, with commas between them."""
    return SQL(", ").join(Identifier(of, column) if of else Identifier(column) for column in columns)


def _filled(value: Any) -> Composable:
    return value if isinstance(value, Composable) else Literal(value)


@contextmanager
def connected(address: str, schema: str) -> Iterator[Database]:
    """Connect, and let each failure of the database inside be a sentence with its remedy.

    Raises:
        UsageRejected: the server refuses the role, a right is missing, or the schema has something else in it.
        ScoringFailed: anything else.
    """
    try:
        with _connection(address) as connection:
            yield Database(connection, schema)
    except psycopg.Error as error:
        refusal, sentence = next(row[1:] for row in _FAILURES if isinstance(error, row[0]))
        raise refusal(sentence.format(reason=_first_line(error), schema=schema)) from error


@contextmanager
def _connection(address: str) -> Iterator[psycopg.Connection]:
    try:
        connection = psycopg.connect(
            address, autocommit=True, connect_timeout=10, application_name="recmodel export",
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
        version = connection.info.server_version // 10_000
        if version < _OLDEST_SERVER:
            raise UsageRejected(f"the server is PostgreSQL {version}; {_OLDEST_SERVER} is the oldest")
        connection.execute("SET statement_timeout = 0")  # those of a site's own queries are for seconds
        yield connection


def _first_line(error: psycopg.Error) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.removeprefix("connection failed: ")
