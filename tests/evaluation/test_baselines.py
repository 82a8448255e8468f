"""Baselines against hand-worked cases and their definitions."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.evaluation import by_hand

from recmodel import schemas as c
from recmodel.errors import UsageRejected
from recmodel.evaluation import baselines
from recmodel.evaluation.splits import Split

MOVIES = np.array([10, 20, 30, 40, 50])


def test_popularity_leaves_out_what_was_seen(split):
    lists = baselines.of_popularity(split).lists
    assert lists.tolist() == [[30, 40, 50, -1, -1], [20, 40, 50, -1, -1]]


def test_a_user_whom_a_model_does_not_know_gets_what_is_popular_and_unseen(exported):
    model, movies = exported[7].model, exported[7].weights.movie_ids
    nobody = int(exported[7].weights.user_ids.max()) + 1
    rows = [(nobody, movies[2], 4.0, 0), (nobody, movies[5], 4.0, 1), (nobody + 1, movies[2], 4.0, 0)]
    split = Split(by_hand(*rows, (nobody + 1, movies[4], 4.0, 1)), by_hand((nobody, movies[6], 4.0, 2)), movies)
    tasks = ("retrieval", "rating")
    expected = baselines.of_popularity(split).lists
    assert expected[0, 0] == movies[4]
    assert baselines.of_model(model, tasks, split).lists.tolist() == expected.tolist()
    assert baselines.of_model(model, tasks, split, include_seen=True).lists[0, 0] == movies[2]


def test_biases_are_damped_means(split):
    """Movie biases first: mean 3; 10: (1+2)/(2+5), 20: -1/6, 30: -2/6; then users on what is left."""
    predicted = baselines.of_biases(split).ratings
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
    split = Split(by_hand(*rows), by_hand((0, 10, 3.0, 1)), MOVIES)
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
    assert (
        baselines.of_ease(split, baselines.ease_weights(split, penalty=2.0)).lists[0][: len(best)].tolist()
        == best.tolist()
    )


def test_ease_predicts_from_recent_or_liked_movies():
    """With all weight on the newest rating, or on the one that is liked, the others might not be in the history."""
    history = by_hand((0, 10, 5.0, 0), (0, 20, 3.0, 1), (0, 30, 3.0, 2))
    split = Split(history, by_hand((0, 50, 3.0, 9)), MOVIES)
    weights = np.zeros((5, 5), np.float32)
    weights[[0, 2], [3, 4]] = 1.0  # from 10 to 40, and from 30 to 50
    assert baselines.of_ease(split, weights, recency=(0.0, 1e-9)).lists[0, 0] == 50
    assert baselines.of_ease(split, weights, liked_from=4.0).lists[0, 0] == 40


def test_lists_made_elsewhere(split, tmp_path):
    """Of two users one has a list, in which one movie is unknown; users who are not measured do not matter."""
    rows = {c.USER_ID: [2, 2, 2, 9], c.RANK: [2, 1, 3, 1], c.MOVIE_ID: [20, 40, 77, 10]}
    pq.write_table(pa.table(rows), tmp_path / "mine.parquet")
    lists = baselines.of_file(tmp_path / "mine.parquet", split).lists
    assert lists[:, :4].tolist() == [[-1, -1, -1, -1], [40, 20, -1, -1]]
    with pytest.raises(UsageRejected, match="takes Parquet with user_id, rank, movie_id"):
        baselines.of_file(tmp_path / "nothing.parquet", split)
