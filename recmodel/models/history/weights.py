"""The arrays of a trained model of the architecture `history`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class HistoryWeights:
    """A trained model as float32 arrays; row i belongs to movie_ids[i]."""

    movie_ids: np.ndarray  # [M] int64, ascending
    seen_vectors: np.ndarray  # [M, d] what a movie contributes to the user who has seen it
    average_seen: np.ndarray  # [d] stands in for the history of users who have seen little
    movie_vectors: np.ndarray  # [M, d] movies as candidates
    traits: np.ndarray  # [M, k] on which each user's ratings are regressed
    movie_bias: np.ndarray  # [M] in stars
    ridge: np.ndarray  # [k] the penalty on each weight of a user's regression
    mean_rating: float  # in stars
    liking: float  # the extra weight of a seen movie for each star above the user's mean
    prior_weight: float  # number of average movies added to every history
    rating_range: tuple[float, float]  # in stars
