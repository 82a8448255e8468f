"""Export: the arrays of a trained model become a SavedModel that stands alone.

Takes the weights of either model; writes a SavedModel with one signature a question. What is saved is a plain
`tf.Module` of variables and graphs: no Keras object, no metric, no dataset and no vocabulary file, so none of them can
stop it from being saved, or be missing where it is loaded.

Ids are int64. Inside, row i of every table belongs to the i-th smallest id, and `tf.math.top_k` prefers the lower
index among equals: ties break by ascending movie id without further work.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from recmodel import columns as c
from recmodel.embedding_model import EmbeddingWeights
from recmodel.errors import ModelRejected
from recmodel.history_model import HistoryWeights
from recmodel.quiet_tensorflow import tf

Tensors = dict[str, tf.Tensor]
Seen = tuple[tf.Tensor, ...]  # movie ids [S], ratings [S], row splits [B + 1]


def _ids(name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None], tf.int64, name)


def _scalar(dtype: tf.DType, name: str) -> tf.TensorSpec:
    return tf.TensorSpec([], dtype, name)


_SEEN = (_ids("seen_movie_id"), tf.TensorSpec([None], tf.float32, "seen_rating"), _ids("seen_row_splits"))
_HOW = (
    _scalar(tf.int32, "n"),
    _scalar(tf.string, "rank_by"),
    _scalar(tf.int32, "candidates"),
    _scalar(tf.bool, "include_seen"),
)


class ServingModel(tf.Module):
    """The graphs behind the signatures. B users or pairs, M movies in the catalogue.

    User b has seen (and rated) `seen_movie_id[seen_row_splits[b]:seen_row_splits[b + 1]]`, each movie once. Only
    `recommend` takes that of every model; the other questions take it where the model knows users by their history.
    """

    def __init__(self, weights: EmbeddingWeights | HistoryWeights) -> None:
        super().__init__()
        self._movies = _SortedIds(weights.movie_ids)
        history: tuple[tf.TensorSpec, ...] = ()
        if isinstance(weights, EmbeddingWeights):
            self._towers: _IdTowers | _HistoryTowers = _IdTowers(weights)
        else:
            self._towers, history = _HistoryTowers(weights, self._movies), _SEEN
        self.questions = {
            "predict": _graph(self._predict, _ids(c.USER_ID), _ids(c.MOVIE_ID), *history),
            "recommend": _graph(self._recommend, _ids(c.USER_ID), *_SEEN, *_HOW),
            "rate_catalogue": _graph(self._rate_catalogue, _ids(c.USER_ID), *history),
            "user_embedding": _graph(self._user_embedding, _ids(c.USER_ID), *history),
            "movie_embedding": _graph(self._movie_embedding, _ids(c.MOVIE_ID)),
        }

    def _user_embedding(self, user_id: tf.Tensor, *seen: tf.Tensor) -> Tensors:
        """`embedding [B, d]` of the retrieval task, NaN for an unknown user, and `known_user [B]`."""
        users, known = self._towers.users(user_id, seen)
        return {"embedding": _where(known, self._towers.retrieval_vectors(users)), "known_user": known}

    def _movie_embedding(self, movie_id: tf.Tensor) -> Tensors:
        """`embedding [B, d]` of the retrieval task, NaN for an unknown movie, and `known_movie [B]`."""
        movie, known = self._movies.rows(movie_id)
        return {"embedding": _where(known, tf.gather(self._towers.movie_vectors, movie)), "known_movie": known}

    def _predict(self, user_id: tf.Tensor, movie_id: tf.Tensor, *seen: tf.Tensor) -> Tensors:
        """Scores of B pairs: `retrieval_score` and `predicted_rating [B]`, NaN where an id is unknown.

        `known_user` and `known_movie [B]` say which. A model of histories knows who has rated any of its movies.
        """
        users, known_user = self._towers.users(user_id, seen)
        movie, known_movie = self._movies.rows(movie_id)
        known = known_user & known_movie
        vectors = self._towers.retrieval_vectors(users)
        score = tf.reduce_sum(vectors * tf.gather(self._towers.movie_vectors, movie), axis=1)
        return {
            c.RETRIEVAL_SCORE: _where(known, score),
            c.PREDICTED_RATING: _where(known, self._towers.rate_pairs(users, movie)),
            "known_user": known_user,
            "known_movie": known_movie,
        }

    def _rate_catalogue(self, user_id: tf.Tensor, *seen: tf.Tensor) -> Tensors:
        """`predicted_rating [B, M]` of every movie, ascending movie id; NaN for an unknown user. `known_user [B]`."""
        users, known = self._towers.users(user_id, seen)
        return {c.PREDICTED_RATING: _where(known, self._towers.rate_catalogue(users)), "known_user": known}

    def _recommend(
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

        Seen movies are left out unless `include_seen`; seen ids outside the catalogue are ignored. `rank_by` is
        retrieval, rating or two-stage: the `candidates` best by retrieval score, ranked by rating.

        Returns:
            `movie_id`, `retrieval_score`, `predicted_rating [B, min(n, M)]`, best first, and `count [B]`: how many
            of the columns hold a recommendation. The rest, and all of an unknown user's, are id -1 and NaN.
            `known_user [B]`.
        """
        towers = self._towers
        users, known_user = towers.users(user_id, (seen_movie_id, seen_rating, seen_row_splits))
        vectors = towers.retrieval_vectors(users)
        hidden = self._pairs_to_hide(seen_movie_id, seen_row_splits, include_seen)
        size = tf.shape(towers.movie_vectors)[0]
        n = tf.minimum(n, size)

        def hide(scores: tf.Tensor) -> tf.Tensor:
            return tf.tensor_scatter_nd_update(scores, hidden, tf.fill(tf.shape(hidden)[:1], -np.inf))

        def retrieve(k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return _top_k(hide(tf.matmul(vectors, towers.movie_vectors, transpose_b=True)), k)

        def by_retrieval() -> tuple[tf.Tensor, tf.Tensor]:
            return retrieve(n)

        def by_rating() -> tuple[tf.Tensor, tf.Tensor]:
            return _top_k(hide(towers.rate_catalogue(users)), n)

        def two_stage() -> tuple[tf.Tensor, tf.Tensor]:
            scores, movie = retrieve(tf.minimum(tf.maximum(candidates, n), size))
            hidden_here = tf.where(tf.math.is_inf(scores), -np.inf, 0.0)
            by_id = tf.argsort(movie)  # so that equal ratings keep the order of ids
            movie, hidden_here = (tf.gather(t, by_id, batch_dims=1) for t in (movie, hidden_here))
            ratings, chosen = _top_k(towers.rate_lists(users, movie) + hidden_here, n)
            return ratings, tf.gather(movie, chosen, batch_dims=1)

        key, movie = tf.case(
            [(tf.equal(rank_by, "retrieval"), by_retrieval), (tf.equal(rank_by, "rating"), by_rating)],
            default=two_stage,
        )
        valid = (key > -np.inf) & known_user[:, tf.newaxis]
        scores = tf.einsum("bd,bnd->bn", vectors, tf.gather(towers.movie_vectors, movie))
        return {
            c.MOVIE_ID: tf.where(valid, tf.gather(self._movies.ids, movie), tf.constant(-1, tf.int64)),
            c.RETRIEVAL_SCORE: _where(valid, scores),
            c.PREDICTED_RATING: _where(valid, towers.rate_lists(users, movie)),
            "count": tf.reduce_sum(tf.cast(valid, tf.int32), axis=1),
            "known_user": known_user,
        }

    def _pairs_to_hide(self, movie_id: tf.Tensor, row_splits: tf.Tensor, include_seen: tf.Tensor) -> tf.Tensor:
        """Indices [S, 2] of (user, movie) in a block of scores."""
        movie, known = self._movies.rows(movie_id)
        user = _user_of_each(row_splits)
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


class _IdTowers(tf.Module):
    """Towers of id embeddings, and the rating MLP on the concatenated vectors, clipped to the scale.

    The first layer of the MLP is linear before the ReLU, so it splits: [u, v] W = u W_user + v W_movie. Both halves
    are computed once, when the model is exported, which saves the widest product of every pair. `users` are rows.
    """

    def __init__(self, weights: EmbeddingWeights) -> None:
        super().__init__()
        (kernel, bias), *rest = weights.rating_layers
        d = weights.user_vectors.shape[1]
        self._users = _SortedIds(weights.user_ids)
        self._user_vectors = _frozen(weights.user_vectors)
        self.movie_vectors = _frozen(weights.movie_vectors)
        self._user_half = _frozen(weights.user_vectors @ kernel[:d] + bias)
        self._movie_half = _frozen(weights.movie_vectors @ kernel[d:])
        self._rest = [(_frozen(kernel), _frozen(bias)) for kernel, bias in rest]
        self._range = weights.rating_range

    def users(self, user_id: tf.Tensor, seen: Seen) -> tuple[tf.Tensor, tf.Tensor]:
        del seen  # a user is known by id alone
        return self._users.rows(user_id)

    def retrieval_vectors(self, users: tf.Tensor) -> tf.Tensor:
        return tf.gather(self._user_vectors, users)

    def rate_pairs(self, users: tf.Tensor, movie: tf.Tensor) -> tf.Tensor:
        return self._finish(tf.gather(self._user_half, users) + tf.gather(self._movie_half, movie))

    def rate_lists(self, users: tf.Tensor, movie: tf.Tensor) -> tf.Tensor:
        return self._each_user(users, movie, lambda row: tf.gather(self._movie_half, row))

    def rate_catalogue(self, users: tf.Tensor) -> tf.Tensor:
        return self._each_user(users, users, lambda _: self._movie_half)

    def _each_user(self, users: tf.Tensor, movie: tf.Tensor, halves: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """One user at a time: the hidden layer of a user and all movies fits the cache, that of a block does not."""
        return tf.map_fn(
            lambda pair: self._finish(tf.gather(self._user_half, pair[0]) + halves(pair[1])),
            (users, movie),
            fn_output_signature=tf.float32,
            parallel_iterations=1,
        )

    def _finish(self, hidden: tf.Tensor) -> tf.Tensor:
        for kernel, bias in self._rest:
            hidden = tf.nn.bias_add(tf.matmul(tf.nn.relu(hidden), kernel), bias)
        return tf.clip_by_value(tf.squeeze(hidden, axis=-1), *self._range)


class _HistoryTowers(tf.Module):
    """Towers of histories; see `history_model`. `users` are [B, d + k]: retrieval vector, then tastes."""

    def __init__(self, weights: HistoryWeights, movies: _SortedIds) -> None:
        super().__init__()
        self._movies = movies
        self._seen_vectors = _frozen(weights.seen_vectors)
        self._prior = _frozen(weights.prior_weight * weights.average_seen)
        self.movie_vectors = _frozen(weights.movie_vectors)
        self._traits = _frozen(weights.traits)
        self._movie_bias = _frozen(weights.movie_bias)
        self._ridge = _frozen(np.diag(weights.ridge))
        self._mean_rating, self._liking = weights.mean_rating, weights.liking
        self._prior_weight, self._range = weights.prior_weight, weights.rating_range
        self._d = weights.movie_vectors.shape[1]

    def users(self, user_id: tf.Tensor, seen: Seen) -> tuple[tf.Tensor, tf.Tensor]:
        seen_movie_id, rating, row_splits = seen
        size = tf.shape(user_id)[0]
        movie, known = self._movies.rows(seen_movie_id)
        user = tf.boolean_mask(_user_of_each(row_splits), known)
        movie, rating = tf.boolean_mask(movie, known), tf.boolean_mask(rating, known)
        count = tf.math.unsorted_segment_sum(tf.ones_like(rating), user, size)
        above_mean = tf.math.unsorted_segment_sum(rating - self._mean_rating, user, size)
        own_mean = self._mean_rating + above_mean / (count + 5)
        weight = 1 + self._liking * (rating - tf.gather(own_mean, user))
        weighted = tf.gather(self._seen_vectors, movie) * weight[:, tf.newaxis]
        summed = tf.math.unsorted_segment_sum(weighted, user, size) + self._prior
        retrieval = summed * tf.math.rsqrt(count + self._prior_weight)[:, tf.newaxis]
        tastes = self._tastes(movie, rating, tf.cast(tf.cumsum(count), tf.int32), tf.cast(count, tf.int32))
        return tf.concat([retrieval, tastes], axis=1), count > 0

    def _tastes(self, movie: tf.Tensor, rating: tf.Tensor, end: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """[B, k] ridge regressions, a user at a time: histories are of very different lengths."""
        residual = rating - tf.gather(self._movie_bias, movie)

        def taste(span: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            rows = slice(span[0] - span[1], span[0])
            traits = tf.gather(self._traits, movie[rows])
            factor = tf.linalg.cholesky(tf.matmul(traits, traits, transpose_a=True) + self._ridge)
            right = tf.linalg.matvec(traits, residual[rows], transpose_a=True)
            return tf.linalg.cholesky_solve(factor, right[:, tf.newaxis])[:, 0]

        signature = tf.TensorSpec([self._traits.shape[1]], tf.float32)
        return tf.map_fn(taste, (end, count), fn_output_signature=signature, parallel_iterations=1)

    def retrieval_vectors(self, users: tf.Tensor) -> tf.Tensor:
        return users[:, : self._d]

    def rate_pairs(self, users: tf.Tensor, movie: tf.Tensor) -> tf.Tensor:
        product = tf.reduce_sum(users[:, self._d :] * tf.gather(self._traits, movie), axis=1)
        return self._on_the_scale(product + tf.gather(self._movie_bias, movie))

    def rate_lists(self, users: tf.Tensor, movie: tf.Tensor) -> tf.Tensor:
        product = tf.einsum("bk,bnk->bn", users[:, self._d :], tf.gather(self._traits, movie))
        return self._on_the_scale(product + tf.gather(self._movie_bias, movie))

    def rate_catalogue(self, users: tf.Tensor) -> tf.Tensor:
        product = tf.matmul(users[:, self._d :], self._traits, transpose_b=True)
        return self._on_the_scale(product + self._movie_bias)

    def _on_the_scale(self, rating: tf.Tensor) -> tf.Tensor:
        """Bent smoothly at both ends: clipped ratings would tie at five stars, and ties have no order."""
        low, high = self._range
        bend = 0.05 * (high - low)
        over, under = tf.nn.relu(rating - (high - bend)), tf.nn.relu(low + bend - rating)
        return rating - over + bend * (1 - tf.exp(-over / bend)) + under - bend * (1 - tf.exp(-under / bend))


def save(weights: EmbeddingWeights | HistoryWeights, directory: Path) -> None:
    """Writes the SavedModel to `directory`.

    Raises:
        ModelRejected: a weight is not a finite number, or an id is there twice.
    """
    flat = tf.nest.flatten(list(vars(weights).values()))
    if not all(np.isfinite(value).all() for value in flat):
        raise ModelRejected("the model has a weight that is not a finite number; train it again")
    module = ServingModel(weights)
    signatures = {"serving_default": module.questions["predict"], **module.questions}
    tf.saved_model.save(module, str(directory), signatures=signatures)


def _graph(function: Callable, *inputs: tf.TensorSpec) -> Callable:
    return tf.function(function, input_signature=inputs, autograph=False)


def _user_of_each(row_splits: tf.Tensor) -> tf.Tensor:
    """[S] int32: the user (0-based) that each seen movie belongs to."""
    lengths = row_splits[1:] - row_splits[:-1]
    return tf.repeat(tf.range(tf.shape(lengths)[0]), lengths)


def _frozen(array: np.ndarray) -> tf.Variable:
    """A variable, which is stored beside the graph; a constant would be stored in it, and a graph has 2 GiB at most."""
    return tf.Variable(array, trainable=False)


def _top_k(scores: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    values, indices = tf.math.top_k(scores, k)
    return values, indices


def _where(valid: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    valid = tf.reshape(valid, tf.concat([tf.shape(valid), tf.ones([tf.rank(values) - tf.rank(valid)], tf.int32)], 0))
    return tf.where(valid, values, tf.constant(np.nan, values.dtype))
