"""Hits: how lists did once the ratings since came in, next to what was popular when they were made.

Every movie that a user has rated since, and had not before, is relevant. Recall and NDCG are those of Spark's
RankingMetrics, as elsewhere; ranks beyond ten do not count.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recmodel.evaluation import ranking

K = 10
SEGMENTS = (("1-4", 1), ("5-19", 5), ("20-99", 20), ("100 and more", 100))  # name, and fewest ratings


class Relevant(NamedTuple):
    """S pairs of one of B users and a movie, given by its row, that the user has rated since; no pair twice."""

    user: np.ndarray  # [S] int
    movie: np.ndarray  # [S] int
    liked: np.ndarray  # [S] bool


class Score(NamedTuple):
    """How good the lists of B users were."""

    hits: np.ndarray  # [B] int
    liked: np.ndarray  # [B] int: hits that the user liked
    recall: np.ndarray  # [B] float64
    ndcg: np.ndarray  # [B] float64


def score(lists: np.ndarray, relevant: Relevant) -> Score:
    """Compare lists with what is relevant; every user needs something relevant.

    Args:
        lists: [B, n] rows of movies, best first; -1 pads.
    """
    lists = lists[:, :K]
    hit = ranking.which_hit(lists, relevant.user, relevant.movie)
    liked = ranking.which_hit(lists, relevant.user[relevant.liked], relevant.movie[relevant.liked])
    count = np.bincount(relevant.user, minlength=len(lists))
    return Score(hit.sum(axis=1), liked.sum(axis=1), hit.sum(axis=1) / count, ranking.ndcg(hit, count, K))


def segments(ratings: np.ndarray) -> np.ndarray:
    """Return the number of each user's segment, by how many ratings they had given: of `SEGMENTS`."""
    return np.searchsorted([fewest for _, fewest in SEGMENTS], ratings, side="right").clip(min=1) - 1
