"""Evaluate: a preset compared with baselines; all are fitted and measured on the same split."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import SparkSession

from recmodel import schemas as c
from recmodel.arrays import Arrays
from recmodel.data import duplicates, histories, movielens
from recmodel.data import feedback as feedbacks
from recmodel.data import ids as identifiers
from recmodel.data.feedback import Feedback
from recmodel.errors import UsageRejected
from recmodel.evaluation import baselines, intervals, peers, ranking, segments, splits
from recmodel.evaluation.baselines import Predictions
from recmodel.evaluation.metrics import new_movie_metrics, rating_metrics, rmse_by_movie_ratings
from recmodel.models import presets, saved_model, training, versions
from recmodel.models.architectures import Preset
from recmodel.pipeline import preflight, sources
from recmodel.progress import Progress, Stages, log
from recmodel.records import BIASES, EXPLICIT, POPULARITY, FeedbackKind
from recmodel.schemas import Ids
from recmodel.scoring.recommender import Recommender
from recmodel.settings import Settings
from recmodel.spark import session

_EASE_MOVIES = 20_000  # the most whose item-item matrix is inverted
_EASE_RECENCY = 0.1, 3.0  # the floor and decay that did best on ml-latest-small (validation)
_WITH_INTERVALS = ("recall@10", "ndcg@10", "recall@100", "ndcg@100", "mrr")


@dataclass(frozen=True)
class Request:
    """What to evaluate."""

    preset_names: tuple[str, ...]
    split: str  # one of `splits.KINDS`
    rows: int | None = None  # of the random split, use only the first rows
    seeds: int = 1  # train this often
    splits: int = 1  # measure on so many splits; see `splits.make`
    vary: tuple[tuple[str, tuple[str, ...]], ...] = ()  # a field of the presets, and further values of it to measure
    rank_by: tuple[str, ...] = ("retrieval",)  # the ranking policies whose lists are measured
    baselines: bool = True
    peers: bool = False  # also those of `evaluation.peers` that are installed
    lists: tuple[Path, ...] = ()  # files of lists that were made elsewhere
    split_folder: Path | None = None  # where to write the split, for these methods
    cold_start: bool = False
    relevant_from: float | None = None  # only held-out movies rated so high are to be recommended; None: all are


@dataclass(frozen=True)
class Evaluation:
    """What came out; also written to the output folder."""

    metrics: pd.DataFrame  # a row per method, split and seed
    intervals: pd.DataFrame  # a row per method and metric, of the first split
    segments: pd.DataFrame  # a row per segment and method, of the first split
    fitted: int  # ratings, or interactions, of the first split
    held_out: int
    cold_users: pd.DataFrame | None = None  # by how many of their ratings are shown
    cold_movies: pd.DataFrame | None = None  # RMSE by how many ratings of the movie were fitted
    new_movies: int = 0  # of the catalogue without a fitted rating
    held_out_of_new: int = 0  # ratings
    feedback: FeedbackKind = EXPLICIT
    misjudged: tuple[str, ...] = ()  # presets for what is watched next, while ratings of any time were held out


@dataclass(frozen=True)
class Input:
    """Ratings to split, and what they are of."""

    ratings: Arrays  # one per (user, movie)
    catalogue: pa.Table  # `schemas.CATALOGUE`, with the ids of the input or their numbers
    labels: identifiers.Labels  # what the numbers stand for
    ids: Ids
    feedback: Feedback

    @property
    def movie_ids(self) -> np.ndarray:
        """[M] int64, ascending."""
        return self.catalogue.column(c.MOVIE_ID).to_numpy()


def read(settings: Settings) -> Input:
    """Read ratings and movies, with the movies that the current version, too, knows.

    Raises:
        InputRejected: see `movielens`.
    """
    directory = sources.input_dir(settings.paths.data, settings.paths.sample, settings.input)
    feedback = feedbacks.decide(directory, settings.input)
    ids, current = identifiers.decide(directory, settings.input), versions.open_current(settings.paths.models)
    known = current.catalogue() if current and current.ids == ids else None
    catalogue, table, _ = movielens.read(directory, settings.input, known, feedback, ids)
    table, catalogue, labels = identifiers.number(table, catalogue)
    return Input(duplicates.combined(table, add_up=feedback.is_implicit), catalogue, labels, ids, feedback)


def run(settings: Settings, request: Request, folder: Path, stages: Stages | None = None) -> Evaluation:
    """Evaluate presets and baselines; write evaluation.json and tables as Parquet to `folder`.

    Raises:
        InputRejected: see `movielens`.
        UsageRejected: no preset of that name, or no such field of it; or what is asked for does not fit the split, or
            an input without ratings or times.
    """
    if request.rows is not None and request.split != "random":
        raise UsageRejected("--rows are of the random split; add --split random")
    stages = stages or Stages()
    preflight.check(settings, spark=True, output=str(folder))
    with stages("read ratings and movies"):
        found = read(settings)
        if request.relevant_from is not None and found.feedback.is_implicit:
            raise UsageRejected("--relevant is a rating, and this input has none; leave it out")
        if request.split not in splits.OF_ANY_TIME and not histories.have_order(found.ratings[c.TIMESTAMP]):
            raise UsageRejected(f"--split {request.split} goes by time, and this input has none; give --split random")
        chosen = _chosen(request, settings, found.feedback.kind)

    with stages("start Spark"):
        spark = session.start("recmodel evaluate")
    benches = []
    for number in range(request.splits):
        split = splits.make(
            request.split,
            found.ratings,
            found.movie_ids,
            test_share=settings.training.test_share,
            seed=settings.training.seed,
            limit=request.rows,
            rated=not found.feedback.is_implicit,
            labels=found.labels,
            relevant_from=request.relevant_from,
            number=number,
        )
        if request.split_folder is not None and not number:
            splits.write(split, request.split_folder)
        benches.append(_Bench(spark, split, found, settings.training.seed, number))
        _measure_all(benches[-1], request, chosen, stages)
    with stages("compare"):
        bench, split = benches[0], benches[0].split
        metrics = pd.DataFrame(row for of_split in benches for row in of_split.rows)
        of_segments, of_users = bench.segments(), bench.intervals()
    folder.mkdir(parents=True, exist_ok=True)
    metrics.to_parquet(folder / "evaluation.parquet", index=False)
    of_users.to_parquet(folder / "intervals.parquet", index=False)
    of_segments.to_parquet(folder / "segments.parquet", index=False)
    rows = json.loads(metrics.to_json(orient="records"))
    (folder / "evaluation.json").write_text(json.dumps(rows, indent=2) + "\n")

    users = movies = None
    if request.cold_start:
        with stages("measure cold start"):
            users, movies = bench.cold_start(next(iter(chosen.values())))
        users.to_parquet(folder / "cold_users.parquet", index=False)
        if movies is not None:
            movies.to_parquet(folder / "cold_movies.parquet", index=False)
    session.stop(spark)
    counts, _ = split.counts()
    of_new = int((counts[np.searchsorted(split.movie_ids, split.held_out[c.MOVIE_ID])] == 0).sum())
    return Evaluation(
        metrics, of_users, of_segments, len(split.fitted[c.RATING]), len(split.held_out[c.RATING]), users, movies,
        int((counts == 0).sum()), of_new, found.feedback.kind,
        tuple(bench.for_what_is_next) if request.split in splits.OF_ANY_TIME else (),
    )  # fmt: skip


def _chosen(request: Request, settings: Settings, kind: FeedbackKind) -> dict[str, Preset]:
    """Return the presets to measure by name, with the values that are to be varied."""
    chosen = {}
    for name in request.preset_names:
        chosen[name] = presets.load(name, settings.training.presets)
        for field, values in request.vary:
            for value in values:
                chosen[f"{name}, {field} {value}"] = presets.load(name, settings.training.presets, **{field: value})
    return {name: presets.for_feedback(preset, name, kind) for name, preset in chosen.items()}


def _measure_all(bench: _Bench, request: Request, chosen: dict[str, Preset], stages: Stages) -> None:
    """Fit and measure all that was asked for on one split."""
    on = f" on split {bench.number}" if request.splits > 1 else ""
    for name, preset in chosen.items():
        for seed in range(request.seeds):
            with stages(f"train and measure {name}, seed {seed}{on}") as progress:
                bench.measure_preset(name, preset, request.rank_by, seed, progress)
    if request.baselines:
        with stages(f"fit and measure the baselines{on}"):
            bench.measure_baselines()
    if request.peers:
        there, missing = peers.installed()
        if missing and not bench.number:
            log.warning("not compared with %s: install the extra `peers` of recmodel", ", ".join(missing))
        for name in there:
            with stages(f"fit and measure {name}{on}"):
                bench.measure_peer(name)
    if not bench.number:  # which lists made elsewhere are for
        for path in request.lists:
            bench.measure_lists(path)


class _Measured(NamedTuple):
    """Predictions of a method, and how good its lists are for each user."""

    predictions: Predictions
    per_user: dict[str, np.ndarray] | None  # see `ranking.per_user`; None: it makes no lists


class _Bench:
    """A split, and the rows of what was measured on it.

    Args:
        number: of the split, if there are several.
    """

    def __init__(self, spark: SparkSession, split: splits.Split, found: Input, seed: int, number: int = 0) -> None:
        self.rows: list[dict[str, Any]] = []
        self.split, self.number, self._spark, self._input, self._seed = split, number, spark, found, seed
        self._first_seeds: dict[str, _Measured] = {}  # by method
        self.for_what_is_next: list[str] = []  # presets whose models go by the order of ratings

    def measure_preset(
        self, name: str, preset: Preset, rank_by: tuple[str, ...], seed: int, progress: Progress
    ) -> None:
        """Train a preset and measure it by each policy that it is trained for."""
        model, trained = train(self._input, self.split, preset, seed, progress)
        if model.needs_order and name not in self.for_what_is_next:
            self.for_what_is_next.append(name)
        speed = {"train s": trained.seconds, "examples/s": trained.examples_per_second}
        for policy in rank_by:
            predictions = baselines.of_model(model, preset.tasks, self.split, rank_by=policy)
            self._measure(name if policy == rank_by[0] else f"{name}, {policy}", predictions, seed, speed)

    def measure_baselines(self) -> None:
        """Fit and measure every baseline that the split and the size of the catalogue allow."""
        split = self.split
        self._measure(POPULARITY, baselines.of_popularity(split))
        if split.rated:
            self._measure(BIASES, baselines.of_biases(split))
        if split.shown is None:  # ALS knows nothing of users whose ratings were not fitted
            self._measure("ALS (Spark)", baselines.of_als(self._spark, split))
        if len(split.movie_ids) > _EASE_MOVIES:
            return
        weights = baselines.ease_weights(split)
        self._measure("EASE", baselines.of_ease(split, weights))
        self._measure("EASE, recent", baselines.of_ease(split, weights, recency=_EASE_RECENCY))
        if split.relevant_from is not None:
            weights = baselines.ease_weights(split, liked_from=split.relevant_from)
            self._measure("EASE, liked", baselines.of_ease(split, weights, split.relevant_from))

    def measure_peer(self, name: str) -> None:
        """Fit and measure one of `peers.PEERS`."""
        _, predict = peers.PEERS[name]
        self._measure(name, predict(self.split))

    def measure_lists(self, path: Path) -> None:
        """Measure lists that were made elsewhere, by a method that the file is named after."""
        self._measure(path.stem, baselines.of_file(path, self.split))

    def intervals(self) -> pd.DataFrame:
        """Return measures of each method with their 95 % intervals, and their differences from the first method's."""
        sums = {
            (metric, method): of_users
            for method, measured in self._first_seeds.items()
            for metric, of_users in self._per_user(measured)
        }
        first, rows = next(iter(self._first_seeds)), []
        for (metric, method), of_users in sums.items():
            of_means = _root_of_ratio if metric == "rmse" else _ratio
            rows.append({"method": method, "metric": metric, **_interval(of_users, of_means)})
            of_first = sums.get((metric, first))
            if method != first and of_first is not None:
                both = np.hstack([of_users, of_first])
                found = _interval(both, partial(_difference, of_means))
                rows[-1] |= {f"difference {name}": value for name, value in found.items()}
        return pd.DataFrame(rows)

    def segments(self) -> pd.DataFrame:
        """Return measures of each method for segments of users and movies."""
        found = segments.of(self.split, self._input.catalogue)
        return pd.DataFrame(
            {**row, "method": method}
            for method, measured in self._first_seeds.items()
            for row in segments.measure(*measured, self.split, found)
        )

    def _per_user(self, measured: _Measured) -> Iterator[tuple[str, np.ndarray]]:
        """Yield metric and [U, 2]: for each user the sum that its mean is made of, and of how many values it is."""
        split, predictions = self.split, measured.predictions
        for metric, values in (measured.per_user or {}).items():
            if metric in _WITH_INTERVALS:
                yield metric, np.stack([np.nan_to_num(values), ~np.isnan(values)], axis=1)
        if predictions.ratings is not None:
            user = np.searchsorted(split.users, split.held_out[c.USER_ID])
            error = predictions.ratings.astype(np.float64) - split.held_out[c.RATING]
            yield "rmse", np.stack([np.bincount(user, error**2), np.bincount(user)], axis=1)

    def cold_start(self, preset: Preset) -> tuple[pd.DataFrame, pd.DataFrame | None]:
        """Measure users unknown in training by their shown ratings, and RMSE by the movie's fitted ratings, if any.

        Args:
            preset: the one that was measured first.
        """
        rated = self.split.rated
        base, histories = splits.cold_users(
            self._input.ratings, self.split.movie_ids, seed=self._seed, rated=rated, labels=self.split.labels
        )
        model, _ = train(self._input, base, preset, 0)
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
                    lists = ranking.per_user(predictions.lists, split)
                    row |= {metric: np.nanmean(lists[metric]) for metric in ("recall@10", "ndcg@10", "recall@100")}
                by_user.append(row)
        warm = next(iter(self._first_seeds.values())).predictions
        of_ratings = {"model": warm, **({BIASES: baselines.of_biases(self.split)} if rated else {})}
        by_movie = [
            {"method": name, **rmse_by_movie_ratings(predictions, self.split)}
            for name, predictions in of_ratings.items()
            if predictions.ratings is not None
        ]
        return pd.DataFrame(by_user), pd.DataFrame(by_movie) if by_movie else None

    def _measure(
        self, name: str, predictions: Predictions, seed: int = 0, speed: dict[str, float] | None = None
    ) -> None:
        row: dict[str, Any] = {"method": name, "split": self.number, "seed": seed, **(speed or {})}
        of_users = None
        if predictions.ratings is not None:
            row |= rating_metrics(predictions.ratings, self.split.held_out[c.RATING])
        if predictions.lists is not None:
            of_users = ranking.per_user(predictions.lists, self.split)
            row |= {metric: float(np.nanmean(values)) for metric, values in of_users.items()}
            row |= ranking.of_lists(predictions.lists, self.split)
        row |= new_movie_metrics(predictions, self.split)
        self.rows.append(row)
        self._first_seeds.setdefault(name, _Measured(predictions, of_users))


