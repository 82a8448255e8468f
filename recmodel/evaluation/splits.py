"""Splits: which ratings a model is fitted to, and which it is measured by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recmodel import schemas as c
from recmodel.arrays import Arrays, mixed, rows_of, runs, summed, take
from recmodel.data import histories
from recmodel.data.ids import NO_LABELS, Labels
from recmodel.scoring import popularity

_HASHED = 1 << 20  # ratings at a time, as hashes are several times as wide as ids


@dataclass(frozen=True)
class Split:
    """Ratings to fit and ratings to measure by, one per (user, movie), with the ids of the input or their numbers."""

    fitted: Arrays
    held_out: Arrays
    movie_ids: np.ndarray  # [M] int64, ascending: the catalogue
    rated: bool = True  # False: the values are not ratings but weights of implicit feedback
    labels: Labels = NO_LABELS  # what the ids stand for, if the input has text
    shown: Arrays | None = None  # ratings that nothing is fitted to, but that predictions may use
    relevant_from: float | None = None  # only held-out movies rated so high are to be recommended; None: all are
    another_day: bool = False  # whether predictions are for another day; see `recommender.Recommender`

    @cached_property
    def known(self) -> Arrays:
        """Return what is known of the users when predictions are made: the fitted and the shown ratings."""
        if self.shown is None:
            return self.fitted
        return {name: np.concatenate([values, self.shown[name]]) for name, values in self.fitted.items()}

    @cached_property
    def relevant(self) -> Arrays:
        """Return the held-out ratings whose movies are to be recommended."""
        if self.relevant_from is None:
            return self.held_out
        return take(self.held_out, np.flatnonzero(self.held_out[c.RATING] >= self.relevant_from))

    @cached_property
    def users(self) -> np.ndarray:
        """[U] the users who have held-out ratings, ascending."""
        return np.unique(self.held_out[c.USER_ID])

    def histories(self, users: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return the known (movie ids, ratings) of each of `users`, the oldest first."""
        user, movie, time, rating = self._known_by_user
        first, end = np.searchsorted(user, users, "left"), np.searchsorted(user, users, "right")
        rows = [a + histories.oldest_first(time[a:b], movie[a:b]) for a, b in zip(first, end, strict=True)]
        return [movie[of_user] for of_user in rows], [rating[of_user] for of_user in rows]

    @cached_property
    def _known_by_user(self) -> list[np.ndarray]:
        columns = [self.known[name] for name in (c.USER_ID, c.MOVIE_ID, c.TIMESTAMP, c.RATING)]
        if (columns[0][1:] >= columns[0][:-1]).all():
            return columns
        order = np.argsort(columns[0], kind="stable")
        return [column[order] for column in columns]

    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the [M] number and the [M] sum of each movie's fitted ratings, float64."""
        return self._counts

    @cached_property
    def _counts(self) -> tuple[np.ndarray, np.ndarray]:
        movie, size = rows_of(self.movie_ids, self.fitted[c.MOVIE_ID]), len(self.movie_ids)
        return summed(movie, size), summed(movie, size, self.fitted[c.RATING])

    @cached_property
    def trend(self) -> np.ndarray | None:
        """[M] how popular each movie is of late, by the fitted ratings; None where times are not known."""
        time = self.fitted[c.TIMESTAMP]
        if not histories.have_order(time):
            return None
        return popularity.of_late(rows_of(self.movie_ids, self.fitted[c.MOVIE_ID]), time, len(self.movie_ids))


def write(split: Split, folder: Path) -> None:
    """Write fitted.parquet, held_out.parquet and, if there are any, shown.parquet, with the ids of the input."""
    labels = split.labels
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("fitted", split.fitted), ("shown", split.shown), ("held_out", split.held_out)):
        if part is not None:
            ids = {c.USER_ID: labels.user_ids(part[c.USER_ID]), c.MOVIE_ID: labels.movie_ids(part[c.MOVIE_ID])}
            pq.write_table(pa.table({**part, **ids}), folder / f"{name}.parquet")


_NEWEST = {"last-out": 1, "last-five-out": 5}  # how many ratings of each user these hold out
KINDS = ("random", "time", *_NEWEST, "users")
OF_ANY_TIME = ("random", "users")  # these hold out older ratings as well as newer ones


