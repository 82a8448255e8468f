"""Histories: every rating, once, beside the others of its user, ready for scoring.

Takes the staged ratings (`columns.RATINGS`) and optionally the users asked for and what is denied to whom; gives a
DataFrame of `user_id, movie_id, rating` (see `columns.NO_MOVIE`), sorted by user, in partitions of equal work. The
workers make lists of it, in NumPy: `collect_list` would make objects of each number.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from pyspark.ml.feature import Bucketizer
from pyspark.sql import DataFrame
from pyspark.sql import functions as f

from recmodel import schemas as c

_PART = "part"
_SAMPLE = 100_000  # users that partitions are measured by; with fewer, the measure is exact
# Scoring a user against tens of thousands of movies takes some 200 microseconds, and one for each rating of theirs.
_WORK_OF_A_RATING = 0.005


def ratings_by_user(ratings: DataFrame, *, may_repeat: bool = True, fingerprint: bool = False) -> DataFrame:
    """`columns.USER`: how many ratings there are of each user, of how many movies, and a fingerprint of them.

    Args:
        may_repeat: False if it is known that no user has rated a movie twice; that spares collecting the movies.
        fingerprint: False: leave it null, which spares a pass of hashing.
    """
    # Several times as fast as to count distinct ones, or groups of user and movie.
    distinct = f.size(f.array_distinct(f.collect_list(c.MOVIE_ID))).cast("long")
    movies = distinct if may_repeat else f.count("*")
    # Sums, as rows come in any order; of halves, so that they do not overflow. To an XOR two equal rows would be none.
    row = f.xxhash64(c.MOVIE_ID, c.RATING, c.TIMESTAMP)
    of_all = f.xxhash64(f.sum(row.bitwiseAND(0xFFFFFFFF)), f.sum(f.shiftrightunsigned(row, 32)))
    of_all = of_all if fingerprint else f.lit(None).cast("long")
    return ratings.groupBy(c.USER_ID).agg(
        f.count("*").alias(c.RATINGS_COUNT), movies.alias(c.MOVIES_COUNT), of_all.alias(c.FINGERPRINT)
    )


def of_asked(by_user: DataFrame, asked: DataFrame | None) -> DataFrame:
    """The rows of `ratings_by_user` for the users to be scored.

    Args:
        asked: a column `user_id`, each once: only these users, also those who have rated nothing. None: all who have
            rated.
    """
    return by_user if asked is None else asked.join(by_user, c.USER_ID, "left").fillna(0)


def partition_starts(by_user: DataFrame, users: int, partitions: int) -> list[int]:
    """The first user_id of each partition but the first: ranges of users that take about the same time to score."""
    hashed = f.pmod(f.xxhash64(c.USER_ID), f.lit(max(1, users // _SAMPLE)))
    sample = by_user.where(hashed == 0).toPandas().sort_values(c.USER_ID)
    work = (1 + _WORK_OF_A_RATING * sample[c.RATINGS_COUNT].to_numpy()).cumsum()
    return equal_shares(sample[c.USER_ID].to_numpy(), work, partitions)


def equal_shares(user_id: np.ndarray, work: np.ndarray, shares: int) -> list[int]:
    """The ids that begin a new share of the work, which is cumulative, ascending by user; fewer where users are few."""
    if not len(user_id):
        return []
    ends = work[-1] * np.arange(1, shares) / shares
    first = np.searchsorted(work, ends, side="right")
    return np.unique(user_id[first[(first > 0) & (first < len(user_id))]]).tolist()


def histories(
    ratings: DataFrame,
    asked: DataFrame | None,
    starts: list[int],
    done: Collection[int] = (),
    denied: DataFrame | None = None,
    *,
    may_repeat: bool = True,
) -> DataFrame:
    """Each user's latest ratings of movies, and what is denied to them, in one partition and together.

    The partitions whose numbers are in `done` stay empty.

    The one shuffle is by the ranges of user_id that `starts` begins, so that published files cover ranges that do not
    overlap and a query for a user opens one of them.

    Args:
        asked: a column `user_id`, each once: only these users, also those who have rated nothing. None: all who have
            rated.
        denied: `columns.PAIRS`; of users who are not scored it makes rows too, which say nothing.
        may_repeat: False if it is known that no user has rated a movie twice; that spares looking for the latest.
    """
    columns = [c.USER_ID, c.MOVIE_ID, c.RATING]
    rows = ratings.select(*columns, *[c.TIMESTAMP] * may_repeat)
    if asked is not None:
        nothing = asked.withColumn(c.MOVIE_ID, f.lit(c.NO_MOVIE))
        rows = rows.join(asked, c.USER_ID, "left_semi").unionByName(nothing, allowMissingColumns=True)
    if denied is not None:
        rows = rows.unionByName(denied, allowMissingColumns=True)
    rows = in_parts(rows, starts, done)
    if may_repeat:
        latest = f.max_by(c.RATING, f.struct(c.TIMESTAMP, c.RATING))  # among equal times the higher, as in training
        is_rating = f.col(c.RATING).isNotNull()
        rows = rows.groupBy(_PART, c.USER_ID, c.MOVIE_ID, is_rating).agg(latest.alias(c.RATING))
    return rows.select(columns).sortWithinPartitions(c.USER_ID)


def in_parts(rows: DataFrame, starts: list[int], done: Collection[int]) -> DataFrame:
    """The rows in partitions of the ranges of user_id that `starts` begins; those numbered in `done` stay empty."""
    return _with_part(rows, starts).where(~f.col(_PART).isin(*done)).repartitionById(len(starts) + 1, _PART)


def _with_part(rows: DataFrame, starts: list[int]) -> DataFrame:
    """With the number of the range each user is in."""
    # As doubles, ids beyond 2^53 may move to a neighbouring range, each with all of its rows.
    splits = np.unique(np.array(starts, np.float64)).tolist()
    if not splits:
        return rows.withColumn(_PART, f.lit(0))
    bucketizer = Bucketizer(splits=[-np.inf, *splits, np.inf], inputCol=c.USER_ID, outputCol=_PART)
    return bucketizer.transform(rows).withColumn(_PART, f.col(_PART).cast("int"))
