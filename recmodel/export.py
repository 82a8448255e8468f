"""Export: the arrays of a trained model become a SavedModel that stands alone.

Takes `model.Weights`; writes a SavedModel with one signature a question. What is saved is a plain `tf.Module` of
variables and graphs: no Keras object, no metric, no dataset and no vocabulary file, so none of them can stop it
from being saved, or be missing where it is loaded.

Ids are int64. Inside, row i of every table belongs to the i-th smallest id, and `tf.math.top_k` prefers the lower
index among equals: ties break by ascending movie id without further work.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from recmodel import columns as c
from recmodel.errors import ModelRejected
from recmodel.model import Weights
from recmodel.quiet_tensorflow import tf

Tensors = dict[str, tf.Tensor]


def _ids(name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None], tf.int64, name)


def _scalar(dtype: tf.DType, name: str) -> tf.TensorSpec:
    return tf.TensorSpec([], dtype, name)


def _graph(input_signature: list[tf.TensorSpec]) -> Callable:
    return tf.function(input_signature=input_signature, autograph=False)


class ServingModel(tf.Module):
    """The graphs behind the signatures. B users or pairs, M movies in the catalogue, d dimensions."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self._users = _SortedIds(weights.user_ids)
        self._movies = _SortedIds(weights.movie_ids)
        self._user_vectors = _frozen(weights.user_vectors)
        self._movie_vectors = _frozen(weights.movie_vectors)
        self._rating = _MlpRating(weights)

    @_graph([_ids(c.USER_ID)])
    def user_embedding(self, user_id: tf.Tensor) -> Tensors:
        """`embedding [B, d]`, NaN for an unknown user, and `known_user [B]`."""
        user, known = self._users.rows(user_id)
        return {"embedding": _where(known, tf.gather(self._user_vectors, user)), "known_user": known}

    @_graph([_ids(c.MOVIE_ID)])
    def movie_embedding(self, movie_id: tf.Tensor) -> Tensors:
        """`embedding [B, d]`, NaN for an unknown movie, and `known_movie [B]`."""
        movie, known = self._movies.rows(movie_id)
        return {"embedding": _where(known, tf.gather(self._movie_vectors, movie)), "known_movie": known}

    @_graph([_ids(c.USER_ID), _ids(c.MOVIE_ID)])
    def predict(self, user_id: tf.Tensor, movie_id: tf.Tensor) -> Tensors:
        """Scores of B pairs: `retrieval_score` and `predicted_rating [B]`, NaN where an id is unknown.

        `known_user` and `known_movie [B]` say which.
        """
        user, known_user = self._users.rows(user_id)
        movie, known_movie = self._movies.rows(movie_id)
        known = known_user & known_movie
        score = tf.reduce_sum(tf.gather(self._user_vectors, user) * tf.gather(self._movie_vectors, movie), axis=1)
        return {
            c.RETRIEVAL_SCORE: _where(known, score),
            c.PREDICTED_RATING: _where(known, self._rating.pairs(user, movie)),
            "known_user": known_user,
            "known_movie": known_movie,
        }

    @_graph(
        [
            _ids(c.USER_ID),
            _ids("seen_movie_id"),
            tf.TensorSpec([None], tf.float32, "seen_rating"),
            _ids("seen_row_splits"),
            _scalar(tf.int32, "n"),
            _scalar(tf.string, "rank_by"),
            _scalar(tf.int32, "candidates"),
            _scalar(tf.bool, "include_seen"),
        ]
    )
    def recommend(
        self,
        user_id: tf.Tensor,
        seen_movie_id: tf.Tensor,
        seen_rating: tf.Tensor,
        seen_row_splits: tf.Tensor,
        n: tf.Tensor,
        rank_by: tf.Tensor,
        candidates: tf.Tensor,
        include_seen: tf.Tensor,
    ) -> Tensors:
        """The exact top n of the whole catalogue for each user.

        User b has seen (and rated) `seen_movie_id[seen_row_splits[b]:seen_row_splits[b + 1]]`; these are left out
        unless `include_seen`. Seen ids outside the catalogue are ignored. `rank_by` is retrieval, rating or
        two-stage: the `candidates` best by retrieval score, ranked by rating.

        Returns:
            `movie_id`, `retrieval_score`, `predicted_rating [B, min(n, M)]`, best first, and `count [B]`: how many
            of the columns hold a recommendation. The rest, and all of an unknown user's, are id -1 and NaN.
            `known_user [B]`.
        """
        del seen_rating  # these presets know a user by id alone
        user, known_user = self._users.rows(user_id)
        vectors = tf.gather(self._user_vectors, user)
        hidden = self._pairs_to_hide(seen_movie_id, seen_row_splits, include_seen)
        size = tf.shape(self._movie_vectors)[0]
        n = tf.minimum(n, size)

        def hide(scores: tf.Tensor) -> tf.Tensor:
            return tf.tensor_scatter_nd_update(scores, hidden, tf.fill(tf.shape(hidden)[:1], -np.inf))

        def retrieve(k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return _top_k(hide(tf.matmul(vectors, self._movie_vectors, transpose_b=True)), k)

        def by_retrieval() -> tuple[tf.Tensor, tf.Tensor]:
            return retrieve(n)

        def by_rating() -> tuple[tf.Tensor, tf.Tensor]:
            return _top_k(hide(self._rating.catalogue(user)), n)

        def two_stage() -> tuple[tf.Tensor, tf.Tensor]:
            scores, movie = retrieve(tf.minimum(tf.maximum(candidates, n), size))
            hidden_here = tf.where(tf.math.is_inf(scores), -np.inf, 0.0)
            by_id = tf.argsort(movie)  # so that equal ratings keep the order of ids
            movie, hidden_here = (tf.gather(t, by_id, batch_dims=1) for t in (movie, hidden_here))
            ratings, chosen = _top_k(self._rating.lists(user, movie) + hidden_here, n)
            return ratings, tf.gather(movie, chosen, batch_dims=1)

        key, movie = tf.case(
            [(tf.equal(rank_by, "retrieval"), by_retrieval), (tf.equal(rank_by, "rating"), by_rating)],
            default=two_stage,
        )
        valid = (key > -np.inf) & known_user[:, tf.newaxis]
        scores = tf.einsum("bd,bnd->bn", vectors, tf.gather(self._movie_vectors, movie))
        return {
            c.MOVIE_ID: tf.where(valid, tf.gather(self._movies.ids, movie), tf.constant(-1, tf.int64)),
            c.RETRIEVAL_SCORE: _where(valid, scores),
            c.PREDICTED_RATING: _where(valid, self._rating.lists(user, movie)),
            "count": tf.reduce_sum(tf.cast(valid, tf.int32), axis=1),
            "known_user": known_user,
        }

    @_graph([_ids(c.USER_ID)])
    def rate_catalogue(self, user_id: tf.Tensor) -> Tensors:
        """`predicted_rating [B, M]` of every movie, ascending movie id; NaN for an unknown user. `known_user [B]`."""
        user, known = self._users.rows(user_id)
        return {c.PREDICTED_RATING: _where(known, self._rating.catalogue(user)), "known_user": known}

    def _pairs_to_hide(self, movie_id: tf.Tensor, row_splits: tf.Tensor, include_seen: tf.Tensor) -> tf.Tensor:
        """Indices [S, 2] of (user, movie) in a block of scores."""
        movie, known = self._movies.rows(movie_id)
        lengths = row_splits[1:] - row_splits[:-1]
        user = tf.repeat(tf.range(tf.shape(lengths)[0]), lengths)
        return tf.boolean_mask(tf.stack([user, movie], axis=1), known & ~include_seen)


class _SortedIds(tf.Module):
    """Ids as an ascending array: a binary search needs no hash table, no initialiser and no asset."""

    def __init__(self, ids: np.ndarray) -> None:
        super().__init__()
        if len(ids) == 0 or (np.diff(ids) <= 0).any():
            raise ModelRejected("ids must be there and strictly ascending; the model has none or has one twice")
        self.ids = _frozen(ids.astype(np.int64))

    def rows(self, ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The row of each id (int32; some row where it has none) and whether it has one."""
        last = tf.shape(self.ids)[0] - 1
        row = tf.minimum(tf.searchsorted(self.ids, ids), last)
        return row, tf.equal(tf.gather(self.ids, row), ids)


class _MlpRating(tf.Module):
    """The rating MLP on the concatenated vectors of user and movie, in stars, clipped to the scale.

    Its first layer is linear before the ReLU, so it splits: [u, v] W = u W_user + v W_movie. Both halves are
    computed once, when the model is exported, which saves the widest product of every pair.
    """

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        (kernel, bias), *rest = weights.rating_layers
        d = weights.user_vectors.shape[1]
        self._user_half = _frozen(weights.user_vectors @ kernel[:d] + bias)
        self._movie_half = _frozen(weights.movie_vectors @ kernel[d:])
        self._rest = [(_frozen(kernel), _frozen(bias)) for kernel, bias in rest]
        self._range = weights.rating_range

    def pairs(self, user: tf.Tensor, movie: tf.Tensor) -> tf.Tensor:
        """[B] ratings of rows `user [B]` and `movie [B]`."""
        return self._finish(tf.gather(self._user_half, user) + tf.gather(self._movie_half, movie))

    def lists(self, user: tf.Tensor, movie: tf.Tensor) -> tf.Tensor:
        """[B, K] ratings of `movie [B, K]` by `user [B]`."""
        return self._each_user(user, movie, lambda half: tf.gather(self._movie_half, half))

    def catalogue(self, user: tf.Tensor) -> tf.Tensor:
        """[B, M] ratings of every movie by `user [B]`."""
        return self._each_user(user, user, lambda _: self._movie_half)

    def _each_user(self, user: tf.Tensor, movie: tf.Tensor, halves: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """One user at a time: the hidden layer of a user and all movies fits the cache, that of a block does not."""
        return tf.map_fn(
            lambda pair: self._finish(tf.gather(self._user_half, pair[0]) + halves(pair[1])),
            (user, movie),
            fn_output_signature=tf.float32,
            parallel_iterations=1,
        )

    def _finish(self, hidden: tf.Tensor) -> tf.Tensor:
        for kernel, bias in self._rest:
            hidden = tf.nn.bias_add(tf.matmul(tf.nn.relu(hidden), kernel), bias)
        return tf.clip_by_value(tf.squeeze(hidden, axis=-1), *self._range)


def save(weights: Weights, directory: Path) -> None:
    """Writes the SavedModel to `directory`.

    Raises:
        ModelRejected: a weight is not a finite number, or an id is there twice.
    """
    arrays = [weights.user_vectors, weights.movie_vectors, *(a for layer in weights.rating_layers for a in layer)]
    if not all(np.isfinite(array).all() for array in arrays):
        raise ModelRejected("the model has a weight that is not a finite number; train it again")
    module = ServingModel(weights)
    tf.saved_model.save(
        module,
        str(directory),
        signatures={
            "serving_default": module.predict,
            "predict": module.predict,
            "recommend": module.recommend,
            "rate_catalogue": module.rate_catalogue,
            "user_embedding": module.user_embedding,
            "movie_embedding": module.movie_embedding,
        },
    )


def _frozen(array: np.ndarray) -> tf.Variable:
    """A variable, which is stored beside the graph; a constant would be stored in it, and a graph has 2 GiB at most."""
    return tf.Variable(array, trainable=False)


def _top_k(scores: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    values, indices = tf.math.top_k(scores, k)
    return values, indices


def _where(valid: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    valid = tf.reshape(valid, tf.concat([tf.shape(valid), tf.ones([tf.rank(values) - tf.rank(valid)], tf.int32)], 0))
    return tf.where(valid, values, tf.constant(np.nan, values.dtype))
