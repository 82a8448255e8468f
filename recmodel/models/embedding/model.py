"""The notebook's model: id embeddings, their dot product for retrieval, an MLP on both for the rating.

Only its `EmbeddingWeights`, NumPy arrays, are exported: nothing of Keras, of metrics or of their datasets.
"""

from __future__ import annotations

import numpy as np

from recmodel import schemas as c
from recmodel.models.embedding.preset import Preset
from recmodel.models.embedding.weights import EmbeddingWeights
from recmodel.tf import tf

import tensorflow_recommenders as tfrs  # isort: skip  (recmodel.tf must be imported before it)

Features = dict[str, tf.Tensor]


class EmbeddingModel(tfrs.models.Model):
    """Two towers of id embeddings, their dot product as retrieval score, an MLP on both as predicted rating.

    This is the architecture of the TensorFlow Recommenders multi-task tutorial, with int64 ids instead of names.
    Inputs are dictionaries of `user_id [B]`, `movie_id [B]` and, for the loss, `rating [B]`.

    Args:
        user_ids, movie_ids: all ids that get an embedding, int64, ascending.
        rating_range: the ends of the rating scale in stars; predictions are clipped to it, the loss is not.
    """

    def __init__(
        self, user_ids: np.ndarray, movie_ids: np.ndarray, preset: Preset, rating_range: tuple[float, float]
    ) -> None:
        super().__init__()
        self.preset = preset
        self.user_ids, self.movie_ids = user_ids, movie_ids
        self._rating_range = rating_range
        self.user_tower = _id_tower(user_ids, preset.embedding_dim)
        self.movie_tower = _id_tower(movie_ids, preset.embedding_dim)
        hidden = [tf.keras.layers.Dense(width, activation="relu") for width in preset.rating_layers]
        self.rating_head = tf.keras.Sequential([*hidden, tf.keras.layers.Dense(1)])
        self.rating_task = tfrs.tasks.Ranking(loss=tf.keras.losses.MeanSquaredError())
        self.retrieval_task = tfrs.tasks.Retrieval()
        self._loss_means = {task: tf.keras.metrics.Mean(f"{task}_loss") for task in ("rating", "retrieval")}

    def call(self, features: Features) -> Features:
        """Return `retrieval_score [B]` and `predicted_rating [B]` in stars, float32."""
        user, movie = self._vectors(features)
        return {
            c.RETRIEVAL_SCORE: tf.reduce_sum(user * movie, axis=1),
            c.PREDICTED_RATING: tf.clip_by_value(self._rate(user, movie), *self._rating_range),
        }

    def compute_loss(self, features: Features, training: bool = False) -> tf.Tensor:
        """Return the weighted sum of both tasks' losses."""
        user, movie = self._vectors(features)
        rating_loss = self.rating_task(labels=features[c.RATING], predictions=self._rate(user, movie))
        retrieval_loss = self.retrieval_task(user, movie, compute_metrics=False)  # a sum over the batch
        examples = tf.cast(tf.shape(user)[0], tf.float32)
        self._loss_means["rating"].update_state(rating_loss, examples)
        self._loss_means["retrieval"].update_state(retrieval_loss / examples, examples)
        return self.preset.rating_weight * rating_loss + self.preset.retrieval_weight * retrieval_loss

    def train_step(self, features: Features) -> Features:
        """Run one step, and return the mean losses of the epoch so far, not the last batch's sum as the parent does."""
        super().train_step(features)
        return {mean.name: mean.result() for mean in self._loss_means.values()}

    def weights_as_arrays(self) -> EmbeddingWeights:
        """Return the weights that scoring needs. The layers of a model have none until it has processed a batch."""
        return EmbeddingWeights(
            user_ids=self.user_ids,
            user_vectors=self.user_tower(self.user_ids).numpy(),
            movie_ids=self.movie_ids,
            movie_vectors=self.movie_tower(self.movie_ids).numpy(),
            rating_layers=[(layer.kernel.numpy(), layer.bias.numpy()) for layer in self.rating_head.layers],
            rating_range=self._rating_range,
        )

    def _vectors(self, features: Features) -> tuple[tf.Tensor, tf.Tensor]:
        return self.user_tower(features[c.USER_ID]), self.movie_tower(features[c.MOVIE_ID])

    def _rate(self, user: tf.Tensor, movie: tf.Tensor) -> tf.Tensor:
        return tf.squeeze(self.rating_head(tf.concat([user, movie], axis=1)), axis=1)


def _id_tower(ids: np.ndarray, dim: int) -> tf.keras.Sequential:
    """Build an embedding per id, and one more for unknown ids (row 0), as in the tutorial."""
    lookup = tf.keras.layers.IntegerLookup(vocabulary=ids, mask_token=None)
    return tf.keras.Sequential([lookup, tf.keras.layers.Embedding(len(ids) + 1, dim)])
