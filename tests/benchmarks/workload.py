"""A workload of any size for the benchmarks: models trained on real ratings, with a catalogue made larger.

Each movie of the enlarged catalogue is a noisy copy of a real one, so vectors are as long and as clustered as training
made them; each user is a real one whose seen movies are copies of what they rated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recmodel import schemas as c
from recmodel import settings
from recmodel.arrays import Arrays, take
from recmodel.data import duplicates
from recmodel.data import movielens as data
from recmodel.data.validation import Validation
from recmodel.models import presets, saved_model, training
from recmodel.models.embedding import towers as embedding
from recmodel.models.embedding.weights import EmbeddingWeights
from recmodel.models.history import towers as history
from recmodel.models.history.weights import HistoryWeights
from recmodel.pipeline import capacity


def verdict(measured: float, goal: str) -> str:
    """'met' or 'missed', for a goal such as '>= 20' or '<= 0.9'; empty where there is none."""
    if not goal:
        return ""
    sign, limit = goal.split()
    return "met" if (measured >= float(limit) if sign == ">=" else measured <= float(limit)) else "missed"


@dataclass(frozen=True)
class Source:
    """Real ratings and the model of histories fitted to them."""

    weights: HistoryWeights
    ratings: Arrays  # ascending by user

    def histories(self, users: int, movies: int, seed: int = 0) -> pa.Table:
        """`user_id, seen_movie_ids, seen_ratings` of users 1 to `users`; movies are rows of the enlarged catalogue."""
        random = np.random.default_rng(seed)
        real, first, count = np.unique(self.ratings[c.USER_ID], return_index=True, return_counts=True)
        who = np.arange(users) % len(real)
        lengths = count[who]
        ends = np.cumsum(lengths)
        at = np.repeat(first[who] - (ends - lengths), lengths) + np.arange(ends[-1])
        source = np.searchsorted(self.weights.movie_ids, self.ratings[c.MOVIE_ID][at])
        copies = (movies - source - 1) // len(self.weights.movie_ids) + 1
        movie = source + len(self.weights.movie_ids) * random.integers(0, copies)
        order = np.lexsort((movie, np.repeat(np.arange(users), lengths)))
        movie, rating = movie[order], self.ratings[c.RATING][at][order]
        splits = pa.array(np.concatenate([[0], ends]), pa.int32())
        return pa.table({
            c.USER_ID: np.arange(1, users + 1),
            c.SEEN_MOVIE_IDS: pa.ListArray.from_arrays(splits, pa.array(movie.astype(np.int64))),
            c.SEEN_RATINGS: pa.ListArray.from_arrays(splits, pa.array(rating, pa.float32())),
        })  # fmt: skip

    def enlarged(self, movies: int) -> HistoryWeights:
        """The model with `movies` movies, whose ids are 0, 1, 2, …"""
        return capacity.enlarged(self.weights, movies)


def source(data_dir: str, **dims: int) -> Source:
    """Fits the preset `default`, with `retrieval_dim` and `rating_dim` if they are given, in closed form."""
    chosen = settings.load(paths={"data": data_dir})
    folder = data.data_dir(chosen.paths.data, chosen.paths.sample)
    validation = Validation(chosen.input)
    catalogue = data.read_catalogue(folder, validation)
    ratings = duplicates.latest(data.read_ratings(folder, catalogue, validation))
    fitted = training.train(
        ratings, np.unique(ratings[c.USER_ID]), catalogue, presets.load("default", epochs=0, **dims),
        seed=0, rating_range=(chosen.input.rating_min, chosen.input.rating_max),
    )  # fmt: skip
    assert isinstance(fitted.weights, HistoryWeights)
    return Source(fitted.weights, take(ratings, np.argsort(ratings[c.USER_ID], kind="stable")))


def mlp(users: np.ndarray, movies: np.ndarray, seed: int = 0) -> EmbeddingWeights:
    """The notebook's architecture around given vectors, its rating MLP (256-128-1) untrained."""
    random = np.random.default_rng(seed)

    def layer(inputs: int, units: int) -> tuple[np.ndarray, np.ndarray]:
        kernel = random.standard_normal((inputs, units), np.float32) / np.sqrt(np.float32(inputs))
        return kernel, np.zeros(units, np.float32)

    return EmbeddingWeights(
        user_ids=np.arange(1, len(users) + 1),
        user_vectors=users,
        movie_ids=np.arange(len(movies)),
        movie_vectors=movies,
        rating_layers=[layer(2 * users.shape[1], 256), layer(256, 128), layer(128, 1)],
        rating_range=(0.5, 5.0),
    )


def save(weights: HistoryWeights | EmbeddingWeights, folder: Path) -> None:
    """Save a model of either architecture."""
    architecture = history if isinstance(weights, HistoryWeights) else embedding
    saved_model.save(architecture.Towers(weights), folder)


def write(folder: Path, weights: HistoryWeights | EmbeddingWeights, histories: pa.Table) -> None:
    """What the benchmarks start from: a SavedModel, and the histories as the job has them."""
    folder.mkdir(parents=True, exist_ok=True)
    save(weights, folder / "saved_model")
    pq.write_table(histories, folder / "histories.parquet", row_group_size=2048)
