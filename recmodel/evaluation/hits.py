"""Hits: how lists did once the ratings since came in, next to what was popular when they were made.

Every movie that a user has rated since, and had not before, is relevant. Recall and NDCG are those of Spark's
RankingMetrics, as elsewhere; ranks beyond ten do not count.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from recmodel import schemas as c
from recmodel.arrays import places
from recmodel.data import duplicates
from recmodel.evaluation import ranking
from recmodel.scoring import topn

K = 10
SEGMENTS = (("1-4", 1), ("5-19", 5), ("20-99", 20), ("100 and more", 100))  # name, and fewest ratings


class Relevant(NamedTuple):
    """S pairs of one of B users and a movie, given by its row, that the user has rated since; no pair twice."""

    user: np.ndarray  # [S] int
    movie: np.ndarray  # [S] int
    liked: np.ndarray  # [S] bool


class Divided(NamedTuple):
    """Ratings of some users, divided at a time: what they knew by then, and what they have rated since."""

    has_new: np.ndarray  # [U] bool: which of the users have rated something since that they had not before, B in all
    known: topn.Pairs  # of these B users and the movies that they knew
    relevant: Relevant  # and of these B users and the movies that are new to them
    newest: int  # the time of the newest rating


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


def divided(rated: pa.Table, users: pa.Array, since: int, liked_from: float | None) -> Divided:
    """Divide the ratings of some users into movies they knew and movies they have rated since.

    Who has only rated again what they had rated has seen nothing new. Of several ratings of a movie since then, the one
    that counts says whether it is liked; see `duplicates`.

    Args:
        rated: `schemas.STAGED`, duplicates included, of these users alone.
        users: [U] ids.
        since: the last second that counts as before.
        liked_from: in stars; None: nobody says what they like.
    """
    user = places(users, rated.column(c.USER_ID))
    movie, stars = rated.column(c.MOVIE).to_numpy().astype(np.int64), rated.column(c.RATING).to_numpy()
    time = rated.column(c.TIMESTAMP).fill_null(since).to_numpy()
    pair = user * (movie.max(initial=0) + 1) + movie
    old = time <= since
    new = np.flatnonzero(~old & ~np.isin(pair, pair[old]))
    new = new[np.argsort(pair[new], kind="stable")]
    starts = np.diff(pair[new], prepend=-1) != 0
    counts, _ = duplicates.that_count(starts, time[new], stars[new], add_up=False)
    new = new[counts]
    liked = np.zeros(len(new), bool) if liked_from is None else stars[new] >= liked_from
    has_new = np.bincount(user[new], minlength=len(users)) > 0
    number, old = has_new.cumsum() - 1, np.flatnonzero(old & has_new[user])
    known = topn.Pairs(number[user[old]], movie[old])
    return Divided(has_new, known, Relevant(number[user[new]], movie[new], liked), int(time.max(initial=since)))


def first_unknown(ranked: np.ndarray, movies: int, users: int, known: topn.Pairs) -> np.ndarray:
    """Return [B, 10] rows of movies: the first of one ranking for all, without those that each user knows; -1 pads.

    Args:
        ranked: rows of movies, best first; the others are in no list.
        movies: M, how many movies there are.
        users: B.
        known: see `Divided`.
    """
    score, allowed = np.zeros((movies, 1), np.float32), np.zeros(movies, bool)
    score[ranked, 0] = np.arange(len(ranked), 0, -1)
    allowed[ranked] = True
    search = topn.Vectors(score, allowed=allowed)
    ones, found = np.ones((users, 1), np.float32), [np.empty((0, K), np.int64)]
    for start in range(0, users, topn.USERS):
        some = (known.user >= start) & (known.user < start + topn.USERS)
        hidden = topn.Pairs(known.user[some] - start, known.row[some])
        rows = search.top(ones[start : start + topn.USERS], K, hidden).row
        found.append(np.pad(rows, ((0, 0), (0, K - rows.shape[1])), constant_values=-1))
    return np.concatenate(found)


def segments(ratings: np.ndarray) -> np.ndarray:
    """Return the number of each user's segment, by how many ratings they had given: of `SEGMENTS`."""
    return np.searchsorted([fewest for _, fewest in SEGMENTS], ratings, side="right").clip(min=1) - 1
