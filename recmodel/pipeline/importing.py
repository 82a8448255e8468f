"""Import: a SavedModel that was saved elsewhere becomes a model version, if that answers as the original does."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from recmodel import schemas as c
from recmodel.data import ids as identifiers
from recmodel.data import layouts, movielens
from recmodel.data.ids import Labels
from recmodel.data.validation import Validation
from recmodel.errors import InputRejected, ModelRejected, UsageRejected
from recmodel.models import versions
from recmodel.pipeline import preflight
from recmodel.progress import NOTICE, Stages, log
from recmodel.records import IMPORTED, Metrics
from recmodel.schemas import TEXT, Ids
from recmodel.settings import Settings

if TYPE_CHECKING:
    from recmodel.models.imported.original import Original
    from recmodel.models.imported.pairing import Movies, Users
    from recmodel.models.imported.towers import ImportedWeights
    from recmodel.scoring.recommender import Recommender

TASKS = ("retrieval", "rating")
_USERS, _MOVIES = 50, 20  # so many of each are compared with the original, in all pairs
_TOLERANCE = 1e-4  # relative, and of numbers below 1 absolute


@dataclass(frozen=True)
class Import:
    """A model that was taken over."""

    version: versions.ModelVersion
    form: str
    movies_by: str  # title or id
    users: int
    movies: int
    unknown_movies: int  # of the catalogue
    pairs_compared: int
    lists_compared: int
    promoted: bool


def run(
    settings: Settings,
    folder: Path,
    catalogue_file: str,
    *,
    users_file: Path | None = None,
    name: str = IMPORTED,
    tasks: Sequence[str] = TASKS,
    promote: bool = False,
    stages: Stages | None = None,
) -> Import:
    """Load a SavedModel, wrap what it answers in our signatures, compare both and write a version.

    The version becomes the current one where there is none, or if asked to.

    Args:
        folder: the SavedModel, or a folder with `user_model` and `movie_model`; see `original.open_original`.
        catalogue_file: the movies that it was trained with: a table, or a MovieLens directory.
        users_file: CSV or Parquet with a column userId; None: the users in the vocabulary of the model.
        name: stands in the name of the version, where trained ones have their preset.
        tasks: for which it was trained, if it answers others too.

    Raises:
        InputRejected: the catalogue or the users cannot be read.
        ModelRejected: the model is of no kind that can be imported, or what was made of it answers differently.
    """
    stages, models = stages or Stages(), settings.paths.models
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise UsageRejected(f"{name!r} cannot be part of a version's name; use letters, digits, dots, - and _")
    preflight.check(settings, models=models)
    with stages("read movies"):
        catalogue, movie_kind = _catalogue(settings, catalogue_file)
        asked = None if users_file is None else _users(settings, users_file)
    with stages("start TensorFlow"):
        from recmodel.models import saved_model
        from recmodel.models.imported import original as originals
        from recmodel.models.imported.preset import Preset
        from recmodel.models.imported.towers import Towers

    with tempfile.TemporaryDirectory() as scratch, originals.failures_named(folder):
        with stages("load the original"):
            found = _find(folder, catalogue, asked, tasks, settings)
            _say(found)
        exported, ids = Path(scratch, "saved_model"), Ids(user=found.users.kind, movie=movie_kind)
        with stages("export"):
            weights = _weights(found, (settings.input.rating_min, settings.input.rating_max))
            signatures = saved_model.save(Towers(weights), exported, ids, _labels(found.movies, found.users))
        with stages("compare with the original"):
            pairs, lists = _compare(exported, found, weights.rating_range)
        version = versions.write_version(
            models,
            exported,
            catalogue=found.movies.catalogue,
            metrics=Metrics(),
            preset_name=name,
            preset=Preset(
                description=f"imported from {folder}",
                form=found.original.form,
                movies_by=found.movies.by,
                retrieval_weight=float("retrieval" in found.tasks),
                rating_weight=float("rating" in found.tasks),
            ),
            training={},
            data_fingerprint="",
            signatures=signatures,
            ids=ids,
            origin=IMPORTED,
        )
    promoted = promote or versions.current(models) is None
    if promoted:
        versions.promote(models, version.name)
    return Import(
        version=version,
        form=found.original.form,
        movies_by=found.movies.by,
        users=len(found.users.ids),
        movies=found.movies.catalogue.num_rows,
        unknown_movies=found.movies.unknown,
        pairs_compared=pairs,
        lists_compared=lists,
        promoted=promoted,
    )


class _Found(NamedTuple):
    """An original, and what it knows."""

    original: Original
    movies: Movies
    users: Users
    tasks: tuple[str, ...]  # that are taken over


def _find(
    folder: Path, catalogue: pa.Table, asked: pa.Array | None, tasks: Sequence[str], settings: Settings
) -> _Found:
    """Load an original, and find the movies and users that it knows."""
    from recmodel.models.imported import original as originals
    from recmodel.models.imported import pairing

    original = originals.open_original(folder)
    answered = [task for task, there in zip(TASKS, (original.has_vectors, original.rate), strict=True) if there]
    wanted = tuple(task for task in answered if task in tasks)
    if not wanted:
        raise UsageRejected(f"{folder} answers for {' and '.join(answered)} only; choose --task accordingly")
    movies = pairing.movies_of(original, catalogue)
    return _Found(original, movies, pairing.users_of(original, asked, settings.input.ids), wanted)


def _weights(found: _Found, rating_range: tuple[float, float]) -> ImportedWeights:
    from recmodel.models.imported.towers import ImportedWeights

    users, movies = found.users, found.movies
    return ImportedWeights(
        found.original,
        np.arange(len(users.ids)) if users.kind == TEXT else users.ids.to_numpy(),
        users.keys,
        identifiers.movie_numbers(movies.catalogue),
        movies.keys,
        rating_range,
        found.tasks,
    )


def _catalogue(settings: Settings, file: str) -> tuple[pa.Table, c.IdKind]:
    """Read the movies of a table or a MovieLens directory, and what their ids are."""
    path, limits = Path(file), settings.input
    if not path.exists():
        raise InputRejected(f"{path} does not exist; --catalogue takes a file of movies, or a folder with one")
    source = layouts.find(file, "movies") if path.is_dir() else layouts.source(file)
    kind = identifiers.of_movies(source, limits)
    validation = Validation(limits, Ids(movie=kind))
    links = layouts.find_optional(file, "links") if path.is_dir() else None
    catalogue = movielens.read_movies(source, links, validation)
    validation.log_files()
    return catalogue, kind


def _users(settings: Settings, file: Path) -> pa.Array:
    """Read [N] string, the ids of users; what they are is decided by those that the model knows."""
    validation = Validation(settings.input, Ids(user=TEXT))
    return movielens.read_ids(file, c.USERS, validation).column(c.USER_ID).combine_chunks()


def _labels(movies: Movies, users: Users) -> Labels:
    """Return the ids that numbers stand for."""
    has_text = identifiers.has_text(movies.catalogue)
    return Labels(
        users.ids if users.kind == TEXT else None,
        movies.catalogue.column(c.MOVIE_ID).combine_chunks() if has_text else None,
    )


def _say(found: _Found) -> None:
    """Log what was found, and all that does not go without saying."""

    def notice(sentence: str, *facts: object) -> None:
        log.log(NOTICE, sentence, *facts)

    movies, users = found.movies, found.users
    if movies.unknown:
        notice("movies of the catalogue that the model does not know: %s; it recommends them to nobody",
               f"{movies.unknown:,}")  # fmt: skip
    if movies.namesakes:
        named = "; ".join(f"{title}: {' and '.join(map(str, ids))}" for title, ids in movies.namesakes[:5])
        notice("titles that several movies have: %s; of each, the movie with the lowest id stands for all, and the "
               "others are recommended to nobody (%s)", f"{len(movies.namesakes):,}", named)  # fmt: skip
    if users.unknown:
        notice("users that the model does not know: %s; they get what is popular", f"{users.unknown:,}")
    if "rating" in found.tasks:
        notice("ratings are computed by the model's own graph, pair by pair: slower than a model trained here")
    if found.tasks == ("rating",):
        notice("it ranks by rating alone, so all movies are rated for each user")


class _Sample(NamedTuple):
    users: np.ndarray  # places
    movies: np.ndarray


def _compare(exported: Path, found: _Found, rating_range: tuple[float, float]) -> tuple[int, int]:
    """Compare what a SavedModel of ours answers for a sample with what the original does.

    Returns:
        How many pairs, and how many lists, were compared.

    Raises:
        ModelRejected: an answer differs; names the first.
    """
    from recmodel.scoring.recommender import Recommender

    original, movies, users, tasks = found
    model, random = Recommender(exported), np.random.RandomState(0)
    some = _Sample(
        random.permutation(len(users.ids))[:_USERS],
        random.permutation(movies.catalogue.num_rows)[:_MOVIES],
    )
    user, movie = (grid.ravel() for grid in np.meshgrid(*some, indexing="ij"))
    user_ids, movie_ids = users.ids.to_numpy(zero_copy_only=False), _ids(movies)
    answer = model.predict(user_ids[user], movie_ids[movie])
    wrong = np.zeros(len(user), bool)
    if "retrieval" in tasks:
        assert original.score is not None
        wrong |= _differ(answer.retrieval_score, original.score(users.keys[user], movies.keys[movie]))
    if "rating" in tasks:
        assert original.rate is not None
        rated = original.rate(users.keys[user], movies.keys[movie]).numpy()
        wrong |= _differ(answer.predicted_rating, np.clip(rated, *rating_range))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ModelRejected(
            f"what was made of the model answers differently for {int(wrong.sum()):,} of {len(user):,} pairs, first "
            f"for user {user_ids[user[first]]} and movie {movie_ids[movie[first]]}: nothing was imported"
        )
    return len(user), _compare_lists(model, found, some)


def _compare_lists(model: Recommender, found: _Found, some: _Sample) -> int:
    original, movies, users, _ = found
    if original.best is None:
        return 0
    user_ids, nothing = users.ids.to_numpy(zero_copy_only=False), [np.empty(0)] * len(some.users)
    scores, keys = original.best(users.keys[some.users])
    top = model.recommend(user_ids[some.users], nothing, nothing, n=keys.shape[1], include_seen=True)
    for place, (of_user, score, titles) in enumerate(zip(some.users, scores, keys, strict=True)):
        listed = np.isin(titles, movies.keys)  # the others are not in the catalogue
        once = np.zeros(len(titles), bool)
        once[np.unique(titles, return_index=True)[1]] = True  # an index may have a title twice
        listed &= once
        if _differ(top.score[place, : listed.sum()], score[listed]).any():
            raise ModelRejected(
                f"what was made of the index has another list for user {user_ids[of_user]}: nothing was imported"
            )
    return len(some.users)


def _ids(movies: Movies) -> np.ndarray:
    return movies.catalogue.column(c.MOVIE_ID).to_numpy()


def _differ(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return ~(np.abs(ours - theirs) <= _TOLERANCE * np.maximum(1, np.abs(theirs)))
