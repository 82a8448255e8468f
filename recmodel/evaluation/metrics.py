"""Metrics: how far predicted ratings are off, and how good ranked lists are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recmodel import schemas as c
from recmodel.evaluation.baselines import TOP_K, Predictions, of_biases, of_model, of_popularity
from recmodel.evaluation.splits import Split
from recmodel.records import BIASES, POPULARITY, Measures, Metrics

if TYPE_CHECKING:
    from recmodel.scoring.recommender import Recommender

_MEASURED_USERS = 10_000  # enough for four digits, and done in a minute


def rating_metrics(predicted: np.ndarray, actual: np.ndarray) -> dict[str, float]:
    """Return rmse, mae and calibration_error, in stars.

    The calibration error is the mean distance between the mean prediction and the mean rating, over half-star bins of
    the prediction weighted by their size.
    """
    error = predicted.astype(np.float64) - actual
    _, bins = np.unique(np.round(predicted * 2), return_inverse=True)
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mae": float(np.mean(np.abs(error))),
        "calibration_error": float(np.abs(np.bincount(bins, error)).sum() / len(error)),
    }


def rmse_by_movie_ratings(predictions: Predictions, split: Split) -> dict[str, float]:
    """Return the RMSE on movies with 0, 1–2, 3–5, … fitted ratings; NaN where none is held out."""
    counts, _ = split.counts()
    movie = np.searchsorted(split.movie_ids, split.held_out[c.MOVIE_ID])
    assert predictions.ratings is not None
    error = predictions.ratings.astype(np.float64) - split.held_out[c.RATING]
    by_count = {}
    for low, high in ((0, 0), (1, 2), (3, 5), (6, 20), (21, np.inf)):
        errors = error[(counts[movie] >= low) & (counts[movie] <= high)]
        name = f"{low:g}" if low == high else f"{low:g}–{high:g}" if np.isfinite(high) else f"{low:g} and more"
        by_count[name] = float(np.sqrt(np.mean(errors**2))) if len(errors) else np.nan
    return by_count


def new_movie_metrics(predictions: Predictions, split: Split) -> dict[str, float]:
    """Measure what methods know of movies without a fitted rating: nothing, or their genres and years.

    Returns:
        The RMSE of their held-out ratings, and the share of the held-out pairs whose movie is among the first 100 of
        the user's list; what a method does not predict is missing. Empty if no such movie is held out.
    """
    counts, _ = split.counts()
    is_new = counts[np.searchsorted(split.movie_ids, split.held_out[c.MOVIE_ID])] == 0
    if not is_new.any():
        return {}
    metrics = {}
    if predictions.ratings is not None:
        error = predictions.ratings[is_new].astype(np.float64) - split.held_out[c.RATING][is_new]
        metrics["rmse, new movies"] = float(np.sqrt(np.mean(error**2)))
    if predictions.lists is not None:
        list_of_pair = predictions.lists[np.searchsorted(split.users, split.held_out[c.USER_ID][is_new])]
        hit = (list_of_pair[:, :100] == split.held_out[c.MOVIE_ID][is_new, np.newaxis]).any(axis=1)
        metrics["recall@100, new movies"] = float(hit.mean())
    return metrics


def top_k_accuracy(lists: np.ndarray, split: Split) -> dict[str, float]:
    """Return for each k of `TOP_K` the share of held-out pairs whose movie is among the first k of the user's list."""
    list_of_pair = lists[np.searchsorted(split.users, split.held_out[c.USER_ID])]
    hit = list_of_pair == split.held_out[c.MOVIE_ID][:, np.newaxis]
    return {str(k): float(hit[:, :k].any(axis=1).mean()) for k in TOP_K}


def held_out_metrics(model: Recommender, tasks: tuple[str, ...], split: Split) -> Metrics:
    """Measure a model on the held-out ratings of at most 10,000 users; without any only `test_rows` is set.

    `top_k_accuracy` ranks the whole catalogue, as the notebook did; `top_k_accuracy_unseen` leaves out what the user
    had rated, as the published tables do.
    """
    test_rows = len(split.held_out[c.RATING])
    if not test_rows:
        return Metrics(test_rows=0)
    split = split.of_some_users(_MEASURED_USERS)
    predictions = of_model(model, tasks, split)
    of_all = of_model(model, ("retrieval",), split, include_seen=True) if "retrieval" in tasks else Predictions()
    measures = _measures(predictions, split)
    accuracy = None if of_all.lists is None else top_k_accuracy(of_all.lists, split)
    return Metrics(
        test_rows=test_rows,
        measured_users=len(split.users),
        top_k_accuracy=accuracy,
        **measures.model_dump(exclude={"top_k_accuracy"}),
    )


def baseline_measures(split: Split) -> dict[str, Measures]:
    """Measure methods without a model on the same held-out ratings, by their names; biases only of ratings."""
    split = split.of_some_users(_MEASURED_USERS)
    methods = {BIASES: of_biases} if split.rated else {}
    return {name: _measures(of(split), split) for name, of in (methods | {POPULARITY: of_popularity}).items()}


def _measures(predictions: Predictions, split: Split) -> Measures:
    fields: dict[str, Any] = {}
    if predictions.ratings is not None:
        fields |= rating_metrics(predictions.ratings, split.held_out[c.RATING])
    if predictions.lists is not None:
        fields["top_k_accuracy_unseen"] = top_k_accuracy(predictions.lists, split)
    return Measures(**fields)
