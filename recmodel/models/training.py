"""Training: ratings in, the weights of a fitted model out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from recmodel import schemas as c
from recmodel.errors import InputRejected, ModelRejected
from recmodel.models.embedding.model import EmbeddingModel, EmbeddingWeights
from recmodel.models.history import closed_form
from recmodel.models.history.model import HistoryBatches, HistoryModel, HistoryWeights
from recmodel.settings import EmbeddingPreset, Preset
from recmodel.tf import tf

if TYPE_CHECKING:
    from recmodel.cli.console import Progress

Arrays = dict[str, np.ndarray]  # the columns of ratings, by name
Weights = EmbeddingWeights | HistoryWeights


@dataclass(frozen=True)
class Trained:
    """A fitted model and how the fitting went."""

    weights: Weights
    losses: dict[str, list[float]]  # mean loss of each task in each epoch
    start_seconds: float  # for the closed form, where the preset has one
    epoch_seconds: list[float]  # the first includes TensorFlow's tracing
    examples: int  # ratings in an epoch, each seen by both tasks

    @property
    def seconds(self) -> float:
        """The whole training."""
        return self.start_seconds + sum(self.epoch_seconds)

    @property
    def examples_per_second(self) -> float:
        """The rate of an epoch once TensorFlow has traced the step; 0 without epochs."""
        later = self.epoch_seconds[1:] or self.epoch_seconds
        return self.examples / float(np.median(later)) if later else 0.0

    def report(self) -> dict[str, object]:
        """For metrics.json."""
        return {
            "train_rows": self.examples,
            "epochs": self.losses,
            "start_seconds": round(self.start_seconds, 3),
            "epoch_seconds": [round(seconds, 3) for seconds in self.epoch_seconds],
            "examples_per_second": round(self.examples_per_second),
        }


def latest_ratings(ratings: pa.Table) -> Arrays:
    """The ratings as NumPy columns, one a (user, movie): the latest by timestamp, the higher among equals."""
    arrays = {name: ratings.column(name).to_numpy() for name in ratings.schema.names}
    by_pair = np.lexsort((arrays[c.MOVIE_ID], arrays[c.USER_ID]))
    repeats = np.ones(len(by_pair), bool)
    for name in (c.USER_ID, c.MOVIE_ID):
        values = arrays[name][by_pair]
        repeats[1:] &= values[1:] == values[:-1]
    if repeats[1:].any():
        order = np.lexsort((arrays[c.RATING], arrays[c.TIMESTAMP], arrays[c.MOVIE_ID], arrays[c.USER_ID]))
        user, movie = arrays[c.USER_ID][order], arrays[c.MOVIE_ID][order]
        last = np.append((user[1:] != user[:-1]) | (movie[1:] != movie[:-1]), True)
        arrays = rows(arrays, np.sort(order[last]))
    return arrays


def rows(arrays: Arrays, chosen: np.ndarray) -> Arrays:
    """Some rows of all columns."""
    return {name: values[chosen] for name, values in arrays.items()}


def split_at_random(ratings: Arrays, test_share: float, seed: int, limit: int | None = None) -> tuple[Arrays, Arrays]:
    """(train, test): a random `test_share` is held out; with a limit, of the first so many rows in random order."""
    order = np.random.RandomState(seed).permutation(len(ratings[c.USER_ID]))[:limit]  # as published figures have it
    cut = len(order) - int(len(order) * test_share)
    return rows(ratings, order[:cut]), rows(ratings, order[cut:])


def split_by_pair(ratings: Arrays, test_share: float, seed: int) -> tuple[Arrays, Arrays]:
    """(train, test), each in the order given: about `test_share` is held out.

    Whether a rating is depends on its user, its movie and the seed alone. So no model of the same seed and share has
    been fitted to a rating that another one is measured by, whatever ratings came or went between the two.
    """
    hashed = _mix(np.full(len(ratings[c.USER_ID]), seed, np.uint64))
    for name in (c.USER_ID, c.MOVIE_ID):
        hashed = _mix(hashed ^ ratings[name].astype(np.uint64))
    held_out = (hashed >> np.uint64(11)) * 2.0**-53 < test_share  # the upper 53 bits are a number in [0, 1)
    return rows(ratings, np.flatnonzero(~held_out)), rows(ratings, np.flatnonzero(held_out))


def _mix(state: np.ndarray) -> np.ndarray:
    """The output of SplitMix64 for each state (uint64): every bit depends on every bit of the state.

    Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014, with the finaliser of
    Vigna's splitmix64.c (variant 13 of Stafford's).
    """
    mixed = state + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def train(
    fitted: Arrays,
    user_ids: np.ndarray,
    catalogue: pa.Table,
    preset: Preset,
    *,
    seed: int,
    rating_range: tuple[float, float],
    progress: Progress | None = None,
) -> Trained:
    """Fits a model. The same arguments give the same model.

    Args:
        fitted: the ratings to fit, one a (user, movie).
        user_ids: int64, ascending; who gets an embedding, where the preset has embeddings of users.
        catalogue: `columns.CATALOGUE`, ascending by movie_id.
        progress: told after each step how many ratings were seen, of how many in all epochs.

    Raises:
        InputRejected: there is nothing to train on.
        ModelRejected: a loss is no longer a finite number.
    """
    examples = len(fitted[c.RATING])
    if not examples:
        raise InputRejected("there are no ratings to train on; check the ratings file and training.test_share")
    tf.keras.utils.set_random_seed(seed)
    movie_ids = catalogue.column(c.MOVIE_ID).to_numpy()
    clock = _Clock(examples, progress)
    started = time.monotonic()
    if isinstance(preset, EmbeddingPreset):
        embeddings = EmbeddingModel(user_ids, movie_ids, preset, rating_range)
        embeddings.compile(optimizer=tf.keras.optimizers.Adagrad(preset.learning_rate))
        losses = _fit(embeddings, _Batches(fitted, preset.batch_size, seed), preset, clock)
        weights: Weights = embeddings.weights_as_arrays()
        start_seconds = 0.0
    else:
        users = np.unique(fitted[c.USER_ID])
        user = np.searchsorted(users, fitted[c.USER_ID]).astype(np.int32)
        movie = np.searchsorted(movie_ids, fitted[c.MOVIE_ID]).astype(np.int32)
        ratings = closed_form.Interactions(user, movie, fitted[c.RATING], len(users), len(movie_ids))
        start = closed_form.start(ratings, closed_form.features(catalogue), preset, seed)
        start_seconds = time.monotonic() - started
        histories = HistoryModel(start, preset)
        histories.compile(optimizer=tf.keras.optimizers.Adam(preset.learning_rate))
        losses = _fit(histories, HistoryBatches(ratings, seed), preset, clock)
        weights = histories.weights_as_arrays(movie_ids, rating_range)
    return Trained(weights, losses, start_seconds, clock.seconds, examples)


def _fit(
    model: tf.keras.Model, batches: tf.keras.utils.Sequence, preset: Preset, clock: _Clock
) -> dict[str, list[float]]:
    """The mean losses of each epoch."""
    if not preset.epochs:
        return {}
    history = model.fit(batches, epochs=preset.epochs, verbose=0, callbacks=[clock]).history
    losses = {name: [float(loss) for loss in history.get(name, [])] for name in ("rating_loss", "retrieval_loss")}
    if not np.isfinite(list(losses.values())).all():
        raise ModelRejected(f"training diverged ({losses}); lower the preset's learning_rate")
    return losses


class _Clock(tf.keras.callbacks.Callback):
    """Times the epochs, and tells `progress` of each step."""

    def __init__(self, examples: int, progress: Progress | None) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._examples = examples
        self._progress = progress

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self._started = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        if self._progress is not None:
            epochs = len(self.seconds) + (batch + 1) / self.params["steps"]
            self._progress(round(epochs * self._examples), self.params["epochs"] * self._examples, "ratings")

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self.seconds.append(time.monotonic() - self._started)


class _Batches(tf.keras.utils.Sequence):
    """Ratings in batches, shuffled anew before each epoch.

    Shuffling indices once an epoch is some fifty times faster than a `tf.data` shuffle buffer, which moves rows
    one by one.
    """

    def __init__(self, ratings: Arrays, batch_size: int, seed: int) -> None:
        self._ratings = ratings
        self._batch_size = batch_size
        self._random = np.random.RandomState(seed)
        self._order = np.arange(len(ratings[c.RATING]))
        self.on_epoch_end()

    def __len__(self) -> int:
        return -(-len(self._order) // self._batch_size)

    def __getitem__(self, i: int) -> dict[str, tf.Tensor]:
        chosen = self._order[i * self._batch_size : (i + 1) * self._batch_size]
        return {name: tf.constant(self._ratings[name][chosen]) for name in (c.USER_ID, c.MOVIE_ID, c.RATING)}

    def on_epoch_end(self) -> None:
        self._random.shuffle(self._order)
