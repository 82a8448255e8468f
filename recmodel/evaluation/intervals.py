"""Intervals: between which values a mean over users lies, given that other users might have come.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile intervals).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Interval = tuple[float, float]

_RESAMPLES = 1000
_TAIL = 0.025  # of the resamples lie below a 95 % interval, and as many above


def bootstrap(values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], seed: int = 0) -> Interval:
    """Return the 95 % interval of a statistic of means over users; the same for the same values and seed.

    Users are drawn with all of their values, so that the difference of two methods has the interval of a paired
    comparison.

    Args:
        values: [U, k] of each user, at least one.
        statistic: makes [R] statistics from [R, k] means.
    """
    random = np.random.RandomState(seed)
    users = len(values)
    means = np.stack([values[random.randint(users, size=users)].mean(axis=0) for _ in range(_RESAMPLES)])
    low, high = np.quantile(statistic(means), (_TAIL, 1 - _TAIL))
    return float(low), float(high)
