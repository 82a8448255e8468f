"""Reasons: for each recommendation the movie that contributes most to it, among those that the user liked.

Takes vectors and what users have seen, as NumPy arrays, and returns rows of the catalogue.

The default model's retrieval score is a sum over the user's history: apart from a factor per user, seen movie i
contributes `weight[i] * seen_vectors[i] · candidate_vectors[j]` to the score of movie j, and `boost[i]` times the
strength of j among its successors; the rest stands in for a short history. The reason is the largest contribution: an
attribution, not a similarity found afterwards. A model that knows users by id has no such sum. Its weights are 1 and
its seen vectors have length 1, so that the reason is the movie most similar to j (by the cosine of their vectors).

"Because you liked" must be true: a movie that the user disliked is no reason, even if it contributes most. Where
nothing they liked contributes to a score, there is no reason. Ranking by rating changes the order of movies, not their
reasons: a reason is why somebody would watch a movie, not how they will rate it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recmodel.scoring.topn import Pairs


class Successors(NamedTuple):
    """The K successors of each of M movies, and how much they count."""

    row: np.ndarray  # [M, K] int32, of the catalogue
    strength: np.ndarray  # [M, K] float32, 0 where a movie has fewer
    boost: np.ndarray  # [S] float32, of each of the liked pairs


def liked(seen: Pairs, rating: np.ndarray, at_least: float) -> np.ndarray:
    """Return [S] bool: which seen movies were rated `at_least` stars or more, and no lower than the user's own mean.

    Both are needed: a user's favourites may be movies they found bad, and from a user who gives three stars to the
    worst, three stars are no praise.
    """
    mean = np.bincount(seen.user, rating) / np.maximum(np.bincount(seen.user), 1)
    return rating >= np.maximum(mean, at_least)[seen.user]


def strongest(
    row: np.ndarray,
    candidate_vectors: np.ndarray,
    seen_vectors: np.ndarray,
    liked: Pairs,
    weight: np.ndarray,
    *,
    not_itself: bool,
    successors: Successors | None = None,
) -> np.ndarray:
    """Return [B, n] int64: the liked movie that contributes most to each recommendation; -1 where none contributes.

    Of equal contributions, that of the smallest row counts.

    Args:
        row: [B, n] the recommendations, -1 where there is none.
        candidate_vectors: [M, d] float32 vectors of movies as candidates.
        seen_vectors: [M, d] float32 vectors of movies as seen ones.
        weight: [S] float32, how much each of the `liked` pairs counts.
        not_itself: recommendations may be among the liked movies; then none of them is its own reason.
    """
    order = np.argsort(liked.user * len(candidate_vectors) + liked.row, kind="stable")  # fast: they are mostly sorted
    ends = np.searchsorted(liked.user[order], np.arange(len(row) + 1))
    liked_row, weight = liked.row[order], weight[order]
    boost = None if successors is None else successors.boost[order]
    place = np.full(len(candidate_vectors), -1)  # of each movie in the list of a user
    reason, strength = np.full(row.shape, -1), np.zeros(row.shape, np.float32)
    places = np.arange(row.shape[1])
    for b in np.flatnonzero(np.diff(ends)):
        of_user = slice(ends[b], ends[b + 1])
        seen = seen_vectors.take(liked_row[of_user], axis=0)
        contribution = candidate_vectors.take(row[b], axis=0) @ seen.T  # [n, liked movies]
        contribution *= weight[of_user]
        if successors is not None and boost is not None:
            _add_boosts(contribution, row[b], liked_row[of_user], boost[of_user], successors, place)
        if not_itself:
            contribution[row[b][:, np.newaxis] == liked_row[of_user]] = 0
        largest = contribution.argmax(axis=1)
        reason[b], strength[b] = liked_row[of_user][largest], contribution[places, largest]
    reason[(strength <= 0) | (row < 0)] = -1
    return reason


def _add_boosts(
    contribution: np.ndarray,
    row: np.ndarray,
    liked: np.ndarray,
    boost: np.ndarray,
    successors: Successors,
    place: np.ndarray,
) -> None:
    """Add what movies owe to being successors of liked ones to `contribution` [n, liked movies].

    Args:
        row: [n] the list of a user; -1 where it ends early.
        liked, boost: of the user's liked movies.
        place: [M] filled with -1, and left so.
    """
    recent = np.flatnonzero(boost)
    listed = row[row >= 0]
    place[listed] = np.arange(len(listed))
    found = place[successors.row[liked[recent]].ravel()]  # [recent * K]
    of_list = np.flatnonzero(found >= 0)
    if len(of_list):
        at, k = np.divmod(of_list, successors.row.shape[1])
        added = boost[recent[at]] * successors.strength[liked[recent[at]], k]
        np.add.at(contribution, (found[of_list], recent[at]), added)
    place[listed] = -1
