"""Reasons: for each recommendation the movie that speaks most for it, among those that the user liked.

Takes vectors and what users have seen, as NumPy arrays; gives rows of the catalogue.

The default model's retrieval score is a sum over the user's history: but for a factor that is the user's own, seen
movie i adds `weight[i] * said[i] · movies[j]` to the score of movie j, beside what stands in for a short history. The
largest term is what the score owes most to: an attribution, not a likeness found afterwards. A model that knows users
by id has no such sum. There the weights are 1 and `said` has length 1, so that the movie most like j (by the cosine of
their vectors) speaks for it most.

"Because you liked" must be true: a movie the user disliked is no reason, even if it adds most. Where nothing they liked
adds to a score, there is no reason. Ranking by rating changes the order of movies, not their reasons: why somebody
would watch a movie, not how they will rate it.
"""

from __future__ import annotations

import numpy as np

from recmodel.scoring.topn import Pairs


def liked(seen: Pairs, rating: np.ndarray, at_least: float) -> np.ndarray:
    """[S] bool: rated `at_least` so many stars, and no lower than the user's own mean.

    Both, because a user's favourites may be movies they found bad, and because for a user who gives three stars to
    the worst, three stars are no praise.
    """
    mean = np.bincount(seen.user, rating) / np.maximum(np.bincount(seen.user), 1)
    return rating >= np.maximum(mean, at_least)[seen.user]


def strongest(
    row: np.ndarray, movies: np.ndarray, said: np.ndarray, liked: Pairs, weight: np.ndarray, *, not_itself: bool
) -> np.ndarray:
    """[B, n] int64: which of the user's liked movies speaks most for each recommendation; -1 where none speaks for it.

    Of equally strong ones it is that of the smallest row.

    Args:
        row: [B, n] the recommendations, -1 where there is none.
        movies: [M, d] float32 vectors of movies as candidates.
        said: [M, d] float32 vectors of movies as seen ones.
        weight: [S] float32, how much each of the `liked` pairs counts.
        not_itself: recommendations may be among what is liked; then none of them is its own reason.
    """
    order = np.argsort(liked.user * len(movies) + liked.row, kind="stable")  # in no time: they mostly are so
    ends = np.searchsorted(liked.user[order], np.arange(len(row) + 1))
    voice, weight = liked.row[order], weight[order, np.newaxis]
    found, strength = np.full(row.shape, -1), np.zeros(row.shape, np.float32)
    places = np.arange(row.shape[1])
    for b in np.flatnonzero(np.diff(ends)):
        mine = slice(ends[b], ends[b + 1])
        terms = movies.take(row[b], axis=0) @ (said.take(voice[mine], axis=0) * weight[mine]).T  # [n, voices]
        if not_itself:
            terms[row[b][:, np.newaxis] == voice[mine]] = 0
        most = terms.argmax(axis=1)
        found[b], strength[b] = voice[mine][most], terms[places, most]
    found[(strength <= 0) | (row < 0)] = -1
    return found
