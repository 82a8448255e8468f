"""Predict: a model version, opened to answer for single users."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from recmodel import schemas as c
from recmodel.data import catalogue, movielens
from recmodel.data import feedback as feedbacks
from recmodel.data import ids as identifiers
from recmodel.data.catalogue import with_delisted
from recmodel.data.validation import Validation
from recmodel.errors import UsageRejected
from recmodel.models.versions import ModelVersion, open_version
from recmodel.pipeline import sources
from recmodel.schemas import Id
from recmodel.scoring.recommender import Recommender
from recmodel.settings import Settings


class Model(Recommender):
    """A `Recommender` that also knows what its movies are called."""

    def __init__(self, version: ModelVersion) -> None:
        super().__init__(version.saved_model)
        self.version = version
        self.catalogue = version.catalogue()

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


def predict(
    settings: Settings, user_id: Id, movies: Sequence[str], version: str | None = None
) -> tuple[ModelVersion, list[Prediction]]:
    """Predict how one user would rate some movies, given by id or by exact title.

    Raises:
        ModelRejected: see `open_version`.
        UsageRejected: a movie is not in the catalogue, or the model does not know the user.
    """
    model = Model(open_version(settings.paths.models, version))
    user_id, movie_ids = identifiers.typed(str(user_id), model.version.ids.user), model.movie_ids(movies)
    users = np.full(len(movie_ids), user_id, object if isinstance(user_id, str) else np.int64)
    if model.needs_history:
        folder = sources.input_dir(settings.paths.data, settings.paths.sample, settings.input)
        ids = identifiers.for_model(folder, settings.input, model.version.name, model.version.ids)
        validation = Validation(settings.input, ids)
        movies = with_delisted(movielens.read_catalogue(folder, validation), model.catalogue)
        feedback = feedbacks.for_model(folder, settings.input, model.version.name, model.version.feedback)
        ratings = movielens.stream_ratings(folder, movies, validation, feedback)
        seen, stars = movielens.history_of(user_id, ratings, movies, add_up=feedback.is_implicit)
        pairs = model.predict(users, movie_ids, [seen] * len(users), [stars] * len(users))
        remedy = f"{folder} has no rating by them of a movie it knows"
    else:
        pairs = model.predict(users, movie_ids)
        remedy = "train again with their ratings"
    if not pairs.known_user.all():
        raise UsageRejected(f"model {model.version.name} does not know user {user_id}; {remedy}")
    tasks = model.version.tasks
    rows = zip(
        movie_ids.tolist(), model.titles(movie_ids.tolist()), pairs.predicted_rating, pairs.retrieval_score, strict=True
    )
    predictions = [
        Prediction(
            movie_id,
            title,
            float(rating) if "rating" in tasks else None,
            float(score) if "retrieval" in tasks else None,
        )
        for movie_id, title, rating, score in rows
    ]
    return model.version, predictions