def make(
    kind: str,
    ratings: Arrays,
    movie_ids: np.ndarray,
    *,
    test_share: float,
    seed: int,
    limit: int | None = None,
    rated: bool = True,
    labels: Labels = NO_LABELS,
    relevant_from: float | None = None,
    number: int = 0,
) -> Split:
    """Split ratings by one of `KINDS`.

    Args:
        movie_ids: [M] int64, ascending: the catalogue.
        test_share: of the ratings; of the split `users`, of the users, and of each one's ratings.
        limit: of the random split, use only the first rows.
        rated, labels, relevant_from: see `Split`.
        number: of which of several splits: of those at random, the seed is higher by so much; of the others, so many
            parts of the newest ratings are left out first, each as large as what is held out.
    """
    seed += number
    for _ in range(number if kind not in OF_ANY_TIME else 0):
        ratings = by_time(ratings, test_share)[0] if kind == "time" else last_out(ratings, _NEWEST[kind])[0]
    if kind == "users":
        fitted, shown, held_out = users_out(ratings, test_share, seed, relevant_from)
        return Split(fitted, held_out, movie_ids, rated, labels, shown, relevant_from)
    if kind == "random":
        parts = at_random(ratings, test_share, seed, limit)
    elif kind == "time":
        parts = by_time(ratings, test_share)
    elif kind in _NEWEST:
        parts = last_out(ratings, _NEWEST[kind])
    else:
        raise ValueError(f"no split is called {kind!r}; there are {', '.join(KINDS)}")
    return Split(*parts, movie_ids, rated, labels, relevant_from=relevant_from, another_day=kind == "time")


def at_random(ratings: Arrays, test_share: float, seed: int, limit: int | None = None) -> tuple[Arrays, Arrays]:
    """Return (train, test): a random `test_share` is held out, of the first `limit` rows in random order."""
    # RandomState, not a Generator: published figures for MovieLens are of its permutation.
    order = np.random.RandomState(seed).permutation(len(ratings[c.USER_ID]))[:limit]
    cut = len(order) - int(len(order) * test_share)
    return take(ratings, order[:cut]), take(ratings, order[cut:])


def by_pair(
    ratings: Arrays,
    test_share: float,
    seed: int,
    labels: Labels = NO_LABELS,
) -> tuple[Arrays, Arrays]:
    """Return (train, test), each in the order of the input: about `test_share` is held out.

    Whether a rating is held out depends on its user, its movie and the seed alone. So no model of the same seed and
    share has been fitted to a rating that another one is measured by, whatever ratings came or went between the two.
    """
    held_out = np.zeros(len(ratings[c.USER_ID]), bool)
    for start in range(0, len(held_out) if test_share else 0, _HASHED):
        some = slice(start, start + _HASHED)
        hashed = _mix(np.full(len(held_out[some]), seed, np.uint64))
        for name in (c.USER_ID, c.MOVIE_ID):
            hashed = _mix(hashed ^ labels.hashes(name, ratings[name][some]))
        held_out[some] = (hashed >> np.uint64(11)) * 2.0**-53 < test_share  # the upper 53 bits: a number in [0, 1)
    return take(ratings, ~held_out) if held_out.any() else ratings, take(ratings, held_out)


def of_some_users(ratings: Arrays, most: int, seed: int, labels: Labels = NO_LABELS) -> Arrays:
    """Return all ratings of some users, about `most` ratings; all of everybody, if they are no more than that.

    Who is among them depends on the id and the seed alone.
    """
    share = most / max(len(ratings[c.RATING]), 1)
    if share >= 1:
        return ratings
    users, row = runs(ratings[c.USER_ID])
    hashed = _mix(labels.hashes(c.USER_ID, users) ^ np.uint64(seed))
    chosen = (hashed >> np.uint64(11)) * 2.0**-53 < share
    return take(ratings, chosen[row])


def by_time(ratings: Arrays, test_share: float) -> tuple[Arrays, Arrays]:
    """Return (train, test): the newest `test_share` of all ratings is held out."""
    order = np.argsort(ratings[c.TIMESTAMP], kind="stable")
    cut = len(order) - int(len(order) * test_share)
    return take(ratings, order[:cut]), take(ratings, order[cut:])


