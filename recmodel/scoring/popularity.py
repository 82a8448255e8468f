"""Popularity: what to recommend to a user without a history, from the counts and sums of ratings alone."""

from __future__ import annotations

import numpy as np


def popularity(
    movie_id: np.ndarray, counts: np.ndarray, sums: np.ndarray, damping: float = 5.0
) -> tuple[np.ndarray, np.ndarray]:
    """Rank movies by their number of ratings, and rate them by their damped mean.

    Args:
        movie_id: [M] ascending.
        counts: [M] number of ratings of each movie.
        sums: [M] sum of the ratings of each movie, in stars.
        damping: how many imaginary ratings at the overall mean are added to those of each movie.

    Returns:
        [M] rows of the catalogue by falling count (ties by ascending movie id), and [M] float32 damped mean ratings in
        stars (NaN if there are no ratings at all).
    """
    overall = sums.sum() / counts.sum() if counts.sum() else np.nan
    order = np.lexsort((movie_id, -counts))
    return order, ((sums + damping * overall) / (counts + damping)).astype(np.float32)
