"""How unevenly things are spread over movies, by hand and against definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmodel.report import popularity_buckets


def test_known_values():
    assert popularity_buckets.movies_with_half(np.array([1, 4, 2, 1])) == 1
    assert popularity_buckets.movies_with_half(np.array([1, 1, 1, 1, 1])) == 3
    popularity, counts = np.arange(200), np.zeros(200, int)
    counts[[199, 198, 197, 0]] = 5, 3, 1, 1
    assert popularity_buckets.bucket_shares(popularity, counts) == pytest.approx([0.8, 0.1, 0, 0, 0, 0.1])


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=300).filter(sum))
def test_any_counts(counts):
    """The shares of all buckets add up to 1."""
    counts = np.array(counts)
    assert sum(popularity_buckets.bucket_shares(counts, counts)) == pytest.approx(1)
