"""The exported graphs of the architecture `embedding`."""

from __future__ import annotations

from collections.abc import Callable

from recmodel.models.architectures import Users
from recmodel.models.embedding.weights import EmbeddingWeights
from recmodel.models.tensors import SortedIds, frozen, padded
from recmodel.tf import tf

_TILE = 512  # movies: with hidden layers of 256 and 128, 768 KiB


class Towers(tf.Module):
    """Towers of id embeddings, and a rating MLP on the concatenated vectors, clipped to the rating scale.

    The first layer of the MLP is linear before its ReLU, so it splits: [u, v] W = u W_user + v W_movie. Both halves are
    computed once, when the model is exported, which saves the widest product of every pair.
    """

    needs_history = False
    successors = None
    place = None  # a movie that was not trained has no embedding

    def __init__(self, weights: EmbeddingWeights) -> None:
        super().__init__()
        (kernel, bias), *rest = weights.rating_layers
        d = weights.user_vectors.shape[1]
        self.movies = SortedIds(weights.movie_ids)
        self._users = SortedIds(weights.user_ids)
        self._user_vectors = frozen(weights.user_vectors)
        self.movie_vectors = frozen(weights.movie_vectors)
        self._user_half = frozen(weights.user_vectors @ kernel[:d] + bias)
        self.rating_width = len(bias)
        self._movie_half = frozen(padded(weights.movie_vectors @ kernel[d:], to_multiple_of=_TILE))
        self._rest = [(frozen(kernel), frozen(bias)) for kernel, bias in rest]
        self.rating_range = weights.rating_range

    def users(self, user_id: tf.Tensor, seen: tuple[tf.Tensor, ...]) -> Users:
        """Look users up by id; unknown ones get the vectors of any user."""
        del seen
        row, known = self._users.rows(user_id)
        return Users(tf.gather(self._user_vectors, row), tf.gather(self._user_half, row), known)

    @property
    def seen_vectors(self) -> tf.Tensor:
        """Return vectors of length 1: the reason for a movie is the liked one most similar to it, by the cosine."""
        return tf.math.l2_normalize(self.movie_vectors, axis=1)

    def linear_rating(self) -> dict[str, tf.Tensor]:
        """Return nothing: an MLP is no product."""
        return {}

    def rate_lists(self, rating_vector: tf.Tensor, movie: tf.Tensor) -> tf.Tensor:
        """Rate a list of movies for each user."""
        return self._rate(tf.gather(self._movie_half, movie), rating_vector[:, tf.newaxis])

    def rate_catalogue(self, rating_vector: tf.Tensor) -> tf.Tensor:
        """Rate all movies, tile by tile and user by user, so that hidden layers stay in the processor's cache."""
        tiles = tf.reshape(self._movie_half, [-1, _TILE, self._movie_half.shape[1]])
        rated = _map(lambda tile: _map(lambda user: self._rate(tile, user), rating_vector), tiles)
        by_user = tf.reshape(tf.transpose(rated, [1, 0, 2]), [tf.shape(rating_vector)[0], -1])
        return by_user[:, : self.movie_vectors.shape[0]]

    def _rate(self, hidden: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
        """Apply the MLP to the sum `hidden [..., h] + shift [..., h]`, which is never formed.

        relu(x + s) = max(x, -s) + s, and the added s passes through the next product into the next shift: a pair costs
        one comparison per unit instead of two additions and a comparison.
        """
        for kernel, bias in self._rest:
            hidden = tf.tensordot(tf.maximum(hidden, -shift), kernel, 1)
            shift = tf.tensordot(shift, kernel, 1) + bias
        return tf.clip_by_value(tf.squeeze(hidden + shift, axis=-1), *self.rating_range)


def _map(function: Callable[[tf.Tensor], tf.Tensor], over: tf.Tensor) -> tf.Tensor:
    """Return [len(over), ...] float32, computed one after the other."""
    return tf.map_fn(function, over, fn_output_signature=tf.float32, parallel_iterations=1)
