"""Similar movies, next to a plain computation of all cosines."""

import numpy as np
import pytest

from recmodel.scoring import similar


@pytest.mark.parametrize("movies", [1, 5, 700])
def test_the_nearest_by_cosine_are_found(movies):
    random = np.random.RandomState(movies)
    vectors = random.standard_normal((movies, 4)).astype(np.float32) * random.randint(0, 3, (movies, 1))
    vectors[::50] = vectors[0]  # ties, by the lower row
    allowed = random.random_sample(movies) < 0.7
    of = np.flatnonzero(random.random_sample(movies) < 0.9)
    top = similar.nearest(vectors, of, allowed, 6)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    assert top.row.shape == top.score.shape == (len(of), 6)
    for movie, row, score in zip(of, top.row, top.score, strict=True):
        cosine = unit @ unit[movie]
        cosine[~allowed | (np.arange(movies) == movie) | (cosine < 1e-6)] = -np.inf
        right = np.argsort(-cosine.round(5), kind="stable")[:6]
        right = right[np.isfinite(cosine[right])]
        assert (row >= 0).sum() == len(right)
        np.testing.assert_allclose(score[: len(right)], cosine[right], atol=1e-5)
        assert set(row[: len(right)]) <= set(np.flatnonzero(np.isfinite(cosine)))
        assert len(set(row[: len(right)])) == len(right)
        assert np.isnan(score[len(right) :]).all()
