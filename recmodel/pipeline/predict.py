"""Model: a version of a model directory, opened to be asked in a notebook or by `predict`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from recmodel import schemas as c
from recmodel.data import catalogue as lookup
from recmodel.models.versions import ModelVersion
from recmodel.scoring.recommender import Recommender


class Model(Recommender):
    """A `Recommender` that also knows what its movies are called."""

    def __init__(self, version: ModelVersion) -> None:
        super().__init__(version.saved_model)
        self.version = version
        self.catalogue = version.catalogue()

    def movie_ids(self, movies: Iterable[int | str]) -> np.ndarray:
        """int64 ids of movies that are given by id or by exact title.

        Raises:
            UsageRejected: the catalogue has no such movie, or several of that title; names near ones.
        """
        return np.array([lookup.movie_id(str(movie), self.catalogue) for movie in movies], np.int64)

    def titles(self, movie_ids: Iterable[int]) -> list[str]:
        """The titles of movies of the catalogue; KeyError for others."""
        columns = (self.catalogue.column(name).to_pylist() for name in (c.MOVIE_ID, c.TITLE))
        known = dict(zip(*columns, strict=True))
        return [known[int(movie_id)] for movie_id in movie_ids]
