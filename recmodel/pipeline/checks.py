"""Checks: what must be true of a run before anybody sees it.

Takes the written recommendations and what they were made from, as Spark DataFrames; gives figures for run.json, or one
sentence that says what is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as f

from recmodel import schemas as c
from recmodel.data import catalogue as lookup
from recmodel.errors import ScoringFailed
from recmodel.settings import Checks

_BITS = 64  # of ranks: aggregates of numbers are several times as fast as lists of what is collected


@dataclass(frozen=True)
class Promised:
    """What the run was asked for."""

    top_n: int
    movies: int  # that may be recommended
    include_seen: bool
    tasks: tuple[str, ...]  # that the model was trained for
    rating_range: tuple[float, float]
    max_per_genre: int = 0  # 0: any number


def check(
    rows: DataFrame,
    ratings: DataFrame,
    by_user: DataFrame,
    promised: Promised,
    allowed: DataFrame | None = None,
    denied: DataFrame | None = None,
) -> dict[str, Any]:
    """Holds every row of the run against what was promised.

    Args:
        rows: `columns.RECOMMENDATION`, as written.
        ratings: `columns.RATINGS` that were used.
        by_user: `histories.ratings_by_user` of the users to be scored.
        allowed: `movie_id, genres` of what may be recommended; None: everything, and any number of a genre.
        denied: `columns.PAIRS` of what may not be recommended to whom.

    Returns:
        Users and rows by source, distinct movies, and the mean predicted rating.

    Raises:
        ScoringFailed: a user is missing, a list is too long or has gaps or repeats, a movie was seen or is against the
            rules, or a number is missing or off the scale.
    """
    figures, wrong = _by_user(rows, by_user, promised, denied)
    recommended = rows.select(c.MOVIE_ID).distinct().toArrow()
    figures["distinct_movies"] = recommended.num_rows
    seen = None if promised.include_seen else ratings
    wrong |= _pairs(rows, seen, rows.sparkSession.createDataFrame(recommended))
    if denied is not None:
        against = rows.join(denied, [c.USER_ID, c.MOVIE_ID], "left_semi")
        wrong["recommended movies are denied to their user"] = against.count()
    if allowed is not None:
        wrong |= _against_rules(rows, allowed, promised.max_per_genre)
    for what, count in wrong.items():
        if count:
            raise ScoringFailed(f"the run is not published: {count:,} {what}; the last one still stands")
    return figures


def compare(figures: dict[str, Any], last: dict[str, Any], limits: Checks) -> None:
    """Holds the figures of a run against those of the last one.

    Raises:
        ScoringFailed: they are further apart than the settings allow.
    """
    coverage = figures["distinct_movies"] / max(1, last["distinct_movies"]) - 1
    shift = (figures["mean_predicted_rating"] or 0) - (last["mean_predicted_rating"] or 0)
    loss = 1 - figures["users"] / max(1, last["users"])
    for what, change, limit in (
        ("users, as a share lost,", loss, limits.max_user_loss),
        ("the recommended share of the catalogue", abs(coverage), limits.max_coverage_change),
        ("the mean predicted rating", abs(shift), limits.max_rating_shift),
    ):
        if change > limit:
            raise ScoringFailed(
                f"the run is not published: {what} changed by {change:.3f} since the last run, {limit:g} is allowed; "
                "look at the input, or raise the limit below `checks` in conf/settings.yaml"
            )


def _against_rules(rows: DataFrame, allowed: DataFrame, max_per_genre: int) -> dict[str, int]:
    wrong = {"recommended movies are against the rules": rows.join(allowed, c.MOVIE_ID, "left_anti").count()}
    if max_per_genre:
        genre = f.explode(f.array_distinct(f.split(c.GENRES, r"\|"))).alias("genre")
        of_genre = rows.join(allowed, c.MOVIE_ID).select(c.USER_ID, genre).where(~f.col("genre").isin(*lookup.NO_GENRE))
        too_many = of_genre.groupBy(c.USER_ID, "genre").count().where(f.col("count") > max_per_genre)
        wrong[f"times a list has more than {max_per_genre} movies of a genre"] = too_many.count()
    return wrong


def _pairs(rows: DataFrame, ratings: DataFrame | None, recommended: DataFrame) -> dict[str, int]:
    """How many movies come twice in a list, and how many were seen by its user; without ratings, only the former.

    Args:
        recommended: the movies that are recommended to anybody; what others were rated need not be shuffled.
    """
    pair = [c.USER_ID, c.MOVIE_ID]
    both = rows.select(*pair, f.lit(1).alias("made"), f.lit(0).alias("seen"))
    if ratings is not None:
        may_clash = ratings.join(f.broadcast(recommended), c.MOVIE_ID, "left_semi")
        both = both.union(may_clash.select(*pair, f.lit(0), f.lit(1)))
    # Shuffled before they are grouped: hardly a pair comes twice, so there is nothing to add up on the way.
    sums = [f.sum(name).alias(name) for name in ("made", "seen")]
    of_pair = both.repartition(*pair).groupBy(pair).agg(*sums).where(f.col("made") > 0)
    wrong = {
        "movies come twice in a list": f.count_if(f.col("made") > 1),
        "recommended movies have been rated by their user": f.count_if(f.col("seen") > 0),
    }
    return of_pair.agg(*(count.alias(what) for what, count in wrong.items())).collect()[0].asDict()


def _by_user(
    rows: DataFrame, by_user: DataFrame, promised: Promised, denied: DataFrame | None
) -> tuple[dict[str, Any], dict[str, int]]:
    """In one pass over rows and users: figures, and how many users, lists or rows are not as they must be."""
    by_model = f.col(c.SOURCE) == c.SOURCE_MODEL
    score, rating = f.col(c.RETRIEVAL_SCORE), f.col(c.PREDICTED_RATING)
    low, high = promised.rating_range

    def lacks(task: str, number: Column) -> Column:
        return by_model & (number.isNull() | f.isnan(number)) & f.lit(task in promised.tasks)

    of_row = {
        "rows have no retrieval_score": lacks("retrieval", score),
        "rows have no predicted_rating": lacks("rating", rating),
        "predicted ratings are off the scale": (rating < low) | (rating > high),
    }
    # Users stand among the rows, with no rank, and are grouped with their own: a join would sort both sides.
    hidden = f.lit(0) if promised.include_seen else f.col(c.MOVIES_COUNT)
    users = by_user.select(c.USER_ID, hidden.cast("long").alias("hidden"))
    both = rows.select(c.USER_ID, c.RANK, c.SOURCE, score, rating).unionByName(users, allowMissingColumns=True)
    if denied is not None:
        others = denied.groupBy(c.USER_ID).agg(f.count("*").alias("denied"))
        both = both.unionByName(others, allowMissingColumns=True)
    else:
        both = both.withColumn("denied", f.lit(0))
    n, of_lists = f.col("n"), range(1, promised.top_n + 1, _BITS)
    users = both.groupBy(c.USER_ID).agg(
        f.count(c.RANK).alias("n"),
        f.max(c.RANK).alias("last"),
        *(_ranks_from(first).alias(f"ranks_{first}") for first in of_lists),
        f.sum("hidden").alias("hidden"),
        f.coalesce(f.sum("denied"), f.lit(0)).alias("denied"),
        f.count_if(~by_model).alias("popular"),
        f.count(rating).alias("rated"),
        f.sum(rating).alias("stars"),
        *(f.count_if(wrong).alias(what) for what, wrong in of_row.items()),
    )
    different_ranks = reduce(add, (f.bit_count(f"ranks_{first}") for first in of_lists))
    of_user = {
        "users are missing": (n == 0) & (f.col("hidden") + f.col("denied") < promised.movies),
        "users were not asked for": (n > 0) & f.col("hidden").isNull(),
        "lists are too long, or their ranks are not 1, 2, 3, …": (n > promised.top_n)
        | (n > 0) & ((f.col("last") != n) | (different_ranks != n)),
    }

    def count(name: str) -> Column:
        return f.coalesce(f.sum(name), f.lit(0))  # a sum of nothing is null

    found = users.agg(
        count("n").alias("rows"),
        f.count_if(n > 0).alias("users"),
        count("popular").alias("popular_rows"),
        f.count_if(f.col("popular") > 0).alias("popular_users"),
        f.try_divide(f.sum("stars"), f.sum("rated")).alias("mean_predicted_rating"),
        *(f.count_if(wrong).alias(what) for what, wrong in of_user.items()),
        *(count(what).alias(what) for what in of_row),
    ).collect()[0].asDict()  # fmt: skip
    wrong = {what: found.pop(what) for what in (*of_user, *of_row)}
    return found, wrong


def _ranks_from(first: int) -> Column:
    """An aggregate of 64 bits: which of the ranks from `first` on are there. Ranks below 1 are in none."""
    rank = f.col(c.RANK)
    bit = f.call_function("shiftleft", f.lit(1).cast("long"), rank - first)
    return f.coalesce(f.bit_or(f.when(rank.between(first, first + _BITS - 1), bit)), f.lit(0).cast("long"))
