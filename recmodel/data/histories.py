"""Histories: what each of many users has rated, as flat arrays, and the order of rows that makes them.

Movies are given by their rows in the run's catalogue. Users ascend (text by its UTF-8 bytes), and so do the movies of
each: a few vectorized passes make the histories of a million ratings, where lists per user would take seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel.data import duplicates

AGE_UNKNOWN = 10  # of all ratings where no times are known: they weigh the same, and nothing has succeeded them


@dataclass(frozen=True)
class Lists:
    """A list of movies for each of U users, one after the other: user u has those from splits[u] to splits[u + 1]."""

    splits: np.ndarray  # [U + 1] int64
    movie: np.ndarray  # [S] int32, ascending for each user

    def __getitem__(self, users: slice) -> Lists:
        first, *_ = splits = self.splits[users.start : users.stop + 1]
        return Lists(splits - first, self.movie[first : splits[-1]])

    @cached_property
    def user(self) -> np.ndarray:
        """[S] int64, whose list each movie is in."""
        return np.repeat(np.arange(len(self.splits) - 1), np.diff(self.splits))


@dataclass(frozen=True)
class Histories:
    """The histories of U users, S ratings in all, and what is denied to them."""

    user_id: pa.Array  # [U] int64 or string, ascending
    seen: Lists
    rating: np.ndarray  # [S] float32
    time: np.ndarray  # [S] int64, seconds
    denied: Lists

    def __len__(self) -> int:
        return len(self.user_id)

    def __getitem__(self, users: slice) -> Histories:
        start, stop, _ = users.indices(len(self))
        users = slice(start, stop)
        seen = slice(self.seen.splits[start], self.seen.splits[stop])
        return Histories(self.user_id[users], self.seen[users], self.rating[seen], self.time[seen], self.denied[users])

    @cached_property
    def age(self) -> np.ndarray:
        """[S] int32, how many newer ratings the user has; see `oldest_first`."""
        age = np.empty(len(self.time), np.int32)
        age[by_time(self.seen.user, self.time)] = ages(self.seen.splits)
        return age


def of_users(users: pa.Array, ratings: pa.Table, denied: pa.Table | None = None) -> Histories:
    """Return the histories of some users, with or without ratings.

    Args:
        users: ascending.
        ratings: columns user_id, movie, rating and timestamp of these users and others, in the order of `in_order`, no
            movie twice for a user.
        denied: `schemas.STAGED_PAIRS`, in any order.
    """
    seen, rows = _lists(users, ratings)
    rating = ratings.column(c.RATING).to_numpy()
    time = ratings.column(c.TIMESTAMP).fill_null(0).to_numpy()
    rating, time = (rating, time) if rows is None else (rating[rows], time[rows])
    if denied is None:
        return Histories(users, seen, rating, time, Lists(np.zeros(len(users) + 1, np.int64), np.empty(0, np.int32)))
    order = in_order(denied.column(c.USER_ID), denied.column(c.MOVIE).to_numpy())
    denied = denied if order is None else denied.take(pa.array(order))
    return Histories(users, seen, rating, time, _lists(users, denied)[0])


def ages(splits: np.ndarray) -> np.ndarray:
    """Return [S] int32: how many newer ratings the user has, of ratings user after user, the oldest of each first.

    Args:
        splits: [U + 1] where the ratings of each user begin and end.
    """
    return (np.repeat(splits[1:], np.diff(splits)) - 1 - np.arange(splits[-1])).astype(np.int32)


def have_order(time: np.ndarray) -> bool:
    """Return whether times say in what order ratings were given: where none are known, all are 0."""
    return bool(len(time)) and bool(time.min() < time.max())


def oldest_first(time: np.ndarray, movie: np.ndarray, user: np.ndarray | None = None) -> np.ndarray:
    """Return the order of ratings by time, user after user if there are several.

    Of ratings of the same time, that of the greater movie is newer.
    """
    return np.lexsort((movie, time) if user is None else (movie, time, user))


def by_time(user: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Return the order of `oldest_first`, of ratings that ascend by user and movie.

    Args:
        user: [S] int64.
    """
    if not len(time) or int(time.max()) - int(time.min()) >= 2**32 or len(user) >= 2**31:
        return np.lexsort((time, user))
    return np.argsort((user << 32) | (time.astype(np.int64) - int(time.min())), kind="stable")


