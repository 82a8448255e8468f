"""Export: the towers of a trained model become a SavedModel that stands alone.

The SavedModel has one signature per question. It is a plain `tf.Module` of variables and graphs: no Keras object,
metric, dataset or vocabulary file is part of it, so none can prevent saving, or be missing where it is loaded.

Ids are int64, or string where the model was trained with text. Inside, row i of every table belongs to the i-th
smallest id, and `tf.math.top_k` prefers the lower index of equal scores, so ties are broken by ascending movie id. The
towers know integers alone: for a text they get its number (see `data.ids`), which is its row.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from recmodel import schemas as c
from recmodel.data.ids import NO_LABELS, Labels
from recmodel.models import variables
from recmodel.models.architectures import Towers, Users
from recmodel.models.tensors import TextIds, user_of_each, where
from recmodel.schemas import INTEGER, INTEGER_IDS, TEXT, IdKind, Ids
from recmodel.scoring import policies
from recmodel.tf import tf

Tensors = dict[str, tf.Tensor]


def _ids(name: str, kind: IdKind = INTEGER) -> tf.TensorSpec:
    return tf.TensorSpec([None], tf.string if kind == TEXT else tf.int64, name)


def _scalar(dtype: tf.DType, name: str) -> tf.TensorSpec:
    return tf.TensorSpec([], dtype, name)


_RATED = (tf.TensorSpec([None], tf.float32, "seen_rating"), _ids("seen_row_splits"))
_AGE = tf.TensorSpec([None], tf.int32, "seen_age")
_REQUEST = (
    _scalar(tf.int32, "n"),
    _scalar(tf.string, "rank_by"),
    _scalar(tf.int32, "candidates"),
    _scalar(tf.bool, "include_seen"),
)


def save(towers: Towers, directory: Path, ids: Ids = INTEGER_IDS, labels: Labels = NO_LABELS) -> list[str]:
    """Write the SavedModel to `directory`, and return the names of its signatures.

    Args:
        ids: what ids the signatures take.
        labels: the texts that the towers' ids are the numbers of.
    """
    module = ServingModel(towers, ids, labels)
    signatures = {"serving_default": module.graphs["predict"], **module.graphs}
    tf.saved_model.save(module, str(directory), signatures=signatures)
    variables.note(directory, tf.train.load_checkpoint(str(directory / "variables" / "variables")))
    return sorted(signatures)


def read_movie_labels(directory: Path) -> np.ndarray | None:
    """Return the texts ([M] object, ascending) that the movie ids of a SavedModel are; None if they are integers."""
    checkpoint = tf.train.load_checkpoint(str(directory / "variables" / "variables"))
    name = "_movie_labels/ids/.ATTRIBUTES/VARIABLE_VALUE"
    if not checkpoint.has_tensor(name):
        return None
    return np.array([text.decode() for text in checkpoint.get_tensor(name)], object)


class ServingModel(tf.Module):
    """The graphs behind the signatures. B users or pairs, M movies in the catalogue.

    User b has seen and rated the movies `seen_movie_id[seen_row_splits[b]:seen_row_splits[b + 1]]`, each once, oldest
    rating first. `recommend` takes histories for every model; the other signatures only if the towers need them.

    `user_vectors` takes what scoring has: histories in any order, with the age of each rating as `seen_age`, the number
    of newer ones of the same user; and where ids are text, the rows of seen movies as `seen_row`.
    """

    def __init__(self, towers: Towers, ids: Ids, labels: Labels) -> None:
        super().__init__()
        # The names of these attributes are part of the names of the variables in the SavedModel.
        self._movies = towers.movies
        self._towers = towers
        self._user_labels = None if labels.users is None or towers.needs_history else _text_ids(labels.users)
        self._movie_labels = None if labels.movies is None else _text_ids(labels.movies)
        user_id, movie_id = _ids(c.USER_ID, ids.user), _ids(c.MOVIE_ID, ids.movie)
        seen = (_ids("seen_movie_id", ids.movie), *_RATED)
        seen_rows = seen if labels.movies is None else (_ids("seen_row"), *_RATED)
        history, history_rows = (seen, (*seen_rows, _AGE)) if towers.needs_history else ((), ())
        self.graphs = {
            "predict": _graph(self._predict, user_id, movie_id, *history),
            "recommend": _graph(self._recommend, user_id, *seen, *_REQUEST),
            "rate_catalogue": _graph(self._rate_catalogue, user_id, *history),
            "user_embedding": _graph(self._user_embedding, user_id, *history),
            "movie_embedding": _graph(self._movie_embedding, movie_id),
            "user_vectors": _graph(self._user_vectors, user_id, *history_rows),
            "movie_vectors": _graph(self._movie_vectors),
            "rate_lists": _graph(
                self._rate_lists,
                tf.TensorSpec([None, towers.rating_width], tf.float32, "rating_vector"),
                tf.TensorSpec([None, None], tf.int32, "row"),
            ),
        }
        if towers.place is not None:
            # Places N movies that the model does not know: genres as `Action|Comedy`, NaN for a year not known.
            genres, year = tf.TensorSpec([None], tf.string, c.GENRES), tf.TensorSpec([None], tf.float32, "year")
            self.graphs["place_movies"] = _graph(towers.place, genres, year)

    def _user_embedding(self, user_id: tf.Tensor, *seen: tf.Tensor) -> Tensors:
        """Return `embedding [B, d]` of the retrieval task, NaN for an unknown user, and `known_user [B]`."""
        users = self._users(user_id, seen)
        return {"embedding": where(users.known, users.retrieval), "known_user": users.known}

    def _movie_embedding(self, movie_id: tf.Tensor) -> Tensors:
        """Return `embedding [B, d]` of the retrieval task, NaN for an unknown movie, and `known_movie [B]`."""
        movie, known = self._movie_rows(movie_id)
        return {"embedding": where(known, tf.gather(self._towers.movie_vectors, movie)), "known_movie": known}

    def _predict(self, user_id: tf.Tensor, movie_id: tf.Tensor, *seen: tf.Tensor) -> Tensors:
        """Score B pairs: `retrieval_score` and `predicted_rating [B]`, NaN where an id is unknown.

        `known_user` and `known_movie [B]` are False for unknown ids. A model that needs histories knows the users who
        have rated any of its movies.
        """
        users = self._users(user_id, seen)
        movie, known_movie = self._movie_rows(movie_id)
        known = users.known & known_movie
        score = tf.reduce_sum(users.retrieval * tf.gather(self._towers.movie_vectors, movie), axis=1)
        if users.seen_boost is not None:
            user, row, boost = self._boosts(users.seen_boost, *seen[::2])
            raised = tf.where(tf.equal(row, tf.gather(movie, user)), boost, 0.0)
            score += tf.math.unsorted_segment_sum(raised, user, tf.shape(score)[0])
        rating = self._towers.rate_lists(users.rating, movie[:, tf.newaxis])
        return {
            c.RETRIEVAL_SCORE: where(known, score),
            c.PREDICTED_RATING: where(known, rating[:, 0]),
            "known_user": users.known,
            "known_movie": known_movie,
        }

    def _rate_catalogue(self, user_id: tf.Tensor, *seen: tf.Tensor) -> Tensors:
        """Return `predicted_rating [B, M]`, ascending movie id, NaN for an unknown user; and `known_user [B]`."""
        users = self._users(user_id, seen)
        ratings = self._towers.rate_catalogue(users.rating)
        return {c.PREDICTED_RATING: where(users.known, ratings), "known_user": users.known}

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
        """Return the exact top n of the catalogue for each user, in plain TensorFlow: for callers without this package.

        `scoring.recommender` computes the same from `user_vectors` and `movie_vectors`, many times faster. Seen movies
        are left out unless `include_seen`; seen ids outside the catalogue are ignored. `rank_by` is one of
        `policies.NAMES`; any other name is an InvalidArgumentError.

        Returns:
            `movie_id`, `retrieval_score`, `predicted_rating [B, min(n, M)]`, best first, and `count [B]`: how many
            of the columns hold a recommendation. The others, and all of an unknown user's, are id -1, or "" where ids
            are text, and NaN.
            `known_user [B]`.
        """
        towers = self._towers
        users = self._users(user_id, (seen_movie_id, seen_rating, seen_row_splits))
        hidden = self._hidden_pairs(seen_movie_id, seen_row_splits, include_seen)
        size = tf.shape(towers.movie_vectors)[0]
        retrieval_scores = tf.matmul(users.retrieval, towers.movie_vectors, transpose_b=True)
        if users.seen_boost is not None:
            user, row, boost = self._boosts(users.seen_boost, seen_movie_id, seen_row_splits)
            retrieval_scores = tf.tensor_scatter_nd_add(retrieval_scores, tf.stack([user, row], axis=1), boost)

        def hide(scores: tf.Tensor) -> tf.Tensor:
            return tf.tensor_scatter_nd_update(scores, hidden, tf.fill(tf.shape(hidden)[:1], -np.inf))

        of_policies = policies.Graph(
            retrieval_scores=lambda: hide(retrieval_scores),
            ratings=lambda: hide(towers.rate_catalogue(users.rating)),
            rate_lists=lambda movie: towers.rate_lists(users.rating, movie),
            blend_power=_blend_power(towers),
            n=tf.minimum(n, size),
            candidates=tf.minimum(candidates, size),
        )
        key, movie = policies.graph(rank_by, of_policies)
        valid = (key > -np.inf) & users.known[:, tf.newaxis]
        return {
            c.MOVIE_ID: tf.where(valid, tf.gather(self._movie_ids, movie), _no_id(self._movie_ids.dtype)),
            c.RETRIEVAL_SCORE: where(valid, tf.gather(retrieval_scores, movie, batch_dims=1)),
            c.PREDICTED_RATING: where(valid, towers.rate_lists(users.rating, movie)),
            "count": tf.reduce_sum(tf.cast(valid, tf.int32), axis=1),
            "known_user": users.known,
        }

    def _user_vectors(self, user_id: tf.Tensor, *seen: tf.Tensor) -> Tensors:
        """Return the vectors of users: `retrieval [B, d]` and `rating [B, k]`, and `known_user [B]`.

        Towers that need histories also return the weight of each seen movie in `retrieval`: `seen_weight [S]`, 0 for a
        movie outside the catalogue; and `seen_boost [S]`, see `Towers.successors`, if they know successors.
        """
        users = self._towers.users(self._user_numbers(user_id), seen)
        vectors = {"retrieval": users.retrieval, "rating": users.rating, "known_user": users.known}
        of_seen = {"seen_weight": users.seen_weight, "seen_boost": users.seen_boost}
        return vectors | {name: values for name, values in of_seen.items() if values is not None}

    def _movie_vectors(self) -> Tensors:
        """Return the vectors of movies, by ascending id: `movie_id [M]`, `retrieval [M, d]` and `seen [M, d]`.

        The product of `seen` with the `retrieval` of another movie is how much having seen the one contributes to the
        score of the other; see `scoring.reasons`. If products order movies as their ratings do, there are also their
        vectors `rating [M, k]` and `rating_offset [M]`; and if they know successors, `successor_row [M, K]` and
        `successor_strength [M, K]`. All ratings are within `rating_range [2]`, NaN where none are predicted.
        `blend_power` is a scalar, see `policies.blended`. In lists for another day than that of the newest ratings, if
        there are the scalar `pause` and `trend [M]`, ages of ratings rise by the one, and retrieval scores are
        multiplied by the other.
        """
        towers = self._towers
        vectors = {c.MOVIE_ID: self._movie_ids, "retrieval": towers.movie_vectors, "seen": towers.seen_vectors}
        vectors["rating_range"] = tf.constant(towers.rating_range, tf.float32)
        vectors["blend_power"] = tf.constant(_blend_power(towers), tf.float32)
        if towers.successors is not None:
            vectors |= dict(zip(("successor_row", "successor_strength"), towers.successors, strict=True))
        vectors |= getattr(towers, "another_day", {})
        return tf.nest.map_structure(tf.identity, {**vectors, **towers.linear_rating()})

    def _rate_lists(self, rating_vector: tf.Tensor, row: tf.Tensor) -> Tensors:
        """Return `predicted_rating [B, n]` of a list of movies for each user, from rows and rating vectors."""
        return {c.PREDICTED_RATING: self._towers.rate_lists(rating_vector, row)}

    def _hidden_pairs(self, movie_id: tf.Tensor, row_splits: tf.Tensor, include_seen: tf.Tensor) -> tf.Tensor:
        """Return indices [S, 2] of the (user, movie) to hide in a block of scores."""
        movie, in_catalogue = self._movie_rows(movie_id)
        user = user_of_each(row_splits)
        return tf.boolean_mask(tf.stack([user, movie], axis=1), in_catalogue & ~include_seen)

    def _boosts(
        self, seen_boost: tf.Tensor, movie_id: tf.Tensor, row_splits: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return P users, rows of movies and what is added to the scores of these pairs, which may repeat."""
        assert self._towers.successors is not None
        row, strength = self._towers.successors
        movie, _ = self._movie_rows(movie_id)
        counts = seen_boost > 0  # only of movies in the catalogue
        boost, movie = tf.boolean_mask(seen_boost, counts), tf.boolean_mask(movie, counts)
        user = tf.repeat(tf.boolean_mask(user_of_each(row_splits), counts), row.shape[1])
        raised = boost[:, tf.newaxis] * tf.gather(strength, movie)
        return user, tf.reshape(tf.gather(row, movie), [-1]), tf.reshape(raised, [-1])

    # -- ids that are text

    def _users(self, user_id: tf.Tensor, seen: tuple[tf.Tensor, ...]) -> Users:
        """Describe users by their ids and histories, as `Towers.users` does by numbers."""
        if seen and self._movie_labels is not None:
            seen = (self._movie_labels.numbers(seen[0]), *seen[1:])
        return self._towers.users(self._user_numbers(user_id), seen)

    def _user_numbers(self, user_id: tf.Tensor) -> tf.Tensor:
        if user_id.dtype != tf.string:
            return user_id
        if self._user_labels is None:  # the towers know users by their histories
            return tf.zeros_like(user_id, tf.int64)
        return self._user_labels.numbers(user_id)

    def _movie_rows(self, movie_id: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the row of each movie, any row where it is absent, and whether it is present."""
        return self._movies.rows(movie_id if self._movie_labels is None else self._movie_labels.numbers(movie_id))

    @property
    def _movie_ids(self) -> tf.Variable:
        return self._movies.ids if self._movie_labels is None else self._movie_labels.ids


def _blend_power(towers: Towers) -> float:
    return getattr(towers, "blend_power", policies.BLEND_POWER)


def _text_ids(labels: pa.Array) -> TextIds:
    return TextIds(labels.to_numpy(zero_copy_only=False))


def _no_id(dtype: tf.DType) -> tf.Tensor:
    return tf.constant("" if dtype == tf.string else -1, dtype)


def _graph(function: Callable, *inputs: tf.TensorSpec) -> Callable:
    return tf.function(function, input_signature=inputs, autograph=False)
