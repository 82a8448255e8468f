"""The arrays of a trained model of the architecture `history`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recmodel.models.history.another_day import AnotherDay
from recmodel.models.history.calibration import NO_CALIBRATION, Calibration
from recmodel.models.history.recency import NO_RECENCY, Mood, Recency
from recmodel.models.history.successors import Successors
from recmodel.scoring.policies import BLEND_POWER

PLACED = ("seen_vectors", "movie_vectors", "traits", "movie_bias")  # the tables with a row for each movie


@dataclass(frozen=True)
class Placing:
    """Maps from the F features of a movie (see `placing.features`) to its row of each table, float32."""

    genre_names: list[str]
    median_year: float  # stands in for a year that is not known
    seen_vectors: np.ndarray  # [F, d]
    movie_vectors: np.ndarray  # [F, d]
    traits: np.ndarray  # [F, k]
    movie_bias: np.ndarray  # [F]


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
    rating_range: tuple[float, float]  # in stars; NaN for implicit feedback
    placing: Placing | None = None  # None in models of versions before 0.3.2
    recency: Recency = NO_RECENCY  # that of models of earlier versions
    rating_recency: Recency = NO_RECENCY  # in the regression of a user's ratings
    mood: Mood | None = None  # None: a user's bias is that of the regression
    successors: Successors | None = None
    another_day: AnotherDay | None = None  # None: lists for another day are as those of the same sitting
    blend_power: float = BLEND_POWER
    calibration: Calibration = NO_CALIBRATION
