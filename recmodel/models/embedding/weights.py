"""The arrays of a trained model of the architecture `embedding`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class EmbeddingWeights:
    """A trained model as float32 arrays. Row i of a table of vectors belongs to id i of the ids above it."""

    user_ids: np.ndarray  # [U] int64, ascending
    user_vectors: np.ndarray  # [U, d]
    movie_ids: np.ndarray  # [M] int64, ascending
    movie_vectors: np.ndarray  # [M, d]
    rating_layers: list[tuple[np.ndarray, np.ndarray]]  # kernels [in, out] and biases [out]; the first takes 2 d
    rating_range: tuple[float, float]  # in stars; NaN for implicit feedback, of which all ratings are NaN
