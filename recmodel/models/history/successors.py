"""Successors: for each movie, those that people rate soon after it.

Low-rank vectors blur what follows what: the next part of a series, the next movie of an evening. A sparse table keeps
it. What is in it adds to the retrieval scores of a few hundred movies per user and takes from none, so that the search
for the top N stays exact and cheap; see `scoring.topn.Boosts`.

The table counts how often movie j was rated within the next `_WINDOW` ratings of a user after movie i, closer ones
counting more. That is as good as a ridge regression from what was rated before to what was rated next, which needs a
matrix of all pairs of movies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from recmodel.arrays import thread_pool
from recmodel.data.histories import AGE_UNKNOWN
from recmodel.models.history import recency

_WINDOW = 20  # ratings after a movie in which its successors are sought
_POPULARITY_DAMPING = 0.25  # exponent that lowers the weight of popular successors
_PRIOR = 10.0  # ratings added to those of each successor: what few have rated follows by chance
_LAG_BITS = 5  # of the key of a pair: the lower ones say how far its movies are apart
_RATINGS = 1 << 15  # counted at a time: their pairs fit the cache

RECENT = AGE_UNKNOWN  # of so many of the newest ratings of a user, the successors count
DECAY = 3.0  # after so many newer ratings, the weight of a movie's successors has fallen to 37 %


class Successors(NamedTuple):
    """The K strongest successors of each of M movies; fewer are padded with row 0 and strength 0."""

    row: np.ndarray  # [M, K] int32, of the catalogue
    strength: np.ndarray  # [M, K] float32, at least 0; each movie's have length 1 (0: it has none), `fit.varied` aside
    weight: float  # of all successors of a user, in proportion to the length of their vector of products
    gram: np.ndarray  # [d, d] float32, the movie vectors' products with each other, from which that length follows

    def with_movies(self, place: np.ndarray, movies: int) -> Successors:
        """Return the table of a larger catalogue, in which old row i has the place `place[i]`, ascending."""
        row = np.zeros((movies, self.row.shape[1]), np.int32)
        strength = np.zeros(row.shape, np.float32)
        row[place], strength[place] = np.where(self.strength > 0, place[self.row], 0), self.strength
        return self._replace(row=row, strength=strength)


def of_user(age: np.ndarray) -> np.ndarray:
    """Return [S] float32, how much the successors of each seen movie count, from the ages of the ratings (int)."""
    return np.where(age < RECENT, recency.decay(age, DECAY), np.float32(0))


def count(user: np.ndarray, movie: np.ndarray, movies: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and the strengths of each movie's successors; see `Successors`.

    Args:
        user, movie: [R] int32, of ratings in the order of users, and for each user of time.
        movies: M, below 2^26.
        size: K, the number of successors to keep per movie; at most M.
    """
    size = min(size, movies)
    row, strength = np.zeros((movies, size), np.int32), np.zeros((movies, size), np.float32)
    number = np.bincount(movie, minlength=movies)
    damped = (number + _PRIOR) ** -_POPULARITY_DAMPING
    place = np.argsort(movie, kind="stable")  # ratings by movie, so that each block of movies finds its own
    ends = np.append(0, np.cumsum(number))
    # What follows each rating, and how many of that are the same user's.
    after = sliding_window_view(np.append(movie[1:], np.zeros(_WINDOW, movie.dtype)), _WINDOW)
    last_of_user = np.flatnonzero(np.append(user[1:] != user[:-1], True))
    left = np.minimum(np.repeat(last_of_user, np.diff(last_of_user, prepend=-1)) - np.arange(len(user)), _WINDOW)
    left = left.astype(np.int8)

    def fill(block: slice) -> None:
        of_block = place[ends[block.start] : ends[block.stop]]
        first = (movie[of_block] - block.start).astype(np.int32)
        starts, successor, counts = _count(first, after[of_block], left[of_block], block.stop - block.start, movies)
        value = (counts * damped[successor]).astype(np.float32)
        for i in np.flatnonzero(np.diff(starts)):
            of_movie = slice(starts[i], starts[i + 1])
            best = _strongest(value[of_movie], size)
            row[block.start + i, : len(best)] = successor[of_movie][best]
            strength[block.start + i, : len(best)] = value[of_movie][best]

    with thread_pool() as threads:
        for _ in threads.map(fill, _blocks(number, movies)):
            pass
    length = np.sqrt((strength**2).sum(axis=1, keepdims=True))
    return row, strength / np.maximum(length, np.finfo(np.float32).tiny)


def _blocks(number: np.ndarray, movies: int) -> Iterator[slice]:
    """Yield ranges of movies that have about `_RATINGS` ratings together, and whose pairs and lags fit 31 bits."""
    ends, most = np.cumsum(number), max(1, (2**31 >> _LAG_BITS) // movies - 1)
    first = 0
    while first < movies:
        before = ends[first - 1] if first else 0
        last = int(np.searchsorted(ends, before + _RATINGS, "right"))
        last = min(max(last, first + 1), first + most, movies)
        yield slice(first, last)
        first = last


def _count(
    first: np.ndarray, after: np.ndarray, left: np.ndarray, size: int, movies: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count how often each movie followed those of a block, closer ones more.

    Pairs are sorted rather than added to a table of all pairs, which would be as large as it is empty.

    Args:
        first: [r] int32, below `size`: which movies of the block were rated.
        after: [r, _WINDOW] int, the movies that were rated next.
        left: [r] int8, how many of these were rated by the same user.

    Returns:
        where the successors of each movie of the block begin and end, their rows, ascending, and their counts.
    """
    lag = np.arange(_WINDOW, dtype=np.int32)
    keys = after.astype(np.int32)
    keys += (first * np.int32(movies))[:, np.newaxis]
    keys <<= _LAG_BITS
    keys |= lag
    keys = np.sort(keys[lag.astype(np.int8) < left[:, np.newaxis]])
    pair = keys >> _LAG_BITS
    starts = np.flatnonzero(np.append(np.ones(min(1, len(pair)), bool), pair[1:] != pair[:-1]))
    apart = (1 / (lag + 2))[keys & ((1 << _LAG_BITS) - 1)]
    counts = np.add.reduceat(apart, starts) if len(keys) else np.empty(0)
    distinct = pair[starts]
    return np.searchsorted(distinct, np.arange(size + 1) * movies), distinct % movies, counts


def _strongest(value: np.ndarray, size: int) -> np.ndarray:
    """Return the places of the largest values, falling; of equal ones the first counts."""
    some: np.ndarray = np.arange(len(value))
    if len(value) > size:
        some = np.flatnonzero(value >= np.partition(value, len(value) - size)[len(value) - size])
    return some[np.argsort(-value[some], kind="stable")][:size]
