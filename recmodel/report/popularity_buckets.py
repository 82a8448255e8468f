"""Popularity buckets: how unevenly recommendations and ratings are spread over the catalogue.

Takes a count per movie and returns shares.
"""

from __future__ import annotations

import itertools

import numpy as np

# Bounds in % of the catalogue, the most rated movies first. Equal buckets would put nearly all ratings into the first.
BOUNDS = (0, 1, 5, 10, 25, 50, 100)
LABELS = tuple(f"{start}–{end}" for start, end in itertools.pairwise(BOUNDS))


def bucket_shares(popularity: np.ndarray, counts: np.ndarray) -> list[float]:
    """Return the share of all `counts` that falls into each bucket.

    Args:
        popularity: [M] the movies are ordered by this, descending; ties keep their order.
        counts: [M] what is shared out.
    """
    ordered = counts[np.argsort(-popularity, kind="stable")]
    bounds = np.round(np.array(BOUNDS) / 100 * len(ordered)).astype(int)
    total = max(1, counts.sum())
    return [float(ordered[start:end].sum() / total) for start, end in itertools.pairwise(bounds)]


def movies_with_half(counts: np.ndarray) -> int:
    """Return the smallest number of movies that together have half of all counts."""
    return int(np.searchsorted(np.cumsum(np.sort(counts)[::-1]), counts.sum() / 2) + 1)
