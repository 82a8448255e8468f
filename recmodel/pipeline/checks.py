"""Checks: what must be true of a run before anybody sees it.

They are made from the written rows and from the input, by other code than that which scored.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as f

from recmodel import schemas as c
from recmodel.data import catalogue, ids
from recmodel.data.catalogue import Catalogues
from recmodel.errors import ScoringFailed
from recmodel.progress import log
from recmodel.records import Figures
from recmodel.settings import Checks
from recmodel.spark import labels

_BITS = 64  # of ranks: aggregates of numbers are several times as fast as collected lists


@dataclass(frozen=True)
class Expectations:
    """What the rows of a run must be like."""

    top_n: int
    movies: int  # that may be recommended
    include_seen: bool
    tasks: tuple[str, ...]  # that the model was trained for
    rating_range: tuple[float, float]  # in stars
    max_per_genre: int = 0  # 0: any number
    max_new: int | None = None  # movies in a list that are new to the model; None: any number


def check(
    rows: DataFrame,
    ratings: DataFrame,
    by_user: DataFrame,
    expected: Expectations,
    catalogues: Catalogues,
    allowed: DataFrame | None = None,
    denied: DataFrame | None = None,
    opted_out: pa.Array | None = None,
) -> Figures:
    """Check every row of a run; return users and rows by source, distinct movies and the mean predicted rating.

    Args:
        rows: `schemas.RECOMMENDATION`, as written.
        ratings: `schemas.RATINGS` that were used; movie ids that are text as numbers, as in `denied`.
        by_user: `histories.ratings_by_user` of the users to be scored.
        catalogues: those of the run.
        allowed: `movie_id, genres` of what may be recommended; None: everything, and any number of a genre.
        denied: `schemas.PAIRS` of what may not be recommended to whom.
        opted_out: ids of users to whom nothing may be recommended by the model.

    Raises:
        ScoringFailed: a user is missing, a list is too long or has gaps or repeats, a movie was seen or is against the
            rules, or a number is missing or off the scale.
    """
    figures, faults = _check_by_user(rows, by_user, expected, denied)
    recommended = rows.select(c.MOVIE_ID).distinct().toArrow()
    seen, numbered = None if expected.include_seen else ratings, labels.with_movie_numbers(rows, catalogues.all)
    may_clash = ids.with_movie_numbers(recommended, catalogues.all)
    faults |= _check_pairs(numbered, seen, rows.sparkSession.createDataFrame(may_clash))
    listed = pc.is_in(recommended.column(c.MOVIE_ID), catalogues.tonight.column(c.MOVIE_ID).combine_chunks())
    faults["recommended movies are not in tonight's catalogue"] = pc.sum(pc.invert(listed)).as_py() or 0
    if denied is not None:
        forbidden = numbered.join(denied, [c.USER_ID, c.MOVIE_ID], "left_semi")
        faults["recommended movies are denied to their user"] = forbidden.count()
    if opted_out is not None:
        users = rows.sparkSession.createDataFrame(pa.table({c.USER_ID: opted_out}))
        by_model = rows.where(f.col(c.SOURCE) != c.SOURCE_POPULARITY).join(users, c.USER_ID, "left_semi")
        faults["recommendations by the model are of users who opted out"] = by_model.count()
    if allowed is not None:
        faults |= _check_rules(rows, allowed, expected.max_per_genre)
    for fault, count in faults.items():
        log.info("checked: %d %s", count, fault)
        if count:
            raise ScoringFailed(f"the run is not published: {count:,} {fault}; the last one still stands")
    return Figures(distinct_movies=recommended.num_rows, **figures)


def compare(figures: Figures, last: Figures, limits: Checks) -> None:
    """Compare the figures of a run with those of the last one.

    Raises:
        ScoringFailed: they are further apart than the settings allow.
    """
    coverage = figures.distinct_movies / max(1, last.distinct_movies) - 1
    shift = (figures.mean_predicted_rating or 0) - (last.mean_predicted_rating or 0)
    loss = 1 - figures.users / max(1, last.users)
    for name, change, limit in (
        ("users, as a share lost,", loss, limits.max_user_loss),
        ("the recommended share of the catalogue", abs(coverage), limits.max_coverage_change),
        ("the mean predicted rating", abs(shift), limits.max_rating_shift),
    ):
        log.info("checked: %s changed by %.3f since the last run, %g is allowed", name, change, limit)
        if change > limit:
            raise ScoringFailed(
                f"the run is not published: {name} changed by {change:.3f} since the last run, {limit:g} is allowed; "
                "look at the input, or raise the limit below `checks` in conf/settings.yaml"
            )


def _check_rules(rows: DataFrame, allowed: DataFrame, max_per_genre: int) -> dict[str, int]:
    faults = {"recommended movies are against the rules": rows.join(allowed, c.MOVIE_ID, "left_anti").count()}
    if max_per_genre:
        genre = f.explode(f.array_distinct(f.split(c.GENRES, r"\|"))).alias("genre")
        of_genre = (
            rows.join(allowed, c.MOVIE_ID).select(c.USER_ID, genre).where(~f.col("genre").isin(*catalogue.NO_GENRE))
        )
        too_many = of_genre.groupBy(c.USER_ID, "genre").count().where(f.col("count") > max_per_genre)
        faults[f"times a list has more than {max_per_genre} movies of a genre"] = too_many.count()
    return faults


def _check_pairs(rows: DataFrame, ratings: DataFrame | None, recommended: DataFrame) -> dict[str, int]:
    """Count movies that come twice in a list and, given ratings, movies that the list's user has seen.

    Args:
        recommended: the movies that are recommended to anybody; ratings of others need not be shuffled.
    """
    pair = [c.USER_ID, c.MOVIE_ID]
    both = rows.select(*pair, f.lit(1).alias("made"), f.lit(0).alias("seen"))
    if ratings is not None:
        may_clash = ratings.join(f.broadcast(recommended), c.MOVIE_ID, "left_semi")
        both = both.union(may_clash.select(*pair, f.lit(0), f.lit(1)))
    # Pairs are shuffled before they are grouped: hardly one comes twice, so there is nothing to add up on the way.
    sums = [f.sum(name).alias(name) for name in ("made", "seen")]
    of_pair = both.repartition(*pair).groupBy(pair).agg(*sums).where(f.col("made") > 0)
    faults = {
        "movies come twice in a list": f.count_if(f.col("made") > 1),
        "recommended movies have been rated by their user": f.count_if(f.col("seen") > 0),
    }
    return of_pair.agg(*(count.alias(fault) for fault, count in faults.items())).collect()[0].asDict()


def _check_by_user(
    rows: DataFrame, by_user: DataFrame, expected: Expectations, denied: DataFrame | None
) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the figures of the run, and how many users, lists or rows have which fault, in one pass over both."""
    by_model = f.col(c.SOURCE) != c.SOURCE_POPULARITY
    score, rating = f.col(c.RETRIEVAL_SCORE), f.col(c.PREDICTED_RATING)
    low, high = expected.rating_range

    def lacks(task: str, number: Column) -> Column:
        return by_model & (number.isNull() | f.isnan(number)) & f.lit(task in expected.tasks)

    of_row = {
        "rows have no retrieval_score": lacks("retrieval", score),
        "rows have no predicted_rating": lacks("rating", rating),
        "predicted ratings are off the scale": (rating < low) | (rating > high),
    }
    # Users are rows without a rank, grouped with the rows of their lists: a join would sort both sides.
    hidden = f.lit(0) if expected.include_seen else f.col(c.MOVIES_COUNT)
    users = by_user.select(c.USER_ID, hidden.cast("long").alias("hidden"))
    both = rows.select(c.USER_ID, c.RANK, c.SOURCE, score, rating).unionByName(users, allowMissingColumns=True)
    if denied is not None:
        others = denied.groupBy(c.USER_ID).agg(f.count("*").alias("denied"))
        both = both.unionByName(others, allowMissingColumns=True)
    else:
        both = both.withColumn("denied", f.lit(0))
    n, of_lists = f.col("n"), range(1, expected.top_n + 1, _BITS)
    users = both.groupBy(c.USER_ID).agg(
        f.count(c.RANK).alias("n"),
        f.max(c.RANK).alias("last"),
        *(_ranks_from(first).alias(f"ranks_{first}") for first in of_lists),
        f.sum("hidden").alias("hidden"),
        f.coalesce(f.sum("denied"), f.lit(0)).alias("denied"),
        f.count_if(~by_model).alias("popular"),
        f.count_if(f.col(c.SOURCE) == c.SOURCE_CONTENT).alias("new"),
        f.count(rating).alias("rated"),
        f.sum(rating).alias("stars"),
        *(f.count_if(is_wrong).alias(fault) for fault, is_wrong in of_row.items()),
    )
    different_ranks = reduce(add, (f.bit_count(f"ranks_{first}") for first in of_lists))
    of_user = {
        "users are missing": (n == 0) & (f.col("hidden") + f.col("denied") < expected.movies),
        "users were not asked for": (n > 0) & f.col("hidden").isNull(),
        "lists are too long, or their ranks are not 1, 2, 3, …": (n > expected.top_n)
        | (n > 0) & ((f.col("last") != n) | (different_ranks != n)),
    }
    if expected.max_new is not None:
        of_user[f"lists have more than {expected.max_new} new movies"] = f.col("new") > expected.max_new

    def count(name: str) -> Column:
        return f.coalesce(f.sum(name), f.lit(0))  # a sum of nothing is null

    figures = users.agg(
        count("n").alias("rows"),
        f.count_if(n > 0).alias("users"),
        count("popular").alias("popular_rows"),
        count("new").alias("new_rows"),
        f.count_if(f.col("popular") > 0).alias("popular_users"),
        f.try_divide(f.sum("stars"), f.sum("rated")).alias("mean_predicted_rating"),
        *(f.count_if(is_wrong).alias(fault) for fault, is_wrong in of_user.items()),
        *(count(fault).alias(fault) for fault in of_row),
    ).collect()[0].asDict()  # fmt: skip
    faults = {fault: figures.pop(fault) for fault in (*of_user, *of_row)}
    return figures, faults


def _ranks_from(first: int) -> Column:
    """Return an aggregate of 64 bits: which of the ranks from `first` on a list has. Ranks below 1 are in none."""
    rank = f.col(c.RANK)
    bit = f.call_function("shiftleft", f.lit(1).cast("long"), rank - first)
    return f.coalesce(f.bit_or(f.when(rank.between(first, first + _BITS - 1), bit)), f.lit(0).cast("long"))
