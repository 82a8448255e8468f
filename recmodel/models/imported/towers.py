"""The exported graphs of an imported model: vectors as the original has them, ratings by the original's own graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recmodel.models.architectures import Users
from recmodel.models.imported.original import Original
from recmodel.models.tensors import SortedIds, frozen
from recmodel.tf import tf

_TILE = 2048  # pairs that the original rates at once
_DIGITS = 4096  # a row is two digits of this base, as float32 holds integers up to 2^24 only


@dataclass(frozen=True)
class ImportedWeights:
    """An original, and what is known of its users and movies. Row i of keys and vectors belongs to id i."""

    original: Original
    user_ids: np.ndarray  # [U] int64, ascending
    user_keys: np.ndarray  # [U]
    movie_ids: np.ndarray  # [M] int64, ascending
    movie_keys: np.ndarray  # [M]
    rating_range: tuple[float, float]  # in stars, to which predicted ratings are limited
    tasks: tuple[str, ...]  # of 'retrieval' and 'rating': what it answers


class Towers(tf.Module):
    """Vectors of all known users and movies, computed once; and the original, if it rates pairs.

    The rating vector of a user is their row, by which the original's key is found again. Without the retrieval task all
    vectors are 0; without the rating task all ratings are NaN.
    """

    needs_history = False
    successors = None
    place = None  # a movie that the original does not know has no vector
    rating_width = 2

    def __init__(self, weights: ImportedWeights) -> None:
        super().__init__()
        original = weights.original
        self.movies = SortedIds(weights.movie_ids)
        self._users = SortedIds(weights.user_ids)
        if "retrieval" in weights.tasks:
            user_vectors = original.describe_users(weights.user_keys)
            movie_vectors = original.describe_movies(weights.movie_keys)
        else:
            user_vectors, movie_vectors = (
                np.zeros((len(ids), 1), np.float32) for ids in (weights.user_ids, weights.movie_ids)
            )
        self._user_vectors = frozen(user_vectors)
        self.movie_vectors = frozen(movie_vectors)
        self.rating_range = weights.rating_range
        self._rate = original.rate if "rating" in weights.tasks else None
        if self._rate is not None:
            self._original = original.saved  # saved with this module, as its graph is part of the signatures
            self._user_keys = tf.Variable(tf.constant(weights.user_keys, original.user_dtype), trainable=False)
            self._movie_keys = tf.Variable(tf.constant(weights.movie_keys, original.movie_dtype), trainable=False)

    def users(self, user_id: tf.Tensor, seen: tuple[tf.Tensor, ...]) -> Users:
        """Look users up by id; unknown ones get the vectors of any user."""
        del seen
        row, known = self._users.rows(user_id)
        digits = tf.stack([row // _DIGITS, row % _DIGITS], axis=1)
        return Users(tf.gather(self._user_vectors, row), tf.cast(digits, tf.float32), known)

    @property
    def seen_vectors(self) -> tf.Tensor:
        """Return vectors of length 1: the reason for a movie is the liked one most similar to it, by the cosine."""
        return tf.math.l2_normalize(self.movie_vectors, axis=1)

    def linear_rating(self) -> dict[str, tf.Tensor]:
        """Return nothing: what the original computes is not known."""
        return {}

    def rate_lists(self, rating_vector: tf.Tensor, movie: tf.Tensor) -> tf.Tensor:
        """Rate a list of movies for each user."""
        user = tf.repeat(self._rows(rating_vector), tf.shape(movie)[1])
        return tf.reshape(self._rated(user, tf.reshape(movie, [-1])), tf.shape(movie))

    def rate_catalogue(self, rating_vector: tf.Tensor) -> tf.Tensor:
        """Rate all movies, user by user."""
        movies = tf.range(self.movie_vectors.shape[0])
        return tf.map_fn(
            lambda user: self._rated(tf.fill(tf.shape(movies), user), movies),
            self._rows(rating_vector),
            fn_output_signature=tf.float32,
            parallel_iterations=1,
        )

    def _rows(self, rating_vector: tf.Tensor) -> tf.Tensor:
        digits = tf.cast(tf.round(rating_vector), tf.int32)
        row = digits[:, 0] * _DIGITS + digits[:, 1]
        return tf.clip_by_value(row, 0, self._user_vectors.shape[0] - 1)

    def _rated(self, user: tf.Tensor, movie: tf.Tensor) -> tf.Tensor:
        """Rate P pairs of rows, tile by tile, so that memory does not grow with them."""
        if self._rate is None:
            return tf.fill(tf.shape(movie), np.float32(np.nan))
        size = tf.shape(movie)[0]
        pairs = tf.pad(tf.stack([user, movie], axis=1), [[0, -size % _TILE], [0, 0]])
        rated = tf.map_fn(
            self._rated_at_once,
            tf.reshape(pairs, [-1, _TILE, 2]),
            fn_output_signature=tf.float32,
            parallel_iterations=1,
        )
        return tf.clip_by_value(tf.reshape(rated, [-1])[:size], *self.rating_range)

    def _rated_at_once(self, pairs: tf.Tensor) -> tf.Tensor:
        assert self._rate is not None
        return self._rate(tf.gather(self._user_keys, pairs[:, 0]), tf.gather(self._movie_keys, pairs[:, 1]))
