"""Metrics against hand-worked cases."""

from dataclasses import replace

import numpy as np
import pytest
from support.inputs import MOVIES
from support.training import train

from recmodel import schemas as c
from recmodel.evaluation import metrics
from recmodel.evaluation.baselines import Predictions
from recmodel.evaluation.splits import Split
from recmodel.models import saved_model
from recmodel.scoring import recommender


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


@pytest.mark.parametrize("preset", ["joint", "default"])
def test_metrics_are_those_of_the_held_out_rows(preset, tmp_path):
    """RMSE and top-k accuracy, computed again here by hand from what the saved model says."""
    random = np.random.RandomState(3)
    rows = [(user, movie, random.randint(1, 11) / 2, 0) for user in range(30) for movie in (1, 2, 3, 4, 10)]
    trained, fitted, held_out = train(preset, rows=rows, seed=3)
    saved_model.save(trained.towers(), tmp_path / "saved_model")
    model = recommender.Recommender(tmp_path / "saved_model")
    split = Split(fitted, held_out, MOVIES)
    measured = metrics.held_out_metrics(model, ("retrieval", "rating"), split)
    assert measured.test_rows == len(held_out[c.RATING])
    errors, hits, unseen_hits = [], [], []
    for user, movie, rating in zip(*(held_out[name] for name in (c.USER_ID, c.MOVIE_ID, c.RATING)), strict=True):
        mine = fitted[c.USER_ID] == user
        seen, ratings = fitted[c.MOVIE_ID][mine], fitted[c.RATING][mine]
        assert len(seen)
        pairs = model.predict([user] * 6, MOVIES, [seen] * 6, [ratings] * 6)
        errors.append(pairs.predicted_rating[movie == MOVIES][0] - rating)
        order = MOVIES[np.argsort(-pairs.retrieval_score, kind="stable")].tolist()
        hits.append(order.index(movie) < 5)
        unseen_hits.append([m for m in order if m not in seen].index(movie) < 1)
    assert len(errors) == len(held_out[c.RATING])
    assert measured.rmse == pytest.approx(np.sqrt(np.mean(np.square(errors))), abs=1e-5)
    assert measured.top_k_accuracy["5"] == pytest.approx(np.mean(hits))
    assert measured.top_k_accuracy_unseen["1"] == pytest.approx(np.mean(unseen_hits))
