"""What a notebook or another program calls: `recmodel.train`, `recmodel.score` and `recmodel.load`.

Takes paths and a few settings; what is not given comes from conf/settings.yaml and the environment, as in the commands.
Relative paths start at the working directory. Failures are raised as `recmodel.errors`, each with the sentence and the
exit code of the command. TensorFlow and Spark are imported when a function that needs them is called.
"""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recmodel.models.versions import ModelVersion
    from recmodel.pipeline.predict import Model

AnyPath = str | os.PathLike[str]


def train(
    data: AnyPath,
    models: AnyPath,
    *,
    preset: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int | None = None,
    test_share: float | None = None,
    gate: bool = False,
) -> ModelVersion:
    """Trains a model, makes it the current version of `models` and gives it; the command `recmodel train`.

    Args:
        data: a MovieLens directory with ratings and movies, or the word 'sample'.
        preset: one of conf/presets.yaml; epochs, batch_size and learning_rate replace what it says.
        test_share: of the ratings, held out to measure the model: see `version.metrics()`.
        gate: make it current only if it is good enough; see `training.gate` in the settings.

    Raises:
        UsageRejected: a setting cannot be.
        InputRejected: the ratings or movies cannot be used.
        ModelRejected: training diverged, or the model did not pass the gate; it is on disk all the same.
    """
    from recmodel import settings
    from recmodel.jobs.train import run

    chosen = settings.load(
        paths={"data": _data(data), "models": _absolute(models)},
        training={"preset": preset, "seed": seed, "test_share": test_share},
    )
    flags = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    return run(chosen, settings.preset(chosen.training.preset, **flags), gate=gate)


def score(
    data: AnyPath,
    models: AnyPath,
    output: AnyPath,
    *,
    run_date: date | None = None,
    top_n: int | None = None,
    rank_by: str | None = None,
    candidates: int | None = None,
    include_seen: bool | None = None,
    predicted_ratings: str | None = None,
    min_history: int | None = None,
    users: AnyPath | None = None,
    model_version: str | None = None,
) -> dict[str, Any]:
    """Scores every user, publishes the tables below `output` and gives the run's run.json; `recmodel score`.

    It starts a Spark session of its own, as `SPARK_CONF_DIR` or conf/spark-defaults.conf says, and ends it.

    Args:
        data: as in `train`.
        run_date: the partition to publish; today if None.
        users: a CSV or Parquet file with a column userId: only these.
        model_version: None: the current one.

    Raises:
        UsageRejected: a setting cannot be, or a Spark session is there already.
        InputRejected, ModelRejected: the input or the model cannot be used.
        ScoringFailed: nothing was published.
        AnotherRun: another process writes to `output`.
    """
    from pyspark import SparkContext

    from recmodel import settings
    from recmodel.errors import UsageRejected
    from recmodel.jobs.score_all import run

    if SparkContext._active_spark_context is not None:
        raise UsageRejected("Spark is running in this process already; end its session first: spark.stop()")
    scoring = {
        "top_n": top_n,
        "rank_by": rank_by,
        "candidates": candidates,
        "include_seen": include_seen,
        "predicted_ratings": predicted_ratings,
        "min_history": min_history,
    }
    paths = {"data": _data(data), "models": _absolute(models), "output": _absolute(output)}
    chosen = settings.load(paths=paths, scoring=scoring)
    users_file = None if users is None else Path(_absolute(users))
    return run(chosen, run_date or date.today(), model_version=model_version, users_file=users_file)


def load(models: AnyPath, version: str | None = None) -> Model:
    """A version of `models`, checked against its manifest and in memory; the current one if no version is named.

    Raises:
        ModelRejected: there is none, or it is damaged.
    """
    from recmodel.models import versions
    from recmodel.pipeline.predict import Model

    return Model(versions.open_version(os.fspath(models), version))


def _absolute(path: AnyPath) -> str:
    from recmodel.cli import options

    return options.absolute(os.fspath(path))


def _data(data: AnyPath) -> str:
    from recmodel.cli import options

    return options.of_data(os.fspath(data))
