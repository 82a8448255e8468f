"""Intervals by bootstrap, next to those that the normal distribution has."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recmodel.evaluation.intervals import bootstrap


@given(
    st.integers(50, 2000),
    st.floats(-10, 10),
    st.floats(0.01, 10),
    st.floats(-0.9, 0.9),
    st.integers(0, 2**32 - 1),
)
@hypothesis_settings(max_examples=10)
def test_the_interval_of_a_paired_difference_is_that_of_the_normal_distribution(
    users, shift, spread, correlation, seed
):
    """A mean of so many users is nearly normal: its interval is 1.96 standard errors to both sides."""
    random = np.random.RandomState(seed)
    one, noise = random.randn(2, users)
    values = np.stack([shift + spread * one, spread * (correlation * one + noise)], axis=1)
    low, high = bootstrap(values, lambda means: means[:, 0] - means[:, 1])
    difference = values[:, 0] - values[:, 1]
    half = 1.96 * difference.std() / np.sqrt(users)
    # 1,000 resamples place an end within a tenth of a standard error or so; five times its standard error is allowed.
    assert (low, high) == pytest.approx((difference.mean() - half, difference.mean() + half), abs=0.25 * half)
    assert bootstrap(values, lambda means: means[:, 0] - means[:, 1]) == (low, high)
