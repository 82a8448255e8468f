"""Evaluation: splits and metrics against hand-worked cases."""

import numpy as np
import pytest
from test_training import table

from recmodel import schemas as c
from recmodel.evaluation import evaluation
from recmodel.models import training

MOVIES = np.array([10, 20, 30, 40, 50])


def ratings(*rows):
    return training.latest_ratings(table(list(rows)))


def pairs(part):
    return sorted(zip(part[c.USER_ID].tolist(), part[c.MOVIE_ID].tolist(), strict=True))


@pytest.fixture
def split():
    """Users 1 and 2; movie 10 was rated by both, 20 and 30 by one."""
    fitted = ratings((1, 10, 4.0, 0), (1, 20, 2.0, 1), (2, 10, 5.0, 0), (2, 30, 1.0, 1))
    held_out = ratings((1, 30, 3.0, 5), (1, 50, 4.0, 6), (2, 20, 2.5, 7))
    return evaluation.Split(fitted, held_out, MOVIES)


def test_by_time_holds_out_the_newest():
    rows = ratings((1, 10, 4.0, 30), (1, 20, 4.0, 10), (2, 10, 4.0, 20), (2, 30, 4.0, 40), (3, 10, 4.0, 5))
    fitted, held_out = evaluation.split_by_time(rows, 0.4)
    assert pairs(held_out) == [(1, 10), (2, 30)]
    assert pairs(fitted) == [(1, 20), (2, 10), (3, 10)]


def test_last_out_holds_out_one_of_each_user_who_has_two():
    rows = ratings((1, 10, 4.0, 30), (1, 20, 4.0, 10), (2, 10, 4.0, 20), (2, 30, 4.0, 40), (3, 10, 4.0, 5))
    fitted, held_out = evaluation.split_last_out(rows)
    assert pairs(held_out) == [(1, 10), (2, 30)]
    assert pairs(fitted) == [(1, 20), (2, 10), (3, 10)]


def test_cold_users_are_shown_so_many_of_their_ratings():
    rows = ratings(*[(user, movie, 3.0, 0) for user in range(10) for movie in range(100, 120)])
    base, by_count = evaluation.cold_users(rows, np.arange(100, 120), seed=1)
    cold = np.unique(base.held_out[c.USER_ID])
    assert len(cold) == 2
    assert not np.isin(base.fitted[c.USER_ID], cold).any()
    for count, part in by_count.items():
        assert len(part.fitted[c.USER_ID]) == 8 * 20 + 2 * count
        assert pairs(part.held_out) == pairs(base.held_out)
        assert not set(pairs(part.fitted)) & set(pairs(part.held_out))
        assert len(part.held_out[c.USER_ID]) == 2 * 10


def test_histories_are_those_of_the_fitted_part(split):
    seen, values = split.histories(np.array([1, 2, 3]))
    assert [sorted(ids.tolist()) for ids in seen] == [[10, 20], [10, 30], []]
    assert [len(v) for v in values] == [2, 2, 0]


def test_popularity_leaves_out_what_was_seen(split):
    lists = evaluation.of_popularity(split).lists
    assert lists.tolist() == [[30, 40, 50, -1, -1], [20, 40, 50, -1, -1]]


def test_biases_are_damped_means(split):
    """Movie biases first: mean 3; 10: (1+2)/(2+5), 20: -1/6, 30: -2/6; then users on what is left."""
    predicted = evaluation.of_biases(split).predicted
    movie = {10: 3 / 7, 20: -1 / 6, 30: -2 / 6}
    user = {
        1: ((4 - 3 - movie[10]) + (2 - 3 - movie[20])) / 7,
        2: ((5 - 3 - movie[10]) + (1 - 3 - movie[30])) / 7,
    }
    assert predicted == pytest.approx([3 + movie[30] + user[1], 3 + user[1], 3 + movie[20] + user[2]])


def test_ease_is_the_constrained_regression():
    """Of all item-item matrices with a zero diagonal it has the least ridge loss: its gradient vanishes elsewhere."""
    random = np.random.RandomState(0)
    rows = [(u, m, 3.0, 0) for u in range(40) for m in MOVIES[random.rand(5) < 0.5]]
    split = evaluation.Split(ratings(*rows), ratings((0, 10, 3.0, 1)), MOVIES)
    users = np.unique(split.fitted[c.USER_ID])
    rated = np.zeros((len(users), 5))
    rated[np.searchsorted(users, split.fitted[c.USER_ID]), np.searchsorted(MOVIES, split.fitted[c.MOVIE_ID])] = 1
    gram = rated.T @ rated
    weights = np.zeros((5, 5))
    for j in range(5):
        others = np.arange(5) != j
        weights[others, j] = np.linalg.solve(gram[np.ix_(others, others)] + 2 * np.eye(4), gram[others, j])
    scores = rated[0] @ weights
    scores[rated[0] > 0] = -np.inf
    best = MOVIES[np.argsort(-scores, kind="stable")][: int((rated[0] == 0).sum())]
    assert evaluation.of_ease(split, penalty=2.0).lists[0][: len(best)].tolist() == best.tolist()


def test_rating_metrics_by_hand():
    metrics = evaluation.rating_metrics(np.array([4.1, 3.9, 2.0, 2.0]), np.array([5.0, 4.0, 1.0, 2.0]))
    assert metrics["rmse"] == pytest.approx(np.sqrt((0.81 + 0.01 + 1 + 0) / 4))
    assert metrics["mae"] == pytest.approx((0.9 + 0.1 + 1 + 0) / 4)
    # bins 4.0 (mean prediction 4.0, mean rating 4.5) and 2.0 (2.0 and 1.5), two each
    assert metrics["calibration_error"] == pytest.approx(0.5)


def test_list_metrics_by_hand(spark, split):
    lists = np.array([[30, 40, 50, -1, -1], [40, 50, 20, -1, -1]])
    metrics = evaluation.list_metrics(spark, lists, split)
    assert metrics["recall@10"] == 1
    assert metrics["precision@10"] == pytest.approx((2 / 10 + 1 / 10) / 2)
    gain = 1 / np.log2(np.arange(2, 6))
    assert metrics["ndcg@10"] == pytest.approx(((gain[0] + gain[2]) / (gain[0] + gain[1]) + gain[2] / gain[0]) / 2)
    assert metrics["coverage@10"] == 4 / 5
    shown = [1, 0, 0, 0, 0, 1]  # ratings of 30, 40, 50, 40, 50, 20, among 2 users
    assert metrics["novelty@10"] == pytest.approx(-np.mean(np.log2([(n + 1) / 3 for n in shown])))
    assert evaluation.top_k_accuracy(lists, split) == {
        "1": pytest.approx(1 / 3), "5": 1.0, "10": 1.0, "50": 1.0, "100": 1.0,
    }  # fmt: skip


def test_rmse_by_movie_ratings_by_hand(split):
    """Held out: movies 30 (one fitted rating), 50 (none) and 20 (one)."""
    found = evaluation.rmse_by_movie_ratings(evaluation.Answers(np.array([3.5, 2.0, 2.5])), split)
    assert found["0"] == 2
    assert found["1–2"] == pytest.approx(np.sqrt(0.25 / 2))
    assert np.isnan(found["3–5"])
