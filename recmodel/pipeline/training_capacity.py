"""Capacity of training: what `train` takes for any number of ratings, from runs that are measured on this machine.

They train on users like the real ones, few and more of them, in processes of their own. Between two of them, and beyond
the last,

    seconds = a line in the ratings, for all but the epochs, + epochs × another for one epoch
    memory = a line in the ratings

The runs are on all cores of this machine, and so is what is forecast.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from recmodel import formatting
from recmodel import schemas as c
from recmodel.data import feedback as feedbacks
from recmodel.data import ids as identifiers
from recmodel.data import movielens
from recmodel.data.validation import Validation
from recmodel.errors import EXIT_CODES, ModelRejected
from recmodel.models import versions
from recmodel.pipeline import capacity, preflight, registry, sources
from recmodel.records import Metrics
from recmodel.settings import Settings

# Ratings of the runs. Up to the second, an epoch gets more gradient steps with more ratings, and beyond it larger ones.
# The last two are far apart, as a line through both extends their noise.
RUNS = (1_000_000, 6_000_000, 16_000_000)
_EPOCHS = 2  # TensorFlow traces the step in the first


class Run(NamedTuple):
    """What one `recmodel train` of some epochs used."""

    ratings: int
    seconds: float  # of the command, without the epochs but with TensorFlow's tracing
    peak_mib: float
    epoch_seconds: float  # of one epoch, of both fits if there are two


class Forecast(NamedTuple):
    """What training would take."""

    seconds: float
    epoch_seconds: float  # of these
    peak_mib: float


def forecast(runs: Sequence[Run], ratings: int, epochs: int) -> Forecast:
    """Return what training on that many ratings takes.

    Args:
        runs: at least two, ascending by ratings.
    """
    few, more = next((pair for pair in pairwise(runs) if ratings <= pair[1].ratings), runs[-2:])

    def line(name: str) -> float:
        low, high = getattr(few, name), getattr(more, name)
        return max(low, low + (high - low) / (more.ratings - few.ratings) * (ratings - few.ratings))

    epoch_seconds = epochs * line("epoch_seconds")
    return Forecast(line("seconds") + epoch_seconds, epoch_seconds, line("peak_mib"))


def measure(settings: Settings) -> list[Run]:
    """Train on few ratings and on more of them, as `recmodel train` does; return the runs, ascending by ratings.

    Raises:
        InputRejected: see `movielens`.
        ModelRejected: a run failed.
    """
    preflight.check(settings)
    folder = sources.input_dir(settings.paths.data, settings.paths.sample, settings.input)
    validation = Validation(settings.input, identifiers.decide(folder, settings.input))
    catalogue = movielens.read_catalogue(folder, validation)
    feedback = feedbacks.decide(folder, settings.input)
    batches = movielens.stream_ratings(folder, catalogue, validation, feedback)
    ratings = capacity.some_users(batches, movielens.count_ratings(folder), capacity.RATINGS)
    ratings, numbered, _ = identifiers.number(ratings, catalogue)
    movie_ids = numbered.column(c.MOVIE_ID).to_numpy()
    mean = ratings.num_rows / len(np.unique(ratings.column(c.USER_ID)))
    value = settings.input.weight if feedback.is_implicit else c.RATING
    runs = []
    with tempfile.TemporaryDirectory(prefix="recmodel-capacity-") as scratch:
        for count in RUNS:
            data = Path(scratch, f"{count}-ratings")
            users = max(1, round(count / mean))
            capacity.write_users(data, ratings, movie_ids, movie_ids, users, value, c.INTEGER)
            pa.default_memory_pool().release_unused()
            runs.append(_train(data, Path(scratch, f"models-{count}"), settings))
    return runs


def _train(data: Path, models: Path, settings: Settings) -> Run:
    """Run `recmodel train` on a directory, watched."""
    command = [
        sys.executable, "-m", "recmodel", "train", "--data", str(data), "--models", str(models),
        "--preset", settings.training.preset, "--epochs", str(_EPOCHS), "--promote",
        *(["--presets", settings.training.presets] if settings.training.presets else []),
    ]  # fmt: skip
    started = time.monotonic()
    environment = registry.switched_off(preflight.without_working_directory())
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # KiB, of the largest child so far: the last one
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        how = last if last and done.returncode in EXIT_CODES else f"it {formatting.ending(done.returncode)}"
        raise ModelRejected(f"a run to measure failed: {how}")
    metrics: Metrics = versions.open_version(models).metrics()
    epoch = min(metrics.epoch_seconds) * (1 + metrics.refit)
    return Run(
        ratings=metrics.input_rows, seconds=seconds - _EPOCHS * epoch,
        peak_mib=peak / 1024, epoch_seconds=epoch,
    )  # fmt: skip
