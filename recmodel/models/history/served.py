"""The signatures of the architecture `history` that scoring needs, in NumPy: as `towers`, to the last bits of float32.

A Python worker that uses them spares the import of TensorFlow, and the user tower takes half as long: a product of a
sparse matrix, and for each user LAPACK's solution of normal equations, instead of padded pieces. Where a user has rated
fewer movies than there are traits, the dual equations are smaller (Saunders, Gammerman, Vovk, "Ridge Regression
Learning Algorithm in Dual Variables", ICML 1998).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.linalg.blas import ssyrk
from scipy.linalg.lapack import sposv
from scipy.sparse import csr_array

from recmodel import schemas as c
from recmodel.arrays import Arrays
from recmodel.models import variables
from recmodel.models.history import successors
from recmodel.models.history.another_day import AnotherDay
from recmodel.models.history.calibration import NO_CALIBRATION
from recmodel.models.history.recency import NO_RECENCY, Mood, Recency
from recmodel.models.history.successors import Successors
from recmodel.scoring.policies import BLEND_POWER
from recmodel.scoring.signatures import InTensorFlow, Signatures


def open_model(saved_model: Path) -> Signatures:
    """Open a SavedModel for scoring: in NumPy, or in TensorFlow where its variables are not noted."""
    return InNumPy(variables.read(saved_model)) if variables.are_noted(saved_model) else InTensorFlow(saved_model)


class InNumPy:
    """The signatures that scoring needs. Movies are given by their rows.

    B users, M movies of the catalogue; see `saved_model.ServingModel` for what the signatures take and return.

    Args:
        variables: those of the SavedModel, by name.
    """

    def __init__(self, variables: Mapping[str, np.ndarray]) -> None:
        self._ids = variables["_movies/ids"]
        self._seen_vectors, self._movie_vectors = (variables[f"_towers/{name}_vectors"] for name in ("seen", "movie"))
        self._prior, self._movie_bias = variables["_towers/_prior"], variables["_towers/_movie_bias"]
        self._traits = variables["_towers/_traits"][:-1]
        self._ridge = np.asfortranarray(variables["_towers/_ridge"])
        # In the units of one over the root of its penalty, each trait has the penalty 1.
        self._scale = (1 / np.sqrt(np.diag(self._ridge))).astype(np.float32)
        line = variables.get("_towers/_calibration", np.array(NO_CALIBRATION, np.float32))
        self._offset, self._slope = line[0] + line[1] * self._movie_bias, line[1]
        scalars = variables["_towers/_scalars"].astype(np.float32)
        self._mean_rating, self._liking, self._prior_weight, *self._range = scalars
        self._is_implicit = bool(np.isnan(self._range).any())
        recency, of_ratings = (
            Recency(*variables[name].tolist()) if name in variables else NO_RECENCY
            for name in ("_towers/_recency", "_towers/_rating_recency")
        )
        self._recency, self._rating_recency = recency, of_ratings
        self._blend_power = variables.get("_towers/_blend_power", np.array([BLEND_POWER], np.float32))[0]
        self._mood = Mood(*variables["_towers/_mood"].tolist()) if "_towers/_mood" in variables else None
        self._successors: Arrays = {}
        if "_towers/_successors/row" in variables:
            table = {name: variables[f"_towers/_successors/{name}"] for name in Successors._fields}
            self._successors = {"successor_row": table["row"], "successor_strength": table["strength"]}
            self._successor_weight, self._gram = table["weight"][0], table["gram"]
        self._another_day: Arrays = {}
        if "_towers/_another_day/trend" in variables:
            self._another_day = {name: variables[f"_towers/_another_day/{name}"] for name in AnotherDay._fields}
        self.ids_are_text: Mapping[str, bool] = {c.USER_ID: False, c.MOVIE_ID: False}
        knows_order = min(recency.floor, of_ratings.floor) < 1 or bool(self._mood or self._successors)
        self.needs_history, self.needs_order = True, knows_order
        self.rating_width, self.gathers_vectors = self._traits.shape[1], False

    def __call__(self, name: str, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """See `Signatures`."""
        history = ("seen_row", "seen_rating", "seen_row_splits", "seen_age")
        takes = {"movie_vectors": (), "rate_lists": ("rating_vector", "row")}.get(name, history)
        return getattr(self, name)(**{argument: inputs[argument] for argument in takes})

    def movie_vectors(self) -> Arrays:
        """See `ServingModel`."""
        return {
            **self._successors,
            **self._another_day,
            c.MOVIE_ID: self._ids,
            "retrieval": self._movie_vectors,
            "seen": self._seen_vectors,
            "rating": self._traits,
            "rating_offset": self._offset,
            "blend_power": self._blend_power,
            "rating_range": np.array(self._range, np.float32),
        }

    def user_vectors(
        self, *, seen_row: np.ndarray, seen_rating: np.ndarray, seen_row_splits: np.ndarray, seen_age: np.ndarray
    ) -> Arrays:
        """See `ServingModel`.

        Args:
            seen_row: [S] rows of the catalogue.
        """
        count = np.diff(seen_row_splits)
        user = np.repeat(np.arange(len(count)), count)
        rating = seen_rating.astype(np.float32, copy=False)
        if self._is_implicit:
            rating = np.minimum(np.log1p(rating) / np.float32(np.log(2)), np.float32(5))  # see `tensors.strength`
        above_mean = np.bincount(user, rating - self._mean_rating, len(count)).astype(np.float32)
        user_mean = self._mean_rating + above_mean / (count + 5).astype(np.float32)
        weight = (1 + self._liking * (rating - user_mean[user])) * self._recency.weights(seen_age)
        of_users = csr_array((weight, seen_row, seen_row_splits), (len(count), len(self._ids)))
        length = np.sqrt((count + self._prior_weight).astype(np.float32))
        retrieval = (of_users @ self._seen_vectors + self._prior) / length[:, np.newaxis]
        root = np.sqrt(self._rating_recency.weights(seen_age))
        residual = root * (rating - self._movie_bias[seen_row])
        ratings = self._slope * self._regress(seen_row, residual, seen_row_splits, root, seen_age)

        vectors = {"retrieval": retrieval, "rating": ratings, "known_user": count > 0, "seen_weight": weight}
        return {**vectors, "seen_boost": self._boost(seen_age, user, retrieval)} if self._successors else vectors

    def _boost(self, age: np.ndarray, user: np.ndarray, retrieval: np.ndarray) -> np.ndarray:
        """Return [S]: the factor of the strengths of each seen movie's successors; see `towers`."""
        length = np.sqrt(((retrieval @ self._gram) * retrieval).sum(axis=1))
        weight = successors.of_user(age)
        of_user = np.bincount(user, weight**2, len(length)).astype(np.float32)
        return weight * (self._successor_weight * length / np.sqrt(np.maximum(of_user, np.float32(1e-9))))[user]

    def rate_lists(self, *, rating_vector: np.ndarray, row: np.ndarray) -> Arrays:
        """See `ServingModel`."""
        # BLAS rounds by the number of rows: without it, a rating is the same in a list of any length.
        product = np.einsum("bnk,bk->bn", self._traits[row], rating_vector)
        return {c.PREDICTED_RATING: self._on_the_scale(product + self._offset[row])}

    def rate_catalogue(self, **history: np.ndarray) -> Arrays:
        """See `ServingModel`; takes what `user_vectors` takes."""
        users = self.user_vectors(**history)
        ratings = self._on_the_scale(users["rating"] @ self._traits.T + self._offset)
        ratings[~users["known_user"]] = np.nan
        return {c.PREDICTED_RATING: ratings, "known_user": users["known_user"]}

    def _regress(
        self, row: np.ndarray, residual: np.ndarray, splits: np.ndarray, root: np.ndarray, age: np.ndarray
    ) -> np.ndarray:
        """Return [B, k] ridge regressions of residuals [S] on traits; see `towers`.

        Args:
            root: [S] the root of each rating's weight, by which the residuals are multiplied already.
        """
        weights = np.zeros((len(splits) - 1, self.rating_width), np.float32)
        mood = self._mood
        if mood is not None:
            newness = mood.weights(age)
            of_residual = newness / root  # which are multiplied by the root
            mood = mood if newness.any() else None  # nothing is new in lists for another day
        one = np.eye(self.rating_width, dtype=np.float32, order="F")
        for user in np.flatnonzero(np.diff(splits)):
            of_user = slice(splits[user], splits[user + 1])
            traits = self._traits.take(row[of_user], axis=0)
            traits *= root[of_user, np.newaxis]
            size = len(traits)
            if size < self.rating_width:
                traits *= self._scale
                gram = ssyrk(1, traits.T, 1, one[:size, :size], trans=1, lower=1)
                _, left, _ = sposv(gram, residual[of_user], lower=1, overwrite_a=1)  # of the residuals
                weights[user] = left @ traits * self._scale
            else:
                gram = ssyrk(1, traits.T, 1, self._ridge, lower=1)
                _, weights[user], _ = sposv(gram, residual[of_user] @ traits, lower=1, overwrite_a=1, overwrite_b=1)
                left = residual[of_user] - traits @ weights[user] if mood is not None else None
            if mood is not None:
                weights[user, 0] += of_residual[of_user] @ left / (newness[of_user].sum() + mood.damping)
        return weights

    def _on_the_scale(self, rating: np.ndarray) -> np.ndarray:
        """Bend ratings at both ends of the scale; see `towers.Towers`."""
        low, high = self._range
        bend = np.float32(0.05) * (high - low)
        over, under = np.maximum(rating - (high - bend), 0), np.maximum(low + bend - rating, 0)
        return rating - over + bend * -np.expm1(-over / bend) + under - bend * -np.expm1(-under / bend)