def last_out(ratings: Arrays, count: int = 1) -> tuple[Arrays, Arrays]:
    """Return (train, test): the newest `count` ratings of each user who has more are held out."""
    order = histories.oldest_first(ratings[c.TIMESTAMP], ratings[c.MOVIE_ID], ratings[c.USER_ID])
    _, number = np.unique(ratings[c.USER_ID], return_counts=True)
    of_user = np.repeat(number, number)
    newer = np.repeat(np.cumsum(number), number) - 1 - np.arange(len(order))
    held_out = (newer < count) & (of_user > count)
    return take(ratings, order[~held_out]), take(ratings, order[held_out])


_MOST_USERS_OUT, _LEAST_RATINGS = 10_000, 5  # of the split `users`


def users_out(
    ratings: Arrays, test_share: float, seed: int, relevant_from: float | None = None
) -> tuple[Arrays, Arrays, Arrays]:
    """Return (fitted, shown, held out): some users' ratings are not fitted; a part of them is shown, the rest held out.

    Source: Liang et al., "Variational Autoencoders for Collaborative Filtering", 2018. As there, at most 10,000 users
    are held out, who have at least 5 ratings, and where only high ratings are relevant, their others are left out.
    """
    random = np.random.RandomState(seed)
    wanted = ratings
    if relevant_from is not None:
        wanted = take(ratings, np.flatnonzero(ratings[c.RATING] >= relevant_from))
    users, count = np.unique(wanted[c.USER_ID], return_counts=True)
    eligible = users[count >= _LEAST_RATINGS]
    out = random.choice(eligible, min(int(len(users) * test_share), len(eligible), _MOST_USERS_OUT), replace=False)
    of_out = take(wanted, np.flatnonzero(np.isin(wanted[c.USER_ID], out)))
    of_out = take(of_out, random.permutation(len(of_out[c.USER_ID])))
    of_out = take(of_out, np.argsort(of_out[c.USER_ID], kind="stable"))
    user = of_out[c.USER_ID]
    first, end = np.searchsorted(user, user, "left"), np.searchsorted(user, user, "right")
    is_held_out = np.arange(len(user)) - first < np.ceil((end - first) * test_share)
    fitted = take(ratings, np.flatnonzero(~np.isin(ratings[c.USER_ID], out)))
    return fitted, take(of_out, np.flatnonzero(~is_held_out)), take(of_out, np.flatnonzero(is_held_out))


def cold_users(
    ratings: Arrays,
    movie_ids: np.ndarray,
    seed: int,
    counts: tuple[int, ...] = (0, 1, 3, 10),
    *,
    rated: bool = True,
    labels: Labels = NO_LABELS,
) -> tuple[Split, dict[int, Split]]:
    """Hold a fifth of the users out whole, and then show the model their first few ratings.

    Returns:
        The split to fit a model to, and for each of `counts` one that shows that many ratings of the cold users, in
        random order. What is held out is the same in all: what follows the largest of `counts`.
    """
    random = np.random.RandomState(seed)
    users = np.unique(ratings[c.USER_ID])
    cold = random.choice(users, len(users) // 5, replace=False)
    shuffled = take(ratings, random.permutation(len(ratings[c.USER_ID])))
    is_cold = np.isin(shuffled[c.USER_ID], cold)
    others, of_cold = take(shuffled, np.flatnonzero(~is_cold)), take(shuffled, np.flatnonzero(is_cold))
    of_cold = take(of_cold, np.argsort(of_cold[c.USER_ID], kind="stable"))
    first = np.searchsorted(of_cold[c.USER_ID], of_cold[c.USER_ID])  # where each user's ratings begin
    place = np.arange(len(first)) - first
    held_out = take(of_cold, np.flatnonzero(place >= max(counts)))

    base = Split(others, held_out, movie_ids, rated, labels)
    return base, {n: replace(base, shown=take(of_cold, np.flatnonzero(place < n))) for n in counts}


def _mix(state: np.ndarray) -> np.ndarray:
    """Return the output of SplitMix64 for each state (uint64); see `mixed`."""
    return mixed(state + np.uint64(0x9E3779B97F4A7C15))
