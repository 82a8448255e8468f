"""Training: ratings in, a fitted `MovieModel` and its held-out metrics out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from recmodel import columns as c
from recmodel.errors import InputRejected, ModelRejected
from recmodel.model import MovieModel
from recmodel.quiet_tensorflow import tf
from recmodel.settings import Preset

import tensorflow_recommenders as tfrs  # isort: skip  (after quiet_tensorflow)

TOP_K = (1, 5, 10, 50, 100)

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Trained:
    """A fitted model and what is known of it."""

    model: MovieModel
    metrics: dict[str, Any]  # what goes to metrics.json


def latest_ratings(ratings: pa.Table) -> Arrays:
    """The ratings as NumPy columns, one a (user, movie): the latest by timestamp, the higher among equals."""
    arrays = {name: ratings.column(name).to_numpy() for name in ratings.schema.names}
    pairs = ratings.select([c.USER_ID, c.MOVIE_ID]).to_pandas()
    if pairs.duplicated().any():
        by_time = np.lexsort((arrays[c.RATING], arrays[c.TIMESTAMP]))
        last = ~pairs.iloc[by_time].duplicated(keep="last").to_numpy()
        kept = np.sort(by_time[last])
        arrays = _rows(arrays, kept)
    return arrays


def split_at_random(ratings: Arrays, test_share: float, seed: int) -> tuple[Arrays, Arrays]:
    """(train, test): a random `test_share` of the rows is held out."""
    total = len(ratings[c.USER_ID])
    order = np.random.RandomState(seed).permutation(total)  # the protocol that published figures use
    cut = total - int(total * test_share)
    return _rows(ratings, order[:cut]), _rows(ratings, order[cut:])


def train(
    ratings: pa.Table,
    movie_ids: np.ndarray,
    preset: Preset,
    *,
    test_share: float,
    seed: int,
    rating_range: tuple[float, float],
    progress: bool = False,
) -> Trained:
    """Fits a model to a random part of the ratings and measures it on the rest.

    Every user of `ratings` and every movie of the catalogue gets an embedding, also those met only in the held-out
    part. The same arguments give the same model.

    Args:
        ratings: `columns.RATINGS`.
        movie_ids: [M] int64, ascending: the catalogue.
        progress: draw a bar that moves, for a terminal; else a line an epoch.

    Raises:
        InputRejected: there is nothing to train on.
        ModelRejected: the loss or a weight is no longer a finite number.
    """
    started = time.monotonic()
    tf.keras.utils.set_random_seed(seed)
    everything = latest_ratings(ratings)
    fitted, held_out = split_at_random(everything, test_share, seed)
    if not len(fitted[c.RATING]):
        raise InputRejected("there are no ratings to train on; check the ratings file and training.test_share")

    model = MovieModel(np.unique(everything[c.USER_ID]), movie_ids, preset, rating_range)
    model.compile(optimizer=tf.keras.optimizers.Adagrad(preset.learning_rate))
    batches = _Batches(fitted, preset.batch_size, seed)
    fit_started = time.monotonic()
    history = model.fit(batches, epochs=preset.epochs, verbose=1 if progress else 2)
    fit_seconds = time.monotonic() - fit_started
    losses = {f"{task}_loss": history.history[f"{task}_loss"] for task in ("rating", "retrieval")}
    if not np.isfinite(list(losses.values())).all():
        raise ModelRejected(f"training diverged ({losses}); lower the preset's learning_rate")

    metrics: dict[str, Any] = {
        "train_rows": len(fitted[c.RATING]),
        "test_rows": len(held_out[c.RATING]),
        "users": len(np.unique(everything[c.USER_ID])),
        "movies": len(movie_ids),
        "epochs": losses,  # mean loss an example in each epoch
        "fit_seconds": round(fit_seconds, 3),
        "examples_per_second": round(len(fitted[c.RATING]) * preset.epochs / fit_seconds),
    }
    if len(held_out[c.RATING]):
        metrics |= evaluate(model, held_out)
    metrics["seconds"] = round(time.monotonic() - started, 3)
    return Trained(model, metrics)


def evaluate(model: MovieModel, held_out: Arrays) -> dict[str, Any]:
    """How well the model does on ratings it was not fitted to.

    Returns:
        rmse, mae: of the predicted ratings as they are served, in stars.
        top_k_accuracy: for each k the share of held-out pairs whose movie is among the k of the whole catalogue
            (seen items included) with the highest retrieval score for the user.
    """
    batches = _Batches(held_out, 4096, seed=None)
    predicted = model.predict(batches, verbose=0)[c.PREDICTED_RATING]
    error = predicted.astype(np.float64) - held_out[c.RATING]
    catalogue = tf.data.Dataset.from_tensor_slices(model.movie_ids).batch(4096)
    top_k = tfrs.metrics.FactorizedTopK(candidates=catalogue.map(lambda ids: (ids, model.movie_tower(ids))), ks=TOP_K)
    for batch in batches:
        # By id: compared by score, a movie can lose to itself, rounded otherwise.
        user, movie = model.user_tower(batch[c.USER_ID]), model.movie_tower(batch[c.MOVIE_ID])
        top_k.update_state(user, movie, true_candidate_ids=batch[c.MOVIE_ID][:, tf.newaxis])
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mae": float(np.mean(np.abs(error))),
        "top_k_accuracy": {str(k): float(share) for k, share in zip(TOP_K, top_k.result(), strict=True)},
    }


class _Batches(tf.keras.utils.Sequence):
    """Rows in batches; shuffled anew before each epoch where there is a seed.

    Shuffling indices once an epoch is some fifty times faster than a `tf.data` shuffle buffer, which moves rows
    one by one.
    """

    def __init__(self, rows: Arrays, batch_size: int, seed: int | None) -> None:
        self._rows = rows
        self._batch_size = batch_size
        self._random = None if seed is None else np.random.RandomState(seed)
        self._order = np.arange(len(rows[c.RATING]))
        self.on_epoch_end()

    def __len__(self) -> int:
        return -(-len(self._order) // self._batch_size)

    def __getitem__(self, i: int) -> dict[str, tf.Tensor]:
        chosen = self._order[i * self._batch_size : (i + 1) * self._batch_size]
        return {name: tf.constant(self._rows[name][chosen]) for name in (c.USER_ID, c.MOVIE_ID, c.RATING)}

    def on_epoch_end(self) -> None:
        if self._random is not None:
            self._random.shuffle(self._order)


def _rows(arrays: Arrays, chosen: np.ndarray) -> Arrays:
    return {name: values[chosen] for name, values in arrays.items()}
