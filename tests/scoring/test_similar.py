"""Similar movies, next to a plain computation of all products."""

import numpy as np
import pytest

from recmodel.scoring import similar


@pytest.mark.parametrize("movies", [1, 5, 700])
def test_the_movies_that_a_movie_adds_most_to_are_found(movies):
    random = np.random.RandomState(movies)
    seen, vectors = ((random.randint(-3, 4, (movies, 4)) / 2).astype(np.float32) for _ in range(2))  # exact, with ties
    allowed = random.random_sample(movies) < 0.7
    of = np.flatnonzero(random.random_sample(movies) < 0.9)
    top = similar.nearest(seen, vectors, of, allowed, 6)
    assert top.row.shape == top.score.shape == (len(of), 6)
    for movie, row, score in zip(of, top.row, top.score, strict=True):
        added = np.where(allowed & (np.arange(movies) != movie), vectors @ seen[movie], 0)
        right = [other for other in np.argsort(-added, kind="stable")[:6] if added[other] > 0]
        assert row.tolist() == right + [-1] * (6 - len(right))
        assert score[: len(right)].tolist() == added[right].tolist()
        assert np.isnan(score[len(right) :]).all()
