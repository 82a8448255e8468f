"""Print the statements that define the published tables for an engine.

    python conf/sql/create_tables.py duckdb /data/output >tables.sql   then: duckdb -init tables.sql
    python conf/sql/create_tables.py spark /data/output >tables.sql    then: spark-sql -i tables.sql
    python conf/sql/create_tables.py hive /data/output >tables.sql     then: beeline -u jdbc:hive2://… -f tables.sql
    python conf/sql/create_tables.py trino /data/output >tables.sql    then: trino --catalog hive -f tables.sql
    python conf/sql/create_tables.py delta s3://lake/tables >tables.sql

With --partial at the end, those of the tables partial_…, which hold partial runs (score --users), once there is one.
The files tables-*.sql are what it prints for var/output.

Tables, columns, types and comments come from recmodel/schemas.py. Run it in the environment of the project, or with
PYTHONPATH=. in its folder. Where Trino uses a metastore that already has the tables, it needs no statements.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from textwrap import wrap

import pyarrow as pa

from recmodel import schemas as c
from recmodel.schemas import Ids
from recmodel.tables.output import open_output

_TYPES = {  # of each column type, its name in SQL
    "hive": {
        pa.int32(): "INT",
        pa.int64(): "BIGINT",
        pa.float32(): "FLOAT",
        pa.float64(): "DOUBLE",
        pa.string(): "STRING",
    },
    "trino": {
        pa.int32(): "INTEGER",
        pa.int64(): "BIGINT",
        pa.float32(): "REAL",
        pa.float64(): "DOUBLE",
        pa.string(): "VARCHAR",
    },
}
_COMMON = {pa.bool_(): "BOOLEAN", pa.date32(): "DATE", pa.timestamp("us", "UTC"): "TIMESTAMP"}
_RUN_DATE_COMMENT = "the date of the run"
_OF_NEWEST = "of the newest run"
_NEWEST = "run_date = (SELECT max(run_date) FROM {table} WHERE run_date <= CURRENT_DATE + INTERVAL '1' DAY)"

# -- views of files ----------------------------------------------------------------------------------------------------


def duckdb(output: str, prefix: str = "") -> Iterator[str]:
    """Yield the lines of the script for DuckDB.

    Args:
        prefix: of the tables' names.
    """
    yield "-- DuckDB: the published tables as views, which always show what is published. Printed by create_tables.py."
    yield "-- The path of your --output stands in the next statement only; var/output is right in the project's folder."
    place = f"recmodel_{prefix}output"
    yield f"CREATE OR REPLACE MACRO {place}(below) AS {_text(output + '/', 'duckdb')} || below;\n"
    for name, schema in _schemas(output):
        yield f"CREATE OR REPLACE VIEW {prefix}{name} AS\nSELECT * FROM read_parquet("
        yield f"    {place}('{name}/*/*.parquet'), hive_partitioning = true, union_by_name = true\n);"
        yield from _duckdb_comments(f"{prefix}{name}", c.TABLE_COMMENTS[name], schema)
        newest = f"(SELECT {c.RUN_DATE} FROM read_json({place}('latest/runs/run.json')))"
        yield f"CREATE OR REPLACE VIEW latest_{prefix}{name} AS\nSELECT *, {newest} AS {c.RUN_DATE}"
        yield f"FROM read_parquet({place}('latest/{name}/*.parquet'));"
        yield from _duckdb_comments(f"latest_{prefix}{name}", f"{c.TABLE_COMMENTS[name]}, {_OF_NEWEST}", schema)
        yield ""
    runs = f"{place}('runs/*/run.json'), hive_partitioning = true, union_by_name = true"
    yield f"CREATE OR REPLACE VIEW {prefix}runs AS\nSELECT * FROM read_json({runs});"
    yield f"COMMENT ON VIEW {prefix}runs IS 'the run.json of each run';"
    yield f"CREATE OR REPLACE VIEW latest_{prefix}runs AS\nSELECT * FROM read_json({place}('latest/runs/run.json'));"
    yield f"COMMENT ON VIEW latest_{prefix}runs IS 'the run.json {_OF_NEWEST}';"
    if not prefix:
        yield from _derived("duckdb", lambda name: f"CREATE OR REPLACE VIEW {name} AS")


def _duckdb_comments(view: str, comment: str, schema: pa.Schema) -> Iterator[str]:
    yield f"COMMENT ON VIEW {view} IS\n    {_text(comment, 'duckdb')};"
    for name, text in _comments(schema):
        yield f"COMMENT ON COLUMN {view}.{name} IS\n    {_text(text, 'duckdb')};"


def spark(output: str, prefix: str = "") -> Iterator[str]:
    """Yield the lines of the script for Spark SQL; see `duckdb`."""
    yield "-- Spark SQL 4: the published tables as views of a session, which always show what is published. Printed by"
    yield "-- create_tables.py. The path of your --output stands in the next statement only; var/output is right in the"
    yield "-- project's folder."
    variable = f"recmodel.{prefix}output"
    yield f"SET {variable}={output};\n"
    place = f"${{{variable}}}"
    for name, schema in _schemas(output):
        columns = "\n    ".join(wrap(", ".join(schema.names), 100, break_on_hyphens=False))
        described = ",\n    ".join(f"{column} COMMENT {_text(text, 'hive')}" for column, text in _comments(schema))
        comment = c.TABLE_COMMENTS[name]
        yield f"CREATE OR REPLACE TEMPORARY VIEW {prefix}{name} (\n    {described}\n)"
        yield f"COMMENT {_text(comment, 'hive')} AS\nSELECT {columns}, {c.RUN_DATE}"
        yield f"FROM parquet.`{place}/{name}` WITH (mergeSchema = 'true');"
        record = f"text.`{place}/latest/runs/run.json` WITH (wholetext = 'true')"
        newest = f"(SELECT CAST(get_json_object(value, '$.{c.RUN_DATE}') AS DATE)\n    FROM {record})"
        yield f"CREATE OR REPLACE TEMPORARY VIEW latest_{prefix}{name} (\n    {described}\n)"
        yield f"COMMENT {_text(f'{comment}, {_OF_NEWEST}', 'hive')} AS\nSELECT {columns},\n    {newest}"
        yield f"FROM parquet.`{place}/latest/{name}`;\n"
    yield f"CREATE OR REPLACE TEMPORARY VIEW {prefix}runs COMMENT 'the run.json of each run' AS"
    yield f"SELECT * FROM json.`{place}/runs` WITH (multiLine = 'true', pathGlobFilter = 'run.json');"
    yield f"CREATE OR REPLACE TEMPORARY VIEW latest_{prefix}runs COMMENT 'the run.json {_OF_NEWEST}' AS"
    yield f"SELECT * FROM json.`{place}/latest/runs` WITH (multiLine = 'true', pathGlobFilter = 'run.json');"
    if not prefix:
        yield from _derived("hive", lambda name: f"CREATE OR REPLACE TEMPORARY VIEW {name} AS")


# -- a metastore -------------------------------------------------------------------------------------------------------


def hive(output: str, prefix: str = "") -> Iterator[str]:
    """Yield the lines of the script for a Hive metastore, filled by Spark SQL with Hive support or by Hive 4."""
    yield "-- Hive metastore, for Spark SQL with Hive support or Hive 4 (older versions of Hive cannot read scored_at)."
    for name, schema in _schemas(output):
        yield f"CREATE EXTERNAL TABLE IF NOT EXISTS {prefix}{name} ({_columns(schema, 'hive')})"
        yield f"COMMENT {_text(c.TABLE_COMMENTS[name], 'hive')}"
        partition = f"{c.RUN_DATE} DATE COMMENT {_text(_RUN_DATE_COMMENT, 'hive')}"
        yield f"PARTITIONED BY ({partition}) STORED AS PARQUET LOCATION {_text(f'{output}/{name}', 'hive')};"
    yield from _latest_views(prefix)
    if not prefix:
        yield from _derived("hive", lambda name: f"CREATE OR REPLACE VIEW {name} AS")
    yield "\n-- Add new dates and drop removed ones: repeat these lines after each night."
    for name in c.TABLES:
        yield f"MSCK REPAIR TABLE {prefix}{name} SYNC PARTITIONS;"


def trino(output: str, prefix: str = "") -> Iterator[str]:
    """Yield the lines of the script for Trino, with a catalogue `hive` of its Hive connector; see `hive`."""
    yield "-- Trino, for a catalogue `hive` of the Hive connector."
    yield "CREATE SCHEMA IF NOT EXISTS hive.recmodel;\nUSE hive.recmodel;\n"
    for name, schema in _schemas(output):
        partition = f"{c.RUN_DATE} DATE COMMENT {_text(_RUN_DATE_COMMENT, 'trino')}"
        yield f"CREATE TABLE IF NOT EXISTS {prefix}{name} ({_columns(schema, 'trino')}, {partition})"
        yield f"COMMENT {_text(c.TABLE_COMMENTS[name], 'trino')}"
        place = (
            f"external_location = {_text(f'file://{output}/{name}', 'trino')}, partitioned_by = ARRAY['{c.RUN_DATE}']"
        )
        yield f"WITH (format = 'PARQUET', {place});"
    yield from _latest_views(prefix)
    if not prefix:
        yield from _derived("trino", lambda name: f"CREATE OR REPLACE VIEW {name} AS")
    yield "\n-- Add new dates and drop removed ones: repeat these lines after each night."
    for name in c.TABLES:
        yield f"CALL hive.system.sync_partition_metadata('recmodel', '{prefix}{name}', 'FULL');"


def delta(output: str, prefix: str = "") -> Iterator[str]:
    """Yield the lines of the script for the Delta tables of an output that is a URI; see `hive`."""
    tables = ", ".join(f"{prefix}{name}" for name in list(c.TABLES)[1:])
    first = next(iter(c.TABLES))
    yield f"-- An --output that is a URI holds Delta tables, which have comments. Here OUTPUT stands for {output}."
    yield f"-- First name the tables, in the way of your engine: {prefix}{first}, and so on:"
    yield f"-- {tables}."
    yield f"--   DuckDB   CREATE VIEW {prefix}{first} AS SELECT * FROM delta_scan('OUTPUT/{first}')"
    yield "--   DuckDB in Python, without its extension:"
    yield f'--            table = deltalake.DeltaTable("OUTPUT/{first}")'
    yield f'--            connection.register("{prefix}{first}", table.to_pyarrow_dataset())'
    yield f"--   Spark    CREATE TABLE {prefix}{first} USING delta LOCATION 'OUTPUT/{first}'  (s3a:// for s3://)"
    yield f"--   Trino    CALL delta.system.register_table('recmodel', '{prefix}{first}', 'OUTPUT/{first}')"
    yield from _latest_views(prefix)
    if not prefix:
        yield "\n-- For DuckDB. Other engines take what create_tables.py prints for hive or trino instead."
        yield from _derived("duckdb", lambda name: f"CREATE OR REPLACE VIEW {name} AS")
        yield "-- Partial runs (score --users) are Delta tables of their own, below OUTPUT/partial, once there is one."
        yield "-- Name them partial_recommendations, and so on. create_tables.py delta OUTPUT --partial prints views."


def _latest_views(prefix: str) -> Iterator[str]:
    yield "\n-- The newest run alone. A run of the future (score --allow-future) is none."
    for name in c.TABLES:
        yield f"CREATE OR REPLACE VIEW latest_{prefix}{name} AS\nSELECT * FROM {prefix}{name}"
        yield f"WHERE {_NEWEST.format(table=f'{prefix}{name}')};"


def _derived(engine: str, create: Callable[[str], str]) -> Iterator[str]:
    """Yield views that queries share: rows out of arrays, in which alone engines differ, and what runs to compare."""
    fields = (c.MOVIE_ID, c.SCORE, c.PREDICTED_RATING, c.SOURCE)
    of = "recommendations[place]" if engine == "trino" else "entry"
    of_genres, of_entries, place = {
        "hive": (
            "LATERAL VIEW explode(genres) g AS genre",
            "LATERAL VIEW posexplode(recommendations) e AS place, entry",
            "place + 1",
        ),
        "duckdb": (
            "CROSS JOIN UNNEST(genres) AS g (genre)",
            "CROSS JOIN UNNEST(recommendations) WITH ORDINALITY AS e (entry, place)",
            "place",
        ),
        "trino": (
            "CROSS JOIN UNNEST(genres) AS g (genre)",
            "CROSS JOIN UNNEST(sequence(1, cardinality(recommendations))) AS e (place)",
            "place",
        ),
    }[engine]
    yield "\n-- A row for each genre of a movie, and for each entry of a list, with its rank."
    for newest in ("", "latest_"):
        yield f"{create(f'{newest}movie_genres')}"
        yield f"SELECT {c.MOVIE_ID}, genre, {c.RUN_DATE} FROM {newest}movies {of_genres};"
        yield f"{create(f'{newest}list_entries')}\nSELECT {c.USER_ID}, {place} AS {c.RANK},"
        yield "    " + ", ".join(f"{of}.{field} AS {field}" for field in fields) + ","
        yield f"    {c.MODEL_VERSION}, {c.VALID_UNTIL}, {c.RUN_DATE}\nFROM {newest}lists {of_entries};"
    keys = f"{c.RUN_DATE}, {c.MODEL_VERSION}, {c.RANK_BY}"
    yield "\n-- The newest run, and the newest before it of the same model version and ranking policy, or null."
    yield f"{create('compared_runs')}\nSELECT n.{c.RUN_DATE}, max(b.{c.RUN_DATE}) AS {c.RUN_DATE}_before"
    yield f"FROM (SELECT {keys} FROM latest_models WHERE used) n"
    yield f"LEFT JOIN (SELECT {keys} FROM models WHERE used) b ON b.{c.MODEL_VERSION} = n.{c.MODEL_VERSION}"
    yield f"    AND b.{c.RANK_BY} = n.{c.RANK_BY} AND b.{c.RUN_DATE} < n.{c.RUN_DATE}"
    yield f"GROUP BY n.{c.RUN_DATE};"


# -- columns -----------------------------------------------------------------------------------------------------------


def _schemas(output: str) -> Iterator[tuple[str, pa.Schema]]:
    """Yield the tables with the types of ids that the newest run has; integers if there is none."""
    published = open_output(output)
    ids = [published.read_run(day).ids for day in published.run_dates()[-1:]] or [Ids()]
    for table, schema in c.TABLES.items():
        yield table, c.with_ids(schema, ids[0])


def _comments(schema: pa.Schema) -> Iterator[tuple[str, str]]:
    """Yield each column with what it says, the date of the run included."""
    yield from ((field.name, c.comment(field)) for field in schema)
    yield c.RUN_DATE, _RUN_DATE_COMMENT


def _text(text: str, engine: str) -> str:
    """Return a text as SQL has it; Hive and Spark take backslashes for escapes, the others double quotes."""
    return "'" + (re.sub(r"([\\'])", r"\\\1", text) if engine == "hive" else text.replace("'", "''")) + "'"


def _columns(schema: pa.Schema, engine: str) -> str:
    quote = "`" if engine == "hive" else '"'
    return ", ".join(
        f"{quote}{field.name}{quote} {_type(field.type, engine)} COMMENT {_text(c.comment(field), engine)}"
        for field in schema
    )


def _type(kind: pa.DataType, engine: str) -> str:
    if pa.types.is_list(kind):
        inner = _type(kind.value_type, engine)
        return f"ARRAY<{inner}>" if engine == "hive" else f"ARRAY({inner})"
    if pa.types.is_struct(kind):
        between = ": " if engine == "hive" else " "
        inner = ", ".join(f"{field.name}{between}{_type(field.type, engine)}" for field in kind)
        return f"STRUCT<{inner}>" if engine == "hive" else f"ROW({inner})"
    return (_TYPES[engine] | _COMMON)[kind]


if __name__ == "__main__":
    scripts = {script.__name__: script for script in (duckdb, spark, hive, trino, delta)}
    partial = sys.argv[3:] == ["--partial"]
    if (len(sys.argv) != 3 and not partial) or sys.argv[1] not in scripts:
        sys.exit(f"usage: python conf/sql/create_tables.py {'|'.join(scripts)} /data/output [--partial]")
    folder = sys.argv[2].rstrip("/")
    lines = scripts[sys.argv[1]](f"{folder}/partial", "partial_") if partial else scripts[sys.argv[1]](folder)
    print("\n".join(lines))