def _lists(users: pa.Array, rows: pa.Table) -> tuple[Lists, np.ndarray | None]:
    """Return the movies of each of the users, and which of the rows these are; None: all of them, in their order."""
    of_rows, first = starts_of_users(rows.column(c.USER_ID))
    movie, ends = rows.column(c.MOVIE).to_numpy(), np.append(first, rows.num_rows)
    if of_rows.equals(users):
        return Lists(ends, movie), None
    place = pc.index_in(users, value_set=of_rows)
    has_rows = place.is_valid().to_numpy(zero_copy_only=False)
    place = place.fill_null(0).to_numpy()
    lengths = np.where(has_rows, np.diff(ends)[place], 0) if len(of_rows) else np.zeros(len(users), np.int64)
    splits = np.append(0, np.cumsum(lengths))
    begin = ends[place] if len(of_rows) else splits[:-1]
    which = np.repeat(begin - splits[:-1], lengths) + np.arange(splits[-1])
    return Lists(splits, movie[which]), which


def starts_of_users(user_id: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, np.ndarray]:
    """Return the distinct users of an ascending column, and [U] int64, the row with which each begins."""
    user_id = _array(user_id)
    first = np.flatnonzero(_begins(len(user_id), _differ(user_id)))
    return user_id.take(pa.array(first)), first


def are_in_order(user_id: pa.Array, movie: np.ndarray) -> bool:
    """Return whether rows ascend strictly by user and movie, so that no user has a movie twice."""
    greater = pc.greater(user_id[1:], user_id[:-1]).to_numpy(zero_copy_only=False)
    return bool((greater | (~_differ(user_id) & (movie[1:] > movie[:-1]))).all())


def in_order(user_id: pa.Array | pa.ChunkedArray, movie: np.ndarray) -> np.ndarray | None:
    """Return the order of rows in which they ascend by user and movie; None if they do, none of them twice.

    Args:
        movie: [S] integers, such as rows of a catalogue.
    """
    user_id = _array(user_id)
    if are_in_order(user_id, movie):
        return None
    if pa.types.is_string(user_id.type):
        encoded = user_id.dictionary_encode()
        place = np.empty(len(encoded.dictionary), np.int64)
        place[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(place))
        user = place[encoded.indices.to_numpy()]
    else:
        user = user_id.to_numpy()
    lowest, first = int(user.min()), int(movie.min())
    movies = int(movie.max()) - first + 1
    if int(user.max()) - lowest >= 2**62 // movies:
        return np.lexsort((movie, user))
    pair = user.astype(np.int64)
    pair -= lowest
    pair *= movies
    pair += movie
    return np.argsort(pair)  # several times as fast as sorting by two columns


def sorted_rows(ratings: pa.Table) -> pa.Table:
    """Sort `schemas.STAGED` by user and movie; see `in_order`."""
    order = in_order(ratings.column(c.USER_ID), ratings.column(c.MOVIE).to_numpy())
    return ratings if order is None else ratings.take(pa.array(order))


def that_count(ratings: pa.Table, *, add_up: bool) -> tuple[pa.Table, np.ndarray]:
    """Return the ratings that count, one for each user and movie, in their order; and [S] bool, which of all they are.

    Args:
        ratings: `schemas.STAGED`, in the order of `in_order`.
        add_up: see `duplicates.combined`.
    """
    movie = ratings.column(c.MOVIE).to_numpy()
    starts = _begins(len(movie), _differ(ratings.column(c.USER_ID)) | (movie[1:] != movie[:-1]))
    time = ratings.column(c.TIMESTAMP).fill_null(0).to_numpy()
    counts, rating = duplicates.that_count(starts, time, ratings.column(c.RATING).to_numpy(), add_up=add_up)
    if counts.all():
        return ratings, counts
    if add_up:
        ratings = ratings.set_column(ratings.schema.get_field_index(c.RATING), c.RATING, pa.array(rating))
    return ratings.filter(pa.array(counts)), counts


def _begins(rows: int, differ: np.ndarray) -> np.ndarray:
    """Return [S] bool: whether each row is the first, or differs ([S - 1]) from the one before."""
    return np.append(np.ones(min(1, rows), bool), differ)


def _differ(user_id: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return [S - 1] bool: whether each user but the first is another than the one before."""
    user_id = _array(user_id)
    if pa.types.is_string(user_id.type):
        return pc.not_equal(user_id[1:], user_id[:-1]).to_numpy(zero_copy_only=False)
    user = user_id.to_numpy()
    return user[1:] != user[:-1]


def _array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column as one array; without a copy, if it is one."""
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
