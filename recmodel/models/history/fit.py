"""What is fitted of the architecture `history`: whole histories, with Adam, starting from the closed form."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from recmodel import schemas as c
from recmodel.arrays import Arrays, rows_of, runs, take
from recmodel.data import histories
from recmodel.models.architectures import Fittable
from recmodel.models.history import another_day, closed_form, placing, successors
from recmodel.models.history.another_day import AnotherDay
from recmodel.models.history.closed_form import Interactions
from recmodel.models.history.model import Batch, HistoryModel
from recmodel.models.history.preset import Preset
from recmodel.models.history.recency import NO_RECENCY, Mood, Recency
from recmodel.models.history.successors import Successors
from recmodel.models.history.weights import HistoryWeights
from recmodel.models.tensors import strength
from recmodel.tf import tf

log = logging.getLogger(__name__)

_CELLS_IN_BATCH = 16_384  # at least: users times the longest history among them
_USERS_IN_BATCH = 128  # at most, in a batch of that size; the softmax holds a row of candidates for each
_BATCHES = 256  # per epoch, about, if there are more ratings than fill batches of that size


def prepare(
    fitted: Arrays,
    user_ids: np.ndarray,
    catalogue: pa.Table,
    preset: Preset,
    *,
    seed: int,
    rating_range: tuple[float, float],
) -> Fittable:
    """Compute the closed form, and prepare a model to be fitted from there; see `training.train`."""
    started = time.monotonic()
    del user_ids  # nothing in this model belongs to a user
    movie_ids = catalogue.column(c.MOVIE_ID).to_numpy()
    order = histories.in_order(pa.array(fitted[c.USER_ID]), fitted[c.MOVIE_ID])
    fitted = fitted if order is None else take(fitted, order)
    ratings = _interactions(fitted, movie_ids, is_implicit=bool(np.isnan(rating_range).any()))
    start = closed_form.start(ratings, closed_form.features(catalogue), preset, seed)
    sequence = _sequence(ratings, fitted[c.TIMESTAMP], start.counts, preset)
    start_seconds = time.monotonic() - started
    model = HistoryModel(start, preset)
    model.compile(optimizer=tf.keras.optimizers.legacy.Adam(preset.learning_rate))
    batches = HistoryBatches(ratings, seed)

    def weights() -> HistoryWeights:
        fitted = replace(
            model.weights_as_arrays(movie_ids, rating_range),
            recency=sequence.recency,
            rating_recency=sequence.rating_recency,
            mood=sequence.mood,
            another_day=sequence.another_day,
        )
        if sequence.successors is not None:
            gram = fitted.movie_vectors.T @ fitted.movie_vectors
            fitted = replace(fitted, successors=Successors(*sequence.successors, preset.successor_weight, gram))
        fitted = varied(fitted, start.counts, preset.variety)
        return replace(fitted, placing=placing.fit(fitted, catalogue, start.counts))

    return Fittable(model, batches, weights, start_seconds)


def varied(weights: HistoryWeights, counts: np.ndarray, variety: float) -> HistoryWeights:
    """Lower the retrieval scores of popular movies, and raise those of rare ones, by a factor of each movie.

    Args:
        counts: [M] ratings of each movie.
        variety: the exponent; 0 changes nothing.
    """
    if not variety:
        return weights
    factor = (((counts + 1.0) / 20) ** -variety).astype(np.float32)
    table = weights.successors
    if table is not None:  # their length, which `gram` is for, stays that of the products without factors
        table = table._replace(strength=table.strength * factor[table.row])
    return replace(weights, movie_vectors=weights.movie_vectors * factor[:, np.newaxis], successors=table)


def _interactions(fitted: Arrays, movie_ids: np.ndarray, *, is_implicit: bool) -> Interactions:
    """Return ratings as rows, those that ascend by user and movie."""
    users, user = runs(fitted[c.USER_ID])
    rating = fitted[c.RATING]
    rating = strength(rating).numpy() if is_implicit else rating.astype(np.float32, copy=False)
    return Interactions(user, rows_of(movie_ids, fitted[c.MOVIE_ID]), rating, len(users), len(movie_ids))


class _Sequence(NamedTuple):
    """What a model takes from the order of ratings."""

    recency: Recency = NO_RECENCY
    rating_recency: Recency = NO_RECENCY
    mood: Mood | None = None
    successors: tuple[np.ndarray, np.ndarray] | None = None  # see `successors.count`
    another_day: AnotherDay | None = None


def _sequence(ratings: Interactions, timestamp: np.ndarray, counts: np.ndarray, preset: Preset) -> _Sequence:
    """Return what the preset takes from the order of ratings; nothing if that is not known.

    Args:
        timestamp: [R] seconds, of the ratings; ratings at the same time count in the order of movie ids.
        counts: [M] ratings of each movie.
    """
    if not histories.have_order(timestamp):
        log.info("the ratings have no times, so the model takes no account of the order in which movies were rated")
        return _Sequence()
    found = _Sequence(
        Recency(preset.recency_floor, preset.recency_ratings),
        Recency(preset.rating_recency_floor, preset.rating_recency_ratings),
        Mood(preset.mood_ratings, preset.mood_damping) if preset.mood_ratings else None,
        another_day=_another_day(ratings.movie, timestamp, counts, preset),
    )
    if not preset.successors:
        return found
    order = histories.by_time(ratings.user.astype(np.int64), timestamp)
    user, movie = ratings.user[order], ratings.movie[order]
    return found._replace(successors=successors.count(user, movie, ratings.movies, preset.successors))


def _another_day(movie: np.ndarray, timestamp: np.ndarray, counts: np.ndarray, preset: Preset) -> AnotherDay | None:
    if not preset.pause and not preset.trend:
        return None
    return AnotherDay(preset.pause, another_day.trend(movie, timestamp, counts, preset.trend))


class HistoryBatches(tf.keras.utils.Sequence):
    """Whole histories, in batches of users with histories of similar length, shuffled before each epoch."""

    def __init__(self, ratings: Interactions, seed: int) -> None:
        self._movie, self._rating, self._starts = ratings.movie, ratings.rating, ratings.starts
        length = ratings.activity
        by_length = np.argsort(-length, kind="stable")[: np.count_nonzero(length)]
        self._batches: list[np.ndarray] = []
        self._larger = larger = max(1.0, len(ratings.user) / (_BATCHES * _CELLS_IN_BATCH))
        while len(by_length):
            size = max(1, int(larger * min(_USERS_IN_BATCH, _CELLS_IN_BATCH // length[by_length[0]])))
            self._batches.append(by_length[:size])
            by_length = by_length[size:]
        self._random = np.random.RandomState(seed)
        self.on_epoch_end()

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, i: int) -> Batch:
        users = self._batches[i]
        first, length = self._starts[users], self._starts[users + 1] - self._starts[users]
        column = np.arange(length.max())
        present = column < length[:, np.newaxis]
        cell = np.where(present, first[:, np.newaxis] + column, 0)
        return {
            "movie": tf.constant(np.where(present, self._movie[cell], 0), tf.int32),
            "rating": tf.constant(np.where(present, self._rating[cell], 0), tf.float32),
            "present": tf.constant(present, tf.float32),
        }

    def on_epoch_end(self) -> None:
        """Shuffle the batches and, as the retrieval task takes the first users of a large one, the users of each."""
        self._random.shuffle(self._batches)
        for users in self._batches if self._larger > 1 else ():
            self._random.shuffle(users)
