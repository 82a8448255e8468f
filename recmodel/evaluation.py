"""Evaluation: a model as it is served, beside baselines that need no learning, on the same held-out ratings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recmodel import columns as c
from recmodel.serving import Recommender
from recmodel.training import TOP_K, Arrays


@dataclass(frozen=True)
class Quality:
    """One row of the comparison; None where a method does not do the task."""

    name: str
    rmse: float | None  # stars
    mae: float | None  # stars
    top_k_accuracy: dict[int, float] | None


def of_model(name: str, model: Recommender, tasks: tuple[str, ...], held_out: Arrays) -> Quality:
    """The quality of a served model; the lists it is judged by may hold seen movies."""
    rmse = mae = top = None
    if "rating" in tasks:
        predicted = model.predict(held_out[c.USER_ID], held_out[c.MOVIE_ID]).predicted_rating
        rmse, mae = _errors(predicted, held_out)
    if "retrieval" in tasks:
        users, row = np.unique(held_out[c.USER_ID], return_inverse=True)
        nothing = [np.empty(0, np.int64)] * len(users)
        lists = model.recommend(users, nothing, nothing, n=max(TOP_K), include_seen=True).movie_id
        top = _top_k_accuracy(lists[row], held_out[c.MOVIE_ID])
    return Quality(name, rmse, mae, top)


def of_biases(fitted: Arrays, held_out: Arrays, damping: float = 5.0) -> Quality:
    """The overall mean plus a bias of each movie and of each user, each damped towards 0.

    Source: Koren, Bell and Volinsky, "Matrix Factorization Techniques for Recommender Systems", 2009, equation 3,
    with the biases estimated one after the other.
    """
    mean = fitted[c.RATING].mean(dtype=np.float64)
    movie_bias = _damped_means(fitted[c.MOVIE_ID], fitted[c.RATING] - mean, damping)
    rest = fitted[c.RATING] - mean - _look_up(movie_bias, fitted[c.MOVIE_ID])
    user_bias = _damped_means(fitted[c.USER_ID], rest, damping)
    predicted = mean + _look_up(movie_bias, held_out[c.MOVIE_ID]) + _look_up(user_bias, held_out[c.USER_ID])
    return Quality("mean and biases", *_errors(predicted, held_out), None)


def of_popularity(fitted: Arrays, held_out: Arrays) -> Quality:
    """The most rated movies, the same for everybody."""
    ids, counts = np.unique(fitted[c.MOVIE_ID], return_counts=True)
    best = ids[np.lexsort((ids, -counts))][: max(TOP_K)]
    lists = np.broadcast_to(best, (len(held_out[c.MOVIE_ID]), len(best)))
    return Quality("popularity", None, None, _top_k_accuracy(lists, held_out[c.MOVIE_ID]))


def _errors(predicted: np.ndarray, held_out: Arrays) -> tuple[float, float]:
    error = predicted.astype(np.float64) - held_out[c.RATING]
    return float(np.sqrt(np.mean(error**2))), float(np.mean(np.abs(error)))


def _top_k_accuracy(lists: np.ndarray, wanted: np.ndarray) -> dict[int, float]:
    """For each k the share of pairs whose movie is among the first k of its list."""
    hit = lists == wanted[:, np.newaxis]
    return {k: float(hit[:, :k].any(axis=1).mean()) for k in TOP_K}


def _damped_means(keys: np.ndarray, values: np.ndarray, damping: float) -> tuple[np.ndarray, np.ndarray]:
    """Sorted keys, and for each the sum of its values over (their number + damping)."""
    unique, row = np.unique(keys, return_inverse=True)
    return unique, np.bincount(row, values) / (np.bincount(row) + damping)


def _look_up(means: tuple[np.ndarray, np.ndarray], keys: np.ndarray) -> np.ndarray:
    """The mean of each key, 0 for one that is not there."""
    unique, mean = means
    row = np.searchsorted(unique, keys).clip(max=len(unique) - 1)
    return np.where(unique[row] == keys, mean[row], 0.0)
