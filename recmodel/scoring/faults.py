"""Faults: what is wrong with the rows of some users, by other code than that which scored them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel.arrays import places


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


class Found(NamedTuple):
    """What a part of a run is like."""

    figures: Counter[str]  # counts and sums, by what is counted
    faults: Counter[str]
    movies: np.ndarray  # the rows of the movies that are recommended


def found(
    rows: pa.Table,
    lists: pa.Table,
    users: pa.Table,
    rated: pa.Table | None,
    denied: pa.Table | None,
    opted_out: pa.Array | None,
    expected: Expectations,
) -> Found:
    """Look at the rows of some users, and count them and their faults.

    Args:
        rows: `schemas.RECOMMENDATION`, as written.
        lists: `schemas.LIST`, as written.
        users: `schemas.USER` of those to be scored, ascending.
        rated: what they have seen (`schemas.STAGED_PAIRS`); None where seen movies are recommended too.
        denied: what may not be recommended to whom (`schemas.STAGED_PAIRS`); None: nothing.
        opted_out: users to whom the model may recommend nothing; None: nobody.
    """
    user_id = users.column(c.USER_ID).combine_chunks()
    movie = places(expected.movie_ids, rows.column(c.MOVIE_ID))
    user = places(user_id, rows.column(c.USER_ID))
    known, was_asked = movie >= 0, user >= 0
    by_model = c.are_by_model(rows.column(c.SOURCE)).to_numpy()
    is_new = pc.equal(rows.column(c.SOURCE), c.SOURCE_CONTENT).to_numpy()
    score, rating = (rows.column(name).to_numpy() for name in (c.RETRIEVAL_SCORE, c.PREDICTED_RATING))  # null: NaN
    rank, (low, high) = rows.column(c.RANK).to_numpy(), expected.rating_range

    def by_user(which: np.ndarray) -> np.ndarray:
        return np.bincount(user[which & was_asked], minlength=len(user_id))

    recommended, everything = np.unique(movie[known]), np.ones(len(user), bool)
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
    wrong = {
        "users are missing": (count == 0) & (hidden < expected.allowed.sum()),
        "users were not asked for": np.ones(others),
        "lists are too long, or their ranks are not 1, 2, 3, …": (count > expected.top_n)
        | (longest != count)
        | (ranks != count),
        "movies come twice in a list": np.unique(pair, return_counts=True)[1] > 1,
        "recommended movies have been rated by their user": _are_in(pair, seen) & was_asked,
        "recommended movies are not in tonight's catalogue": ~(known & expected.tonight[movie]),
        "recommended movies are denied to their user": _are_in(pair, forbidden) & was_asked,
        "recommended movies are against the rules": ~(known & expected.allowed[movie]),
        "rows have no retrieval_score": by_model & np.isnan(score) & ("retrieval" in expected.tasks),
        "rows have no predicted_rating": by_model & np.isnan(rating) & ("rating" in expected.tasks),
        "predicted ratings are off the scale": (rating < low) | (rating > high),
    }
    wrong |= _wrong_lists(lists, rows, user_id, np.append(seen, forbidden), expected)
    if opted_out is not None:
        gone = pc.is_in(rows.column(c.USER_ID), value_set=opted_out).to_numpy()
        wrong["recommendations by the model are of users who opted out"] = gone & by_model
    if expected.max_new is not None:
        wrong[f"lists have more than {expected.max_new} new movies"] = by_user(is_new) > expected.max_new
    if expected.genres is not None:
        of_genre = np.zeros((len(user_id), expected.genres.shape[1]), np.int64)
        np.add.at(of_genre, user[was_asked], expected.genres[movie[was_asked]])
        too_many = of_genre > expected.max_per_genre
        wrong[f"times a list has more than {expected.max_per_genre} movies of a genre"] = too_many
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
        Counter({fault: int(where.sum()) for fault, where in wrong.items()}),
        recommended,
    )


def _wrong_lists(
    lists: pa.Table, rows: pa.Table, user_id: pa.Array, hidden: np.ndarray, expected: Expectations
) -> dict[str, np.ndarray]:
    """Return what is wrong with the table of lists, which has the rows and then a reserve.

    Args:
        hidden: pairs that may not be recommended; see `_pairs`.
    """
    entries = _entries(lists, rows.column(c.USER_ID))
    movie = places(expected.movie_ids, entries.movie_id)
    pair = places(user_id, entries.user_id) * np.int64(len(expected.movie_ids) + 1) + movie
    in_rows, in_reserve = entries.position <= entries.rows, entries.position > expected.top_n
    differ = (~in_rows & ~in_reserve).any() or not _same(entries, in_rows, rows)
    may_not = ~((movie >= 0) & expected.tonight[movie] & expected.allowed[movie]) | _are_in(pair, hidden)
    return {
        "parts of the table lists differ from recommendations": np.array(differ),
        "movies in reserve may not be recommended to their user": in_reserve & may_not,
    }


class _Entries(NamedTuple):
    """What is in the lists, one after the other."""

    user_id: pa.ChunkedArray
    movie_id: pa.ChunkedArray
    position: np.ndarray  # in the list, from 1
    rows: np.ndarray  # how many rows of the table recommendations the user has


def _entries(lists: pa.Table, users_of_rows: pa.ChunkedArray) -> _Entries:
    column, owner = lists.column(c.RECOMMENDATIONS), lists.column(c.USER_ID)
    parent = pc.list_parent_indices(column).to_numpy()
    of_rows = places(owner.combine_chunks(), users_of_rows)
    rows = np.bincount(of_rows[of_rows >= 0], minlength=len(owner))
    movie_id = pc.struct_field(pc.list_flatten(column), c.MOVIE_ID)
    position = np.arange(len(parent)) - np.searchsorted(parent, parent) + 1
    return _Entries(owner.take(pa.array(parent)), movie_id, position, rows[parent])


def _same(entries: _Entries, which: np.ndarray, rows: pa.Table) -> bool:
    """Return whether some entries are the rows of recommendations, in their order."""
    mine = (column.filter(pa.array(which)) for column in (entries.user_id, entries.movie_id))
    return all(column.equals(rows.column(name)) for column, name in zip(mine, (c.USER_ID, c.MOVIE_ID), strict=True))


def _are_in(pair: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return [R] bool: whether each pair is one of the others. Few pairs are searched among many."""
    if not len(others):
        return np.zeros(len(pair), bool)
    if (others[1:] < others[:-1]).any():
        others = np.sort(others)
    return others[np.searchsorted(others, pair).clip(max=len(others) - 1)] == pair


def _pairs(rows: pa.Table, users: pa.Array, expected: Expectations) -> np.ndarray:
    """Return one number for each pair (`schemas.STAGED_PAIRS`) of one of the users and a movie."""
    user = places(users, rows.column(c.USER_ID))
    pair = user * np.int64(len(expected.movie_ids) + 1) + rows.column(c.MOVIE).to_numpy()
    return pair[user >= 0]
