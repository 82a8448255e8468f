"""Similar movies: those that a movie speaks for by the model's own vectors, exactly.

How much having seen a movie adds to the retrieval score of another is the product of two vectors, of the one as a seen
movie and of the other as a candidate. It is what reasons are made of; see `reasons`.
"""

from __future__ import annotations

import numpy as np

from recmodel.scoring import topn


def nearest(seen_vectors: np.ndarray, vectors: np.ndarray, of: np.ndarray, allowed: np.ndarray, n: int) -> topn.Top:
    """Return the n movies that each of some movies adds most to, without itself.

    What it adds nothing to is not similar to it, so a list may be shorter.

    Args:
        seen_vectors: [M, d] float32 vectors of movies as seen ones.
        vectors: [M, d] float32 vectors of movies as candidates.
        of: [B] rows, of which movies.
        allowed: [M] bool: which movies may be in a list.

    Returns:
        Rows and products, [B, n].
    """
    search = topn.Vectors(vectors, allowed=allowed)
    row, score = np.full((len(of), n), -1), np.full((len(of), n), np.nan, np.float32)
    for start in range(0, len(of), topn.USERS):
        some = of[start : start + topn.USERS]
        top = search.top(seen_vectors[some], n, topn.Pairs(np.arange(len(some)), some))
        is_similar = top.score > 0  # NaN is not
        place = slice(start, start + len(some)), slice(0, top.row.shape[1])
        row[place], score[place] = np.where(is_similar, top.row, -1), np.where(is_similar, top.score, np.nan)
    return topn.Top(row, score)
