"""What is popular, by hand."""

import numpy as np
import pytest

from recmodel.scoring.popularity import popularity


def test_popularity_is_a_damped_mean_and_a_count():
    order, rating = popularity(np.array([5, 6, 7, 8]), np.array([2.0, 0, 4, 2]), np.array([10.0, 0, 8, 2]))
    assert order.tolist() == [2, 0, 3, 1]
    overall = 20 / 8
    assert rating == pytest.approx([(10 + 5 * overall) / 7, overall, (8 + 5 * overall) / 9, (2 + 5 * overall) / 7])
    order, rating = popularity(np.array([5, 6]), np.zeros(2), np.zeros(2))
    assert order.tolist() == [0, 1]
    assert np.isnan(rating).all()
