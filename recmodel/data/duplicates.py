"""Superseded ratings: of several ratings of one movie by one user the latest counts, and these are the others.

Takes the staged ratings (`columns.RATINGS`) and what `histories` counts of them; gives the others as a Spark DataFrame,
as rows of the table of rejects, and as numbers and sums by movie.
"""

from __future__ import annotations

import numpy as np
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as f

from recmodel import schemas as c

_REASON = "is superseded: of several ratings of one movie by one user the latest counts"


def count() -> Column:
    """An aggregate over `histories.ratings_by_user`: how many there are."""
    return f.coalesce(f.sum(f.col(c.RATINGS_COUNT) - f.col(c.MOVIES_COUNT)), f.lit(0))


def superseded(ratings: DataFrame, by_user: DataFrame) -> DataFrame:
    """All of `ratings` but the one of each user and movie that `histories.histories` takes."""
    some = by_user.where(f.col(c.RATINGS_COUNT) > f.col(c.MOVIES_COUNT))
    latest_first = Window.partitionBy(c.USER_ID, c.MOVIE_ID).orderBy(f.desc(c.TIMESTAMP), f.desc(c.RATING))
    placed = ratings.join(some, c.USER_ID, "left_semi").withColumn("place", f.row_number().over(latest_first))
    return placed.where(f.col("place") > 1).drop("place")


def as_rejects(rows: DataFrame, file: str) -> DataFrame:
    """`columns.REJECTS`; their places in the file are not known."""
    named = [f.concat(f.lit(f"{name} "), f.col(name).cast("string")) for name in c.RATINGS.names]
    return rows.select(
        f.lit(file).alias("file"),
        f.lit(None).cast("long").alias("row"),
        f.lit("(all)").alias("column"),
        f.concat_ws(", ", *named).alias("value"),
        f.lit(_REASON).alias("reason"),
    )


def by_movie(rows: DataFrame, movie_id: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[M] number and [M] sum of the rows of each of `movie_id` (float64), as `data.StagedRatings` has them."""
    found = rows.groupBy(c.MOVIE_ID).agg(f.count("*").alias("count"), f.sum(c.RATING).alias("sum")).toPandas()
    of_each = found.set_index(c.MOVIE_ID).reindex(movie_id, fill_value=0).astype(float)
    return of_each["count"].to_numpy(), of_each["sum"].to_numpy()
