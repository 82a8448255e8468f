"""What is fitted of the architecture `history`: whole histories, with Adam, starting from the closed form."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pyarrow as pa

from recmodel import schemas as c
from recmodel.arrays import Arrays, rows_of, runs, take
from recmodel.models.architectures import Fittable
from recmodel.models.history import closed_form, placing
from recmodel.models.history.closed_form import Interactions
from recmodel.models.history.model import Batch, HistoryModel
from recmodel.models.history.preset import Preset
from recmodel.models.history.weights import HistoryWeights
from recmodel.models.tensors import strength
from recmodel.tf import tf

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
    ratings = _interactions(fitted, movie_ids, is_implicit=bool(np.isnan(rating_range).any()))
    start = closed_form.start(ratings, closed_form.features(catalogue), preset, seed)
    start_seconds = time.monotonic() - started
    model = HistoryModel(start, preset)
    model.compile(optimizer=tf.keras.optimizers.Adam(preset.learning_rate))
    batches = HistoryBatches(ratings, seed)

    def weights() -> HistoryWeights:
        fitted = model.weights_as_arrays(movie_ids, rating_range)
        return replace(fitted, placing=placing.fit(fitted, catalogue, start.counts))

    return Fittable(model, batches, weights, start_seconds)


def _interactions(fitted: Arrays, movie_ids: np.ndarray, *, is_implicit: bool) -> Interactions:
    """Return the ratings as rows, ascending by user. Copies as little as it can: nothing that is in order."""
    if not (fitted[c.USER_ID][1:] >= fitted[c.USER_ID][:-1]).all():
        fitted = take(fitted, np.argsort(fitted[c.USER_ID], kind="stable"))
    users, user = runs(fitted[c.USER_ID])
    rating = fitted[c.RATING]
    rating = strength(rating).numpy() if is_implicit else rating.astype(np.float32, copy=False)
    return Interactions(user, rows_of(movie_ids, fitted[c.MOVIE_ID]), rating, len(users), len(movie_ids))


class HistoryBatches(tf.keras.utils.Sequence):
    """Whole histories, in batches of users with histories of similar length, shuffled before each epoch."""

    def __init__(self, ratings: Interactions, seed: int) -> None:
        self._movie, self._rating, self._starts = ratings.movie, ratings.rating, ratings.starts
        length = ratings.activity
        by_length = np.argsort(-length, kind="stable")[: np.count_nonzero(length)]
        self._batches: list[np.ndarray] = []
        self._larger = larger = max(1, len(ratings.user) // (_BATCHES * _CELLS_IN_BATCH))
        while len(by_length):
            size = max(1, larger * min(_USERS_IN_BATCH, _CELLS_IN_BATCH // length[by_length[0]]))
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
