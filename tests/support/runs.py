"""Runs as they are published: small ones made by hand, and what readers find of any."""

import json
from datetime import date

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from recmodel import schemas as c
from recmodel import storage
from recmodel.records import RunRecord
from recmodel.tables.base import Output, StagedRun

DAY = date(2026, 1, 31)
SMALL_PARTS = {"RECMODEL_SCORING__USERS_PER_TASK": "20"}  # the sample's 671 users are in 34 partitions


def record(run_date: date = DAY, **fields) -> RunRecord:
    """A run.json; a field that is not given has its default."""
    return RunRecord(**{"run_date": run_date, "model_version": "v", **fields})


def write_part(run: StagedRun, table: str, part: int, rows: pa.Table) -> None:
    """One file of a table, as Spark leaves it."""
    with storage.create(f"{run.table(table)}/part-{part:05d}-x.zstd.parquet") as sink:
        pq.write_table(rows, sink)


def stage(output: Output, label: str, day: date = DAY, key: str = "key", parts: int = 1) -> StagedRun:
    """A run that could be published: in each table a file of users 2 and 1, one of 4 and 3, …, marked by a label."""
    run = output.stage(day, key)
    for table in c.TABLES:
        for part in range(parts):
            users = pa.array([2 * part + 2, 2 * part + 1], pa.int64())
            rows = pa.table({c.USER_ID: users, c.RANK: pa.array([1, 1], pa.int32()), "label": [label, label]})
            write_part(run, table, part, rows)
    return run


def publish(output: Output, label: str, day: date = DAY, keep: int = 90, parts: int = 1) -> None:
    """A whole run, whose model version is the label."""
    stage(output, label, day, parts=parts).publish(record(day, model_version=label), keep)


def labels(output: Output, day: date = DAY, table: str = c.RECOMMENDATIONS_TABLE) -> list[str]:
    """Those that a reader finds of a run, one for each row."""
    return output.dataset(table, day).to_table(columns=["label"]).column("label").to_pylist()


def published(output, day: object, table: str = c.RECOMMENDATIONS_TABLE) -> pa.Table:
    """The rows of a run that was published in a folder, in a fixed order."""
    rows = ds.dataset(output / table / f"run_date={day}", format="parquet").to_table()
    order = [column for column in (c.USER_ID, c.RANK, c.MOVIE_ID, "value") if column in rows.schema.names]
    return rows.sort_by([(column, "ascending") for column in order]) if order else rows


def without_time(rows: pa.Table) -> pa.Table:
    """Recommendations but for when they were made, which is all that may differ when a run is repeated."""
    return rows.drop_columns([c.SCORED_AT])


def run_json(output, day: object) -> dict:
    """The run.json of a run that was published in a folder, as any reader of JSON finds it."""
    return json.loads((output / f"runs/run_date={day}/run.json").read_text())
