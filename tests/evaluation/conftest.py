"""A split by hand, for all tests of evaluation."""

import numpy as np
import pytest
from support.evaluation import by_hand

from recmodel.evaluation import splits

MOVIES = np.array([10, 20, 30, 40, 50])


@pytest.fixture
def split():
    """Users 1 and 2; movie 10 was rated by both, 20 and 30 by one."""
    fitted = by_hand((1, 10, 4.0, 0), (1, 20, 2.0, 1), (2, 10, 5.0, 0), (2, 30, 1.0, 1))
    held_out = by_hand((1, 30, 3.0, 5), (1, 50, 4.0, 6), (2, 20, 2.5, 7))
    return splits.Split(fitted, held_out, MOVIES)
