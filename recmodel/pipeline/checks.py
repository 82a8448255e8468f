"""Checks: what must be true of a run before anybody sees it.

They are made from the written rows and from the staged input, by other code than that which scored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel.data import catalogue as lookup
from recmodel.data.catalogue import Catalogues
from recmodel.errors import ScoringFailed
from recmodel.progress import log
from recmodel.records import Figures
from recmodel.settings import Checks


@dataclass(frozen=True)
class Expectations:
    """What the rows of a run must be like. A movies: those of tonight and the delisted ones."""

    top_n: int
    include_seen: bool
    tasks: tuple[str, ...]  # that the model was trained for
    rating_range: tuple[float, float]  # in stars
    movie_ids: pa.Array  # [A] ascending
    tonight: np.ndarray  # [A] bool: which of them tonight's catalogue has
    allowed: np.ndarray  # [A] bool: which of them the model may recommend by the rules
    genres: np.ndarray | None = None  # [A, G] bool: the genres of each; None: a list may have any number of a genre
    max_per_genre: int = 0
    max_new: int | None = None  # movies in a list that are new to the model; None: any number


def expectations(catalogues: Catalogues, allowed: np.ndarray, *, max_per_genre: int, **others: object) -> Expectations:
    """Return what the rows of a run must be like.

    Args:
        allowed: [M] bool, which of the model's movies may be recommended.
        max_per_genre: 0 for any number.
        others: the other fields of `Expectations`.
    """
    movie_ids = catalogues.all.column(c.MOVIE_ID).combine_chunks()

    def are_in(movies: pa.ChunkedArray) -> np.ndarray:
        return pc.is_in(movie_ids, value_set=movies.combine_chunks()).to_numpy(zero_copy_only=False)

    genres = None
    if max_per_genre:
        names, has = lookup.genres(catalogues.all)
        genres = has[:, [name not in lookup.NO_GENRE for name in names]]
    return Expectations(
        movie_ids=movie_ids,
        tonight=are_in(catalogues.tonight.column(c.MOVIE_ID)),
        allowed=are_in(catalogues.of_model.column(c.MOVIE_ID).filter(pa.array(allowed))),
        genres=genres,
        max_per_genre=max_per_genre,
        **others,  # type: ignore[arg-type]
    )


class Found(NamedTuple):
    """What a part of a run is like."""

    figures: Counter[str]  # counts and sums, by what is counted
    faults: Counter[str]
    movies: np.ndarray  # the rows of the movies that are recommended


def found(
    rows: pa.Table,
    users: pa.Table,
    rated: pa.Table | None,
    denied: pa.Table | None,
    opted_out: pa.Array | None,
    expected: Expectations,
) -> Found:
    """Look at the rows of some users, and count them and their faults.

    Args:
        rows: `schemas.RECOMMENDATION`, as written.
        users: `schemas.USER` of those to be scored, ascending.
        rated: what they have seen (`schemas.STAGED_PAIRS`); None where seen movies are recommended too.
        denied: what may not be recommended to whom (`schemas.STAGED_PAIRS`); None: nothing.
        opted_out: users to whom the model may recommend nothing; None: nobody.
    """
    user_id = users.column(c.USER_ID).combine_chunks()
    movie = _places(rows.column(c.MOVIE_ID), expected.movie_ids)
    user = _places(rows.column(c.USER_ID), user_id)
    known, was_asked = movie >= 0, user >= 0
    by_model = pc.not_equal(rows.column(c.SOURCE), c.SOURCE_POPULARITY).to_numpy()
    is_new = pc.equal(rows.column(c.SOURCE), c.SOURCE_CONTENT).to_numpy()
    score, rating = (rows.column(name).to_numpy() for name in (c.RETRIEVAL_SCORE, c.PREDICTED_RATING))  # null: NaN
    rank, (low, high) = rows.column(c.RANK).to_numpy(), expected.rating_range

    def by_user(which: np.ndarray) -> np.ndarray:
        return np.bincount(user[which & was_asked], minlength=len(user_id))

    everything = np.ones(len(user), bool)
    count, popular = by_user(everything), by_user(~by_model)
    pair = user * np.int64(len(expected.movie_ids) + 1) + movie
    ranked = user * np.int64(expected.top_n + 1) + rank
    is_rank = (rank >= 1) & (rank <= expected.top_n) & was_asked
    ranks = np.bincount(np.unique(ranked[is_rank]) // (expected.top_n + 1), minlength=len(user_id))
    longest = np.zeros(len(user_id), np.int64)
    np.maximum.at(longest, user[was_asked], rank[was_asked])
    hidden = np.zeros(len(user_id), np.int64) if rated is None else users.column(c.MOVIES_COUNT).to_numpy()
    forbidden = np.empty(0, np.int64) if denied is None else _pairs(denied, user_id, expected)
    hidden = hidden + np.bincount(forbidden // (len(expected.movie_ids) + 1), minlength=len(user_id))
    others = pc.count_distinct(rows.column(c.USER_ID).filter(pa.array(~was_asked))).as_py()
    seen = np.empty(0, np.int64) if rated is None else _pairs(rated, user_id, expected)
    faults = {
        "users are missing": (count == 0) & (hidden < expected.allowed.sum()),
        "users were not asked for": np.ones(others),
        "lists are too long, or their ranks are not 1, 2, 3, …": (count > expected.top_n)
        | (longest != count)
        | (ranks != count),
        "movies come twice in a list": np.unique(pair, return_counts=True)[1] > 1,
        "recommended movies have been rated by their user": np.isin(pair, seen) & was_asked,
        "recommended movies are not in tonight's catalogue": ~(known & expected.tonight[movie]),
        "recommended movies are denied to their user": np.isin(pair, forbidden) & was_asked,
        "recommended movies are against the rules": ~(known & expected.allowed[movie]),
        "rows have no retrieval_score": by_model & np.isnan(score) & ("retrieval" in expected.tasks),
        "rows have no predicted_rating": by_model & np.isnan(rating) & ("rating" in expected.tasks),
        "predicted ratings are off the scale": (rating < low) | (rating > high),
    }
    if opted_out is not None:
        gone = pc.is_in(rows.column(c.USER_ID), value_set=opted_out).to_numpy()
        faults["recommendations by the model are of users who opted out"] = gone & by_model
    if expected.max_new is not None:
        faults[f"lists have more than {expected.max_new} new movies"] = by_user(is_new) > expected.max_new
    if expected.genres is not None:
        of_genre = np.zeros((len(user_id), expected.genres.shape[1]), np.int64)
        np.add.at(of_genre, user[was_asked], expected.genres[movie[was_asked]])
        too_many = of_genre > expected.max_per_genre
        faults[f"times a list has more than {expected.max_per_genre} movies of a genre"] = too_many
    figures = {
        "rows": len(user),
        "users": (count > 0).sum(),
        "popular_rows": popular.sum(),
        "popular_users": (popular > 0).sum(),
        "new_rows": is_new.sum(),
        "rated": (~np.isnan(rating)).sum(),
        "stars": np.nansum(rating, dtype=np.float64),
    }
    return Found(
        Counter({name: value.item() if hasattr(value, "item") else value for name, value in figures.items()}),
        Counter({fault: int(where.sum()) for fault, where in faults.items()}),
        np.unique(movie[known]),
    )


def _places(ids: pa.ChunkedArray, among: pa.Array) -> np.ndarray:
    """Return [R] int64, the place of each id among others; -1 where it is not one of them."""
    return pc.index_in(ids, value_set=among).fill_null(-1).to_numpy().astype(np.int64)


def _pairs(rows: pa.Table, users: pa.Array, expected: Expectations) -> np.ndarray:
    """Return one number for each pair (`schemas.STAGED_PAIRS`) of one of the users and a movie."""
    user = _places(rows.column(c.USER_ID), users)
    pair = user * np.int64(len(expected.movie_ids) + 1) + rows.column(c.MOVIE).to_numpy()
    return pair[user >= 0]


def figures(parts: Iterable[Found]) -> Figures:
    """Return the figures of a run: users and rows by source, distinct movies and the mean predicted rating.

    Raises:
        ScoringFailed: a user is missing, a list is too long or has gaps or repeats, a movie was seen or is against the
            rules, or a number is missing or off the scale.
    """
    parts = list(parts)
    counts, faults = Counter[str](), Counter[str]()
    for part in parts:
        counts.update(part.figures)
        faults.update(part.faults)
    for fault, count in faults.items():
        log.info("checked: %d %s", count, fault)
        if count:
            raise ScoringFailed(f"the run is not published: {count:,} {fault}; the last one still stands")
    rated, stars = counts.pop("rated"), counts.pop("stars")
    movies = np.unique(np.concatenate([np.empty(0, np.int64), *(part.movies for part in parts)]))
    return Figures(distinct_movies=len(movies), mean_predicted_rating=stars / rated if rated else None, **counts)


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
