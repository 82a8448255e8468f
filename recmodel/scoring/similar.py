"""Similar movies: the nearest ones by the model's own vectors, exactly."""

from __future__ import annotations

import numpy as np

from recmodel.scoring import topn


def nearest(vectors: np.ndarray, of: np.ndarray, allowed: np.ndarray, n: int) -> topn.Top:
    """Return the n movies with the highest cosine for each of some movies, without itself.

    Movies at a right angle or further apart are not similar, and a movie without a vector is similar to none, so a list
    may be shorter.

    Args:
        vectors: [M, d] float32.
        of: [B] rows, of which movies.
        allowed: [M] bool: which movies may be in a list.

    Returns:
        Rows and cosines, [B, n].
    """
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    search = topn.Vectors(unit, allowed=allowed & (length[:, 0] > 0))
    row, score = np.full((len(of), n), -1), np.full((len(of), n), np.nan, np.float32)
    for start in range(0, len(of), topn.USERS):
        some = of[start : start + topn.USERS]
        top = search.top(unit[some], n, topn.Pairs(np.arange(len(some)), some))
        is_similar = top.score > 0  # NaN is not
        place = slice(start, start + len(some)), slice(0, top.row.shape[1])
        row[place], score[place] = np.where(is_similar, top.row, -1), np.where(is_similar, top.score, np.nan)
    return topn.Top(row, score)
