"""Data and models of any size for the benchmarks, made of real ratings and of models that are fitted to them.

Each movie of a larger catalogue is a noisy copy of a real one, so vectors are as long and as clustered as training
made them. Each user is a copy of a real one, whose seen movies are copies of those that the real one rated.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import expand
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recmodel import schemas as c
from recmodel import settings, storage
from recmodel.arrays import Arrays, take
from recmodel.data import staged
from recmodel.data.ids import NO_LABELS, Labels
from recmodel.data.staged import StagedInput
from recmodel.models import presets, saved_model, training, versions
from recmodel.models.architectures import Towers
from recmodel.models.embedding import towers as embedding
from recmodel.models.embedding.weights import EmbeddingWeights
from recmodel.models.history import towers as history
from recmodel.models.history.weights import HistoryWeights
from recmodel.pipeline import capacity
from recmodel.records import Metrics
from recmodel.schemas import INTEGER_IDS, TEXT, Ids
from recmodel.scoring.recommender import Recommender

SEEN, STARS = "seen_movie_ids", "seen_ratings"  # columns of lists
ML25M = {"users": 162_541, "movies": 62_423, "ratings": 25_000_095}


# -- in memory ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """Real ratings, and the model of histories that is fitted to them."""

    weights: HistoryWeights
    ratings: Arrays  # ascending by user

    @property
    def users(self) -> int:
        """The number of real users."""
        return len(np.unique(self.ratings[c.USER_ID]))

    def write(self, folder: Path, users: int, movies: int) -> Workload:
        """Write a model with that many movies, with ids 0, 1, 2, …, and histories of users 1, 2, …"""
        folder.mkdir(parents=True, exist_ok=True)
        work = Workload(folder)
        saved_model.save(self.towers(movies), work.saved_model)
        pq.write_table(self._histories(users, movies), work.histories_file, row_group_size=2048)
        return work

    def towers(self, movies: int, first_movie: int = 0) -> Towers:
        """Return a model with that many movies, whose ids ascend from `first_movie`."""
        # Peers search products alone, so successors and the trend are left out on both sides.
        weights = capacity.enlarged(replace(self.weights, successors=None, another_day=None), movies)
        return history.Towers(replace(weights, movie_ids=weights.movie_ids + first_movie))

    def _histories(self, users: int, movies: int) -> pa.Table:
        """Return `user_id, seen_movie_ids, seen_ratings`; movies are rows of the enlarged catalogue."""
        random = np.random.default_rng(0)
        real, first, count = np.unique(self.ratings[c.USER_ID], return_index=True, return_counts=True)
        copied = np.arange(users) % len(real)
        lengths = count[copied]
        ends = np.cumsum(lengths)
        at = np.repeat(first[copied] - (ends - lengths), lengths) + np.arange(ends[-1])
        # A catalogue smaller than the real one is for a quick look: a user may have seen one of its movies twice.
        movie = np.searchsorted(self.weights.movie_ids, self.ratings[c.MOVIE_ID][at]) % movies
        copies = (movies - movie - 1) // len(self.weights.movie_ids) + 1
        movie += len(self.weights.movie_ids) * random.integers(0, copies)
        order = np.lexsort((movie, np.repeat(np.arange(users), lengths)))
        splits = pa.array(np.concatenate([[0], ends]), pa.int32())
        seen, rating = pa.array(movie[order], pa.int64()), pa.array(self.ratings[c.RATING][at][order], pa.float32())
        return pa.table({
            c.USER_ID: np.arange(1, users + 1),
            SEEN: pa.ListArray.from_arrays(splits, seen),
            STARS: pa.ListArray.from_arrays(splits, rating),
        })  # fmt: skip


@dataclass(frozen=True)
class Workload:
    """A model, and the histories of the users to be scored, in a folder."""

    folder: Path

    @property
    def saved_model(self) -> Path:
        """The directory of the SavedModel."""
        return self.folder / "saved_model"

    @property
    def histories_file(self) -> Path:
        """The Parquet file of the histories."""
        return self.folder / "histories.parquet"

    @cached_property
    def model(self) -> Recommender:
        """The loaded model."""
        return Recommender(self.saved_model)

    @cached_property
    def histories(self) -> pd.DataFrame:
        """`user_id, seen_movie_ids, seen_ratings`, one row per user."""
        return pd.read_parquet(self.histories_file)

    def stage(self) -> StagedInput:
        """Write the histories as a run has its input staged."""
        folder, users = self.folder / "staged", self.histories
        folder.mkdir()
        user_id, lengths = users[c.USER_ID].to_numpy(), users[SEEN].map(len).to_numpy()
        columns = np.repeat(user_id, lengths), np.concatenate(users[SEEN]), np.concatenate(users[STARS])
        is_other = np.append(True, (np.diff(columns[0]) != 0) | (np.diff(columns[1]) != 0))  # see `_histories`
        columns = [*(values[is_other] for values in columns), np.zeros(is_other.sum(), np.int64)]
        rows = pa.RecordBatch.from_arrays(columns, names=c.RATINGS.names)
        (folder / staged.RATINGS).mkdir()
        ratings = staged.write([rows], folder / staged.RATINGS / staged.file(0), np.arange(self.model.catalogue_size))
        counted = [user_id, lengths, lengths, pa.nulls(len(users), pa.int64())]
        storage.write_rows(folder / "users" / "part-00000.parquet", pa.table(counted, c.USER.names))
        return StagedInput(str(folder), str(folder / "users"), ratings.in_order, False, False, False, False)

    def user_vectors(self) -> np.ndarray:
        """Return the retrieval vectors [U, d] of the users."""
        users, seen, ratings = (self.histories[name] for name in (c.USER_ID, SEEN, STARS))
        return self.model.user_embedding(users, list(seen), list(ratings))

    def movie_vectors(self) -> np.ndarray:
        """Return the retrieval vectors [M, d] of the movies."""
        return self.model.movie_embedding(np.arange(self.model.catalogue_size))


def fit(data: str, dims: int | None = None) -> Source:
    """Fit the preset `default` in closed form, with that many dimensions of both tasks or its own."""
    limits = settings.load().input
    catalogue, ratings = expand.read_real(data)
    fitted = training.train(
        ratings, np.unique(ratings[c.USER_ID]), catalogue,
        presets.load("default", epochs=0, retrieval_dim=dims, rating_dim=dims),
        seed=0, rating_range=(limits.rating_min, limits.rating_max),
    )  # fmt: skip
    return Source(fitted.weights, take(ratings, np.argsort(ratings[c.USER_ID], kind="stable")))


def towers_by_id(users: np.ndarray, movies: np.ndarray, *units: int, first_movie: int = 0) -> Towers:
    """Return the notebook's architecture around vectors of users 1, 2, … and of movies, its rating MLP untrained.

    Args:
        units: of each layer of the MLP.
    """
    random = np.random.default_rng(0)
    layers = []
    for inputs, outputs in zip([2 * users.shape[1], *units], units, strict=False):
        kernel = random.standard_normal((inputs, outputs), np.float32) / np.sqrt(np.float32(inputs))
        layers.append((kernel, np.zeros(outputs, np.float32)))
    movie_ids = np.arange(first_movie, first_movie + len(movies))
    return embedding.Towers(
        EmbeddingWeights(np.arange(1, len(users) + 1), users, movie_ids, movies, layers, (0.5, 5.0))
    )


def title(movie_id: int) -> str:
    """Return a title of common length."""
    return f"A movie of the catalogue ({movie_id})"


# -- in files, for the commands ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Store:
    """Inputs and models for `recmodel`. Each is made when it is first asked for, and kept in `folder`."""

    folder: Path
    data: str  # the real ratings: a MovieLens directory
    scale: float  # of the numbers of users and ratings
    random: bool  # whether factors are Gaussian, instead of copies of trained vectors

    def users(self, count: int) -> int:
        """Return the number of users at this scale."""
        return max(1, round(count * self.scale))

    def ratings(self, share: float = 1, *, as_csv: bool = False, text_ids: bool = False) -> Path:
        """Return a MovieLens directory with that share of the users of MovieLens-25M, and with all its movies."""
        share *= self.scale
        folder = self.folder / f"{'csv' if as_csv else 'ratings'}{'-text' * text_ids}-{share:g}"
        if not folder.exists():
            users, ratings = (round(ML25M[name] * share) for name in ("users", "ratings"))
            real = expand.read(self.data)
            sizes = {"users": users, "movies": ML25M["movies"], "ratings": ratings}
            expand.write(real, folder, **sizes, seed=0, as_csv=as_csv, text_ids=text_ids)
        return folder

    def ratings_of(self, users: int, movies: int) -> Path:
        """Return a MovieLens directory with that many users and movies, and 125 ratings per user."""
        folder = self.folder / f"ratings-{users}-{movies}"
        if not folder.exists():
            expand.write(expand.read(self.data), folder, users=users, movies=movies, ratings=125 * users, seed=0)
        return folder

    def ratings_of_next_day(self) -> Path:
        """Return the same directory with one more rating, of the first movie, by every twentieth user."""
        folder = self.folder / f"ratings-later-{self.scale:g}"
        if not folder.exists():
            shutil.copytree(self.ratings(), folder)
            ratings = pq.read_table(folder / "ratings.parquet")
            users = np.unique(ratings.column("userId"))[::20]
            columns = (users, np.ones_like(users), np.full(len(users), 4.0), np.full(len(users), 1_700_000_000))
            new = pa.table(dict(zip(expand.RATINGS.names, columns, strict=True))).cast(expand.RATINGS)
            pq.write_table(pa.concat_tables([ratings, new]), folder / "ratings.parquet")
        return folder

    def users_by_id(self, users: int, movies: int) -> Path:
        """Return a MovieLens directory with that many movies, and with a file `asked.parquet` of users without ratings.

        The model of `factors` knows users by id, as ALS does, and needs no histories.
        """
        folder = self.folder / f"users-{users}-{movies}"
        if not folder.exists():
            real = expand.read(self.data)
            expand.write(real, folder, users=real.users, movies=movies, ratings=len(real.user), seed=0)
            pq.write_table(pa.table({"userId": np.arange(1, users + 1)}), folder / "asked.parquet")
        return folder

    def history_model(self, *, text_ids: bool = False) -> Path:
        """Return MODELS with the default architecture at 32 dimensions, for the movies of `ratings`."""
        models = self.folder / f"models-32{'-text' * text_ids}"
        if not models.exists():
            towers = fit(self.data, 32).towers(ML25M["movies"], first_movie=0 if text_ids else 1)
            _write_version(models, towers, "default", text_ids=text_ids)
        return models

    def default_model(self, movies: int) -> Path:
        """Return MODELS with the preset `default`, for the movies of `ratings_of`."""
        models = self.folder / f"models-default-{movies}"
        if not models.exists():
            _write_version(models, fit(self.data).towers(movies, first_movie=1), "default")
        return models

    def factors(self, users: int, movies: int) -> Path:
        """Return MODELS with two tables of factors of rank 10, of a model that knows users by id."""
        models = self.folder / f"models-{users}-{movies}-{'random' if self.random else 'trained'}"
        if not models.exists():
            random = np.random.default_rng(0)
            if self.random:
                vectors = [random.standard_normal((count, 10), np.float32) for count in (users, movies)]
            else:
                source = fit(self.data, 10)
                with tempfile.TemporaryDirectory() as scratch:
                    real = source.write(Path(scratch), source.users, movies)
                    vectors = [capacity.copies(real.user_vectors(), users, random), real.movie_vectors()]
            _write_version(models, towers_by_id(*vectors, 1, first_movie=1), "retrieval")
        return models


def _write_version(models: Path, towers: Towers, preset: str, *, text_ids: bool = False) -> None:
    """Write a version. With text, the towers' ids are numbers from 0 for the texts of 1, 2, … in `expand.with_text`."""
    movie_ids = towers.movies.ids.numpy()
    ids, labels, written = INTEGER_IDS, NO_LABELS, pa.array(movie_ids)
    if text_ids:
        written = expand.with_text(pa.table({"movieId": movie_ids + 1})).column("movieId").combine_chunks()
        ids, labels = Ids(TEXT, TEXT), Labels(movies=written)
    empty = pa.nulls(len(movie_ids))
    columns = [written, list(map(title, movie_ids)), [""] * len(movie_ids), empty, empty]
    catalogue = pa.table(dict(zip(c.CATALOGUE.names, columns, strict=True))).cast(c.with_ids(c.CATALOGUE, ids))
    with tempfile.TemporaryDirectory() as scratch:
        saved_model.save(towers, Path(scratch) / "saved_model", ids, labels)
        version = versions.write_version(
            str(models), Path(scratch) / "saved_model", catalogue=catalogue, metrics=Metrics(), preset_name=preset,
            preset=presets.load(preset), training={}, data_fingerprint="", ids=ids,
        )  # fmt: skip
    versions.promote(str(models), version.name)
