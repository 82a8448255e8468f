"""What is popular, by hand."""

import numpy as np
import pytest

from recmodel.scoring.popularity import day, popularity, trend, weights


def test_popularity_is_a_damped_mean_and_a_count():
    order, rating = popularity(np.array([5, 6, 7, 8]), np.array([2.0, 0, 4, 2]), np.array([10.0, 0, 8, 2]))
    assert order.tolist() == [2, 0, 3, 1]
    overall = 20 / 8
    assert rating == pytest.approx([(10 + 5 * overall) / 7, overall, (8 + 5 * overall) / 9, (2 + 5 * overall) / 7])
    order, rating = popularity(np.array([5, 6]), np.zeros(2), np.zeros(2))
    assert order.tolist() == [0, 1]
    assert np.isnan(rating).all()


def test_what_is_popular_of_late_follows_from_how_many_ratings_came_since_not_from_how_long_ago():
    """By definition, a rating after the other; days of one rating each, and then the same with a quiet year between."""
    random = np.random.RandomState(0)
    movie, days = random.randint(0, 5, 400), np.arange(400) + 10_000
    by_definition = np.bincount(movie, np.exp(-np.arange(400)[::-1] / (0.2 * 400)))
    quiet = np.where(days < 10_200, days - 365, days)
    found = [trend(movie, when * 86_400, weights(np.bincount(when)), 5) for when in (days, quiet)]
    assert found[0] / found[0].sum() == pytest.approx(by_definition / by_definition.sum(), rel=1e-3)
    assert found[0].tolist() == found[1].tolist()  # whole numbers
    shuffled = random.permutation(400)
    again = trend(movie[shuffled], days[shuffled] * 86_400, weights(np.bincount(days)), 5)
    assert again.tolist() == found[0].tolist()
    assert day(np.array([-5, 0, 86_400])).tolist() == [0, 0, 1]


def test_recent_ratings_rank_first_then_all_of_them_then_ids():
    order, _ = popularity(np.array([5, 6, 7, 8]), np.array([1.0, 9, 2, 2]), np.zeros(4), np.array([4.0, 3, 0, 0]))
    assert order.tolist() == [0, 1, 2, 3]
    without, _ = popularity(np.array([5, 6, 7, 8]), np.array([1.0, 9, 2, 2]), np.zeros(4))
    assert without.tolist() == [1, 2, 3, 0]
