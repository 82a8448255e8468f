"""Evaluate: a preset compared with baselines; all are fitted and measured on the same split."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import SparkSession

from recmodel import schemas as c
from recmodel.arrays import Arrays
from recmodel.data import duplicates, movielens
from recmodel.data import feedback as feedbacks
from recmodel.data import ids as identifiers
from recmodel.data.feedback import Feedback
from recmodel.evaluation import baselines, splits
from recmodel.evaluation.baselines import Predictions
from recmodel.evaluation.metrics import list_metrics, new_movie_metrics, rating_metrics, rmse_by_movie_ratings
from recmodel.models import presets, saved_model, training, versions
from recmodel.models.architectures import Preset
from recmodel.pipeline import preflight, sources
from recmodel.progress import Progress, Stages
from recmodel.records import BIASES, EXPLICIT, POPULARITY, FeedbackKind
from recmodel.schemas import Ids
from recmodel.scoring.recommender import Recommender
from recmodel.settings import Settings
from recmodel.spark import session

_EASE_MOVIES = 20_000  # the most whose item-item matrix is inverted


@dataclass(frozen=True)
class Request:
    """What to evaluate."""

    preset_names: tuple[str, ...]
    split: str  # one of `splits.KINDS`
    rows: int | None = None  # of the random split, use only the first rows
    seeds: int = 1  # train this often
    baselines: bool = True
    cold_start: bool = False


@dataclass(frozen=True)
class Evaluation:
    """What came out, one row per method and seed; also written to the output folder."""

    metrics: pd.DataFrame
    fitted: int  # ratings, or interactions
    held_out: int
    cold_users: pd.DataFrame | None = None  # by how many of their ratings are shown
    cold_movies: pd.DataFrame | None = None  # RMSE by how many ratings of the movie were fitted
    new_movies: int = 0  # of the catalogue without a fitted rating
    held_out_of_new: int = 0  # ratings
    feedback: FeedbackKind = EXPLICIT


def run(settings: Settings, request: Request, folder: Path, stages: Stages | None = None) -> Evaluation:
    """Evaluate presets and baselines; write evaluation.json and .parquet to `folder`."""
    stages = stages or Stages()
    preflight.check(settings, spark=True, output=str(folder))
    with stages("read ratings and movies"):
        directory = sources.input_dir(settings.paths.data, settings.paths.sample, settings.input)
        feedback = feedbacks.decide(directory, settings.input)
        chosen = {name: presets.for_feedback(presets.load(name), name, feedback.kind) for name in request.preset_names}
        ids, current = identifiers.decide(directory, settings.input), versions.open_current(settings.paths.models)
        known = current.catalogue() if current and current.ids == ids else None
        catalogue, table, _ = movielens.read(directory, settings.input, known, feedback, ids)
        table, catalogue, labels = identifiers.number(table, catalogue)

    with stages("start Spark"):
        spark = session.start("recmodel evaluate")
    ratings = duplicates.combined(table, add_up=feedback.is_implicit)
    split = splits.make(
        request.split,
        ratings,
        catalogue.column(c.MOVIE_ID).to_numpy(),
        test_share=settings.training.test_share,
        seed=settings.training.seed,
        limit=request.rows,
        rated=not feedback.is_implicit,
        labels=labels,
    )
    bench = _Bench(spark, split, ratings, catalogue, settings.training.seed, feedback, ids)
    first: Predictions | None = None  # of the first preset

    for name in request.preset_names:
        preset = chosen[name]
        for seed in range(request.seeds):
            with stages(f"train and measure {name}, seed {seed}") as progress:
                predictions = bench.measure_preset(name, preset, seed, progress)
                first = first or predictions
    if request.baselines:
        with stages("fit and measure the baselines"):
            bench.measure_baselines()
    metrics = pd.DataFrame(bench.rows)
    folder.mkdir(parents=True, exist_ok=True)
    metrics.to_parquet(folder / "evaluation.parquet", index=False)
    rows = json.loads(metrics.to_json(orient="records"))
    (folder / "evaluation.json").write_text(json.dumps(rows, indent=2) + "\n")

    users = movies = None
    if request.cold_start:
        with stages("measure cold start"):
            assert first is not None
            users, movies = bench.cold_start(chosen[request.preset_names[0]], first)
        users.to_parquet(folder / "cold_users.parquet", index=False)
        if movies is not None:
            movies.to_parquet(folder / "cold_movies.parquet", index=False)
    session.stop(spark)
    counts, _ = split.counts()
    of_new = int((counts[np.searchsorted(split.movie_ids, split.held_out[c.MOVIE_ID])] == 0).sum())
    return Evaluation(
        metrics, len(split.fitted[c.RATING]), len(split.held_out[c.RATING]), users, movies, int((counts == 0).sum()),
        of_new, feedback.kind,
    )  # fmt: skip


class _Bench:
    """A split, and the rows of what was measured on it."""

    def __init__(
        self,
        spark: SparkSession,
        split: splits.Split,
        ratings: Arrays,
        catalogue: pa.Table,
        seed: int,
        feedback: Feedback,
        ids: Ids,
    ) -> None:
        self.rows: list[dict[str, Any]] = []
        self._spark, self._split, self._ratings = spark, split, ratings
        self._catalogue, self._seed, self._feedback, self._ids = catalogue, seed, feedback, ids

    def measure_preset(self, name: str, preset: Preset, seed: int, progress: Progress) -> Predictions:
        """Train a preset and measure it; return its predictions."""
        model, trained = self._train(self._split, preset, seed, progress)
        predictions = baselines.of_model(model, preset.tasks, self._split)
        speed = {"train s": trained.seconds, "examples/s": trained.examples_per_second}
        self._measure(name, predictions, seed, speed)
        return predictions

    def measure_baselines(self) -> None:
        """Fit and measure every baseline that the size of the catalogue allows."""
        self._measure(POPULARITY, baselines.of_popularity(self._split))
        if self._split.rated:
            self._measure(BIASES, baselines.of_biases(self._split))
        self._measure("ALS (Spark)", baselines.of_als(self._spark, self._split))
        if len(self._split.movie_ids) <= _EASE_MOVIES:
            self._measure("EASE", baselines.of_ease(self._split))

    def cold_start(self, preset: Preset, warm: Predictions) -> tuple[pd.DataFrame, pd.DataFrame | None]:
        """Measure users unknown in training by their shown ratings, and RMSE by the movie's fitted ratings, if any.

        Args:
            warm: the preset's predictions for the bench's own split.
        """
        rated = self._split.rated
        base, histories = splits.cold_users(
            self._ratings, self._split.movie_ids, seed=self._seed, rated=rated, labels=self._split.labels
        )
        model, _ = self._train(base, preset, 0)
        by_user, given = [], "ratings given" if rated else "interactions given"
        for count, split in histories.items():
            methods = {
                "model": baselines.of_model(model, preset.tasks, split),
                POPULARITY: baselines.of_popularity(split),
                **({BIASES: baselines.of_biases(split)} if rated else {}),
            }
            for name, predictions in methods.items():
                row: dict[str, Any] = {given: count, "method": name}
                if predictions.ratings is not None:
                    row["rmse"] = rating_metrics(predictions.ratings, split.held_out[c.RATING])["rmse"]
                if predictions.lists is not None:
                    lists = list_metrics(self._spark, predictions.lists, split)
                    row |= {metric: lists[metric] for metric in ("recall@10", "ndcg@10", "recall@100")}
                by_user.append(row)
        of_ratings = {"model": warm, **({BIASES: baselines.of_biases(self._split)} if rated else {})}
        by_movie = [
            {"method": name, **rmse_by_movie_ratings(predictions, self._split)}
            for name, predictions in of_ratings.items()
            if predictions.ratings is not None
        ]
        return pd.DataFrame(by_user), pd.DataFrame(by_movie) if by_movie else None

    def _measure(
        self, name: str, predictions: Predictions, seed: int = 0, speed: dict[str, float] | None = None
    ) -> None:
        row: dict[str, Any] = {"method": name, "seed": seed, **(speed or {})}
        if predictions.ratings is not None:
            row |= rating_metrics(predictions.ratings, self._split.held_out[c.RATING])
        if predictions.lists is not None:
            row |= list_metrics(self._spark, predictions.lists, self._split)
        row |= new_movie_metrics(predictions, self._split)
        self.rows.append(row)

    def _train(
        self, split: splits.Split, preset: Preset, seed: int, progress: Progress | None = None
    ) -> tuple[Recommender, training.Trained]:
        """Train, export and load again, so that what is measured is what would be served."""
        trained = training.train(
            split.fitted,
            np.unique(self._ratings[c.USER_ID]),
            self._catalogue,
            preset,
            seed=seed,
            rating_range=self._feedback.rating_range,
            progress=progress,
        )
        with tempfile.TemporaryDirectory() as scratch:
            saved_model.save(trained.towers(), Path(scratch) / "saved_model", self._ids, split.labels)
            return Recommender(Path(scratch) / "saved_model"), trained
