"""The exported graphs of the architecture `history`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from recmodel.models.architectures import Users
from recmodel.models.history import successors
from recmodel.models.history.another_day import AnotherDay
from recmodel.models.history.calibration import NO_CALIBRATION, Calibration
from recmodel.models.history.placing import PlacingGraph
from recmodel.models.history.recency import NEW_RATINGS, NO_RECENCY, Mood, Recency
from recmodel.models.history.successors import Successors
from recmodel.models.history.weights import HistoryWeights
from recmodel.models.tensors import SortedIds, frozen, padded, strength, user_of_each
from recmodel.scoring.policies import BLEND_POWER
from recmodel.tf import tf

_PIECE = 64  # ratings of a history that are multiplied together


class Towers(tf.Module):
    """Towers that know a user by the movies they rated; see `history.model`.

    A user's rating vector is the weights of the regression of their ratings on the movies' traits. Of implicit
    feedback, the strengths of interactions stand in for ratings, and every predicted rating is NaN.
    """

    needs_history = True

    def __init__(self, weights: HistoryWeights) -> None:
        super().__init__()
        # `read_weights` reads these variables by the names of the attributes, in models of earlier versions too.
        self.movies = SortedIds(weights.movie_ids)
        self.seen_vectors = frozen(weights.seen_vectors)
        self._prior = frozen(weights.prior_weight * weights.average_seen)
        self.movie_vectors = frozen(weights.movie_vectors)
        self._traits = frozen(padded(weights.traits, rows=1))  # the last row is no movie's: it fills up histories
        self._movie_bias = frozen(weights.movie_bias)
        self._ridge = frozen(np.diag(weights.ridge))
        self.rating_width = weights.traits.shape[1]
        self._mean_rating, self._liking = weights.mean_rating, weights.liking
        self._prior_weight, self.rating_range = weights.prior_weight, weights.rating_range
        # Graphs hold these as constants; the variable is for `read_weights`.
        scalars = [weights.mean_rating, self._liking, self._prior_weight, *self.rating_range]
        self._scalars = tf.Variable(np.array(scalars), trainable=False)  # not `frozen`: the range may be NaN
        self._is_implicit = bool(np.isnan(self.rating_range).any())
        # Models of earlier versions lack these variables: `read_weights` and `served` take that as the defaults.
        self._recency = tf.Variable(np.array(weights.recency, np.float32), trainable=False)
        self._rating_recency = tf.Variable(np.array(weights.rating_recency, np.float32), trainable=False)
        self._calibration = tf.Variable(np.array(weights.calibration, np.float32), trainable=False)
        self._blend_power = tf.Variable(np.array([weights.blend_power], np.float32), trainable=False)
        self.blend_power = weights.blend_power
        self._mood = None if weights.mood is None else tf.Variable(np.array(weights.mood, np.float32), trainable=False)
        self._successors = None if weights.successors is None else _SuccessorTable(weights.successors)
        self._another_day = None if weights.another_day is None else _AnotherDay(weights.another_day)
        self.place = None if weights.placing is None else PlacingGraph(weights.placing)

    def users(self, user_id: tf.Tensor, seen: tuple[tf.Tensor, ...]) -> Users:
        """Describe users by their histories; known are those who have rated a movie of the catalogue."""
        seen_movie_id, rating, row_splits, *given_age = seen
        age = given_age[0] if given_age else _ages(row_splits)
        size = tf.shape(user_id)[0]
        movie, in_catalogue = self.movies.rows(seen_movie_id)
        user = tf.boolean_mask(user_of_each(row_splits), in_catalogue)
        movie, rating = tf.boolean_mask(movie, in_catalogue), tf.boolean_mask(rating, in_catalogue)
        age = tf.cast(tf.boolean_mask(age, in_catalogue), tf.float32)
        rating = strength(rating) if self._is_implicit else rating
        count = tf.math.unsorted_segment_sum(tf.ones_like(rating), user, size)
        above_mean = tf.math.unsorted_segment_sum(rating - self._mean_rating, user, size)
        user_mean = self._mean_rating + above_mean / (count + 5)
        weight = (1 + self._liking * (rating - tf.gather(user_mean, user))) * _recency_weights(self._recency, age)
        pieces = _pieces(tf.cast(count, tf.int32))
        summed = pieces.sums_of(weight, tf.gather(self.seen_vectors, pieces.of(movie))) + self._prior
        retrieval = summed * tf.math.rsqrt(count + self._prior_weight)[:, tf.newaxis]
        root = tf.sqrt(_recency_weights(self._rating_recency, age))
        residual = root * (rating - tf.gather(self._movie_bias, movie))

        def of_seen(values: tf.Tensor) -> tf.Tensor:
            return tf.scatter_nd(tf.where(in_catalogue), values, tf.shape(in_catalogue, tf.int64))

        boost = None
        if self._successors is not None:
            boost = of_seen(self._successors.of_users(age, user, retrieval))
        rating_vector = self._calibration[1] * self._regress(movie, residual, pieces, root, age)
        return Users(retrieval, rating_vector, count > 0, of_seen(weight), boost)

    @property
    def successors(self) -> tuple[tf.Tensor, tf.Tensor] | None:
        """The rows [M, K] and the strengths [M, K] of successors; see `history.successors`. None: there are none."""
        return None if self._successors is None else (self._successors.row, self._successors.strength)

    @property
    def another_day(self) -> dict[str, tf.Tensor]:
        """`pause`, a scalar, and `trend` [M]; see `history.another_day`. Empty: lists for another day are the same."""
        found = self._another_day
        return {} if found is None else {"pause": found.pause[0], "trend": found.trend}

    def _regress(
        self, movie: tf.Tensor, residual: tf.Tensor, pieces: _Pieces, root: tf.Tensor, age: tf.Tensor
    ) -> tf.Tensor:
        """Return [B, k] ridge regressions of residuals on traits, from normal equations added up over pieces.

        The first trait is 1 or near it: its weight is the user's bias, to which their mood is added.

        Args:
            root: [S] the root of each rating's weight, by which the residuals are multiplied already.
            age: [S] float32
        """
        traits = tf.gather(self._traits, pieces.of(movie, filler=self._movie_bias.shape[0]))
        traits *= pieces.of(root)[:, :, tf.newaxis]
        squares = pieces.add_up(tf.matmul(traits, traits, transpose_a=True))
        factor = tf.linalg.cholesky(squares + self._ridge)
        weights = tf.linalg.cholesky_solve(factor, pieces.sums_of(residual, traits)[:, :, tf.newaxis])[:, :, 0]
        if self._mood is None:
            return weights
        left = pieces.of(residual) - tf.linalg.matvec(traits, tf.gather(weights, pieces.owner))
        newness = pieces.of(tf.where(age < NEW_RATINGS, tf.exp(-age / self._mood[0]), 0.0))
        off = pieces.add_up(tf.reduce_sum(newness * left / pieces.of(root, filler=1), axis=1))
        mood = off / (pieces.add_up(tf.reduce_sum(newness, axis=1)) + self._mood[1])
        return weights + tf.pad(mood[:, tf.newaxis], [[0, 0], [0, self.rating_width - 1]])

    def linear_rating(self) -> dict[str, tf.Tensor]:
        """Return the traits and the biases: `_on_the_scale` keeps the order of the products."""
        return {"rating": self._traits[:-1], "rating_offset": self._offset()}

    def rate_lists(self, rating_vector: tf.Tensor, movie: tf.Tensor) -> tf.Tensor:
        """Rate a list of movies for each user."""
        product = tf.einsum("bk,bnk->bn", rating_vector, tf.gather(self._traits, movie))
        return self._on_the_scale(product + tf.gather(self._offset(), movie))

    def rate_catalogue(self, rating_vector: tf.Tensor) -> tf.Tensor:
        """Rate all movies for each user."""
        product = tf.matmul(rating_vector, self._traits[:-1], transpose_b=True)
        return self._on_the_scale(product + self._offset())

    def _offset(self) -> tf.Tensor:
        """Return [M]: the movies' biases, calibrated as users' rating vectors are."""
        return self._calibration[0] + self._calibration[1] * self._movie_bias

    def _on_the_scale(self, rating: tf.Tensor) -> tf.Tensor:
        """Bend ratings smoothly at both ends of the scale: if they were clipped, many would tie at five stars."""
        low, high = self.rating_range
        bend = 0.05 * (high - low)
        over, under = tf.nn.relu(rating - (high - bend)), tf.nn.relu(low + bend - rating)
        return rating - over + bend * (1 - tf.exp(-over / bend)) + under - bend * (1 - tf.exp(-under / bend))


class _SuccessorTable(tf.Module):
    """The table of `Successors`, and what it adds for a user."""

    def __init__(self, table: Successors) -> None:
        super().__init__()
        self.row = frozen(table.row)
        self.strength = frozen(table.strength)
        self.weight, self.gram = frozen(np.array([table.weight], np.float32)), frozen(table.gram)

    def of_users(self, age: tf.Tensor, user: tf.Tensor, retrieval: tf.Tensor) -> tf.Tensor:
        """Return [S]: the factor of the strengths of each seen movie's successors.

        Args:
            age, user: [S] of seen movies.
            retrieval: [B, d] vectors of the users.
        """
        length = tf.sqrt(tf.reduce_sum(tf.matmul(retrieval, self.gram) * retrieval, axis=1))
        weight = tf.where(age < successors.RECENT, tf.exp(-age / successors.DECAY), 0.0)
        of_user = tf.math.unsorted_segment_sum(weight**2, user, tf.shape(length)[0])
        return weight * tf.gather(self.weight[0] * length * tf.math.rsqrt(tf.maximum(of_user, 1e-9)), user)


class _AnotherDay(tf.Module):
    """The variables of `AnotherDay`."""

    def __init__(self, another_day: AnotherDay) -> None:
        super().__init__()
        self.pause, self.trend = frozen(np.array([another_day.pause], np.float32)), frozen(another_day.trend)


def read_weights(saved_model: Path) -> HistoryWeights:
    """Read the arrays of a SavedModel of this architecture, except how it places movies.

    In a model of a version before 0.3.2, scalars are part of the graphs only. They get usual values here, which shift
    its numbers, not the work of computing them.

    Raises:
        ValueError: the SavedModel is of another architecture.
    """
    checkpoint = tf.train.load_checkpoint(str(saved_model / "variables" / "variables"))

    def array(name: str) -> np.ndarray:
        return checkpoint.get_tensor(f"{name}/.ATTRIBUTES/VARIABLE_VALUE")

    def has(name: str) -> bool:
        return checkpoint.has_tensor(f"{name}/.ATTRIBUTES/VARIABLE_VALUE")

    def recency(name: str) -> Recency:
        return Recency(*array(name).tolist()) if has(name) else NO_RECENCY

    if not has("_towers/seen_vectors"):
        raise ValueError(f"{saved_model} is not of the architecture history")
    scalars = "_towers/_scalars"
    known = has(scalars)
    mean_rating, liking, prior_weight, low, high = array(scalars).tolist() if known else (3.5, 0.2, 1.0, 0.5, 5.0)
    table, line, mood, power = None, "_towers/_calibration", "_towers/_mood", "_towers/_blend_power"
    if has("_towers/_successors/row"):
        row, strength, weight, gram = (array(f"_towers/_successors/{name}") for name in Successors._fields)
        table = Successors(row, strength, weight.item(), gram)
    another_day = None
    if has("_towers/_another_day/trend"):
        pause, trend = (array(f"_towers/_another_day/{name}") for name in AnotherDay._fields)
        another_day = AnotherDay(pause.item(), trend)
    return HistoryWeights(
        movie_ids=array("_movies/ids"),
        seen_vectors=array("_towers/seen_vectors"),
        average_seen=array("_towers/_prior") / np.float32(prior_weight),
        movie_vectors=array("_towers/movie_vectors"),
        traits=array("_towers/_traits")[:-1],
        movie_bias=array("_towers/_movie_bias"),
        ridge=np.diag(array("_towers/_ridge")),
        mean_rating=mean_rating,
        liking=liking,
        prior_weight=prior_weight,
        rating_range=(low, high),
        recency=recency("_towers/_recency"),
        rating_recency=recency("_towers/_rating_recency"),
        blend_power=array(power).item() if has(power) else BLEND_POWER,
        mood=Mood(*array(mood).tolist()) if has(mood) else None,
        calibration=Calibration(*array(line).tolist()) if has(line) else NO_CALIBRATION,
        successors=table,
        another_day=another_day,
    )


def _recency_weights(recency: tf.Variable, age: tf.Tensor) -> tf.Tensor:
    """See `Recency.weights`."""
    floor, ratings = recency[0], recency[1]
    return floor + (1 - floor) * tf.exp(-age / ratings)


def _ages(row_splits: tf.Tensor) -> tf.Tensor:
    """Return [S] int32: the ages of ratings that are given user after user, the oldest of each first."""
    user = user_of_each(row_splits)
    return tf.cast(tf.gather(row_splits[1:], user), tf.int32) - 1 - tf.range(tf.size(user))


class _Pieces(NamedTuple):
    """Histories of very different lengths, cut into P pieces of one length L, so that they can be multiplied together.

    The histories are S ratings, those of one user after those of the other.
    """

    owner: tf.Tensor  # [P] the user of each piece
    users: tf.Tensor  # the number of users
    at: tf.Tensor  # [P, L] the rating at each place
    filled: tf.Tensor  # [P, L] whether there is one: the end of a user's last piece is empty

    def of(self, values: tf.Tensor, filler: float = 0) -> tf.Tensor:
        """Cut the values [S] of the ratings into pieces [P, L]."""
        return tf.where(self.filled, tf.gather(values, self.at), tf.cast(filler, values.dtype))

    def add_up(self, of_pieces: tf.Tensor) -> tf.Tensor:
        """Add up values of pieces [P, ...] by user."""
        return tf.math.unsorted_segment_sum(of_pieces, self.owner, self.users)

    def sums_of(self, weight: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """Return [B, k]: the sum of each user's `vectors [P, L, k]`, weighted by `weight [S]` per rating."""
        return self.add_up(tf.matmul(self.of(weight)[:, tf.newaxis], vectors)[:, 0])


def _pieces(count: tf.Tensor) -> _Pieces:
    """Cut histories of `count [B]` ratings each, one after the other, into pieces."""
    users, pieces = tf.shape(count)[0], (count + _PIECE - 1) // _PIECE
    owner = tf.repeat(tf.range(users), pieces)
    before = (tf.range(tf.shape(owner)[0]) - tf.gather(tf.cumsum(pieces, exclusive=True), owner)) * _PIECE
    filled = tf.sequence_mask(tf.minimum(tf.gather(count, owner) - before, _PIECE), _PIECE)
    first = tf.gather(tf.cumsum(count, exclusive=True), owner) + before
    return _Pieces(owner, users, tf.where(filled, first[:, tf.newaxis] + tf.range(_PIECE), 0), filled)
