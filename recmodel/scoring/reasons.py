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

from recmodel.scoring import topn
from recmodel.scoring.topn import Pairs


class Successors(NamedTuple):
    """The K successors of each of M movies, and how much they count; none of them twice with a strength above 0."""

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
    liked, weight = Pairs(liked.user[order], liked.row[order]), weight[order]
    ends = np.searchsorted(liked.user, np.arange(len(row) + 1))
    added = _NOTHING
    if successors is not None:
        added = _added(row, liked, successors._replace(boost=successors.boost[order]))
    added_ends = np.searchsorted(added.pair, ends)
    largest, strength = np.zeros(row.shape, int), np.zeros(row.shape, np.float32)
    places = np.arange(row.shape[1])
    candidates = candidate_vectors[row]
    for b in np.flatnonzero(np.diff(ends)):
        of_user = slice(ends[b], ends[b + 1])
        contribution = candidates[b] @ seen_vectors.take(liked.row[of_user], axis=0).T  # [n, liked movies]
        contribution *= weight[of_user]
        if added_ends[b] < added_ends[b + 1]:
            some = slice(added_ends[b], added_ends[b + 1])
            contribution[added.place[some], added.pair[some] - ends[b]] += added.score[some]
        if not_itself:
            contribution[row[b][:, np.newaxis] == liked.row[of_user]] = 0
        contribution.argmax(axis=1, out=largest[b])
        strength[b] = contribution[places, largest[b]]
    reason = np.full(row.shape, -1)
    found = (strength > 0) & (row >= 0)
    reason[found] = liked.row[(ends[:-1, np.newaxis] + largest)[found]]
    return reason


class _Added(NamedTuple):
    """What recommendations owe to being successors of liked movies."""

    pair: np.ndarray  # [A] of the liked pairs, ascending
    place: np.ndarray  # [A] in the list of the pair's user
    score: np.ndarray  # [A] float32


_NOTHING = _Added(np.empty(0, int), np.empty(0, int), np.empty(0, np.float32))


def _added(row: np.ndarray, liked: Pairs, successors: Successors) -> _Added:
    """Find the recommendations [B, n] that are successors of liked movies; the pairs ascend by user."""
    recent = np.flatnonzero(successors.boost)
    after, strength = (table[liked.row[recent]] for table in (successors.row, successors.strength))  # [recent, K]
    place = topn.places_in_lists(row, Pairs(np.repeat(liked.user[recent], after.shape[1]), after.ravel())).reshape(
        after.shape
    )
    of, k = np.nonzero((place >= 0) & (strength > 0))
    return _Added(recent[of], place[of, k], successors.boost[recent[of]] * strength[of, k])
