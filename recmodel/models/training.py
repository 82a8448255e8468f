"""Training: ratings in, the arrays of a fitted model out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from recmodel import schemas as c
from recmodel.arrays import Arrays
from recmodel.errors import InputRejected, ModelRejected, RecmodelError
from recmodel.models import architectures
from recmodel.models.architectures import Fittable, Preset, Towers
from recmodel.progress import where_the_trace_is
from recmodel.tf import tf

if TYPE_CHECKING:
    from recmodel.progress import Progress


@dataclass(frozen=True)
class Trained:
    """A fitted model, and how the fitting went."""

    architecture: str
    weights: Any  # a dataclass of arrays, of the architecture
    losses: dict[str, list[float]]  # mean loss of each epoch, by task
    start_seconds: float  # for the starting values, if the architecture computes any
    epoch_seconds: list[float]  # the first includes TensorFlow's tracing
    examples: int  # ratings per epoch, each used by both tasks

    def towers(self) -> Towers:
        """Return the graphs of the model, to be saved by `saved_model.save`."""
        with _failures_named(self.architecture):
            towers: Towers = architectures.part(self.architecture, "towers").Towers(self.weights)
        architectures.check(towers, self.architecture)
        return towers

    @property
    def seconds(self) -> float:
        """The duration of the whole training."""
        return self.start_seconds + sum(self.epoch_seconds)

    @property
    def examples_per_second(self) -> float:
        """The rate of an epoch after the first, in which TensorFlow traces the step; 0 without epochs."""
        later = self.epoch_seconds[1:] or self.epoch_seconds
        return self.examples / float(np.median(later)) if later else 0.0

    def report(self) -> dict[str, Any]:
        """Return the fields of `records.Metrics` that are about the training."""
        return {
            "train_rows": self.examples,
            "epochs": self.losses,
            "start_seconds": round(self.start_seconds, 3),
            "epoch_seconds": [round(seconds, 3) for seconds in self.epoch_seconds],
            "examples_per_second": round(self.examples_per_second),
        }


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
    """Fit a model. The same arguments result in the same model.

    Args:
        fitted: the ratings to fit, one per (user, movie); of implicit feedback the weights.
        user_ids: int64, ascending: who gets an embedding, if the architecture has embeddings of users.
        catalogue: `schemas.CATALOGUE`, ascending by movie_id.
        rating_range: the ends of the rating scale, in stars; NaN for implicit feedback, of which no rating is
            predicted.
        progress: called after each step with the number of ratings used so far, and in all epochs.

    Raises:
        InputRejected: there is nothing to train on.
        ModelRejected: a loss is no longer a finite number.
    """
    examples = len(fitted[c.RATING])
    if not examples:
        raise InputRejected("there are no ratings to train on; check the ratings file and training.test_share")
    tf.keras.utils.set_random_seed(seed)
    clock = _Clock(examples, progress)
    with _failures_named(preset.architecture):
        prepare = architectures.part(preset.architecture, "fit").prepare
        fittable = prepare(fitted, user_ids, catalogue, preset, seed=seed, rating_range=rating_range)
        losses = _fit(fittable, preset.epochs, clock) if preset.epochs else {}
    if np.isnan(rating_range).any():
        losses.pop("rating_loss", None)
    return Trained(preset.architecture, fittable.weights(), losses, fittable.start_seconds, clock.seconds, examples)


@contextmanager
def _failures_named(architecture: str) -> Iterator[None]:
    """Turn what fails in somebody's own architecture into a sentence that names it and the cause.

    Raises:
        ModelRejected: see above.
    """
    try:
        yield
    except RecmodelError:
        raise
    except Exception as error:
        if not architectures.is_of_ones_own(architecture):
            raise
        last_line = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "")
        raise ModelRejected(
            f"{architecture} failed in training: {type(error).__name__}: {last_line[:300]}{where_the_trace_is()}"
        ) from error


def _fit(fittable: Fittable, epochs: int, clock: _Clock) -> dict[str, list[float]]:
    """Fit the model, and return the mean losses of each epoch."""
    history = fittable.model.fit(fittable.batches, epochs=epochs, verbose=0, callbacks=[clock]).history
    names = [name for name in ("rating_loss", "retrieval_loss") if name in history]
    losses = {name: [float(loss) for loss in history[name]] for name in names}
    if not np.isfinite(list(losses.values())).all():
        raise ModelRejected(f"training diverged ({losses}); lower the preset's learning_rate")
    return losses


class _Clock(tf.keras.callbacks.Callback):
    """Measures the epochs, and reports each step to `progress`."""

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
