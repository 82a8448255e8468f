"""Ranking metrics: how good ranked lists are for each user, and what they are like as a whole."""

from __future__ import annotations

import numpy as np

from recmodel import schemas as c
from recmodel.evaluation.splits import Split


def per_user(lists: np.ndarray, split: Split) -> dict[str, np.ndarray]:
    """Measure each user's list against the relevant held-out movies.

    Recall is the share of a user's relevant movies that is found. Capped recall divides by k where more than k are
    relevant, as Liang et al., "Variational Autoencoders for Collaborative Filtering", 2018, and later papers do. NDCG
    has binary relevance, after Järvelin and Kekäläinen, "Cumulated Gain-Based Evaluation of IR Techniques", 2002.

    Args:
        lists: [U, L] movie ids, best first, of the users of `split.users`; -1 pads.

    Returns:
        A [U] float64 array per metric; NaN for users without a relevant movie.
    """
    wanted = split.relevant
    user, movie = np.searchsorted(split.users, wanted[c.USER_ID]), np.searchsorted(split.movie_ids, wanted[c.MOVIE_ID])
    rows = np.where(lists >= 0, np.searchsorted(split.movie_ids, lists), -1)
    hits, relevant = which_hit(rows, user, movie), np.bincount(user, minlength=len(split.users))
    judged = np.where(relevant > 0, relevant, np.nan)
    count = {k: hits[:, :k].sum(axis=1) for k in (10, 20, 50, 100)}
    found = {f"recall@{k}": count[k] / judged for k in count}
    found |= {f"capped recall@{k}": count[k] / np.minimum(judged, k) for k in (20, 50)}
    for k in (10, 100):
        found[f"ndcg@{k}"] = ndcg(hits, relevant, k)
        found[f"precision@{k}"] = count[k] / k + 0 * judged
    first = np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1), 0.0)
    found["mrr"] = first + 0 * judged
    return found


def which_hit(lists: np.ndarray, user: np.ndarray, movie: np.ndarray) -> np.ndarray:
    """Return which places of lists hold a movie that is relevant to the user, [U, L] bool.

    Args:
        lists: [U, L] rows of movies; -1 pads.
        user, movie: [S] pairs of a user, by place, and a row of a movie: what is relevant.
    """
    movies = int(max(lists.max(initial=0), movie.max(initial=0))) + 1
    pair = np.where(lists >= 0, np.arange(len(lists))[:, np.newaxis] * movies + lists, -1)
    return np.isin(pair, user.astype(np.int64) * movies + movie)


def ndcg(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return the NDCG at k of each user, [U] float64; NaN where nothing is relevant.

    Args:
        hits: see `which_hit`.
        relevant: [U] how many movies are relevant to each user.
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.append(np.nan, np.cumsum(discount))
    return (hits[:, :k] * discount[: hits.shape[1]]).sum(axis=1) / ideal[np.minimum(relevant, k)]


def of_lists(lists: np.ndarray, split: Split, k: int = 10) -> dict[str, float]:
    """Measure everybody's first `k` movies together.

    Returns:
        coverage: the share of the catalogue that is in anybody's list.
        gini: how unequally the movies are recommended, from 0 (all equally often) to 1 (all lists hold the same few).
        novelty: the mean of -log2 of the share of users who had rated a movie, in bits.
        popularity lift: how many more ratings the recommended movies have than those that the same users had rated,
            as a share of the latter; after Abdollahpouri et al., "The Unfairness of Popularity Bias in
            Recommendation", 2019.
    """
    counts, _ = split.counts()
    users = len(np.unique(split.fitted[c.USER_ID]))
    first = lists[:, :k]
    shown = np.searchsorted(split.movie_ids, first[first >= 0])
    seen = np.concatenate(split.histories(split.users)[0] or [split.movie_ids[:0]])
    usual = counts[np.searchsorted(split.movie_ids, seen)].mean() if len(seen) else np.nan
    return {
        f"coverage@{k}": len(np.unique(shown)) / len(split.movie_ids),
        f"gini@{k}": gini(np.bincount(shown, minlength=len(split.movie_ids))),
        f"novelty@{k}": float(-np.log2((counts[shown] + 1) / (users + 1)).mean()),
        f"popularity lift@{k}": float(counts[shown].mean() / usual - 1) if usual else np.nan,
    }


def gini(counts: np.ndarray) -> float:
    """Return the Gini coefficient: 0 if all movies are equal, towards 1 if one has everything; NaN if all are 0."""
    total = counts.sum()
    if not total:
        return float("nan")
    ascending = np.sort(counts).astype(np.float64)
    n = len(ascending)
    return float(2 * (np.arange(1, n + 1) * ascending).sum() / (n * total) - (n + 1) / n)
