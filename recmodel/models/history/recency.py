"""Recency: how much more the newest ratings of a history say about what is watched, and liked, next.

A rating's age is the number of ratings that the user gave after it: 0 for the newest. Times themselves do not enter, so
that a user who comes back after a year is known by what they watched last. That they come back, and do not go on, is
what `another_day` is about.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Recency(NamedTuple):
    """The weight of a rating in a history: `floor` + (1 - `floor`) · exp(-age / `ratings`)."""

    floor: float = 1.0  # of the oldest ratings, next to 1 of the newest; 1: the order of ratings does not matter
    ratings: float = 1.0  # after so many newer ratings, what is above the floor has fallen to 37 %

    def weights(self, age: np.ndarray) -> np.ndarray:
        """Return the float32 weights of ratings of these ages (int)."""
        floor = np.float32(self.floor)
        return floor + (1 - floor) * decay(age, self.ratings)


NO_RECENCY = Recency()


NEW_RATINGS = 20  # of so many of the newest ratings of a user, the residuals count as their mood


class Mood(NamedTuple):
    """How much stricter or milder a user's newest ratings are than all of them together say: more of their bias.

    It is the mean of the residuals of the regression of the newest `NEW_RATINGS`, weighted by exp(-age / `ratings`) and
    damped.
    """

    ratings: float  # after so many newer ratings, the weight of a residual has fallen to 37 %
    damping: float  # weight that speaks for a residual of 0

    def weights(self, age: np.ndarray) -> np.ndarray:
        """Return the float32 weights of the residuals of ratings of these ages (int)."""
        return np.where(age < NEW_RATINGS, decay(age, self.ratings), np.float32(0))


def decay(age: np.ndarray, ratings: float) -> np.ndarray:
    """Return exp(-age / `ratings`) of ages (int), float32."""
    return np.exp(age.astype(np.float32) / np.float32(-ratings))
