"""The default model: both towers know a user by the movies they rated, so it serves users who came after training.

It starts from the values of `closed_form`, and nothing in it grows with the number of users.

A user's retrieval vector is the sum of the vectors of the movies they have seen, liked ones weighing more. Their rating
vector is a ridge regression of their ratings on the movies' traits. Both tasks are then products with the catalogue:

    retrieval_score = u · movie_vectors[j]            predicted_rating = movie_bias[j] + t · traits[j]
"""

from __future__ import annotations

from collections.abc import Callable

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

    def call(self, positive: tf.Tensor, candidates: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Return the mean negative log-likelihood of the targets.

        Args:
            positive: [B] sum of the logits of the movies to be predicted.
            candidates: [B, C] logits of the candidates; what the user has seen already is at -inf or near it.
            targets: [B] number of the movies to be predicted.
        """
        by_user = targets * tf.reduce_logsumexp(candidates, axis=1) - positive
        weight = tf.math.rsqrt(targets + 1)  # so that a user of a thousand ratings does not count a thousand times
        return tf.reduce_sum(by_user * weight) / tf.maximum(tf.reduce_sum(targets * weight), 1)


class HistoryModel(tfrs.models.Model):
    """The model described above. B users in a batch, L the length of the longest history, M movies."""

    def __init__(self, start: Start, preset: Preset) -> None:
        super().__init__()
        self._start, self._preset = start, preset
        # Tensors: arrays would become part of the graph, which TensorFlow copies many times.
        self._seen, self._vectors = tf.constant(start.seen_vectors), tf.constant(start.movie_vectors)
        self._traits, self._bias = tf.constant(start.traits), tf.constant(start.movie_bias)
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
        retrieval_penalty = 2 * tf.nn.l2_loss(self.movie_delta) / self._ratings
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
            blend_power=preset.blend_power,
        )

    def _retrieval_loss(self, movie: tf.Tensor, rating: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Return the loss of predicting a part of each history from the other part, which is drawn for each batch."""
        share = tf.random.uniform([tf.shape(movie)[0], 1], 0.5, 0.9)
        shown = present * tf.cast(tf.random.uniform(tf.shape(rating)) < share, tf.float32)
        count = tf.reduce_sum(shown, axis=1, keepdims=True)
        mean = self._start.mean_rating
        user_mean = mean + tf.reduce_sum((rating - mean) * shown, axis=1, keepdims=True) / (count + 5)
        weight = 1 + self._preset.liking * (rating - user_mean)
        prior = self._preset.prior_weight
        summed = _rows_summed(self._seen, movie, shown * weight) + prior * self._average
        user = summed * tf.math.rsqrt(count + prior)
        candidate, correction = self._candidates()
        vectors = self._vectors + self._preset.retrieval_step * self.movie_delta
        none = tf.fill([len(self._start.counts)], -1)
        column = tf.tensor_scatter_nd_update(none, candidate[:, tf.newaxis], tf.range(tf.size(candidate)))
        of_candidates = tf.matmul(user, _rows(vectors, candidate, column), transpose_b=True) + correction
        column = tf.gather(column, movie)  # of each movie of the history among the candidates
        users = tf.broadcast_to(tf.range(tf.shape(movie)[0])[:, tf.newaxis], tf.shape(movie))
        places = tf.stack([users, tf.maximum(column, 0)], axis=-1)
        of_candidates = tf.tensor_scatter_nd_add(of_candidates, places, tf.where(column < 0, 0.0, -1e9 * shown))
        target = present - shown
        of_targets = tf.reduce_sum(user * _rows_summed(vectors, movie, target), axis=1)
        return self.retrieval_task(of_targets, of_candidates, tf.reduce_sum(target, axis=1))

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
        """Return the mean squared error of predicting each rating from the user's others; and the deltas' penalty."""
        traits, bias = self._traits + self.trait_delta, self._bias + self.bias_delta
        error = tf.reshape(_left_out_errors(traits, bias, movie, rating, present, self._ridge), [-1, 1])
        loss = self.rating_task(labels=tf.zeros_like(error), predictions=error) / ratings
        shrink = _by_movie(movie, present, len(self._start.counts)) * self._per_rating  # adds up to 1 for each movie
        penalty = self._preset.trait_penalty * tf.reduce_sum(shrink * tf.reduce_sum(self.trait_delta**2, axis=1))
        penalty += self._preset.bias_penalty * tf.reduce_sum(shrink * self.bias_delta**2)
        return loss, penalty / ratings


def _left_out_errors(
    traits: tf.Tensor, bias: tf.Tensor, movie: tf.Tensor, rating: tf.Tensor, present: tf.Tensor, ridge: tf.Tensor
) -> tf.Tensor:
    """Return [B, L]: by how much each rating differs from what the user's other ratings predict; 0 where there is none.

    The leave-one-out residual of a ridge regression is its residual e over 1 - leverage (Golub, Heath and Wahba,
    "Generalized Cross-Validation", 1979), the leverages held fixed. With T the traits of a user's movies and r what the
    bias leaves of the ratings, the weights are w = A⁻¹ Tᵀ r, where A = Tᵀ T + ridge, and e = r - T w. So if g is the
    gradient with respect to e, z = -A⁻¹ Tᵀ g, and y = g + T z, the gradient with respect to T is e zᵀ - y wᵀ, and that
    with respect to r is y. As it has rank 2, sparse products add it up by movie without an array [B, L, k].

    Args:
        traits: [M, k]
        bias: [M]
        ridge: [k]
    """

    @tf.custom_gradient
    def errors(traits: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        rows = tf.gather(traits, movie) * present[..., tf.newaxis]
        residual = (rating - tf.gather(bias, movie)) * present
        normal = tf.matmul(rows, rows, transpose_a=True) + tf.linalg.diag(ridge)
        identity = tf.eye(tf.shape(traits)[1], batch_shape=tf.shape(movie)[:1])
        inverse = tf.linalg.cholesky_solve(tf.linalg.cholesky(normal), identity)

        def solve(values: tf.Tensor) -> tf.Tensor:
            return tf.linalg.matvec(inverse, tf.linalg.matvec(rows, values, transpose_a=True))

        weights = solve(residual)
        left = residual - tf.linalg.matvec(rows, weights)
        leverage = tf.reduce_sum(tf.matmul(rows, inverse) * rows, axis=2)
        scale = present / (1 - tf.minimum(leverage, 0.95))

        def gradient(of_errors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            of_left = of_errors * scale
            z = -solve(of_left)
            y = of_left + tf.linalg.matvec(rows, z)
            movies = traits.shape[0]
            of_traits = _added_up(z, movie, left, movies) - _added_up(weights, movie, y, movies)
            return of_traits, -_by_movie(movie, y, movies)

        return left * scale, gradient

    return errors(traits, bias)


def _by_movie(movie: tf.Tensor, values: tf.Tensor, movies: int) -> tf.Tensor:
    """Return [M], the sum of the values [B, L] of each movie."""
    # Not `tf.math.bincount`, whose threads add floats up in any order: models would differ in the last bits.
    return tf.math.unsorted_segment_sum(values, movie, movies)


@tf.custom_gradient
def _rows(table: tf.Tensor, row: tf.Tensor, place: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Return the rows of a table; `tf.gather`, with a gradient that costs a third.

    Args:
        row: [C], each row once.
        place: [M] of each row of the table among them, or -1.
    """

    def gradient(of_rows: tf.Tensor) -> tuple[tf.Tensor, None, None]:
        with_zeros = tf.pad(of_rows, [[0, 1], [0, 0]])
        return tf.gather(with_zeros, tf.where(place < 0, tf.size(row), place)), None, None

    return tf.gather(table, row), gradient


@tf.custom_gradient
def _rows_summed(table: tf.Tensor, movie: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Return [B, d]: the sum of the rows of each user's movies, each times its value [B, L], which has no gradient."""
    matrix = _matrix(movie, values, table.shape[0])

    def gradient(of_sums: tf.Tensor) -> tuple[tf.Tensor, None, None]:
        return _added_up(of_sums, movie, values, table.shape[0]), None, None

    return tf.raw_ops.SparseMatrixMatMul(a=matrix, b=table), gradient


def _added_up(of_users: tf.Tensor, movie: tf.Tensor, values: tf.Tensor, movies: int) -> tf.Tensor:
    """Return [M, d]: the sum of the rows [B, d] of the users who have each movie, each times its value [B, L]."""
    matrix = _matrix(movie, values, movies)
    transposed = tf.raw_ops.SparseMatrixTranspose(input=matrix, type=tf.float32)
    return tf.raw_ops.SparseMatrixMatMul(a=transposed, b=of_users)


def _matrix(movie: tf.Tensor, values: tf.Tensor, movies: int) -> tf.Tensor:
    """Return the sparse matrix [B, M] of the values [B, L] of each user's movies, in rows.

    TensorFlow multiplies it five times as fast as it does a `SparseTensor`, or as it adds up gathered rows.
    """
    cell = tf.where(values != 0)
    place = tf.stack([cell[:, 0], tf.cast(tf.gather_nd(movie, cell), tf.int64)], axis=1)
    shape = tf.stack([tf.shape(values, tf.int64)[0], movies])
    return tf.raw_ops.SparseTensorToCSRSparseMatrix(indices=place, values=tf.gather_nd(values, cell), dense_shape=shape)


def average_seen(start: Start) -> np.ndarray:
    """Return [d] float32: the mean vector of the movies of all ratings."""
    summed = (start.seen_vectors * start.counts[:, np.newaxis]).sum(axis=0)
    return (summed / max(start.counts.sum(), 1)).astype(np.float32)
