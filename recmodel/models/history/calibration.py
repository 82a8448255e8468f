"""Calibration: a line that takes predicted ratings to what users rate on average where so much is predicted.

Regressions on few ratings are too sure of what they say, and people rate what they expect to like, so that what is
predicted low and watched all the same turns out better. The line keeps the order of predictions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_PRIOR = 200  # ratings that speak for leaving predictions as they are


class Calibration(NamedTuple):
    """What a prediction becomes: `intercept` + `slope` · prediction, in stars."""

    intercept: float = 0.0
    slope: float = 1.0


NO_CALIBRATION = Calibration()


def fit(predicted: np.ndarray, rating: np.ndarray) -> Calibration:
    """Fit the line by least squares; with few ratings it stays near the one that changes nothing.

    Args:
        predicted: [R] by a model that was not fitted to these ratings.
        rating: [R] what the users gave.
    """
    if not len(rating):
        return NO_CALIBRATION
    share, spread = len(rating) / (len(rating) + _PRIOR), predicted.var()
    covariance = np.mean((predicted - predicted.mean()) * (rating - rating.mean()))
    slope = 1 + share * (max(covariance / spread, 0.5) - 1) if spread > 1e-9 else 1.0
    middle = predicted.mean() + share * (rating.mean() - predicted.mean())
    return Calibration(float(middle - slope * predicted.mean()), float(slope))
