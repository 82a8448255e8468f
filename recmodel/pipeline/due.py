"""Due: whether tonight is a night to train, by the age of the current model and by what has come in since."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel.data import feedback as feedbacks
from recmodel.data import ids as identifiers
from recmodel.data import movielens
from recmodel.data.catalogue import combine
from recmodel.data.validation import Validation
from recmodel.errors import ModelRejected
from recmodel.models import versions
from recmodel.models.versions import ModelVersion
from recmodel.pipeline import sources
from recmodel.progress import NOTICE, log
from recmodel.records import IMPLICIT, IMPORTED
from recmodel.settings import Settings, Training
from recmodel.storage import Location


def reason_to_train(settings: Settings) -> str | None:
    """Return why a model should be trained, or None.

    Raises:
        RecmodelError: the input cannot be read.
    """
    models = settings.paths.models
    if versions.current(models) is None:
        return "there is no model yet"
    try:
        version = versions.open_version(models)
    except ModelRejected as error:
        return str(error)
    if version.manifest.origin == IMPORTED:
        log.log(NOTICE, "the current version, %s, was imported, so no night trains another in its place; the command "
                "train does", version.name)  # fmt: skip
        return None
    age = datetime.now(timezone.utc) - version.manifest.created_at
    limits = settings.training
    log.info("the current version, %s, is %.1f days old; %g are allowed", version.name, age / timedelta(days=1),
             limits.max_age_days)  # fmt: skip
    reason = of_age(age, limits)
    if reason:
        return reason
    if settings.input.as_of:
        return None  # the size of the input says nothing about how much of it is used
    folder = sources.input_dir(settings.paths.data, settings.paths.sample, settings.input)
    return _of_growth(settings, folder, version) or _of_new_movies(settings, folder, version)


def _of_growth(settings: Settings, folder: Location, version: ModelVersion) -> str | None:
    metrics, allowed, noun = version.metrics(), settings.training.max_growth, _noun(version)
    rows = movielens.estimate_ratings(folder, metrics.input_rows, metrics.ratings_file, metrics.ratings_bytes)
    log.info("there are about %d %s, the current version has seen %d; growth by %g is allowed",
             rows, noun, metrics.input_rows, allowed)  # fmt: skip
    return of_growth(rows, metrics.input_rows, settings.training, noun)


def of_age(age: timedelta, limits: Training) -> str | None:
    """Return why a model of that age should be replaced, or None."""
    return f"the current version is {age.days} days old" if age > timedelta(days=limits.max_age_days) else None


def of_growth(rows: int, seen: int, limits: Training, noun: str = "ratings") -> str | None:
    """Return why a model that has seen so many of the ratings should be replaced, or None."""
    if rows > seen * (1 + limits.max_growth):
        return f"there are {rows:,} {noun}, the current version has seen {seen:,}"
    return None


def _of_new_movies(settings: Settings, folder: Location, version: ModelVersion) -> str | None:
    limits, noun = settings.training, _noun(version)
    validation = Validation(settings.input, identifiers.for_model(folder, settings.input, version.name, version.ids))
    tonight, trained = movielens.read_catalogue(folder, validation), version.catalogue()
    new = combine(tonight, trained, place_new=False).new
    log.info("%d of %d movies are new to it; a share of %g is allowed", new, tonight.num_rows, limits.max_new)
    if new > tonight.num_rows * limits.max_new:
        return f"{new:,} of the {tonight.num_rows:,} movies are new to the current version"
    if not new:  # which spares reading the ratings
        return None
    everything = combine(tonight, trained, place_new=True)
    feedback = feedbacks.for_model(folder, settings.input, version.name, version.feedback)
    is_new = pa.array(identifiers.movie_numbers(everything.all)[everything.placed])
    of_new = rows = 0
    for batch in movielens.stream_ratings(folder, everything.all, validation, feedback):
        of_new += np.count_nonzero(pc.is_in(batch.column(c.MOVIE_ID), is_new))
        rows += batch.num_rows
    log.info("%d of %d %s are of them; a share of %g is allowed", of_new, rows, noun, limits.max_new_ratings)
    if of_new > rows * limits.max_new_ratings:
        return f"{of_new:,} of the {rows:,} {noun} are of movies that are new to the current version"
    return None


def _noun(version: ModelVersion) -> str:
    return "interactions" if version.feedback == IMPLICIT else "ratings"
