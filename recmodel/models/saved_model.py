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
from typing import NamedTuple

import numpy as np

from recmodel import schemas as c
from recmodel.errors import ModelRejected
from recmodel.models.embedding.model import EmbeddingWeights
from recmodel.models.history.model import HistoryWeights
from recmodel.tf import tf

Tensors = dict[str, tf.Tensor]
Seen = tuple[tf.Tensor, ...]  # movie ids [S], ratings [S], row splits [B + 1]

_MLP_TILE = 512  # movies: with hidden layers of 256 and 128, 768 KiB
_PIECE = 64  # ratings of a history that are multiplied together


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
            "user_vectors": _graph(self._user_vectors, _ids(c.USER_ID), *history),
            "movie_vectors": _graph(self._movie_vectors),
            "rate_lists": _graph(
                self._rate_lists,
                tf.TensorSpec([None, self._towers.rating_width], tf.float32, "rating_vector"),
                tf.TensorSpec([None, None], tf.int32, "row"),
            ),
        }

    def _user_embedding(self, user_id: tf.Tensor, *seen: tf.Tensor) -> Tensors:
        """`embedding [B, d]` of the retrieval task, NaN for an unknown user, and `known_user [B]`."""
        users = self._towers.users(user_id, seen)
        return {"embedding": _where(users.known, users.retrieval), "known_user": users.known}

    def _movie_embedding(self, movie_id: tf.Tensor) -> Tensors:
        """`embedding [B, d]` of the retrieval task, NaN for an unknown movie, and `known_movie [B]`."""
        movie, known = self._movies.rows(movie_id)
        return {"embedding": _where(known, tf.gather(self._towers.movie_vectors, movie)), "known_movie": known}

    def _predict(self, user_id: tf.Tensor, movie_id: tf.Tensor, *seen: tf.Tensor) -> Tensors:
        """Scores of B pairs: `retrieval_score` and `predicted_rating [B]`, NaN where an id is unknown.

        `known_user` and `known_movie [B]` say which. A model of histories knows who has rated any of its movies.
        """
        users = self._towers.users(user_id, seen)
        movie, known_movie = self._movies.rows(movie_id)
        known = users.known & known_movie
        score = tf.reduce_sum(users.retrieval * tf.gather(self._towers.movie_vectors, movie), axis=1)
        rating = self._towers.rate_lists(users.rating, movie[:, tf.newaxis])
        return {
            c.RETRIEVAL_SCORE: _where(known, score),
            c.PREDICTED_RATING: _where(known, rating[:, 0]),
            "known_user": users.known,
            "known_movie": known_movie,
        }

    def _rate_catalogue(self, user_id: tf.Tensor, *seen: tf.Tensor) -> Tensors:
        """`predicted_rating [B, M]` of every movie, ascending movie id; NaN for an unknown user. `known_user [B]`."""
        users = self._towers.users(user_id, seen)
        ratings = self._towers.rate_catalogue(users.rating)
        return {c.PREDICTED_RATING: _where(users.known, ratings), "known_user": users.known}

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
        """The exact top n of the whole catalogue for each user, in plain TensorFlow: for callers without this package.

        `serving` answers the same from `user_vectors` and `movie_vectors`, many times faster. Seen movies are left out
        unless `include_seen`; seen ids outside the catalogue are ignored. `rank_by` is retrieval, rating or two-stage:
        the `candidates` best by retrieval score, ranked by rating.

        Returns:
            `movie_id`, `retrieval_score`, `predicted_rating [B, min(n, M)]`, best first, and `count [B]`: how many
            of the columns hold a recommendation. The rest, and all of an unknown user's, are id -1 and NaN.
            `known_user [B]`.
        """
        towers = self._towers
        users = towers.users(user_id, (seen_movie_id, seen_rating, seen_row_splits))
        hidden = self._pairs_to_hide(seen_movie_id, seen_row_splits, include_seen)
        size = tf.shape(towers.movie_vectors)[0]
        n = tf.minimum(n, size)

        def hide(scores: tf.Tensor) -> tf.Tensor:
            return tf.tensor_scatter_nd_update(scores, hidden, tf.fill(tf.shape(hidden)[:1], -np.inf))

        def retrieve(k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return _top_k(hide(tf.matmul(users.retrieval, towers.movie_vectors, transpose_b=True)), k)

        def by_retrieval() -> tuple[tf.Tensor, tf.Tensor]:
            return retrieve(n)

        def by_rating() -> tuple[tf.Tensor, tf.Tensor]:
            return _top_k(hide(towers.rate_catalogue(users.rating)), n)

        def two_stage() -> tuple[tf.Tensor, tf.Tensor]:
            scores, movie = retrieve(tf.minimum(tf.maximum(candidates, n), size))
            hidden_here = tf.where(tf.math.is_inf(scores), -np.inf, 0.0)
            by_id = tf.argsort(movie)  # so that equal ratings keep the order of ids
            movie, hidden_here = (tf.gather(t, by_id, batch_dims=1) for t in (movie, hidden_here))
            ratings, chosen = _top_k(towers.rate_lists(users.rating, movie) + hidden_here, n)
            return ratings, tf.gather(movie, chosen, batch_dims=1)

        key, movie = tf.case(
            [(tf.equal(rank_by, "retrieval"), by_retrieval), (tf.equal(rank_by, "rating"), by_rating)],
            default=two_stage,
        )
        valid = (key > -np.inf) & users.known[:, tf.newaxis]
        scores = tf.einsum("bd,bnd->bn", users.retrieval, tf.gather(towers.movie_vectors, movie))
        return {
            c.MOVIE_ID: tf.where(valid, tf.gather(self._movies.ids, movie), tf.constant(-1, tf.int64)),
            c.RETRIEVAL_SCORE: _where(valid, scores),
            c.PREDICTED_RATING: _where(valid, towers.rate_lists(users.rating, movie)),
            "count": tf.reduce_sum(tf.cast(valid, tf.int32), axis=1),
            "known_user": users.known,
        }

    def _user_vectors(self, user_id: tf.Tensor, *seen: tf.Tensor) -> Tensors:
        """What a user is to the rest: `retrieval [B, d]` and `rating [B, k]` vectors, and `known_user [B]`.

        Where users are known by what they have seen, also how much each of it weighs in `retrieval`: `seen_weight [S]`,
        0 for a movie outside the catalogue.
        """
        users = self._towers.users(user_id, seen)
        vectors = {"retrieval": users.retrieval, "rating": users.rating, "known_user": users.known}
        return vectors if users.seen_weight is None else {**vectors, "seen_weight": users.seen_weight}

    def _movie_vectors(self) -> Tensors:
        """What a movie is to the rest, ascending id: `movie_id [M]`, `retrieval [M, d]`.

        `seen [M, d]` is what it says of who has seen it: its product with the `retrieval` of another movie is how much
        it speaks for that one; see `reasons`. Where ratings are ordered as a product is, also its vectors
        `rating [M, k]` and `rating_offset [M]`.
        """
        towers = self._towers
        vectors = {c.MOVIE_ID: self._movies.ids, "retrieval": towers.movie_vectors, "seen": towers.seen_vectors}
        return tf.nest.map_structure(tf.identity, {**vectors, **towers.linear_rating()})

    def _rate_lists(self, rating_vector: tf.Tensor, row: tf.Tensor) -> Tensors:
        """`predicted_rating [B, n]` of a list of movies for each user: rows of the catalogue, the user's vector."""
        return {c.PREDICTED_RATING: self._towers.rate_lists(rating_vector, row)}

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


class _Users(NamedTuple):
    retrieval: tf.Tensor  # [B, d]
    rating: tf.Tensor  # [B, k]: all that the rating task knows of a user
    known: tf.Tensor  # [B]
    seen_weight: tf.Tensor | None = None  # [S]; see `_user_vectors`


class _IdTowers(tf.Module):
    """Towers of id embeddings, and the rating MLP on the concatenated vectors, clipped to the scale.

    The first layer of the MLP is linear before the ReLU, so it splits: [u, v] W = u W_user + v W_movie. Both halves
    are computed once, when the model is exported, which saves the widest product of every pair.
    """

    def __init__(self, weights: EmbeddingWeights) -> None:
        super().__init__()
        (kernel, bias), *rest = weights.rating_layers
        d = weights.user_vectors.shape[1]
        self._users = _SortedIds(weights.user_ids)
        self._user_vectors = _frozen(weights.user_vectors)
        self.movie_vectors = _frozen(weights.movie_vectors)
        self._user_half = _frozen(weights.user_vectors @ kernel[:d] + bias)
        self.rating_width = len(bias)
        self._movie_half = _frozen(_padded(weights.movie_vectors @ kernel[d:], to_multiple_of=_MLP_TILE))
        self._rest = [(_frozen(kernel), _frozen(bias)) for kernel, bias in rest]
        self._range = weights.rating_range

    def users(self, user_id: tf.Tensor, seen: Seen) -> _Users:
        del seen  # a user is known by id alone
        row, known = self._users.rows(user_id)
        return _Users(tf.gather(self._user_vectors, row), tf.gather(self._user_half, row), known)

    @property
    def seen_vectors(self) -> tf.Tensor:
        """Of length 1: users are no sums of what they have seen, so what speaks for a movie is what is like it."""
        return tf.math.l2_normalize(self.movie_vectors, axis=1)

    def linear_rating(self) -> Tensors:
        return {}

    def rate_lists(self, rating_vector: tf.Tensor, movie: tf.Tensor) -> tf.Tensor:
        return self._rate(tf.gather(self._movie_half, movie), rating_vector[:, tf.newaxis])

    def rate_catalogue(self, rating_vector: tf.Tensor) -> tf.Tensor:
        """Tile by tile, and in a tile user by user: so the hidden layers stay in the processor's cache."""
        tiles = tf.reshape(self._movie_half, [-1, _MLP_TILE, self._movie_half.shape[1]])
        rated = _map(lambda tile: _map(lambda user: self._rate(tile, user), rating_vector), tiles)
        by_user = tf.reshape(tf.transpose(rated, [1, 0, 2]), [tf.shape(rating_vector)[0], -1])
        return by_user[:, : self.movie_vectors.shape[0]]

    def _rate(self, hidden: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
        """The MLP from the sum `hidden [..., h] + shift [..., h]` on, which is never formed.

        relu(x + s) = max(x, -s) + s, and what is added passes through the next product to the next shift: a pair costs
        one comparison a unit instead of two additions and one.
        """
        for kernel, bias in self._rest:
            hidden = tf.tensordot(tf.maximum(hidden, -shift), kernel, 1)
            shift = tf.tensordot(shift, kernel, 1) + bias
        return tf.clip_by_value(tf.squeeze(hidden + shift, axis=-1), *self._range)


class _Pieces(NamedTuple):
    """Histories of very different lengths, cut into P pieces of one length L, so that products come in batches."""

    owner: tf.Tensor  # [P] the user that a piece is of
    users: tf.Tensor  # how many there are
    at: tf.Tensor  # [P, L] the rating at each place
    filled: tf.Tensor  # [P, L] whether there is one; the end of a user's last piece has none

    def of(self, values: tf.Tensor, filler: float = 0) -> tf.Tensor:
        """[P, L] the values [S] of the ratings, in pieces."""
        return tf.where(self.filled, tf.gather(values, self.at), tf.cast(filler, values.dtype))

    def add_up(self, of_pieces: tf.Tensor) -> tf.Tensor:
        return tf.math.unsorted_segment_sum(of_pieces, self.owner, self.users)

    def sums_of(self, weight: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """[B, k] the sum of each user's `vectors [P, L, k]`, times a weight [S] for each rating."""
        return self.add_up(tf.matmul(self.of(weight)[:, tf.newaxis], vectors)[:, 0])


def _pieces(count: tf.Tensor) -> _Pieces:
    """Of histories of `count [B]` ratings each, one after the other."""
    users, pieces = tf.shape(count)[0], (count + _PIECE - 1) // _PIECE
    owner = tf.repeat(tf.range(users), pieces)
    before = (tf.range(tf.shape(owner)[0]) - tf.gather(tf.cumsum(pieces, exclusive=True), owner)) * _PIECE
    filled = tf.sequence_mask(tf.minimum(tf.gather(count, owner) - before, _PIECE), _PIECE)
    first = tf.gather(tf.cumsum(count, exclusive=True), owner) + before
    return _Pieces(owner, users, tf.where(filled, first[:, tf.newaxis] + tf.range(_PIECE), 0), filled)


class _HistoryTowers(tf.Module):
    """Towers of histories; see `history_model`. A user's rating vector is their taste."""

    def __init__(self, weights: HistoryWeights, movies: _SortedIds) -> None:
        super().__init__()
        self._movies = movies
        self.seen_vectors = _frozen(weights.seen_vectors)
        self._prior = _frozen(weights.prior_weight * weights.average_seen)
        self.movie_vectors = _frozen(weights.movie_vectors)
        self._traits = _frozen(_padded(weights.traits, rows=1))  # the last row is no movie's: it fills up histories
        self.rating_width = weights.traits.shape[1]
        self._movie_bias = _frozen(weights.movie_bias)
        self._ridge = _frozen(np.diag(weights.ridge))
        self._mean_rating, self._liking = weights.mean_rating, weights.liking
        self._prior_weight, self._range = weights.prior_weight, weights.rating_range

    def users(self, user_id: tf.Tensor, seen: Seen) -> _Users:
        seen_movie_id, rating, row_splits = seen
        size = tf.shape(user_id)[0]
        movie, known = self._movies.rows(seen_movie_id)
        user = tf.boolean_mask(_user_of_each(row_splits), known)
        movie, rating = tf.boolean_mask(movie, known), tf.boolean_mask(rating, known)
        count = tf.math.unsorted_segment_sum(tf.ones_like(rating), user, size)
        above_mean = tf.math.unsorted_segment_sum(rating - self._mean_rating, user, size)
        own_mean = self._mean_rating + above_mean / (count + 5)
        weight = 1 + self._liking * (rating - tf.gather(own_mean, user))
        pieces = _pieces(tf.cast(count, tf.int32))
        summed = pieces.sums_of(weight, tf.gather(self.seen_vectors, pieces.of(movie))) + self._prior
        retrieval = summed * tf.math.rsqrt(count + self._prior_weight)[:, tf.newaxis]
        residual = rating - tf.gather(self._movie_bias, movie)
        weights = tf.scatter_nd(tf.where(known), weight, tf.shape(known, tf.int64))
        return _Users(retrieval, self._tastes(movie, residual, pieces), count > 0, weights)

    def _tastes(self, movie: tf.Tensor, residual: tf.Tensor, pieces: _Pieces) -> tf.Tensor:
        """[B, k] ridge regressions of residuals on traits, from normal equations added up over pieces."""
        traits = tf.gather(self._traits, pieces.of(movie, filler=self._movie_bias.shape[0]))
        squares = pieces.add_up(tf.matmul(traits, traits, transpose_a=True))
        factor = tf.linalg.cholesky(squares + self._ridge)
        return tf.linalg.cholesky_solve(factor, pieces.sums_of(residual, traits)[:, :, tf.newaxis])[:, :, 0]

    def linear_rating(self) -> Tensors:
        return {"rating": self._traits[:-1], "rating_offset": self._movie_bias}

    def rate_lists(self, rating_vector: tf.Tensor, movie: tf.Tensor) -> tf.Tensor:
        product = tf.einsum("bk,bnk->bn", rating_vector, tf.gather(self._traits, movie))
        return self._on_the_scale(product + tf.gather(self._movie_bias, movie))

    def rate_catalogue(self, rating_vector: tf.Tensor) -> tf.Tensor:
        product = tf.matmul(rating_vector, self._traits[:-1], transpose_b=True)
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


def _padded(array: np.ndarray, rows: int = 0, to_multiple_of: int = 1) -> np.ndarray:
    """With zero rows at the end: `rows` of them, and as many as make a multiple."""
    rows += -(len(array) + rows) % to_multiple_of
    return np.pad(array, [(0, rows), (0, 0)])


def _map(function: Callable[[tf.Tensor], tf.Tensor], over: tf.Tensor) -> tf.Tensor:
    """[len(over), ...] float32, one after the other."""
    return tf.map_fn(function, over, fn_output_signature=tf.float32, parallel_iterations=1)


def _top_k(scores: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    values, indices = tf.math.top_k(scores, k)
    return values, indices


def _where(valid: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    valid = tf.reshape(valid, tf.concat([tf.shape(valid), tf.ones([tf.rank(values) - tf.rank(valid)], tf.int32)], 0))
    return tf.where(valid, values, tf.constant(np.nan, values.dtype))
