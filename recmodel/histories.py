"""Histories: every rating, once, becomes one row a user, ready for scoring.

Takes the staged ratings (`columns.RATINGS`) and optionally the users asked for; gives a DataFrame of
`user_id, seen_movie_ids, seen_ratings`, range-partitioned and sorted by user.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as f

from recmodel import columns as c


def histories(ratings: DataFrame, asked: DataFrame | None, partitions: int) -> DataFrame:
    """One row a user, with the movies they rated (ascending id) and their latest rating of each.

    The one shuffle is by ranges of user_id, so that published files cover ranges of users that do not overlap and a
    query for a user opens one of them; the two aggregations after it find every user's rows in one partition.

    Args:
        asked: a column `user_id`: only these users, also those who have rated nothing. None: all who have rated.
    """
    rows = ratings.select(c.USER_ID, c.MOVIE_ID, c.RATING, c.TIMESTAMP)
    if asked is not None:
        rows = rows.join(f.broadcast(asked), c.USER_ID, "left_semi").unionByName(asked, allowMissingColumns=True)
    latest = f.max_by(c.RATING, f.struct(c.TIMESTAMP, c.RATING))  # among equal times the higher, as in training
    rated = f.when(f.col(c.MOVIE_ID).isNotNull(), f.struct(c.MOVIE_ID, c.RATING))
    history = f.array_sort(f.collect_list(rated))
    return (
        rows.repartitionByRange(partitions, c.USER_ID)
        .groupBy(c.USER_ID, c.MOVIE_ID)
        .agg(latest.alias(c.RATING))
        .groupBy(c.USER_ID)
        .agg(history.alias("history"))
        .select(
            c.USER_ID,
            f.col(f"history.{c.MOVIE_ID}").alias(c.SEEN_MOVIE_IDS),
            f.col(f"history.{c.RATING}").alias(c.SEEN_RATINGS),
        )
        .sortWithinPartitions(c.USER_ID)
    )
