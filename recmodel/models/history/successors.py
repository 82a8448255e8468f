"""Successors: for each movie, those that people rate soon after it.

Low-rank vectors blur what follows what: the next part of a series, the next movie of an evening. A sparse table keeps
it. What is in it adds to the retrieval scores of a few hundred movies per user and takes from none, so that the search
for the top N stays exact and cheap; see `scoring.topn.Boosts`.

The table counts how often movie j was rated within the next `_WINDOW` ratings of a user after movie i, closer ones
counting more. That is as good as a ridge regression from what was rated before to what was rated next, which needs a
matrix of all pairs of movies.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_WINDOW = 20  # ratings after a movie in which its successors are sought
_POPULARITY_DAMPING = 0.25  # exponent that lowers the weight of popular successors
_PRIOR = 10.0  # ratings added to those of each successor: what few have rated follows by chance
_CELLS = 1 << 24  # of the dense block of counts: 64 MiB; bounds the memory

RECENT = 10  # of the newest ratings of a user, the successors count
DECAY = 3.0  # after so many newer ratings, the weight of a movie's successors has fallen to 37 %


class Successors(NamedTuple):
    """The K strongest successors of each of M movies; fewer are padded with row 0 and strength 0."""

    row: np.ndarray  # [M, K] int32, of the catalogue
    strength: np.ndarray  # [M, K] float32, at least 0; each movie's have length 1, or 0 if it has none
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
    return np.where(age < RECENT, np.exp(age.astype(np.float32) / np.float32(-DECAY)), np.float32(0))


def count(user: np.ndarray, movie: np.ndarray, movies: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and the strengths of each movie's successors; see `Successors`.

    Args:
        user, movie: [R] int, of ratings in the order of users, and for each user of time.
        movies: M.
        size: K, the number of successors to keep per movie; at most M.
    """
    size = min(size, movies)
    row, strength = np.zeros((movies, size), np.int32), np.zeros((movies, size), np.float32)
    damped = (np.bincount(movie, minlength=movies) + _PRIOR).astype(np.float32) ** -_POPULARITY_DAMPING
    place = np.argsort(movie, kind="stable")  # ratings by movie, so that each block of movies finds its own
    ends = np.searchsorted(movie[place], np.arange(movies + 1))
    block = max(1, _CELLS // movies)
    for first in range(0, movies, block):
        last = min(first + block, movies)
        counts = _count_block(user, movie, place[ends[first] : ends[last]], first, last, movies) * damped
        best = np.argpartition(-counts, size - 1, axis=1)[:, :size]
        found = np.take_along_axis(counts, best, axis=1)
        order = np.lexsort((best, -found))  # so that the table does not depend on how NumPy partitions
        best, found = np.take_along_axis(best, order, 1), np.take_along_axis(found, order, 1)
        length = np.sqrt((found**2).sum(axis=1, keepdims=True))
        row[first:last] = np.where(found > 0, best, 0)
        strength[first:last] = found / np.maximum(length, np.finfo(np.float32).tiny)
    return row, strength


def _count_block(
    user: np.ndarray, movie: np.ndarray, place: np.ndarray, first: int, last: int, movies: int
) -> np.ndarray:
    """Return [last - first, M] float32: how often each movie followed those from `first` to `last`.

    Args:
        place: [r] where the ratings of these movies are.
    """
    counts = np.zeros((last - first) * movies, np.float32)
    for lag in range(1, _WINDOW + 1):
        before = place[place < len(user) - lag]
        before = before[user[before] == user[before + lag]]
        pair = (movie[before].astype(np.int64) - first) * movies + movie[before + lag]
        np.add.at(counts, pair, np.float32(1 / (lag + 1)))
    table = counts.reshape(last - first, movies)
    table[np.arange(last - first), np.arange(first, last)] = 0
    return table
