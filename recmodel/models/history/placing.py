"""Placing: a movie without ratings gets its rows of the model's tables from its genres and its year.

The rows are what a ridge regression of the trained rows on those features gives (Gantner et al., "Learning
Attribute-to-Feature Mappings for Cold-Start Recommendations", 2010). A movie weighs the square root of its ratings:
more would place every new movie among the popular ones, less would learn from rows that were hardly trained.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from recmodel import schemas as c
from recmodel.data import catalogue as lookup
from recmodel.models.history.weights import PLACED, HistoryWeights, Placing
from recmodel.models.tensors import frozen
from recmodel.tf import tf

_RIDGE = 10.0  # on the weight of every feature except the constant
_ERAS, _ERA_WIDTH = np.arange(1920, 2021, 5, dtype=np.float32), 4.0  # centres of overlapping eras, in years


def fit(weights: HistoryWeights, catalogue: pa.Table, counts: np.ndarray) -> Placing:
    """Regress the rows of a trained model on the features of its movies.

    Args:
        catalogue: [M] `schemas.CATALOGUE`, ascending by movie_id, as are the rows.
        counts: [M] ratings of each movie.
    """
    names, _ = lookup.genres(catalogue)
    year = lookup.years(catalogue)
    median_year = 2000.0 if np.isnan(year).all() else float(np.nanmedian(year))
    found = features(*described(catalogue), names, median_year).numpy().astype(np.float64)
    weighted = found * np.sqrt(counts)[:, np.newaxis]
    ridge = _RIDGE * np.eye(found.shape[1])
    ridge[0, 0] = 1e-6
    solve = np.linalg.inv(weighted.T @ found + ridge) @ weighted.T
    maps = {name: (solve @ getattr(weights, name)).astype(np.float32) for name in PLACED}
    return Placing(names, median_year, **maps)


def described(movies: pa.Table) -> tuple[tf.Tensor, tf.Tensor]:
    """Return what the signature `place_movies` takes: the genres ([N] string, as `Action|Comedy`) and the year [N]."""
    genres = [text or "" for text in movies.column(c.GENRES).to_pylist()]
    return tf.constant(genres, tf.string), tf.constant(lookup.years(movies), tf.float32)


def features(genres: tf.Tensor, year: tf.Tensor, names: list[str], median_year: float) -> tf.Tensor:
    """Return [N, F] float32: a constant, the genres among `names`, the eras around the year, and the year itself."""
    has = tf.strings.split(genres, "|").to_tensor("")[:, :, tf.newaxis] == tf.constant(names, tf.string)
    by_genre = tf.cast(tf.reduce_any(has, axis=1), tf.float32)
    year = tf.where(tf.math.is_nan(year), median_year, year)[:, tf.newaxis]
    eras = tf.exp(-0.5 * ((year - _ERAS) / _ERA_WIDTH) ** 2)
    shares = [tf.math.l2_normalize(values, axis=1) for values in (by_genre, eras)]
    return tf.concat([tf.ones_like(year), by_genre, eras, *shares, (year - 1990) / 15], axis=1)


class PlacingGraph(tf.Module):
    """The graph that places movies."""

    def __init__(self, placing: Placing) -> None:
        super().__init__()
        self._names, self._median_year = placing.genre_names, placing.median_year
        self._maps = {name: frozen(getattr(placing, name)) for name in PLACED}

    def __call__(self, genres: tf.Tensor, year: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the rows of N movies, by the names of the tables."""
        found = features(genres, year, self._names, self._median_year)
        return {name: tf.tensordot(found, map_, 1) for name, map_ in self._maps.items()}


def extended(weights: HistoryWeights, movie_ids: np.ndarray, rows: dict[str, np.ndarray]) -> HistoryWeights:
    """Add movies to a model: their ids, in any order, and their rows of each table."""
    ids = np.concatenate([weights.movie_ids, movie_ids])
    order = np.argsort(ids)
    place = np.argsort(order)[: len(weights.movie_ids)]  # of the movies that it knew
    successors = weights.successors and weights.successors.with_movies(place, len(ids))
    another_day = weights.another_day and weights.another_day.with_movies(place, len(ids))
    tables = {name: np.concatenate([getattr(weights, name), rows[name]])[order] for name in PLACED}
    return replace(weights, movie_ids=ids[order], successors=successors, another_day=another_day, **tables)
