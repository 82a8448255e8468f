"""Successors, against counts made pair by pair."""

from collections import defaultdict
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmodel.models.history import successors

HISTORIES = st.lists(st.permutations(range(30)).map(lambda order: order[: 1 + order[0]]), min_size=1, max_size=6)


@given(watched=HISTORIES, size=st.integers(1, 40), ratings=st.sampled_from([1, 40, 1 << 15]))
def test_a_movies_successors_are_those_rated_soon_after_it(watched, size, ratings):
    """By hand: 1 / (places apart + 1) within the next 20, popular ones damped, the strongest kept, at length 1."""
    counts, popularity = defaultdict(float), defaultdict(int)
    for history in watched:
        for place, movie in enumerate(history):
            popularity[movie] += 1
            for apart, after in enumerate(history[place + 1 : place + 21], 1):
                counts[movie, after] += 1 / (apart + 1)
    user = np.repeat(np.arange(len(watched)), [len(history) for history in watched])
    with patch.object(successors, "_RATINGS", ratings):
        row, strength = successors.count(user, np.concatenate(watched), 30, size)
    assert row.shape == strength.shape == (30, min(size, 30))
    for movie in range(30):
        damped = {after: counts[movie, after] / (popularity[after] + 10) ** 0.25 for after in range(30)}
        best = sorted((value for value in damped.values() if value), reverse=True)[:size]
        found = {after: value for after, value in zip(row[movie], strength[movie], strict=True) if value}
        length = np.linalg.norm(best)
        assert sorted(found.values(), reverse=True) == pytest.approx([value / length for value in best], rel=1e-4)
        assert found == pytest.approx({after: damped[after] / length for after in found}, rel=1e-4)
