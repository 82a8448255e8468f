"""The long tail: how recommendations are spread over the catalogue, beside how ratings are.

Takes a count for each movie of the catalogue; gives shares.
"""

from __future__ import annotations

import itertools

import numpy as np

# Parts of the catalogue by falling number of ratings, ends in %. Deciles would put nearly all into the first.
BANDS = (0, 1, 5, 10, 25, 50, 100)


def gini(counts: np.ndarray) -> float:
    """0: all movies alike; towards 1: one movie gets everything. NaN where there is nothing to share out."""
    total = counts.sum()
    if not total:
        return float("nan")
    ascending = np.sort(counts).astype(np.float64)
    n = len(ascending)
    return float(2 * (np.arange(1, n + 1) * ascending).sum() / (n * total) - (n + 1) / n)


def effective_half(counts: np.ndarray) -> int:
    """How many movies, the commonest first, make up half of everything."""
    return int(np.searchsorted(np.cumsum(np.sort(counts)[::-1]), counts.sum() / 2) + 1)


def concentration(counts: np.ndarray, points: int = 60) -> list[tuple[int, float]]:
    """(movies, share of everything that so many movies have, the commonest first): a Lorenz curve from its rich end.

    Evenly spread over the logarithm of the number of movies, which ends with all of them.
    """
    total = np.cumsum(np.sort(counts)[::-1]) / max(1, counts.sum())
    movies = np.unique(np.geomspace(1, len(total), points).round().astype(int))
    return [(int(n), float(total[n - 1])) for n in movies]


def bands(popularity: np.ndarray, counts: np.ndarray) -> list[float]:
    """The share of `counts` in each of `BANDS`, movies being ordered by falling `popularity` (ties as they stand)."""
    ordered = counts[np.argsort(-popularity, kind="stable")]
    ends = np.round(np.array(BANDS) / 100 * len(ordered)).astype(int)
    total = max(1, counts.sum())
    return [float(ordered[a:b].sum() / total) for a, b in itertools.pairwise(ends)]
