"""Labels: the ids of movies for the numbers that stand for them, and back, in DataFrames.

See `data.ids`: inside a run, a movie id that is text is represented by its place in the run's catalogue. Integers
represent themselves.
"""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as f

from recmodel import schemas as c
from recmodel.data import ids


def with_movie_ids(rows: DataFrame, catalogue: pa.Table) -> DataFrame:
    """Return the rows, in their order and with the same columns, with movie ids in the place of numbers.

    Args:
        catalogue: `schemas.CATALOGUE` of all movies of the run, ascending by movie_id.
    """
    if not ids.has_text(catalogue):
        return rows
    numbered = rows.withColumnRenamed(c.MOVIE_ID, c.NUMBER).join(_labels(rows, catalogue), c.NUMBER)
    return numbered.select(*rows.columns)


def with_movie_numbers(rows: DataFrame, catalogue: pa.Table) -> DataFrame:
    """Return the rows with numbers in the place of movie ids; null for a movie that the catalogue lacks."""
    if not ids.has_text(catalogue):
        return rows
    labelled = rows.join(_labels(rows, catalogue), c.MOVIE_ID, "left").drop(c.MOVIE_ID)
    return labelled.withColumnRenamed(c.NUMBER, c.MOVIE_ID).select(*rows.columns)


def _labels(rows: DataFrame, catalogue: pa.Table) -> DataFrame:
    numbers = pa.array(ids.movie_numbers(catalogue))
    labels = catalogue.select([c.MOVIE_ID]).append_column(c.NUMBER, numbers)
    return f.broadcast(rows.sparkSession.createDataFrame(labels))
