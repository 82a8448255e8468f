"""Predict: a model version, opened to answer for single users."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel.data import catalogue, movielens
from recmodel.data import feedback as feedbacks
from recmodel.data import ids as identifiers
from recmodel.data.catalogue import Catalogues, combine
from recmodel.data.validation import Validation
from recmodel.errors import UsageRejected
from recmodel.models import architectures
from recmodel.models.versions import ModelVersion, open_version
from recmodel.pipeline import registry, sources
from recmodel.schemas import TEXT, Id
from recmodel.scoring.recommender import Recommender
from recmodel.scoring.signatures import Signatures
from recmodel.settings import Settings
from recmodel.storage import Location


class Model(Recommender):
    """A `Recommender` that also knows what its movies are called."""

    def __init__(
        self, version: ModelVersion, signatures: Signatures | None = None, *, another_day: bool = True
    ) -> None:
        super().__init__(version.saved_model, signatures=signatures, another_day=another_day)
        self.version = version
        self.catalogue = version.catalogue()

    def __repr__(self) -> str:
        return f"<Model {self.version.name}: {self.catalogue.num_rows:,} movies, {' and '.join(self.version.tasks)}>"

    def movie_ids(self, movies: Iterable[int | str]) -> np.ndarray:
        """Return the ids of movies, int64 or texts (object), that are given by id or by exact title.

        Raises:
            UsageRejected: the catalogue has no such movie, or several of that title; names near ones.
        """
        ids = [catalogue.movie_id(str(movie), self.catalogue) for movie in movies]
        return np.array(ids, self.catalogue_ids.dtype)

    def titles(self, movie_ids: Iterable[Id]) -> list[str]:
        """Return the titles of movies of the catalogue; KeyError for others."""
        columns = (self.catalogue.column(name).to_pylist() for name in (c.MOVIE_ID, c.TITLE))
        title_of = dict(zip(*columns, strict=True))
        return [title_of[movie_id] for movie_id in movie_ids]


class Prediction(NamedTuple):
    """What a user would think of a movie; None for a task that the model was not trained for."""

    movie_id: Id
    title: str
    predicted_rating: float | None  # stars
    retrieval_score: float | None
    is_new: bool = False  # whether the model was not trained on the movie, and placed it by its genres and year


def predict(
    settings: Settings, user_id: Id, movies: Sequence[str], version: str | None = None
) -> tuple[ModelVersion, list[Prediction]]:
    """Predict how one user would rate some movies, given by id or by exact title.

    Movies of the input that are new to the model are placed by their genres and year, as `score` does.

    Raises:
        ModelRejected: see `open_version`.
        UsageRejected: a movie is not in the catalogue, or the model knows neither how to place it nor the user.
    """
    opened = open_version(settings.paths.models, registry.find(settings, version).name)
    open_signatures = architectures.open_by_ids(opened.architecture, movies_are_text=opened.ids.movie == TEXT)
    model = Model(opened, open_signatures(opened.saved_model))
    user_id = identifiers.typed(str(user_id), model.version.ids.user)
    if model.needs_history:
        folder = sources.input_dir(settings.paths.data, settings.paths.sample, settings.input)
        catalogues, history = _read(settings, folder, model.version, user_id)
        remedy = f"{folder} has no rating by them of a movie it knows"
    else:
        known = np.ones(model.catalogue.num_rows, bool)
        catalogues, history = Catalogues(model.catalogue, model.catalogue, known, ~known, 0), None
        remedy = "train again with their ratings"
    movie_ids = _asked(movies, catalogues, model.version)
    users = np.full(len(movie_ids), user_id, object if isinstance(user_id, str) else np.int64)
    placed = catalogues.of_model.filter(pa.array(catalogues.placed))
    with tempfile.TemporaryDirectory() as scratch:
        scorer = _extended(model, placed, [*movie_ids, *(history[0] if history else ())], Path(scratch))
        histories = [[column] * len(users) for column in history] if history else []
        pairs = scorer.predict(users, np.array(movie_ids, model.catalogue_ids.dtype), *histories)
    if not pairs.known_user.all():
        raise UsageRejected(f"model {model.version.name} does not know user {user_id}; {remedy}")
    tasks, new = model.version.tasks, {*placed.column(c.MOVIE_ID).to_pylist()}
    title_of = dict(zip(*(catalogues.of_model.column(name).to_pylist() for name in (c.MOVIE_ID, c.TITLE)), strict=True))
    predictions = [
        Prediction(
            movie_id,
            title_of[movie_id],
            float(rating) if "rating" in tasks else None,
            float(score) if "retrieval" in tasks else None,
            movie_id in new,
        )
        for movie_id, rating, score in zip(movie_ids, pairs.predicted_rating, pairs.retrieval_score, strict=True)
    ]
    return model.version, predictions


def _read(
    settings: Settings, folder: Location, version: ModelVersion, user_id: Id
) -> tuple[Catalogues, tuple[np.ndarray, np.ndarray]]:
    """Read the catalogue of the input, and the movies that one user has rated there with the ratings that count."""
    validation = Validation(settings.input, identifiers.for_model(folder, settings.input, version.name, version.ids))
    tonight = movielens.read_catalogue(folder, validation)
    catalogues = combine(tonight, version.catalogue(), place_new=version.places_new_movies)
    feedback = feedbacks.for_model(folder, settings.input, version.name, version.feedback)
    ratings = movielens.stream_ratings(folder, catalogues.all, validation, feedback)
    return catalogues, movielens.history_of(user_id, ratings, catalogues.all, add_up=feedback.is_implicit)


def _asked(movies: Sequence[str], catalogues: Catalogues, version: ModelVersion) -> list[Id]:
    """Return the ids of movies that are given by id or by exact title.

    Raises:
        UsageRejected: see `catalogue.movie_id`; or a movie is new to a model that cannot place it.
    """
    asked = [catalogue.movie_id(movie, catalogues.all) for movie in movies]
    known = {*catalogues.of_model.column(c.MOVIE_ID).to_pylist()}
    for typed, movie_id in zip(movies, asked, strict=True):
        if movie_id not in known:
            raise UsageRejected(
                f"movie {typed!r} is new to model {version.name}, which cannot place movies that it was not trained "
                "on; train again, or take a version of the preset default"
            )
    return asked


def _extended(model: Model, placed: pa.Table, needed: list[Id], folder: Path) -> Recommender:
    """Return the model with those of the placed movies that are needed, which are written to `folder`."""
    some = placed.filter(pc.is_in(placed.column(c.MOVIE_ID), pa.array(needed, placed.schema.field(c.MOVIE_ID).type)))
    if not some.num_rows:
        return model
    extend = architectures.part(model.version.architecture, "extend")
    extend.add_movies(model.version.saved_model, some.combine_chunks(), folder, model.version.ids)
    return Recommender(folder)
