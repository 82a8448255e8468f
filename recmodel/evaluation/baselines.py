"""Predictions to be measured: those of a model as it is served, and those of methods without one.

Each takes a split and returns its predicted ratings and its ranked lists; a method that does not do a task has None.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import csr_array

from recmodel import schemas as c
from recmodel.arrays import locate, rows_of, runs, summed, take
from recmodel.data import histories
from recmodel.errors import UsageRejected
from recmodel.evaluation.splits import Split
from recmodel.models import architectures
from recmodel.scoring import popularity, topn
from recmodel.scoring.recommender import Recommender

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TOP_K = (1, 5, 10, 50, 100)
LIST_LENGTH = max(TOP_K)


@dataclass(frozen=True)
class Predictions:
    """What a method predicts for a split."""

    ratings: np.ndarray | None = None  # [held-out rows] stars
    lists: np.ndarray | None = None  # [U, LIST_LENGTH] movie ids, best first, fitted movies left out; -1 pads


def open_model(saved_model: Path, architecture: str, split: Split) -> Recommender:
    """Open a SavedModel to be measured by a split."""
    open_signatures = architectures.open_by_ids(architecture, movies_are_text=split.labels.movies is not None)
    return Recommender(saved_model, signatures=open_signatures(saved_model), another_day=split.another_day)


def of_model(
    model: Recommender,
    tasks: tuple[str, ...],
    split: Split,
    *,
    include_seen: bool = False,
    rank_by: str = "retrieval",
    length: int = LIST_LENGTH,
) -> Predictions:
    """Predict with a served model, whose lists are in the order of a ranking policy.

    A user it does not know gets what the published tables would hold: damped means of movies, and the most rated ones,
    of late if times are known.
    """
    order, popular_rating = popularity.popularity(split.movie_ids, *split.counts(), split.trend)
    ranked = split.movie_ids[order]
    users, labels = split.users.astype(np.int64), split.labels
    row_of_model = model.movie_rows(labels.movie_ids(split.movie_ids))  # its own catalogue may be another
    movie_of_row = np.full(model.catalogue_size + 1, -1)  # the last one pads
    movie_of_row[row_of_model] = np.where(row_of_model < 0, -1, split.movie_ids)
    movie = rows_of(split.movie_ids, split.held_out[c.MOVIE_ID])
    user = np.searchsorted(users, split.held_out[c.USER_ID])
    predicted = popular_rating[movie]
    lists = np.full((len(users), min(length, len(split.movie_ids))), -1)
    for start in range(0, len(users), topn.USERS):
        block = users[start : start + topn.USERS]
        movies, ratings = split.histories(block)
        row = row_of_model[np.searchsorted(split.movie_ids, np.concatenate(movies))]
        has = row >= 0
        history = (
            labels.user_ids(block),
            topn.paired(row, has, movies),
            np.concatenate(ratings)[has],
            histories.ages(np.cumsum([0, *map(len, movies)]))[has],
        )
        if "rating" in tasks:
            pairs = np.flatnonzero((user >= start) & (user < start + len(block)))
            values = model.rate_rows(*history, topn.Pairs(user[pairs] - start, row_of_model[movie[pairs]]))
            predicted[pairs] = np.where(np.isnan(values), predicted[pairs], values)
        if "retrieval" in tasks:
            top = model.recommend_rows(*history, n=length, rank_by=rank_by, include_seen=include_seen)
            of_block = lists[start : start + len(block)]
            of_block[:, : top.row.shape[1]] = movie_of_row[top.row]
            for b in np.flatnonzero(~top.known_user):
                of_block[b] = _first_unseen(ranked, movies[b] if not include_seen else movies[b][:0], lists.shape[1])
    return Predictions(predicted if "rating" in tasks else None, lists if "retrieval" in tasks else None)


def of_popularity(split: Split) -> Predictions:
    """Recommend the most rated movies that the user has not rated yet."""
    order, _ = popularity.popularity(split.movie_ids, *split.counts())
    ranked = split.movie_ids[order]
    lists = np.full((len(split.users), min(LIST_LENGTH, len(ranked))), -1)
    for row, seen in zip(lists, split.histories(split.users)[0], strict=True):
        row[:] = _first_unseen(ranked, seen, len(row))
    return Predictions(lists=lists)


def of_biases(split: Split, damping: float = 5.0) -> Predictions:
    """Predict the overall mean plus a bias of each movie and of each user, each damped towards 0.

    Source: Koren, Bell and Volinsky, "Matrix Factorization Techniques for Recommender Systems", 2009, equation 3,
    with the biases estimated one after the other.
    """
    fitted, held_out = split.fitted, split.held_out
    mean = fitted[c.RATING].mean(dtype=np.float64)
    count, total = split.counts()
    by_movie = (total - mean * count) / (count + damping)
    known = split.known
    by_rating = by_movie[rows_of(split.movie_ids, known[c.MOVIE_ID])]
    users, user = runs(known[c.USER_ID])
    count = summed(user, len(users))
    total = summed(user, len(users), known[c.RATING]) - summed(user, len(users), by_rating)
    by_user = (total - mean * count) / (count + damping)
    row, is_known = locate(users, held_out[c.USER_ID])
    movie = rows_of(split.movie_ids, held_out[c.MOVIE_ID])
    return Predictions(mean + by_movie[movie] + np.where(is_known, by_user[row], 0.0))


def ease_weights(split: Split, penalty: float = 100.0, liked_from: float = -np.inf) -> np.ndarray:
    """Fit EASE: ridge regression from items to items with a zero diagonal; M² memory, M³ time.

    Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", 2019.

    Args:
        liked_from: fit to ratings of at least this.

    Returns:
        [M, M] float32, from movies in a history to movies to recommend.
    """
    size = len(split.movie_ids)
    liked = take(split.fitted, np.flatnonzero(split.fitted[c.RATING] >= liked_from))
    _, user = np.unique(liked[c.USER_ID], return_inverse=True)
    movie = np.searchsorted(split.movie_ids, liked[c.MOVIE_ID])
    rated = csr_array((np.ones(len(movie), np.float32), (user, movie)), (len(split.fitted[c.USER_ID]), size))
    inverse = np.linalg.inv((rated.T @ rated).toarray() + penalty * np.eye(size, dtype=np.float32))
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


def of_ease(
    split: Split, weights: np.ndarray, liked_from: float = -np.inf, recency: tuple[float, float] | None = None
) -> Predictions:
    """Recommend by EASE.

    Args:
        weights: see `ease_weights`.
        liked_from: predict from ratings of at least this.
        recency: (floor, τ): a rating that k others have followed weighs floor + exp(-k/τ); None: all weigh the same.
    """
    scores = np.tile(split.counts()[0].astype(np.float32), (len(split.users), 1))  # of users without history
    for row, (movies, ratings) in enumerate(zip(*split.histories(split.users), strict=True)):
        history = np.searchsorted(split.movie_ids, movies[ratings >= liked_from])
        if len(history):
            newer = np.arange(len(history))[::-1]
            weight = recency[0] + np.exp(-newer / recency[1]) if recency else np.ones(len(history))
            scores[row] = weight.astype(np.float32) @ weights[history]
    return Predictions(lists=_best_unseen(scores, split))


def of_als(spark: SparkSession, split: Split, rank: int = 32, seed: int = 0) -> Predictions:
    """Predict by Spark's ALS: implicit feedback for the lists, explicit (cold pairs at the mean) for ratings if any."""
    from pyspark.ml.recommendation import ALS

    users, user = np.unique(split.fitted[c.USER_ID], return_inverse=True)
    movie = np.searchsorted(split.movie_ids, split.fitted[c.MOVIE_ID])
    rows = [(int(u), int(m), float(r)) for u, m, r in zip(user, movie, split.fitted[c.RATING], strict=True)]
    frame = spark.createDataFrame(rows, "user INT, movie INT, rating FLOAT").cache()

    def scores(als: ALS) -> np.ndarray:
        model = als.setUserCol("user").setItemCol("movie").setRatingCol("rating").setSeed(seed).fit(frame)
        left, right = np.zeros((len(users), rank)), np.zeros((len(split.movie_ids), rank))
        for into, factors in ((left, model.userFactors), (right, model.itemFactors)):
            for row in factors.collect():
                into[row["id"]] = row["features"]
        return left @ right.T

    watched = scores(ALS(rank=rank, implicitPrefs=True, alpha=1.0, regParam=0.1, maxIter=15))
    lists = _best_unseen(_for_users(watched, users, split), split)
    if not split.rated:
        return Predictions(lists=lists)
    liked = scores(ALS(rank=rank, regParam=0.15, maxIter=15))
    row, known = locate(users, split.held_out[c.USER_ID])
    predicted = liked[row, np.searchsorted(split.movie_ids, split.held_out[c.MOVIE_ID])]
    cold = (predicted == 0) | ~known
    predicted[cold] = split.fitted[c.RATING].mean()
    return Predictions(predicted, lists)


