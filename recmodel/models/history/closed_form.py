"""Closed form: the part of the history model that can be computed before any gradient step.

Computes the starting values of `model.HistoryModel` from ratings and the catalogue's genres and titles. On small data
they account for nearly all of its quality; see tests/benchmarks/README.md.

U users, M movies, R ratings; d and k are the widths of the retrieval and the rating vectors.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise

import numpy as np
import pyarrow as pa
import scipy.sparse

from recmodel.arrays import summed, thread_pool
from recmodel.data import catalogue as lookup
from recmodel.models.history import calibration
from recmodel.models.history.calibration import Calibration
from recmodel.models.history.preset import Preset

_CALIBRATED = 1_000_000  # ratings, about, that a line of two numbers is fitted to
# Users are taken in parts, each by one thread. What they are decides the order of sums, and so the last bits of them.
_PARTS, _RATINGS_IN_PART, _USERS_IN_PART = 4, 1 << 22, 1 << 16  # at least; about, at most
_RATINGS_IN_SAMPLE, _PARTS_IN_SAMPLE = 1 << 22, 16  # about; of users all over


@dataclass(frozen=True)
class Interactions:
    """Ratings as rows: user rows number those who have rated, movie rows follow the catalogue."""

    user: np.ndarray  # [R] int32 in [0, users), ascending
    movie: np.ndarray  # [R] int32 in [0, movies)
    rating: np.ndarray  # [R] float32, stars
    users: int
    movies: int

    @cached_property
    def starts(self) -> np.ndarray:
        """[users + 1] int64: user u has the ratings from starts[u] to starts[u + 1]."""
        return np.searchsorted(self.user, np.arange(self.users + 1, dtype=self.user.dtype))

    @property
    def activity(self) -> np.ndarray:
        """[users] int64: the number of each user's ratings."""
        return np.diff(self.starts)

    def parts(self) -> list[slice]:
        """Return slices of the users that have about as many ratings each."""
        count = max(_PARTS, -(-len(self.movie) // _RATINGS_IN_PART), -(-self.users // _USERS_IN_PART))
        return self._cut(count)

    def some_parts(self) -> list[slice]:
        """Return slices of a sample of the users; of all users, if a sample would not be much less."""
        every = len(self.movie) // _RATINGS_IN_SAMPLE
        return self._cut(_PARTS_IN_SAMPLE * every)[::every] if every > 1 else self.parts()

    def _cut(self, count: int) -> list[slice]:
        """Return at most `count` slices of the users that have about as many ratings each."""
        cuts = np.searchsorted(self.starts, np.linspace(0, len(self.movie), count + 1))
        cuts[0], cuts[-1] = 0, self.users
        return [slice(int(first), int(last)) for first, last in pairwise(cuts) if first < last]

    def of_some_users(self, most: int) -> Interactions:
        """Return about `most` of the ratings: all of some users, spread evenly. Users keep their rows."""
        share = most / max(len(self.movie), 1)
        if share >= 1:
            return self
        chosen = np.zeros(self.users, bool)
        chosen[np.linspace(0, self.users - 1, max(1, int(share * self.users))).astype(int)] = True
        return self.where(np.repeat(chosen, self.activity))

    def where(self, rows: np.ndarray) -> Interactions:
        """Return some of the ratings, given by a mask. Users keep their rows."""
        return Interactions(self.user[rows], self.movie[rows], self.rating[rows], self.users, self.movies)

    def share(self, parts: list[slice]) -> float:
        """Return what share of the ratings some parts have."""
        return sum(int(self.starts[users.stop] - self.starts[users.start]) for users in parts) / len(self.movie)

    def who_rated_what(self, users: slice, dtype: type[np.floating]) -> scipy.sparse.csr_array:
        """Return the matrix of some users and all movies that is 1 where there is a rating, without copying those."""
        rows = slice(self.starts[users.start], self.starts[users.stop])
        starts = (self.starts[users.start : users.stop + 1] - rows.start).astype(np.int32)
        ones = np.ones(rows.stop - rows.start, dtype)
        shape = (users.stop - users.start, self.movies)
        return scipy.sparse.csr_array((ones, self.movie[rows], starts), shape)


@dataclass(frozen=True)
class Start:
    """Starting values, float32; see `HistoryModel` for their meaning."""

    seen_vectors: np.ndarray  # [M, d]
    movie_vectors: np.ndarray  # [M, d]
    traits: np.ndarray  # [M, k], the first column 1
    movie_bias: np.ndarray  # [M], stars, the overall mean included
    mean_rating: float  # stars
    calibration: Calibration  # of predicted ratings
    counts: np.ndarray  # [M] ratings of each movie


@dataclass(frozen=True)
class Features:
    """The features of movies that need no ratings."""

    genres: np.ndarray  # [M, G] 0 or 1
    year: np.ndarray  # [M]; the median where a title has none


def features(catalogue: pa.Table) -> Features:
    """Return the genres and the year of each movie of `schemas.CATALOGUE`."""
    _, has = lookup.genres(catalogue)
    year = lookup.years(catalogue)
    median = 2000.0 if np.isnan(year).all() else np.nanmedian(year)
    return Features(has.astype(np.float64), np.where(np.isnan(year), median, year))


def start(ratings: Interactions, movie_features: Features, preset: Preset, seed: int) -> Start:
    """Compute the starting values of both tasks."""
    counts = summed(ratings.movie, ratings.movies).astype(np.int64)
    seen, candidate = _retrieval(ratings, movie_features, counts, preset, seed)
    mean, bias, traits = _rating(ratings, movie_features, counts, candidate, preset)
    # Both sides get equal norms, and logits the scale that suits the softmax of training.
    balance = np.sqrt(np.linalg.norm(seen) / np.linalg.norm(candidate))
    scale = np.sqrt(preset.logit_scale)
    return Start(
        seen_vectors=(seen / balance * scale).astype(np.float32),
        movie_vectors=(candidate * balance * scale).astype(np.float32),
        traits=traits.astype(np.float32),
        movie_bias=(mean + bias).astype(np.float32),
        mean_rating=float(mean),
        calibration=_calibration(ratings, movie_features, candidate, preset),
        counts=counts,
    )


def _retrieval(
    ratings: Interactions, movie_features: Features, counts: np.ndarray, preset: Preset, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return ([M, d] vectors of seen movies, [M, d] vectors of candidates): a low-rank, regularised item-item model.

    score(history, j) = sum over h of seen[h] · candidate[j]. It is ridge regression from items to items (EASE without
    its zero diagonal: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", 2019) in the space of the first d
    singular vectors of the matrix of who rated what. Heavy users and popular movies are damped in that matrix. Genres
    and years join it as imaginary users, who "rated" the movies that share them: that places movies with few ratings.
    """
    popularity = (counts + 1.0) / 20
    damped = popularity**-preset.popularity_damping
    of_users = (np.maximum(ratings.activity, 1) / 100) ** -0.4
    eras = np.exp(-0.5 * ((movie_features.year[:, np.newaxis] - np.arange(1920, 2021, 5)) / 4) ** 2)
    content = np.hstack([_unit_rows(movie_features.genres), 0.5 * _unit_rows(eras)]) * popularity[:, np.newaxis] ** 0.6
    right, squared = _right_singular_vectors(
        ratings, of_users, damped, content.T.astype(np.float32), preset.retrieval_dim, seed
    )
    second = squared[min(1, len(squared) - 1)]
    steep = preset.retrieval_steepness  # 1: a ridge penalty
    kept = squared**steep / (squared**steep + (preset.retrieval_ridge * second) ** steep)
    return right * kept * damped[:, np.newaxis], right


def _right_singular_vectors(
    ratings: Interactions, of_users: np.ndarray, of_movies: np.ndarray, content: np.ndarray, dim: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return [M, d], and [d] squared singular values, descending, of the sparse matrix with `content` as further rows.

    The matrix holds of_users[u] · of_movies[m] where user u has rated movie m. Randomised subspace iteration (Halko,
    Martinsson and Tropp, "Finding Structure with Randomness", 2011, section 4.5): a few products with the sparse
    matrix, a part of the users at a time, so that neither U × d, U × M nor M × M numbers are ever held. Of many
    ratings, all but the last iteration take those of some users: they find nearly the same subspace.
    """
    width = min(dim + 32, ratings.movies, ratings.users + len(content))
    basis = np.random.RandomState(seed).standard_normal((ratings.movies, width)).astype(np.float32)
    of_users, of_movies = (scale.astype(np.float32)[:, np.newaxis] for scale in (of_users, of_movies))

    def image(vectors: np.ndarray, users: slice) -> np.ndarray:
        return (ratings.who_rated_what(users, np.float32) @ vectors) * of_users[users]

    def back(vectors: np.ndarray, users: slice) -> np.ndarray:
        return ratings.who_rated_what(users, np.float32).T @ (image(vectors, users) * of_users[users])

    def gram(vectors: np.ndarray, users: slice) -> np.ndarray:
        of_part = image(vectors, users)
        return (of_part.T @ of_part).astype(np.float64)

    with thread_pool() as threads:

        def over(parts: list[slice], function: Callable[[np.ndarray, slice], np.ndarray]) -> np.ndarray:
            return _sum(threads.map(partial(function, of_movies * basis), parts))

        some, all_ = ratings.some_parts(), ratings.parts()
        for parts in [some, some, some, all_]:
            scale = of_movies / np.float32(ratings.share(parts))
            basis = _orthonormal(scale * over(parts, back) + content.T @ (content @ basis))
        of_content = content @ basis
        squared, rotation = np.linalg.eigh(over(all_, gram) + of_content.T @ of_content)
    largest = slice(None, -min(dim, width) - 1, -1)
    return basis @ rotation[:, largest].astype(np.float32), np.maximum(squared[largest], 1e-9)


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of the span of the columns (float32).

    It is computed from the Gram matrix in double precision: several times as fast as a QR decomposition of such a tall
    matrix, and as accurate for columns that are far from dependent. Dependent columns are dropped.
    """
    doubled = columns.astype(np.float64)
    squared, rotation = np.linalg.eigh(doubled.T @ doubled)
    kept = squared > 1e-12 * squared[-1]
    return (doubled @ (rotation[:, kept] / np.sqrt(squared[kept]))).astype(np.float32)


def _rating(
    ratings: Interactions,
    movie_features: Features,
    counts: np.ndarray,
    candidate: np.ndarray,
    preset: Preset,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the mean rating, [M] the bias of each movie, and [M, k] the traits on which ratings are regressed.

    A movie's bias is what its features predict plus what its own ratings add, each damped; by alternating least squares
    over users, movies and features. The traits are 1, that bias, the features and the leading retrieval dimensions,
    centred on the rated movies, so that the weight of the 1 is the user's own bias.
    """
    eras = np.exp(-0.5 * ((movie_features.year[:, np.newaxis] - np.arange(1930, 2019, 8)) / 8) ** 2)
    fame = np.log(counts + 8.0)  # below so many ratings a movie's fame says little: users choose what they rate
    feature_columns = np.column_stack(
        [
            movie_features.genres / np.sqrt(np.maximum(movie_features.genres.sum(axis=1, keepdims=True), 1)),
            eras,
            fame - fame.mean(),
            (movie_features.year - 1990) / 15,
        ]
    )
    mean = float(ratings.rating.mean(dtype=np.float64))
    activity = ratings.activity
    inverse = np.linalg.inv(
        (feature_columns * counts[:, np.newaxis]).T @ feature_columns + 30 * np.eye(feature_columns.shape[1])
    )
    user_bias: np.ndarray = np.zeros(ratings.users)
    by_ratings: np.ndarray = np.zeros(ratings.movies)
    by_features: np.ndarray = np.zeros(ratings.movies)
    parts = ratings.parts()
    # Sums of what ratings are above the mean; the rounds need these and who rated what, but no rating any more.
    of_movies, of_users = -mean * counts, -mean * activity
    for users in parts:
        rows = slice(ratings.starts[users.start], ratings.starts[users.stop])
        of_movies += np.bincount(ratings.movie[rows], ratings.rating[rows], ratings.movies)
        of_users[users] += np.bincount(ratings.user[rows] - users.start, ratings.rating[rows])

    with thread_pool() as threads:

        def of_part(users: slice) -> np.ndarray:
            """Return the new biases of some users, and [M] the sums of them over each movie's ratings."""
            rated = ratings.who_rated_what(users, np.float64)
            user_bias[users] = (of_users[users] - rated @ (by_ratings + by_features)) / (activity[users] + 5)
            return rated.T @ user_bias[users]

        left = of_movies
        for _ in range(30):
            by_features = feature_columns @ (inverse @ (feature_columns.T @ (left - counts * by_ratings)))
            by_ratings = (left - counts * by_features) / (counts + 12)
            left = of_movies - _sum(threads.map(of_part, parts))
    bias = by_ratings + by_features
    traits = np.column_stack([np.ones(ratings.movies), bias, feature_columns])
    latent = candidate[:, : max(0, preset.rating_dim - traits.shape[1])]
    traits = np.column_stack([traits, _unit_rows(latent)])
    traits[:, 1:] -= (traits[:, 1:] * counts[:, np.newaxis]).sum(axis=0) / max(counts.sum(), 1)
    return mean, bias, traits


def _calibration(ratings: Interactions, movie_features: Features, candidate: np.ndarray, preset: Preset) -> Calibration:
    """Fit a calibration to the tenth of the ratings of some users that the rating task is not fitted to here."""
    some = ratings.of_some_users(_CALIBRATED)
    is_held_out = np.arange(len(some.movie)) % 10 == 0
    rest, held_out = some.where(~is_held_out), some.where(is_held_out)
    counts = summed(rest.movie, rest.movies).astype(np.int64)
    mean, bias, traits = _rating(rest, movie_features, counts, candidate, preset)
    penalty, predicted = np.diag(ridge(traits.shape[1], preset)), mean + bias[held_out.movie]
    for user in np.flatnonzero(held_out.activity):
        known, wanted = (slice(part.starts[user], part.starts[user + 1]) for part in (rest, held_out))
        of_user = traits[rest.movie[known]]
        residual = rest.rating[known] - mean - bias[rest.movie[known]]
        weights = np.linalg.solve(of_user.T @ of_user + penalty, of_user.T @ residual)
        predicted[wanted] += traits[held_out.movie[wanted]] @ weights
    return calibration.fit(predicted, held_out.rating)


def ridge(dim: int, preset: Preset) -> np.ndarray:
    """Return [k] float32: the penalties. A user's bias, on the constant trait, is penalised less than the others."""
    return np.array([preset.bias_ridge] + [preset.trait_ridge] * (dim - 1), np.float32)


def _sum(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Add arrays up, in their order, as they come."""
    return functools.reduce(operator.iadd, arrays)


def _unit_rows(matrix: np.ndarray) -> np.ndarray:
    return matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-6)
