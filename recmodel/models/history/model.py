"""The default model: both towers know a user by the movies they rated, so it serves users who came after training.

It starts from the values of `closed_form`, and nothing in it grows with the number of users.

A user's retrieval vector is the sum of the vectors of the movies they have seen, liked ones weighing more. Their rating
vector is a ridge regression of their ratings on the movies' traits. Both tasks are then products with the catalogue:

    retrieval_score = u · movie_vectors[j]            predicted_rating = movie_bias[j] + t · traits[j]
"""

from __future__ import annotations

import numpy as np

from recmodel.models.history.closed_form import Start, ridge
from recmodel.models.history.preset import Preset
from recmodel.models.history.weights import HistoryWeights
from recmodel.tf import tf

import tensorflow_recommenders as tfrs  # isort: skip  (recmodel.tf must be imported before it)

# Candidates of the softmax over a larger catalogue: the most rated movies, and some others, drawn for each batch.
_MOST_RATED, _OTHERS = 8192, 4096
_RETRIEVED = 256  # users of a batch, at most, for whom the softmax is computed: the most costly part of a large batch

Batch = dict[str, tf.Tensor]  # [B, L]: movie int32 (row of the catalogue), rating float32, present float32 (0 or 1)


class CatalogueSoftmax(tfrs.tasks.Retrieval):
    """A retrieval task whose candidates are the movies of the catalogue, not the other movies of a batch."""

    def call(self, logits: tf.Tensor, candidates: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """Return the mean negative log-likelihood of the targets.

        Args:
            logits: [B, L] of each movie of the history.
            candidates: [B, C] logits of the candidates; what the user has seen already is at -inf or near it.
            target: [B, L] 1 for the movies to be predicted, else 0.
        """
        log_likelihood = logits - tf.reduce_logsumexp(candidates, axis=1, keepdims=True)
        targets = tf.reduce_sum(target, axis=1)
        by_user = -tf.reduce_sum(target * log_likelihood, axis=1)
        weight = tf.math.rsqrt(targets + 1)  # so that a user of a thousand ratings does not count a thousand times
        return tf.reduce_sum(by_user * weight) / tf.maximum(tf.reduce_sum(targets * weight), 1)


class HistoryModel(tfrs.models.Model):
    """The model described above. B users in a batch, L the length of the longest history, M movies."""

    def __init__(self, start: Start, preset: Preset) -> None:
        super().__init__()
        self._start, self._preset = start, preset
        self._seen = tf.constant(start.seen_vectors)
        self._average = tf.constant(average_seen(start))
        self._ridge = tf.constant(ridge(start.traits.shape[1], preset))
        self._per_rating = tf.constant(1 / np.maximum(start.counts, 1), tf.float32)
        self._ratings = float(start.counts.sum())
        # What training adds to the starting values; the loss penalises it.
        self.movie_delta = tf.Variable(tf.zeros_like(start.movie_vectors), name="movie_delta")
        self._is_rated = preset.rating_weight > 0  # otherwise the rating task is left out, which is most of the work
        self.trait_delta = tf.Variable(tf.zeros_like(start.traits), self._is_rated, name="trait_delta")
        self.bias_delta = tf.Variable(tf.zeros_like(start.movie_bias), self._is_rated, name="bias_delta")
        self._by_count = tf.constant(np.argsort(-start.counts, kind="stable"), tf.int32)
        self.retrieval_task = CatalogueSoftmax()
        self.rating_task = tfrs.tasks.Ranking(loss=tf.keras.losses.MeanSquaredError(reduction="sum"))
        tasks = ("rating", "retrieval") if self._is_rated else ("retrieval",)
        self._loss_means = {task: tf.keras.metrics.Mean(f"{task}_loss") for task in tasks}

    def compute_loss(self, batch: Batch, training: bool = False) -> tf.Tensor:
        """Return the weighted sum of both tasks' losses and penalties."""
        movie, rating, present = batch["movie"], batch["rating"], batch["present"]
        ratings = tf.reduce_sum(present)
        of_ratings = self._rating_loss(movie, rating, present, ratings) if self._is_rated else None
        movie, rating, present = (values[:_RETRIEVED] for values in (movie, rating, present))
        retrieval_loss = self._retrieval_loss(movie, rating, present)
        retrieval_penalty = tf.reduce_sum(self.movie_delta**2) / self._ratings
        self._loss_means["retrieval"].update_state(retrieval_loss, tf.reduce_sum(present))
        loss = self._preset.retrieval_weight * (retrieval_loss + retrieval_penalty)
        if of_ratings is None:
            return loss
        rating_loss, rating_penalty = of_ratings
        self._loss_means["rating"].update_state(rating_loss, ratings)
        return self._preset.rating_weight * (rating_loss + rating_penalty) + loss

    def train_step(self, batch: Batch) -> Batch:
        """Run one step, and return the mean losses of the epoch so far."""
        super().train_step(batch)
        return {mean.name: mean.result() for mean in self._loss_means.values()}

    def weights_as_arrays(self, movie_ids: np.ndarray, rating_range: tuple[float, float]) -> HistoryWeights:
        """Return the weights that scoring needs; scores are no longer on the scale of the softmax's logits."""
        start, preset = self._start, self._preset
        return HistoryWeights(
            movie_ids=movie_ids,
            seen_vectors=start.seen_vectors / np.float32(preset.logit_scale),
            average_seen=self._average.numpy() / np.float32(preset.logit_scale),
            movie_vectors=start.movie_vectors + preset.retrieval_step * self.movie_delta.numpy(),
            traits=start.traits + self.trait_delta.numpy(),
            movie_bias=start.movie_bias + self.bias_delta.numpy(),
            ridge=self._ridge.numpy(),
            mean_rating=start.mean_rating,
            liking=preset.liking,
            prior_weight=preset.prior_weight,
            rating_range=rating_range,
            calibration=start.calibration,
        )

    def _retrieval_loss(self, movie: tf.Tensor, rating: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Return the loss of predicting a part of each history from the other part, which is drawn for each batch."""
        share = tf.random.uniform([tf.shape(movie)[0], 1], 0.5, 0.9)
        shown = present * tf.cast(tf.random.uniform(tf.shape(rating)) < share, tf.float32)
        count = tf.reduce_sum(shown, axis=1, keepdims=True)
        mean = self._start.mean_rating
        user_mean = mean + tf.reduce_sum((rating - mean) * shown, axis=1, keepdims=True) / (count + 5)
        weight = shown * (1 + self._preset.liking * (rating - user_mean))
        prior = self._preset.prior_weight
        summed = tf.linalg.matvec(tf.gather(self._seen, movie), weight, transpose_a=True) + prior * self._average
        user = summed * tf.math.rsqrt(count + prior)
        candidate, correction = self._candidates()
        candidates = tf.matmul(user, self._vectors(candidate), transpose_b=True) + correction
        none = tf.fill([len(self._start.counts)], -1)
        column = tf.tensor_scatter_nd_update(none, candidate[:, tf.newaxis], tf.range(tf.size(candidate)))
        column = tf.gather(column, movie)  # of each movie of the history among the candidates
        users = tf.broadcast_to(tf.range(tf.shape(movie)[0])[:, tf.newaxis], tf.shape(movie))
        places = tf.stack([users, tf.maximum(column, 0)], axis=-1)
        candidates = tf.tensor_scatter_nd_add(candidates, places, tf.where(column < 0, 0.0, -1e9 * shown))
        logits = tf.linalg.matvec(self._vectors(movie), user)
        return self.retrieval_task(logits, candidates, present - shown)

    def _vectors(self, movie: tf.Tensor) -> tf.Tensor:
        """Return the retrieval vectors of some rows of the catalogue, as trained so far."""
        delta = self._preset.retrieval_step * tf.gather(self.movie_delta, movie)
        return tf.gather(self._start.movie_vectors, movie) + delta

    def _candidates(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Return [C] rows of the catalogue, and [C] corrections to add to their logits.

        These are all movies; of a large catalogue, the most rated ones and a sample of the others. The correction lets
        the sample stand for all others, so that the sum of the softmax is right on average (sampled softmax: Bengio and
        Senécal, "Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic Language Model", 2008).
        """
        rest = len(self._start.counts) - _MOST_RATED
        if rest <= _OTHERS:
            return self._by_count, tf.zeros(len(self._start.counts))
        drawn = tf.random.shuffle(self._by_count[_MOST_RATED:])[:_OTHERS]
        correction = tf.concat([tf.zeros(_MOST_RATED), tf.fill([_OTHERS], float(np.log(rest / _OTHERS)))], axis=0)
        return tf.concat([self._by_count[:_MOST_RATED], drawn], axis=0), correction

    def _rating_loss(
        self, movie: tf.Tensor, rating: tf.Tensor, present: tf.Tensor, ratings: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the error of predicting each rating from the user's others, in closed form; and the deltas' penalty.

        The leave-one-out residual of a ridge regression is its residual over 1 - leverage (Golub, Heath and Wahba,
        "Generalized Cross-Validation", 1979). The gradient of the solution t = A⁻¹ b is that of one Newton step from
        the solution itself, A held fixed: exact, and no gradient goes through the factorisation.
        """
        trait_delta, bias_delta = tf.gather(self.trait_delta, movie), tf.gather(self.bias_delta, movie)
        traits = (tf.gather(self._start.traits, movie) + trait_delta) * present[..., tf.newaxis]
        residual = (rating - tf.gather(self._start.movie_bias, movie) - bias_delta) * present
        fixed = tf.stop_gradient(traits)
        factor = tf.linalg.cholesky(tf.matmul(fixed, fixed, transpose_a=True) + tf.linalg.diag(self._ridge))

        def solve(right: tf.Tensor) -> tf.Tensor:
            return tf.squeeze(tf.linalg.cholesky_solve(factor, right[..., tf.newaxis]), axis=-1)

        right = tf.linalg.matvec(traits, residual, transpose_a=True)
        solution = tf.stop_gradient(solve(right))
        left = tf.linalg.matvec(traits, tf.linalg.matvec(traits, solution), transpose_a=True) + self._ridge * solution
        trait_weights = solution + solve(right - left)
        whitened = tf.linalg.triangular_solve(factor, tf.transpose(fixed, [0, 2, 1]))
        leverage = tf.minimum(tf.reduce_sum(whitened**2, axis=1), 0.95)
        error = (residual - tf.linalg.matvec(traits, trait_weights)) / (1 - leverage) * present
        # The task takes labels and predictions: what is left to explain, and the leave-one-out prediction of it.
        flat = [tf.reshape(values, [-1, 1]) for values in (residual, residual - error)]
        loss = self.rating_task(labels=flat[0], predictions=flat[1]) / ratings
        shrink = tf.gather(self._per_rating, movie) * present  # adds up to 1 for each movie
        penalty = self._preset.trait_penalty * tf.reduce_sum(trait_delta**2 * shrink[..., tf.newaxis])
        penalty += self._preset.bias_penalty * tf.reduce_sum(bias_delta**2 * shrink)
        return loss, penalty / ratings


def average_seen(start: Start) -> np.ndarray:
    """Return [d] float32: the mean vector of the movies of all ratings."""
    summed = (start.seen_vectors * start.counts[:, np.newaxis]).sum(axis=0)
    return (summed / max(start.counts.sum(), 1)).astype(np.float32)
