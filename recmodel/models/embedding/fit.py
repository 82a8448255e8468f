"""What is fitted of the architecture `embedding`: batches of ratings, with Adagrad."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from recmodel import schemas as c
from recmodel.arrays import Arrays
from recmodel.models.architectures import Fittable
from recmodel.models.embedding.model import EmbeddingModel
from recmodel.models.embedding.preset import Preset
from recmodel.tf import tf


def prepare(
    fitted: Arrays,
    user_ids: np.ndarray,
    catalogue: pa.Table,
    preset: Preset,
    *,
    seed: int,
    rating_range: tuple[float, float],
) -> Fittable:
    """Prepare a model to be fitted; see `training.train`."""
    model = EmbeddingModel(user_ids, catalogue.column(c.MOVIE_ID).to_numpy(), preset, rating_range)
    model.compile(optimizer=tf.keras.optimizers.Adagrad(preset.learning_rate))
    return Fittable(model, RatingBatches(fitted, preset.batch_size, seed), model.weights_as_arrays)


class RatingBatches(tf.keras.utils.Sequence):
    """Ratings in batches, shuffled again before each epoch.

    Shuffling indices once per epoch is some fifty times faster than a `tf.data` shuffle buffer, which moves rows one by
    one.
    """

    def __init__(self, ratings: Arrays, batch_size: int, seed: int) -> None:
        self._ratings = ratings
        self._batch_size = batch_size
        self._random = np.random.RandomState(seed)
        self._order = np.arange(len(ratings[c.RATING]))
        self.on_epoch_end()

    def __len__(self) -> int:
        return -(-len(self._order) // self._batch_size)

    def __getitem__(self, i: int) -> dict[str, tf.Tensor]:
        rows = self._order[i * self._batch_size : (i + 1) * self._batch_size]
        return {name: tf.constant(self._ratings[name][rows]) for name in (c.USER_ID, c.MOVIE_ID, c.RATING)}

    def on_epoch_end(self) -> None:
        """Shuffle the ratings."""
        self._random.shuffle(self._order)
