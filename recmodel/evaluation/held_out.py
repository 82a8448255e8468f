"""Held out: how good a method is on ratings of which each user has one; see `newest`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recmodel import schemas as c
from recmodel.arrays import take
from recmodel.evaluation import intervals, ranking
from recmodel.evaluation.baselines import Predictions, of_biases, of_model, of_popularity
from recmodel.evaluation.intervals import Interval
from recmodel.evaluation.metrics import rating_metrics, top_k_accuracy
from recmodel.evaluation.splits import Split
from recmodel.records import BIASES, POPULARITY, Measures
from recmodel.scoring import policies

if TYPE_CHECKING:
    from recmodel.scoring.recommender import Recommender


@dataclass(frozen=True)
class Outcomes:
    """By the names of `Measures`, what each of U users adds to a measure, float64 [U].

    NaN: nothing, as the measure is not of that user. A measure that was not made is missing.
    """

    by_measure: dict[str, np.ndarray]

    def of(self, users: np.ndarray) -> Outcomes:
        """Return those of some users, given by a mask."""
        return Outcomes({name: values[users] for name, values in self.by_measure.items()})

    def value(self, measure: str) -> float:
        """Return a measure over all users."""
        return float(_finish(measure, np.nanmean(self.by_measure[measure])))

    def interval(self, measure: str) -> Interval:
        """Return the 95 % interval of a measure."""
        values = self.by_measure[measure]
        return intervals.bootstrap(values[~np.isnan(values), np.newaxis], lambda mean: _finish(measure, mean[:, 0]))

    def interval_of_difference(self, other: Outcomes, measure: str) -> Interval:
        """Return the 95 % interval of a measure minus that of another method for the same users."""
        values = np.stack([self.by_measure[measure], other.by_measure[measure]], axis=1)
        values = values[~np.isnan(values).any(axis=1)]
        return intervals.bootstrap(
            values, lambda mean: _finish(measure, mean[:, 0]) - _finish(measure, mean[:, 1])
        )  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """A method, measured."""

    measures: Measures
    outcomes: Outcomes


def of_version(model: Recommender, tasks: tuple[str, ...], split: Split, liked_from: float) -> Measured:
    """Measure a model on held-out ratings, of which each user has one.

    `top_k_accuracy` ranks the whole catalogue, as the notebook did; all else leaves out what the user had rated, as the
    published tables do.

    Args:
        liked_from: who rates a movie so high likes it, in stars; NaN for implicit feedback.
    """
    predictions = of_model(model, tasks, split)
    served, of_all = predictions, None
    if predictions.lists is not None:
        policy = policies.automatic(tasks)
        if policy != "retrieval":
            served = of_model(model, ("retrieval",), split, rank_by=policy, length=10)
        of_all = of_model(model, ("retrieval",), split, include_seen=True).lists
    measured = _measured(predictions, served, split, liked_from)
    if of_all is None:
        return measured
    return replace(measured, measures=measured.measures.model_copy(
        update={"top_k_accuracy": top_k_accuracy(of_all, split)}
    ))  # fmt: skip


def of_baselines(split: Split, liked_from: float) -> dict[str, Measured]:
    """Measure methods without a model on the same held-out ratings, by their names; biases only of ratings."""
    methods = {BIASES: of_biases} if split.rated else {}
    found = {name: method(split) for name, method in (methods | {POPULARITY: of_popularity}).items()}
    return {name: _measured(predictions, predictions, split, liked_from) for name, predictions in found.items()}


def some(split: Split, users: np.ndarray) -> Split:
    """Return the split with the held-out ratings of some users, given by a mask."""
    return replace(split, held_out=take(split.held_out, users))


def _measured(predictions: Predictions, served: Predictions, split: Split, liked_from: float) -> Measured:
    """Measure predictions.

    Args:
        served: whose lists are as they are published.
    """
    rating = split.held_out[c.RATING]
    outcomes, fields = dict[str, np.ndarray](), dict[str, Any]()
    if predictions.ratings is not None:
        fields |= rating_metrics(predictions.ratings, rating)
        outcomes["rmse"] = (predictions.ratings.astype(np.float64) - rating) ** 2
    if predictions.lists is not None and served.lists is not None:
        fields["top_k_accuracy_unseen"] = top_k_accuracy(predictions.lists, split)
        ndcg = outcomes["ndcg_at_10"] = ranking.per_user(predictions.lists, split)["ndcg@10"]
        liked = rating >= liked_from
        if liked.any():
            as_served = ndcg if served is predictions else ranking.per_user(served.lists, split)["ndcg@10"]
            outcomes["ndcg_at_10_liked"] = np.where(liked, as_served, np.nan)
    found = Outcomes(outcomes)
    for name in outcomes:
        fields[name] = found.value(name)
    bounds = {name: found.interval(name) for name in outcomes}
    return Measured(Measures(**fields, intervals=bounds or None), found)


def _finish(measure: str, mean: np.ndarray) -> np.ndarray:
    """Return a measure, of the mean of what users add to it."""
    return np.sqrt(mean) if measure == "rmse" else mean
