"""PostgreSQL's tables of a run: how they are defined, loaded and compared. Which of them are shown: `to_postgresql`."""

from __future__ import annotations

import pyarrow as pa
from psycopg.sql import SQL, Composed, Identifier

from recmodel import schemas as c
from recmodel.errors import UsageRejected
from recmodel.pipeline.postgresql import Database, names
from recmodel.tables import as_text
from recmodel.tables.served import TABLES, ServedRun

LOCK_TIMEOUT = "200ms"  # so long readers wait at most, where an old table is dropped or a view has a new column
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
_CURRENT = "(SELECT x.{0} FROM {schema}.exports x WHERE x.state = 'current')"
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
_DELETE_GONE = "DELETE FROM {old} o WHERE NOT EXISTS (SELECT FROM {new} n WHERE {same_key})"
_WRITE_OTHERS = """
INSERT INTO {old} ({columns}) SELECT {columns} FROM {new} n WHERE NOT EXISTS (
    SELECT FROM {old} o WHERE {same_key} AND ROW ({of_old}) IS NOT DISTINCT FROM ROW ({of_new}))
ON CONFLICT ({key}) DO UPDATE SET ({columns}) = ROW ({excluded})
"""


class Tables:
    """The tables and views of a schema that hold the rows of runs."""

    def __init__(self, database: Database, run: ServedRun) -> None:
        self.database, self.run = database, run

    def check_kinds(self) -> None:
        """Refuse a run whose columns are of another kind than those that readers know.

        Raises:
            UsageRejected: they are.
        """
        for table in TABLES:
            there = self.database.columns(table)
            for field in self.run.schema(table):
                if there.get(field.name, _type(field.type)) != _type(field.type):
                    raise UsageRejected(
                        f"{self.database.schema}.{table} has {field.name} as {there[field.name]}, and the run of "
                        f"{self.run.run_date} has {_type(field.type)}; export to another --schema, or drop this one"
                    )

    def comparable(self, number: int) -> bool:
        """Return whether the tables of an export have the columns that they would have now."""
        return all(
            self.database.columns(f"{table}_{number}").items()
            >= {name: _type(self.run.schema(table).field(name).type) for name in _stored(table)}.items()
            for table in TABLES
        )

    def define(self, table: str) -> None:
        """Make what is missing of a view and of the table that it reads; a later version may have more columns."""
        database, whole = self.database, self.database.name(f"{table}_all")
        there = [*database.columns(table)]
        wanted = [*c.TABLES[table].names, *([c.RUN_DATE] if table == c.LISTS_TABLE else [])]
        shown = [*there, *(name for name in wanted if name not in there)]
        if shown == there:
            return
        with database.transaction(LOCK_TIMEOUT):
            if not database.columns(f"{table}_all"):
                number = SQL("export INTEGER NOT NULL").format()
                self._create("TABLE", whole, table, number, end=" PARTITION BY LIST (export)")
            for column in self._definitions(table):
                database.execute("ALTER TABLE {0} ADD COLUMN IF NOT EXISTS {1}", whole, column)
            values = [
                database.sql(f"{_CURRENT} AS {{0}}" if name in _OF_RUN else "t.{0}", Identifier(name)) for name in shown
            ]
            database.execute(
                "CREATE OR REPLACE VIEW {view} AS SELECT {values} FROM {whole} t WHERE t.export = {number}",
                view=database.name(table), values=SQL(", ").join(values), whole=whole,
                number=database.sql(_CURRENT, Identifier("tables_of")),
            )  # fmt: skip
            self._comment(
                "VIEW", database.name(table), table, [name for name in shown if name in c.TABLES[table].names]
            )
            self._comment("TABLE", whole, table, _stored(table))
            if table == c.LISTS_TABLE and not database.columns("list_entries"):
                movie = self.run.schema(c.MOVIES_TABLE).field(c.MOVIE_ID)
                database.execute(_CREATE_ENTRIES, movie=SQL(_ddl(movie)))

    def loaded(self) -> list[str]:
        """Return the names of the tables that exports have loaded. One of such a name may be somebody else's."""
        rows = self.database.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = {name}::regnamespace "
            "AND obj_description(oid, 'pg_class') = {0}",
            _MARK,
        )
        return [name for (name,) in rows.fetchall()]

    def load(self, table: str, number: int) -> int:
        """Load all rows into a new partition for an export, unless it is there; return how many it has."""
        database, name = self.database, self.database.name(f"{table}_{number}")
        if f"{table}_{number}" not in self.loaded():
            # The check spares ATTACH PARTITION a look at all rows.
            check = database.sql("export INTEGER NOT NULL DEFAULT {0} CHECK (export = {0})", number)
            with database.transaction():
                self._create("TABLE", name, table, check)
                database.execute("COMMENT ON TABLE {0} IS {1}", name, _MARK)
                self._copy(name, table, " WITH (FREEZE)")
                database.execute("ALTER TABLE {0} ADD PRIMARY KEY ({1})", name, names(_KEYS[table]))
                whole = database.name(f"{table}_all")
                database.execute("ALTER TABLE {0} ATTACH PARTITION {1} FOR VALUES IN ({2})", whole, name, number)
        return self._count(name)

    def stage(self, table: str) -> int:
        """Load all rows into a temporary table; return how many it has."""
        name = _staged(table)
        self._create("TEMPORARY TABLE", name, table)
        self._copy(name, table)
        self.database.execute("ANALYZE {0}", name)
        return self._count(name)

    def merge(self, table: str, number: int) -> tuple[int, int]:
        """Make the table of an export equal to what is staged; return how many rows were written, and deleted."""
        columns, key = _stored(table), _KEYS[table]
        parts = {
            "old": self.database.name(f"{table}_{number}"), "new": _staged(table), "key": names(key),
            "same_key": SQL(" AND ").join(SQL("o.{0} = n.{0}").format(Identifier(column)) for column in key),
            "columns": names(columns), "of_old": names(columns, "o"), "of_new": names(columns, "n"),
            "excluded": names(columns, "excluded"),
        }  # fmt: skip
        deleted = self.database.execute(_DELETE_GONE, **parts).rowcount
        return self.database.execute(_WRITE_OTHERS, **parts).rowcount, deleted

    def _create(self, kind: str, name: Identifier, table: str, *further: Composed, end: str = "") -> None:
        columns = SQL(", ").join([*self._definitions(table), *further])
        self.database.execute(f"CREATE {kind} {{0}} ({{1}}){end}", name, columns)

    def _definitions(self, table: str) -> list[Composed]:
        fields = [self.run.schema(table).field(name) for name in _stored(table)]
        return [SQL("{} {}").format(Identifier(field.name), SQL(_ddl(field))) for field in fields]

    def _copy(self, name: Identifier, table: str, end: str = "") -> None:
        statement = self.database.sql(f"COPY {{0}} ({{1}}) FROM STDIN{end}", name, names(_stored(table)))
        with self.database.connection.cursor() as cursor, cursor.copy(statement) as stream:
            for batch in self.run.batches(table):
                stream.write(as_text.as_copy(batch.select(_stored(table))))

    def _comment(self, kind: str, name: Identifier, table: str, columns: list[str]) -> None:
        self.database.execute(f"COMMENT ON {kind} {{0}} IS {{1}}", name, c.TABLE_COMMENTS[table])
        for column in columns:
            text = c.comment(c.TABLES[table].field(column))
            self.database.execute("COMMENT ON COLUMN {0}.{1} IS {2}", name, Identifier(column), text)

    def _count(self, name: Identifier) -> int:
        return int(self.database.one("SELECT count(*) FROM {0}", name)[0])


def _staged(table: str) -> Identifier:
    return Identifier(f"new_{table}")


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
