"""The line that calibrates predicted ratings."""

import numpy as np
import pytest

from recmodel.models.history import calibration


def test_the_line_is_that_of_least_squares_where_ratings_are_many():
    random = np.random.RandomState(0)
    predicted = random.uniform(1, 5, 100_000)
    rating = 0.4 + 0.9 * predicted + random.normal(0, 0.8, 100_000)
    slope, intercept = np.polyfit(predicted, rating, 1)
    found = calibration.fit(predicted, rating)
    assert found == pytest.approx((intercept, slope), abs=1e-2)


def test_few_ratings_or_equal_predictions_hardly_change_anything():
    assert calibration.fit(np.array([3.0]), np.array([1.0])) == pytest.approx((-0.01, 1.0), abs=1e-3)
    assert calibration.fit(np.full(9, 3.0), np.full(9, 3.0)) == pytest.approx((0, 1))
    assert calibration.fit(np.empty(0), np.empty(0)) == calibration.NO_CALIBRATION


def test_the_order_of_predictions_is_kept():
    predicted = np.linspace(1, 5, 1000)
    assert calibration.fit(predicted, predicted[::-1]).slope >= 0.5
