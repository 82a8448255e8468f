"""Lists for another day: what is watched of late counts, and what followed the last movies does not."""

from dataclasses import replace

import numpy as np
import pytest
from support.exact import history_scores
from support.inputs import MOVIES
from support.training import export, trained

from recmodel.models.history import another_day
from recmodel.models.history.another_day import AnotherDay
from recmodel.scoring import popularity
from recmodel.scoring.recommender import Recommender

DAY = 86_400


def test_the_trend_is_the_share_of_late_ratings_next_to_that_of_all(monkeypatch):
    """The definition, a rating at a time; whether days are counted all at once or in parts."""
    random = np.random.default_rng(0)
    movie, time = random.integers(0, 5, 200), random.integers(0, 50, 200) * DAY + 7
    counts = np.bincount(movie, minlength=6)  # the last has no ratings
    newer = np.array([(time // DAY > t // DAY).sum() for t in time])
    of_same_day = np.array([(time // DAY == t // DAY).sum() for t in time])
    fall = another_day.LATE * len(time)
    weight = np.array(
        [np.exp(-(n + np.linspace(0, k, 2001)) / fall).mean() for n, k in zip(newer, of_same_day, strict=True)]
    )
    late = np.bincount(movie, weight, 6) * len(time) / weight.sum()
    expected = ((late + 5) / (counts + 5)) ** 1.5
    for rows in (1000, 7):
        monkeypatch.setattr(popularity, "_ROWS", rows)
        assert another_day.trend(movie, time, counts, 1.5) == pytest.approx(expected, rel=1e-3)
    assert expected[5] == 1
    assert another_day.trend(movie, time, counts, 0).tolist() == [1] * 6


def test_a_new_movie_is_as_popular_of_late_as_ever():
    before = AnotherDay(20.0, np.array([0.5, 3.0], np.float32))
    assert before.with_movies(np.array([0, 2]), 3).trend.tolist() == [0.5, 1.0, 3.0]


def test_a_model_has_lists_for_the_same_sitting_and_for_another_day(tmp_path):
    """Each against the definition, which tells them apart."""
    fitted, *_ = trained("default")
    weights = replace(fitted.weights, another_day=AnotherDay(20.0, np.array([1, 2, 4, 0.5, 3, 1], np.float32)))
    folder = tmp_path / "saved_model"
    export(weights, folder)
    seen, ratings = np.array([10, 3]), np.array([5.0, 1.0], np.float32)
    of_sitting = replace(weights, another_day=None)
    for is_another_day, by_definition in ((True, weights), (False, of_sitting)):
        model = Recommender(folder, another_day=is_another_day)
        score, rating = history_scores(by_definition, seen, ratings)
        pairs = model.predict([1] * len(MOVIES), MOVIES, [seen] * len(MOVIES), [ratings] * len(MOVIES))
        assert pairs.retrieval_score == pytest.approx(score, abs=1e-5)
        assert pairs.predicted_rating == pytest.approx(rating, abs=1e-5)
        top = model.recommend([1], [seen], [ratings], n=4)
        assert top.row[0].tolist() == sorted(np.flatnonzero(~np.isin(MOVIES, seen)), key=lambda row: -score[row])
        assert top.retrieval_score[0] == pytest.approx(score[top.row[0]], abs=1e-5)
