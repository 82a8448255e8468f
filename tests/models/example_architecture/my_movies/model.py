"""A model of titles: an average of word vectors per movie, a vector per user, and an MLP on both for the rating."""

from __future__ import annotations

from recmodel.models.embedding.fit import RatingBatches as Batches  # a Sequence of shuffled batches
from recmodel.models.embedding.weights import EmbeddingWeights
from recmodel.tf import tf

__all__ = ["Batches", "TitleModel"]


class TitleModel(tf.keras.Model):
    """Batches are dictionaries of `user_id`, `movie_id` (integers of any width) and `rating` (float32)."""

    def __init__(self, user_ids, catalogue, preset, rating_range) -> None:
        super().__init__()
        self.user_ids, self.movie_ids = user_ids, catalogue.column("movie_id").to_numpy()
        self.preset, self.rating_range = preset, rating_range
        titles, genres = (catalogue.column(name).to_pylist() for name in ("title", "genres"))
        texts = [f"{title} {genre or ''}".replace("|", " ") for title, genre in zip(titles, genres, strict=True)]
        words = tf.keras.layers.TextVectorization()
        words.adapt(texts)
        self.words = words(tf.constant(texts))  # [M, L] numbers of words, padded with 0
        self.movie_tower = tf.keras.Sequential([
            tf.keras.layers.Embedding(words.vocabulary_size(), preset.dimension, mask_zero=True),
            tf.keras.layers.GlobalAveragePooling1D(),
        ])  # fmt: skip
        self.user_tower = tf.keras.layers.Embedding(len(user_ids), preset.dimension)
        hidden = [tf.keras.layers.Dense(width, activation="relu") for width in preset.hidden]
        self.rating_head = tf.keras.Sequential([*hidden, tf.keras.layers.Dense(1)])
        self.means = {task: tf.keras.metrics.Mean(f"{task}_loss") for task in ("rating", "retrieval")}

    @staticmethod
    def optimizer_of(learning_rate: float) -> tf.keras.optimizers.Optimizer:
        return tf.keras.optimizers.Adam(learning_rate)

    @property
    def metrics(self):
        return [*self.means.values()]

    def train_step(self, batch):
        with tf.GradientTape() as tape:
            user = self.user_tower(_rows(self.user_ids, batch["user_id"]))
            movie = self.movie_tower(tf.gather(self.words, _rows(self.movie_ids, batch["movie_id"])))
            rating = tf.squeeze(self.rating_head(tf.concat([user, movie], axis=1)), axis=1)
            losses = {
                "rating": tf.reduce_mean((rating - batch["rating"]) ** 2),
                "retrieval": tf.reduce_mean(  # each user's movie among those of the batch
                    tf.nn.sparse_softmax_cross_entropy_with_logits(
                        tf.range(tf.shape(user)[0]), tf.matmul(user, movie, transpose_b=True)
                    )
                ),
            }
            preset = self.preset
            loss = preset.rating_weight * losses["rating"] + preset.retrieval_weight * losses["retrieval"]
        gradients = zip(tape.gradient(loss, self.trainable_variables), self.trainable_variables, strict=True)
        self.optimizer.apply_gradients((gradient, of) for gradient, of in gradients if gradient is not None)
        for task, mean in self.means.items():
            mean.update_state(losses[task])
        return {mean.name: mean.result() for mean in self.metrics}

    def weights_as_arrays(self) -> EmbeddingWeights:
        """The arrays that are exported: a vector for every movie of the catalogue, rated or not."""
        return EmbeddingWeights(
            user_ids=self.user_ids,
            user_vectors=self.user_tower(tf.range(len(self.user_ids))).numpy(),
            movie_ids=self.movie_ids,
            movie_vectors=self.movie_tower(self.words).numpy(),
            rating_layers=[(layer.kernel.numpy(), layer.bias.numpy()) for layer in self.rating_head.layers],
            rating_range=self.rating_range,
        )


def _rows(ids, wanted):
    """The places of ids among all, which ascend."""
    return tf.searchsorted(tf.constant(ids, tf.int64), tf.cast(wanted, tf.int64))
