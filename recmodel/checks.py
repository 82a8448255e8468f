"""Checks: what must be true of a run before anybody sees it.

Takes the written recommendations and what they were made from, as Spark DataFrames; gives figures for run.json, or one
sentence that says what is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as f

from recmodel import columns as c
from recmodel import lookup
from recmodel.errors import ScoringFailed
from recmodel.settings import Checks


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
    figures["distinct_movies"] = rows.select(c.MOVIE_ID).distinct().count()
    if denied is not None:
        against = rows.join(denied, [c.USER_ID, c.MOVIE_ID], "left_semi")
        wrong["recommended movies are denied to their user"] = against.count()
    if not promised.include_seen:
        # The rows are hashed, being fewer than the ratings: a third of the time it takes to sort both.
        pair = [c.USER_ID, c.MOVIE_ID]
        seen = ratings.select(pair).join(rows.select(pair).hint("shuffle_hash"), pair, "left_semi").distinct()
        wrong["recommended movies have been rated by their user"] = seen.count()
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
    # Collected: several times as fast as to count distinct ones, and no list is long.
    lists = rows.groupBy(c.USER_ID).agg(
        f.count("*").alias("n"),
        f.sort_array(f.collect_list(c.RANK)).alias("ranks"),
        f.size(f.array_distinct(f.collect_list(c.MOVIE_ID))).alias("different"),
        f.count_if(~by_model).alias("popular"),
        f.count(rating).alias("rated"),
        f.sum(rating).alias("stars"),
        *(f.count_if(wrong).alias(what) for what, wrong in of_row.items()),
    )
    hidden = f.lit(0) if promised.include_seen else f.col(c.MOVIES_COUNT)
    users = by_user.select(c.USER_ID, c.MOVIES_COUNT)
    if denied is not None:
        users = users.join(denied.groupBy(c.USER_ID).agg(f.count("*").alias("denied")), c.USER_ID, "left")
        hidden = hidden + f.coalesce("denied", f.lit(0))
    n = f.col("n")
    of_user = {
        "users are missing": n.isNull() & (hidden < promised.movies),
        "users were not asked for": f.col(c.MOVIES_COUNT).isNull(),
        "lists are too long, or their ranks are not 1, 2, 3, …": (n > promised.top_n)
        | (f.col("ranks") != f.sequence(f.lit(1), n.cast("int"))),
        "lists repeat a movie": f.col("different") != n,
    }

    def count(name: str) -> Column:
        return f.coalesce(f.sum(name), f.lit(0))  # a sum of nothing is null

    found = users.join(lists, c.USER_ID, "full_outer").agg(
        count("n").alias("rows"),
        f.count("n").alias("users"),
        count("popular").alias("popular_rows"),
        f.count_if(f.col("popular") > 0).alias("popular_users"),
        f.try_divide(f.sum("stars"), f.sum("rated")).alias("mean_predicted_rating"),
        *(f.count_if(wrong).alias(what) for what, wrong in of_user.items()),
        *(count(what).alias(what) for what in of_row),
    ).collect()[0].asDict()  # fmt: skip
    wrong = {what: found.pop(what) for what in (*of_user, *of_row)}
    return found, wrong
