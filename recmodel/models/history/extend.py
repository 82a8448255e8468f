"""Extend: a trained model with more movies, which it has placed by their genres and years."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from recmodel import schemas as c
from recmodel.data.ids import Labels
from recmodel.models import saved_model
from recmodel.models.history.placing import described, extended
from recmodel.models.history.towers import Towers, read_weights
from recmodel.schemas import INTEGER_IDS, Ids
from recmodel.tf import tf


def add_movies(trained: Path, movies: pa.Table, directory: Path, ids: Ids = INTEGER_IDS) -> None:
    """Write a SavedModel to `directory` that knows `movies` too (`schemas.CATALOGUE`).

    Args:
        trained: a SavedModel with the signature `place_movies`, which knows none of the movies.
        ids: what the ids of the model are.
    """
    place = tf.saved_model.load(str(trained)).signatures["place_movies"]
    genres, year = described(movies)
    rows = {name: values.numpy() for name, values in place(genres=genres, year=year).items()}
    weights, texts = read_weights(trained), saved_model.read_movie_labels(trained)
    if texts is None:
        weights = extended(weights, movies.column(c.MOVIE_ID).to_numpy(), rows)
        saved_model.save(Towers(weights), directory, ids)
        return
    weights = extended(replace(weights, movie_ids=texts), movies.column(c.MOVIE_ID).to_numpy(), rows)
    labels = Labels(movies=pa.array(weights.movie_ids, pa.string()))
    saved_model.save(Towers(replace(weights, movie_ids=np.arange(len(weights.movie_ids)))), directory, ids, labels)
