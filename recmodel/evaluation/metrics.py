"""Metrics: how far predicted ratings are off, and how good ranked lists are."""

from __future__ import annotations

import numpy as np

from recmodel import schemas as c
from recmodel.evaluation.baselines import TOP_K, Predictions
from recmodel.evaluation.splits import Split


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
