"""Extend: a trained model with more movies, which it has placed by their genres and years."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from recmodel import schemas as c
from recmodel.models import saved_model
from recmodel.models.history.placing import described, extended
from recmodel.models.history.towers import Towers, read_weights
from recmodel.tf import tf


def add_movies(trained: Path, movies: pa.Table, directory: Path) -> None:
    """Write a SavedModel to `directory` that knows `movies` too (`schemas.CATALOGUE`).

    Args:
        trained: a SavedModel with the signature `place_movies`, which knows none of the movies.
    """
    place = tf.saved_model.load(str(trained)).signatures["place_movies"]
    genres, year = described(movies)
    rows = {name: values.numpy() for name, values in place(genres=genres, year=year).items()}
    weights = extended(read_weights(trained), movies.column(c.MOVIE_ID).to_numpy(), rows)
    saved_model.save(Towers(weights), directory)