def train(
    found: Input, split: splits.Split, preset: Preset, seed: int, progress: Progress | None = None
) -> tuple[Recommender, training.Trained]:
    """Train on the fitted part of a split, export and load again, so that what is measured is what would be served."""
    trained = training.train(
        split.fitted,
        np.unique(found.ratings[c.USER_ID]),
        found.catalogue,
        preset,
        seed=seed,
        rating_range=found.feedback.rating_range,
        progress=progress,
    )
    with tempfile.TemporaryDirectory() as scratch:
        saved_model.save(trained.towers(), Path(scratch, "saved_model"), found.ids, split.labels)
        return baselines.open_model(Path(scratch, "saved_model"), preset.architecture, split), trained


def _ratio(means: np.ndarray) -> np.ndarray:
    return means[:, 0] / means[:, 1]


def _root_of_ratio(means: np.ndarray) -> np.ndarray:
    return np.sqrt(_ratio(means))


def _difference(of: Callable[[np.ndarray], np.ndarray], means: np.ndarray) -> np.ndarray:
    return of(means[:, :2]) - of(means[:, 2:])


def _interval(of_users: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
    """Return the value of a statistic of means over users, and the ends of its interval."""
    low, high = intervals.bootstrap(of_users, statistic)
    return {"value": float(statistic(of_users.mean(axis=0, keepdims=True))[0]), "low": low, "high": high}
