"""Popularity: what to offer a user of whom nothing is known, from nothing but counts and sums of ratings."""

from __future__ import annotations

import numpy as np


def popularity(
    movie_id: np.ndarray, counts: np.ndarray, sums: np.ndarray, damping: float = 5.0
) -> tuple[np.ndarray, np.ndarray]:
    """What to offer a user of whom nothing is known.

    Args:
        movie_id: [M] ascending; counts, sums: [M] number and sum of each movie's ratings.
        damping: so many imagined ratings at the overall mean are added to each movie's.

    Returns:
        Rows of the catalogue by falling count (ties by ascending movie id), and each movie's damped mean (float32;
        NaN where nobody has rated anything).
    """
    overall = sums.sum() / counts.sum() if counts.sum() else np.nan
    order = np.lexsort((movie_id, -counts))
    return order, ((sums + damping * overall) / (counts + damping)).astype(np.float32)
