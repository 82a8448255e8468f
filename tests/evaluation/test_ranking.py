"""Ranking metrics against Spark's, and by hand."""

from random import Random

import numpy as np
import pytest
from pyspark.mllib.evaluation import RankingMetrics
from support.evaluation import by_hand

from recmodel.evaluation import ranking
from recmodel.evaluation.splits import Split

MOVIES = np.arange(10, 160, 10)


def test_means_over_users_are_those_of_spark(spark):
    """Lists of any length, users with few and many relevant movies."""
    random = Random(3)
    lists, held_out = np.full((40, len(MOVIES)), -1), []
    for user in range(40):
        ranked = random.sample(MOVIES.tolist(), random.randint(1, len(MOVIES)))
        lists[user, : len(ranked)] = ranked
        held_out += [(user, movie, 4.0, 0) for movie in random.sample(MOVIES.tolist(), random.randint(1, 12))]
    split = Split(by_hand((0, 10, 4.0, 0)), by_hand(*held_out), MOVIES)
    of_user = [[float(movie) for u, movie, *_ in held_out if u == user] for user in range(40)]
    pairs = [(row[row >= 0].astype(float).tolist(), wanted) for row, wanted in zip(lists, of_user, strict=True)]
    expected = RankingMetrics(spark.sparkContext.parallelize(pairs, 1))
    found = {name: values.mean() for name, values in ranking.per_user(lists, split).items()}
    for k in (10, 20, 50, 100):
        assert found[f"recall@{k}"] == pytest.approx(expected.recallAt(k))
    for k in (10, 100):
        assert found[f"ndcg@{k}"] == pytest.approx(expected.ndcgAt(k))
        assert found[f"precision@{k}"] == pytest.approx(expected.precisionAt(k))


def test_only_relevant_movies_count_and_users_without_one_do_not(split):
    """Of user 1 only movie 50 has 4 stars; user 2 has no such movie."""
    liked = Split(split.fitted, split.held_out, split.movie_ids, relevant_from=4.0)
    lists = np.array([[30, 40, 50, -1, -1], [40, 50, 20, -1, -1]])
    found = ranking.per_user(lists, liked)
    assert found["mrr"][0] == pytest.approx(1 / 3)
    assert found["recall@10"][0] == 1
    assert found["ndcg@10"][0] == pytest.approx(1 / np.log2(4))
    assert all(np.isnan(values[1]) for values in found.values())


def test_capped_recall_can_reach_1_where_more_is_relevant_than_shown():
    movies = np.arange(30)
    held_out = by_hand(*((1, movie, 4.0, 0) for movie in movies[:25]))
    found = ranking.per_user(movies[np.newaxis, :25], Split(by_hand((1, 29, 4.0, 0)), held_out, movies))
    assert found["capped recall@20"][0] == 1
    assert found["recall@20"][0] == pytest.approx(20 / 25)


def test_lists_as_a_whole_by_hand(split):
    lists = np.array([[30, 40, 50, -1, -1], [40, 50, 20, -1, -1]])
    found = ranking.of_lists(lists, split)
    assert found["coverage@10"] == 4 / 5
    shown = [1, 0, 0, 0, 0, 1]  # ratings of 30, 40, 50, 40, 50, 20, among 2 users
    assert found["novelty@10"] == pytest.approx(-np.mean(np.log2([(n + 1) / 3 for n in shown])))
    assert found["popularity lift@10"] == pytest.approx(np.mean(shown) / np.mean([2, 1, 2, 1]) - 1)
    times = np.array([0, 1, 1, 2, 2])
    assert found["gini@10"] == pytest.approx(np.abs(times[:, None] - times).mean() / (2 * times.mean()))


def test_gini_of_equal_and_of_one():
    assert ranking.gini(np.array([2, 2, 2])) == pytest.approx(0)
    assert ranking.gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
    assert np.isnan(ranking.gini(np.zeros(3)))
