"""What a notebook or another program calls: `recmodel.train`, `recmodel.score` and `recmodel.load`.

Settings that are not given as arguments come from conf/settings.yaml and the environment, as with the commands.
Relative paths start at the working directory. Failures are raised as `recmodel.errors`, each with the sentence and the
exit code of the command. Nothing is printed: the logger "recmodel" reports what happens. TensorFlow and Spark are
imported when a function that needs them is called.
"""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recmodel.models.versions import ModelVersion
    from recmodel.pipeline.predict import Model
    from recmodel.records import RunRecord

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
    as_of: str | date | None = None,
    gate: bool = False,
    promote: bool | None = None,
) -> ModelVersion:
    """Train a model and make it the current version of `models`, unless it is worse; the command `recmodel train`.

    Args:
        data: a MovieLens directory with ratings and movies, or the word 'sample'.
        preset: one of conf/presets.yaml or of your own (the setting `training.presets`); epochs, batch_size and
            learning_rate replace its values.
        test_share: 0: hold no ratings out, so measure nothing; otherwise see `version.metrics()`.
        as_of: use only ratings up to this time, or the end of this date in UTC.
        gate: compare with baselines too, not only with the current version; see `training.gate` in the settings.
        promote: True: make it current even if it is worse; False: don't make it current.

    Raises:
        UsageRejected: a setting is not allowed.
        InputRejected: the ratings or movies cannot be used.
        ModelRejected: training diverged, or the model is worse than the current version; it is on disk all the same.
    """
    from recmodel import settings, storage
    from recmodel.models import presets
    from recmodel.pipeline import registry
    from recmodel.pipeline import train as pipeline

    chosen = settings.load(
        paths={"data": settings.absolute_data(os.fspath(data)), "models": storage.absolute(os.fspath(models))},
        input={"as_of": as_of and str(as_of)},
        training={"preset": preset, "seed": seed, "test_share": test_share},
    )
    flags = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    trained_as = presets.load(chosen.training.preset, chosen.training.presets, **flags)
    training = pipeline.run(chosen, trained_as, baselines_too=gate, promote=promote)
    registry.record(chosen, training.version.name, promoted=training.promoted)
    training.require_passed()
    return training.version


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
    allow_future: bool = False,
    as_of: str | date | None = None,
) -> RunRecord:
    """Score every user, publish the tables below `output` and return the run's run.json; `recmodel score`.

    It starts a Spark session of its own, as `SPARK_CONF_DIR` or conf/spark-defaults.conf configures it, and ends it.

    Args:
        data: as in `train`.
        run_date: the partition to publish; today if None.
        users: a CSV or Parquet file with a column userId: only these, in a partial run, which is published in the
            folder `partial` of `output` and leaves full runs and `latest` as they are.
        model_version: a name, or MLflow's `models:/NAME@ALIAS`; None: the current one.
        allow_future: whether `run_date` may lie after tomorrow.
        as_of: use only ratings up to this time, or the end of this date in UTC; see `train`.

    Raises:
        UsageRejected: a setting is not allowed, or a Spark session exists already.
        InputRejected, ModelRejected: the input or the model cannot be used.
        ScoringFailed: nothing was published.
        AnotherRun: another process writes to `output`.
    """
    from pyspark import SparkContext

    from recmodel import settings, storage
    from recmodel.errors import UsageRejected
    from recmodel.pipeline import score as pipeline

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
    paths = {
        "data": settings.absolute_data(os.fspath(data)),
        "models": storage.absolute(os.fspath(models)),
        "output": storage.absolute(os.fspath(output)),
    }
    chosen = settings.load(paths=paths, input={"as_of": as_of and str(as_of)}, scoring=scoring)
    users_file = None if users is None else Path(storage.absolute(os.fspath(users)))
    return pipeline.run(
        chosen,
        run_date or date.today(),
        model_version=model_version,
        users_file=users_file,
        allow_future=allow_future,
    )


def load(models: AnyPath, version: str | None = None, *, another_day: bool = True) -> Model:
    """Open a version of `models`, checked against its manifest; the current one if no version is named.

    Args:
        another_day: answer as the job does, for another day than that of the newest ratings; False: for users who have
            just given them, and will go on.

    Raises:
        ModelRejected: there is none, or it is damaged.
    """
    from recmodel.models.versions import open_version
    from recmodel.pipeline.predict import Model

    return Model(open_version(os.fspath(models), version), another_day=another_day)
