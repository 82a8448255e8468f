"""Duplicates: of several ratings of one movie by one user the latest counts, and of equal times the higher.

Several interactions without ratings, such as plays, are one: their weights add up, and its time is that of the latest.

`PAIR` and `ORDER` state the rule once; the functions apply it to ratings (`schemas.RATINGS`) in NumPy and in Spark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from recmodel import schemas as c
from recmodel.arrays import Arrays, take

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

PAIR = (c.USER_ID, c.MOVIE_ID)  # ratings that are equal in these columns are duplicates
ORDER = (c.TIMESTAMP, c.RATING)  # the greatest of them by these columns, compared in this order, is the one that counts

_REASON = "is superseded: of several ratings of one movie by one user the latest counts"


def latest(ratings: pa.Table) -> Arrays:
    """Return the ratings that count, one per user and movie, as NumPy columns in the order of the table."""
    return combined(ratings, add_up=False)


def combined(ratings: pa.Table, *, add_up: bool) -> Arrays:
    """Return one row per user and movie, as NumPy columns in the order of the table.

    Args:
        add_up: True for implicit feedback, whose weights are added up; False: the latest rating counts.
    """
    arrays = {name: ratings.column(name).to_numpy() for name in ratings.schema.names}
    if _starts(arrays, _ascending(arrays, PAIR)).all():
        return arrays  # nothing is there twice; sorting by all columns would take several times as long
    order = _ascending(arrays, PAIR + ORDER)
    starts = _starts(arrays, order)
    last_of_pair = order[np.roll(starts, -1)]
    if add_up:
        weight = np.add.reduceat(arrays[c.RATING][order].astype(np.float64), np.flatnonzero(starts))
        arrays[c.RATING] = arrays[c.RATING].copy()
        arrays[c.RATING][last_of_pair] = weight
    return take(arrays, np.sort(last_of_pair))


def _ascending(arrays: Arrays, names: tuple[str, ...]) -> np.ndarray:
    return np.lexsort([arrays[name] for name in reversed(names)])


def _starts(arrays: Arrays, order: np.ndarray) -> np.ndarray:
    """[R] bool: in this order, whether a row has another user or movie than the row before it; True for the first."""
    starts = np.arange(len(order)) == 0
    for name in PAIR:
        values = arrays[name][order]
        starts[1:] |= values[1:] != values[:-1]
    return starts


def rating_that_counts(*, add_up: bool) -> Column:
    """Return the Spark aggregate, over groups by `PAIR`, that is the rating that counts; see `combined`."""
    from pyspark.sql import functions as f

    if add_up:
        return f.sum(c.RATING).cast("float")
    return f.max_by(c.RATING, f.struct(*ORDER))


def count() -> Column:
    """Return the Spark aggregate, over `histories.ratings_by_user`, that is the number of duplicates."""
    from pyspark.sql import functions as f

    return f.coalesce(f.sum(f.col(c.RATINGS_COUNT) - f.col(c.MOVIES_COUNT)), f.lit(0))


def find(ratings: DataFrame, by_user: DataFrame) -> DataFrame:
    """Return the ratings that do not count.

    Args:
        by_user: `histories.ratings_by_user` of the ratings. Only users with duplicates are looked at again.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    users = by_user.where(f.col(c.RATINGS_COUNT) > f.col(c.MOVIES_COUNT))
    latest_first = Window.partitionBy(*PAIR).orderBy(*map(f.desc, ORDER))
    placed = ratings.join(users, c.USER_ID, "left_semi").withColumn("place", f.row_number().over(latest_first))
    return placed.where(f.col("place") > 1).drop("place")


def as_rejects(duplicates: DataFrame, file: str) -> DataFrame:
    """Return the duplicates as `schemas.REJECTS`. Their row numbers in the file are not known."""
    from pyspark.sql import functions as f

    values = [f.concat(f.lit(f"{name} "), f.col(name).cast("string")) for name in c.RATINGS.names]
    return duplicates.select(
        f.lit(file).alias("file"),
        f.lit(None).cast("long").alias("row"),
        f.lit("(all)").alias("column"),
        f.concat_ws(", ", *values).alias("value"),
        f.lit(_REASON).alias("reason"),
    )


def by_movie(duplicates: DataFrame, movie_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return [M] the number and [M] the sum of the duplicate ratings of each of `movie_ids`, both float64."""
    from pyspark.sql import functions as f

    totals = duplicates.groupBy(c.MOVIE_ID).agg(f.count("*").alias("count"), f.sum(c.RATING).alias("sum")).toPandas()
    per_movie = totals.set_index(c.MOVIE_ID).reindex(movie_ids, fill_value=0).astype(float)
    return per_movie["count"].to_numpy(), per_movie["sum"].to_numpy()
