"""The closed form that the history model starts from, against dense linear algebra."""

import numpy as np
import pytest
from support.inputs import CATALOGUE

from recmodel.models.history import closed_form


def test_singular_vectors_are_those_of_the_dense_matrix():
    random = np.random.RandomState(0)
    user, movie = np.divmod(np.sort(random.choice(50 * 30, 400, replace=False)), 30)
    of_users, of_movies = random.uniform(0.5, 1.5, 50), random.uniform(0.5, 1.5, 30)
    content = random.uniform(size=(4, 30)).astype(np.float32)
    ratings = closed_form.Interactions(user, movie, np.ones(400, np.float32), 50, 30)
    found, squared = closed_form._right_singular_vectors(ratings, of_users, of_movies, content, 5, seed=0)
    dense = np.zeros((50, 30))
    dense[user, movie] = of_users[user] * of_movies[movie]
    _, expected, right = np.linalg.svd(np.vstack([dense, content]), full_matrices=False)
    assert np.sqrt(squared) == pytest.approx(expected[:5], rel=1e-4)
    assert np.abs(np.diag(right[:5] @ found)) == pytest.approx(np.ones(5), abs=1e-3)


def test_a_sample_of_the_users_finds_nearly_the_same_singular_vectors(monkeypatch):
    random = np.random.RandomState(0)
    users, movies = random.standard_normal((2000, 4)), random.standard_normal((100, 4))
    user, movie = np.nonzero(users @ movies.T > 2.5)
    ratings = closed_form.Interactions(user, movie, np.ones(len(user), np.float32), 2000, 100)

    def energy():
        content = np.zeros((1, 100), np.float32)
        return closed_form._right_singular_vectors(ratings, np.ones(2000), np.ones(100), content, 8, seed=0)[1].sum()

    of_all = energy()
    monkeypatch.setattr(closed_form, "_RATINGS_IN_SAMPLE", len(user) // 8)
    some = ratings.some_parts()
    assert ratings.share(some) == pytest.approx(1 / 8, rel=0.2)
    assert some[0].start < 50
    assert some[-1].stop > 1700
    assert of_all * 0.99 < energy() < of_all


def test_features_come_from_titles_and_genres():
    found = closed_form.features(CATALOGUE)
    assert found.year.tolist() == [1999, 2001, 1996, 1996, 2001, 1999]  # the undated one at the median
    assert found.genres.sum(axis=1).tolist() == [2, 1, 1, 2, 2, 1]
