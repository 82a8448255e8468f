"""Print the statements that define the published tables in a Hive metastore or in Trino's Hive connector.

    python conf/sql/create_tables.py hive /data/output >tables.sql     then: beeline -u jdbc:hive2://… -f tables.sql
    python conf/sql/create_tables.py trino /data/output >tables.sql    then: trino --catalog hive -f tables.sql

With --partial at the end, those of the tables partial_…, which hold partial runs (score --users), once there is one.

Columns and types come from recmodel/schemas.py. Run it in the environment of the project, or with PYTHONPATH=. in its
folder. Where Trino uses a metastore that already has the tables, it needs no statements.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pyarrow as pa

from recmodel import schemas as c
from recmodel.schemas import Ids
from recmodel.tables.output import open_output

_TYPES = {  # of each column type, its name in SQL
    "hive": {pa.int32(): "INT", pa.int64(): "BIGINT", pa.float32(): "FLOAT", pa.string(): "STRING"},
    "trino": {pa.int32(): "INTEGER", pa.int64(): "BIGINT", pa.float32(): "REAL", pa.string(): "VARCHAR"},
}


def hive(output: str, prefix: str = "") -> Iterator[str]:
    """Yield the lines of the script for a Hive metastore, filled by Spark SQL with Hive support or by Hive 4.

    Args:
        prefix: of the tables' names.
    """
    yield "-- Hive metastore, for Spark SQL with Hive support or Hive 4 (older versions of Hive cannot read scored_at)."
    for table, schema in _schemas(output):
        yield f"CREATE EXTERNAL TABLE IF NOT EXISTS {prefix}{table} ({_columns(schema, 'hive')})"
        yield f"PARTITIONED BY ({c.RUN_DATE} DATE) STORED AS PARQUET LOCATION {_text(f'{output}/{table}', 'hive')};"
    yield "\n-- The newest run alone, without run_date; nothing has to be repeated for these. (A Spark session that has"
    yield "-- read one of them before needs REFRESH TABLE to see a newer run.)"
    for table, schema in _schemas(output):
        yield f"CREATE EXTERNAL TABLE IF NOT EXISTS latest_{prefix}{table} ({_columns(schema, 'hive')})"
        yield f"STORED AS PARQUET LOCATION {_text(f'{output}/latest/{table}', 'hive')};"
    yield "\n-- Add new dates and drop removed ones: repeat these lines after each night."
    for table in c.TABLES:
        yield f"MSCK REPAIR TABLE {prefix}{table} SYNC PARTITIONS;"


def trino(output: str, prefix: str = "") -> Iterator[str]:
    """Yield the lines of the script for Trino, with a catalogue `hive` of its Hive connector; see `hive`."""
    yield "-- Trino, for a catalogue `hive` of the Hive connector."
    yield "CREATE SCHEMA IF NOT EXISTS hive.recmodel;\nUSE hive.recmodel;\n"
    for table, schema in _schemas(output):
        yield f"CREATE TABLE IF NOT EXISTS {prefix}{table} ({_columns(schema, 'trino')}, {c.RUN_DATE} DATE)"
        place = (
            f"external_location = {_text(f'file://{output}/{table}', 'trino')}, partitioned_by = ARRAY['{c.RUN_DATE}']"
        )
        yield f"WITH (format = 'PARQUET', {place});"
    yield "\n-- The newest run alone, without run_date; nothing has to be repeated for these."
    for table, schema in _schemas(output):
        yield f"CREATE TABLE IF NOT EXISTS latest_{prefix}{table} ({_columns(schema, 'trino')})"
        place = _text(f"file://{output}/latest/{table}", "trino")
        yield f"WITH (format = 'PARQUET', external_location = {place});"
    yield "\n-- Add new dates and drop removed ones: repeat these lines after each night."
    for table in c.TABLES:
        yield f"CALL hive.system.sync_partition_metadata('recmodel', '{prefix}{table}', 'FULL');"


def _schemas(output: str) -> Iterator[tuple[str, pa.Schema]]:
    """Yield the tables with the types of ids that the newest run has; integers if there is none."""
    published = open_output(output)
    ids = [published.read_run(day).ids for day in published.run_dates()[-1:]] or [Ids()]
    for table, schema in c.TABLES.items():
        yield table, c.with_ids(schema, ids[0])


def _text(text: str, engine: str) -> str:
    """Return a text as SQL has it; Hive and Spark take backslashes for escapes, Trino doubles quotes."""
    return "'" + (re.sub(r"([\\'])", r"\\\1", text) if engine == "hive" else text.replace("'", "''")) + "'"


def _columns(schema: pa.Schema, engine: str) -> str:
    quote = "`" if engine == "hive" else '"'
    names = {**_TYPES[engine], pa.timestamp("us", "UTC"): "TIMESTAMP"}
    return ", ".join(f"{quote}{field.name}{quote} {names[field.type]}" for field in schema)


if __name__ == "__main__":
    scripts = {"hive": hive, "trino": trino}
    partial = sys.argv[3:] == ["--partial"]
    if (len(sys.argv) != 3 and not partial) or sys.argv[1] not in scripts:
        sys.exit("usage: python conf/sql/create_tables.py hive|trino /data/output [--partial]")
    folder = sys.argv[2].rstrip("/")
    lines = scripts[sys.argv[1]](f"{folder}/partial", "partial_") if partial else scripts[sys.argv[1]](folder)
    print("\n".join(lines))