def of_file(path: Path, split: Split) -> Predictions:
    """Return lists that were made elsewhere; a user without one gets an empty list.

    Args:
        path: Parquet with the columns user_id, rank (from 1) and movie_id, such as the table `recommendations`.

    Raises:
        UsageRejected: there is no such file, or it has no such columns.
    """
    columns = [c.USER_ID, c.RANK, c.MOVIE_ID]
    try:
        rows = pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowInvalid) as error:
        raise UsageRejected(
            f"{path} cannot be read as lists: {error}; --lists takes Parquet with {', '.join(columns)}"
        ) from None
    user = split.labels.user_numbers(rows.column(c.USER_ID).to_numpy())
    movie = split.labels.movie_numbers(rows.column(c.MOVIE_ID).to_numpy())
    rank = rows.column(c.RANK).to_numpy()
    row, is_measured = locate(split.users, user)
    _, is_known = locate(split.movie_ids, movie)
    wanted = is_measured & is_known & (rank <= LIST_LENGTH)
    lists = np.full((len(split.users), LIST_LENGTH), -1)
    lists[row[wanted], rank[wanted] - 1] = movie[wanted]
    return Predictions(lists=lists)


def _first_unseen(ranked: np.ndarray, seen: np.ndarray, length: int) -> np.ndarray:
    """Return the first of ranked movies that a user has not seen; -1 pads."""
    head = ranked[: length + len(seen)]
    unseen = head[~np.isin(head, seen)][:length]
    return np.pad(unseen, (0, length - len(unseen)), constant_values=-1)


def _for_users(scores: np.ndarray, users: np.ndarray, split: Split) -> np.ndarray:
    """Return the rows of `scores` (of the fitted `users`) for the split's users; popularity for those not fitted."""
    counts, _ = split.counts()
    rows = np.tile(counts, (len(split.users), 1))
    known = np.isin(split.users, users)
    rows[known] = scores[np.searchsorted(users, split.users[known])]
    return rows


def _best_unseen(scores: np.ndarray, split: Split) -> np.ndarray:
    scores = scores.copy()
    for row, seen in enumerate(split.histories(split.users)[0]):
        scores[row, np.searchsorted(split.movie_ids, seen)] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :LIST_LENGTH]
    return np.where(np.isinf(np.take_along_axis(scores, best, axis=1)), -1, split.movie_ids[best])
