"""Metrics against hand-worked cases."""

from dataclasses import replace

import numpy as np
import pytest

from recmodel import schemas as c
from recmodel.evaluation import metrics
from recmodel.evaluation.baselines import Predictions


def test_rating_metrics_by_hand():
    measured = metrics.rating_metrics(np.array([4.1, 3.9, 2.0, 2.0]), np.array([5.0, 4.0, 1.0, 2.0]))
    assert measured["rmse"] == pytest.approx(np.sqrt((0.81 + 0.01 + 1 + 0) / 4))
    assert measured["mae"] == pytest.approx((0.9 + 0.1 + 1 + 0) / 4)
    # bins 4.0 (mean prediction 4.0, mean rating 4.5) and 2.0 (2.0 and 1.5), two each
    assert measured["calibration_error"] == pytest.approx(0.5)


def test_top_k_accuracy_by_hand(split):
    lists = np.array([[30, 40, 50, -1, -1], [40, 50, 20, -1, -1]])
    assert metrics.top_k_accuracy(lists, split) == {
        "1": pytest.approx(1 / 3), "5": 1.0, "10": 1.0, "50": 1.0, "100": 1.0,
    }  # fmt: skip


def test_rmse_by_movie_ratings_by_hand(split):
    """Held out: movies 30 (one fitted rating), 50 (none) and 20 (one)."""
    found = metrics.rmse_by_movie_ratings(Predictions(np.array([3.5, 2.0, 2.5])), split)
    assert found["0"] == 2
    assert found["1–2"] == pytest.approx(np.sqrt(0.25 / 2))
    assert np.isnan(found["3–5"])


def test_new_movies_are_measured_alone_by_hand(split):
    """Of the held-out movies, 50 alone has no fitted rating; its one user has it at the third place, or nowhere."""
    lists = np.array([[30, 40, 50, -1, -1], [40, 50, 20, -1, -1]])
    of_50 = split.held_out[c.USER_ID][split.held_out[c.MOVIE_ID] == 50]
    without = np.where(split.users[:, np.newaxis] == of_50, np.where(lists == 50, -1, lists), lists)
    ratings = np.array([3.5, 2.0, 2.5])
    found = metrics.new_movie_metrics(Predictions(ratings, lists), split)
    assert found == {"rmse, new movies": 2, "recall@100, new movies": 1}
    assert metrics.new_movie_metrics(Predictions(lists=without), split) == {"recall@100, new movies": 0}
    known = replace(split, fitted={name: np.append(split.fitted[name], split.held_out[name]) for name in split.fitted})
    assert metrics.new_movie_metrics(Predictions(ratings, lists), known) == {}
