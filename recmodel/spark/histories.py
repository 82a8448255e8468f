"""Histories: the ratings of each user together, ready for scoring.

Takes the staged ratings (`schemas.RATINGS`) and optionally the users asked for and the movies denied to them. Returns a
DataFrame of `user_id, movie_id, rating` (see `schemas.NO_MOVIE`), sorted by user, in partitions of equal work. The
workers turn it into lists in NumPy, because `collect_list` would create a Java object for each number.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from pyspark.ml.feature import Bucketizer
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as f

from recmodel import schemas as c
from recmodel.data import duplicates

Starts = list[int] | list[str]  # user ids, ascending

_PART = "part"
_SAMPLE = 100_000  # users by whom partitions are measured; with fewer users than that, the measure is exact
# Scoring a user against tens of thousands of movies takes about 200 µs, and each rating of the user adds 1 µs.
_WORK_PER_RATING = 0.005


def ratings_by_user(ratings: DataFrame, *, may_repeat: bool = True, fingerprint: bool = False) -> DataFrame:
    """Count the ratings and the distinct movies of each user, with a fingerprint of the ratings (`schemas.USER`).

    Args:
        may_repeat: False if it is known that no user has rated a movie twice; then the movies need not be collected.
        fingerprint: False: leave it null, which saves hashing all ratings.
    """
    # Several times as fast as counting distinct movies, or groups of user and movie.
    distinct = f.size(f.array_distinct(f.collect_list(c.MOVIE_ID))).cast("long")
    movies = distinct if may_repeat else f.count("*")
    # A sum does not depend on the order of rows, and halves keep it from overflowing. XOR would cancel equal rows out.
    row = f.xxhash64(c.MOVIE_ID, c.RATING, c.TIMESTAMP)
    hashed = f.xxhash64(f.sum(row.bitwiseAND(0xFFFFFFFF)), f.sum(f.shiftrightunsigned(row, 32)))
    hashed = hashed if fingerprint else f.lit(None).cast("long")
    return ratings.groupBy(c.USER_ID).agg(
        f.count("*").alias(c.RATINGS_COUNT), movies.alias(c.MOVIES_COUNT), hashed.alias(c.FINGERPRINT)
    )


def of_asked(by_user: DataFrame, asked: DataFrame | None) -> DataFrame:
    """Return the rows of `ratings_by_user` of the users to be scored.

    Args:
        asked: distinct `user_id` of the users to be scored, including those who have rated nothing. None: all who
            have rated.
    """
    return by_user if asked is None else asked.join(by_user, c.USER_ID, "left").fillna(0)


def partition_starts(by_user: DataFrame, users: int, partitions: int) -> Starts:
    """Divide the users into ranges that take about the same time to score.

    Returns:
        The first user_id of each partition except the first partition.
    """
    hashed = f.pmod(f.xxhash64(c.USER_ID), f.lit(max(1, users // _SAMPLE)))
    sample = by_user.where(hashed == 0).toPandas().sort_values(c.USER_ID)
    work = (1 + _WORK_PER_RATING * sample[c.RATINGS_COUNT].to_numpy()).cumsum()
    return equal_shares(sample[c.USER_ID].to_numpy(), work, partitions)


def equal_shares(user_id: np.ndarray, work: np.ndarray, shares: int) -> Starts:
    """Return the ids at which the second and each later share of the work begins; fewer if there are few users.

    Args:
        user_id: [U], ascending.
        work: [U], cumulative.
    """
    if not len(user_id):
        return []
    ends = work[-1] * np.arange(1, shares) / shares
    first = np.searchsorted(work, ends, side="right")
    return np.unique(user_id[first[(first > 0) & (first < len(user_id))]]).tolist()


def histories(
    ratings: DataFrame,
    asked: DataFrame | None,
    starts: Starts,
    done: Collection[int] = (),
    denied: DataFrame | None = None,
    *,
    may_repeat: bool = True,
    add_up: bool = False,
) -> DataFrame:
    """Bring together, in one partition, the ratings of each user that count and the movies denied to the user.

    The only shuffle is by ranges of user_id. So the ranges of published files do not overlap, and a query for a user
    opens one file.

    Args:
        asked: distinct `user_id` of the users to be scored, including those who have rated nothing. None: all who
            have rated.
        starts: see `partition_starts`.
        done: numbers of the partitions that stay empty, because they are finished.
        denied: `schemas.PAIRS`; rows of users who are not scored do no harm.
        may_repeat: False if it is known that no user has rated a movie twice; then all ratings count.
        add_up: see `duplicates.combined`.
    """
    columns = [c.USER_ID, c.MOVIE_ID, c.RATING]
    rows = ratings.select(*columns, *[c.TIMESTAMP] * may_repeat)
    if asked is not None:
        no_movie = asked.withColumn(c.MOVIE_ID, f.lit(c.NO_MOVIE))
        rows = rows.join(asked, c.USER_ID, "left_semi").unionByName(no_movie, allowMissingColumns=True)
    if denied is not None:
        rows = rows.unionByName(denied, allowMissingColumns=True)
    rows = in_parts(rows, starts, done)
    if may_repeat:
        is_rating = f.col(c.RATING).isNotNull()
        counts = duplicates.rating_that_counts(add_up=add_up).alias(c.RATING)
        rows = rows.groupBy(_PART, *duplicates.PAIR, is_rating).agg(counts)
    return rows.select(columns).sortWithinPartitions(c.USER_ID)


def in_parts(rows: DataFrame, starts: Starts, done: Collection[int]) -> DataFrame:
    """Partition the rows by the ranges of user_id that begin at `starts`; leave those numbered in `done` empty."""
    return _with_part(rows, starts).where(~f.col(_PART).isin(*done)).repartitionById(len(starts) + 1, _PART)


def _with_part(rows: DataFrame, starts: Starts) -> DataFrame:
    """Add the number of the range that each user is in."""
    if starts and isinstance(starts[0], str):
        return rows.withColumn(_PART, _number_of_range(f.col(c.USER_ID), sorted(set(starts))))
    # The Bucketizer compares doubles: ids beyond 2^53 may move to a neighbouring range, each with all of its rows.
    splits = np.unique(np.array(starts, np.float64)).tolist()
    if not splits:
        return rows.withColumn(_PART, f.lit(0))
    bucketizer = Bucketizer(splits=[-np.inf, *splits, np.inf], inputCol=c.USER_ID, outputCol=_PART)
    return bucketizer.transform(rows).withColumn(_PART, f.col(_PART).cast("int"))


def _number_of_range(user_id: Column, starts: list[str], first: int = 0) -> Column:
    """Return the number of the range, from `first` on, that a text is in: a binary search as one expression."""
    if not starts:
        return f.lit(first)
    middle = len(starts) // 2
    below = _number_of_range(user_id, starts[:middle], first)
    return f.when(user_id < starts[middle], below).otherwise(
        _number_of_range(user_id, starts[middle + 1 :], first + middle + 1)
    )
