"""What a night published, as tests compare it."""

import json

import pyarrow.dataset as ds

from recmodel import schemas as c

DAY = "2026-02-01"


def table(output, name="recommendations", day=DAY):
    rows = ds.dataset(output / name / f"run_date={day}", format="parquet").to_table()
    order = [column for column in (c.USER_ID, c.RANK, c.MOVIE_ID, "value") if column in rows.schema.names]
    return rows.sort_by([(column, "ascending") for column in order])


def run_json(output, day=DAY):
    return json.loads((output / f"runs/run_date={day}/run.json").read_text())


def rows_but_for_the_time(output, day=DAY):
    return table(output, day=day).drop_columns([c.SCORED_AT])


REPEATS = [(1, 1, 0.5, 5), (1, 1, 1.0, 5), (2, 4, 5.0, 5), (3, 1, 2.0, 5), (3, 1, 2.0, 5)]  # all older than the rest
