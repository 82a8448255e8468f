"""Checks: what must be true of a run before anybody sees it.

Takes the written recommendations and what they were made from, as Spark DataFrames; gives figures for run.json, or one
sentence that says what is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame
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
    figures, wrong = _figures(rows, promised)
    lists = rows.groupBy(c.USER_ID).agg(
        f.count("*").alias("n"),
        f.min(c.RANK).alias("first"),
        f.max(c.RANK).alias("last"),
        f.size(f.collect_set(c.RANK)).alias("ranks"),
        f.size(f.collect_set(c.MOVIE_ID)).alias("movies"),
    )
    n = f.col("n")
    broken = (n > promised.top_n) | (f.col("first") != 1) | (f.col("last") != n) | (f.col("ranks") != n)
    (faulty,) = lists.agg(
        f.count_if(broken).alias("broken"), f.count_if(f.col("movies") != n).alias("repeats")
    ).collect()
    wrong["lists are too long, or their ranks are not 1, 2, 3, …"] = faulty["broken"]
    wrong["lists repeat a movie"] = faulty["repeats"]
    hidden = f.lit(0) if promised.include_seen else f.col(c.MOVIES_COUNT)
    missing = by_user.join(rows.select(c.USER_ID).distinct(), c.USER_ID, "left_anti")
    if denied is not None:
        counts = denied.groupBy(c.USER_ID).agg(f.count("*").alias("denied"))
        missing = missing.join(counts, c.USER_ID, "left").fillna(0, ["denied"])
        hidden = hidden + f.col("denied")
        against = rows.join(denied, [c.USER_ID, c.MOVIE_ID], "left_semi")
        wrong["recommended movies are denied to their user"] = against.count()
    wrong["users are missing"] = missing.where(hidden < promised.movies).count()
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


def _figures(rows: DataFrame, promised: Promised) -> tuple[dict[str, Any], dict[str, int]]:
    """In one pass over the rows: figures, and how many rows lack a number or have a wrong one."""
    by_model = f.col(c.SOURCE) == c.SOURCE_MODEL
    score, rating = f.col(c.RETRIEVAL_SCORE), f.col(c.PREDICTED_RATING)
    low, high = promised.rating_range
    no_number = {
        c.RETRIEVAL_SCORE: by_model & (score.isNull() | f.isnan(score)) & f.lit("retrieval" in promised.tasks),
        c.PREDICTED_RATING: by_model & (rating.isNull() | f.isnan(rating)) & f.lit("rating" in promised.tasks),
    }
    found = rows.agg(
        f.count("*").alias("rows"),
        f.count_distinct(c.USER_ID).alias("users"),
        f.count_distinct(c.MOVIE_ID).alias("distinct_movies"),
        f.avg(c.PREDICTED_RATING).alias("mean_predicted_rating"),
        f.count_if(~by_model).alias("popular_rows"),
        f.count_distinct(f.when(~by_model, f.col(c.USER_ID))).alias("popular_users"),
        *(f.count_if(missing).alias(f"no {name}") for name, missing in no_number.items()),
        f.count_if((rating < low) | (rating > high)).alias("off the scale"),
    ).collect()[0].asDict()  # fmt: skip
    wrong = {f"rows have no {name}": found.pop(f"no {name}") for name in no_number}
    wrong["predicted ratings are off the scale"] = found.pop("off the scale")
    return found, wrong
