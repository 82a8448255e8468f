"""Evaluation: how good a model is, as it is served, beside baselines, on ratings that none of them was fitted to.

Takes a split of the ratings and, for each method, its predicted ratings and its ranked lists; gives numbers. A method
that does not do a task has None there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from recmodel import schemas as c
from recmodel.data import catalogue as lookup
from recmodel.models.training import Arrays, rows
from recmodel.scoring.popularity import popularity
from recmodel.scoring.recommender import Recommender
from recmodel.settings import Gate

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TOP_K = (1, 5, 10, 50, 100)
LIST_LENGTH = max(TOP_K)
_BLOCK = 256  # users at a time
_NO_MARGIN = Gate(rmse=0, accuracy=0)


@dataclass(frozen=True)
class Split:
    """Ratings to fit and ratings to measure by; ids as in the input."""

    fitted: Arrays
    held_out: Arrays
    movie_ids: np.ndarray  # [M] int64, ascending: the catalogue

    @cached_property
    def users(self) -> np.ndarray:
        """[U] who has held-out ratings, ascending."""
        return np.unique(self.held_out[c.USER_ID])

    def histories(self, users: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The fitted (movie ids, ratings) of each of `users`."""
        user, movie, rating = self._by_user
        first, end = np.searchsorted(user, users, "left"), np.searchsorted(user, users, "right")
        spans = [slice(a, b) for a, b in zip(first, end, strict=True)]
        return [movie[span] for span in spans], [rating[span] for span in spans]

    @cached_property
    def _by_user(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        order = np.argsort(self.fitted[c.USER_ID], kind="stable")
        user, movie, rating = (self.fitted[name][order] for name in (c.USER_ID, c.MOVIE_ID, c.RATING))
        return user, movie, rating

    def of_some_users(self, limit: int, seed: int = 0) -> Split:
        """The same with the held-out ratings of at most so many users, chosen at random."""
        if len(self.users) <= limit:
            return self
        some = np.random.RandomState(seed).choice(self.users, limit, replace=False)
        kept = np.flatnonzero(np.isin(self.held_out[c.USER_ID], some))
        return Split(self.fitted, rows(self.held_out, kept), self.movie_ids)

    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """[M] number and [M] sum of each movie's fitted ratings."""
        movie = np.searchsorted(self.movie_ids, self.fitted[c.MOVIE_ID])
        size = len(self.movie_ids)
        return np.bincount(movie, minlength=size).astype(float), np.bincount(movie, self.fitted[c.RATING], size)


@dataclass(frozen=True)
class Answers:
    """What a method says about a split."""

    predicted: np.ndarray | None = None  # [held-out rows] stars
    lists: np.ndarray | None = None  # [U, LIST_LENGTH] movie ids, best first, fitted movies left out; -1 pads


# -- splits --------------------------------------------------------------------------------------------------------


def split_by_time(ratings: Arrays, test_share: float) -> tuple[Arrays, Arrays]:
    """(train, test): the newest `test_share` of all ratings is held out."""
    order = np.argsort(ratings[c.TIMESTAMP], kind="stable")
    cut = len(order) - int(len(order) * test_share)
    return rows(ratings, order[:cut]), rows(ratings, order[cut:])


def split_last_out(ratings: Arrays) -> tuple[Arrays, Arrays]:
    """(train, test): the newest rating of each user who has two or more is held out."""
    order = np.lexsort((ratings[c.MOVIE_ID], ratings[c.TIMESTAMP], ratings[c.USER_ID]))
    user = ratings[c.USER_ID][order]
    last = np.append(user[1:] != user[:-1], True)
    only = np.insert(user[1:] != user[:-1], 0, True)
    held_out = last & ~only
    return rows(ratings, order[~held_out]), rows(ratings, order[held_out])


def cold_users(
    ratings: Arrays, movie_ids: np.ndarray, seed: int, given: tuple[int, ...] = (0, 1, 3, 10)
) -> tuple[Split, dict[int, Split]]:
    """A fifth of the users held out whole, and then shown to the model with their first few ratings.

    Returns:
        The split to fit a model to, and for each number of `given` ratings one whose fitted part is that of the other
        users and so many ratings of these, in random order. What is held out is the same in all: what follows the
        largest of `given`.
    """
    random = np.random.RandomState(seed)
    users = np.unique(ratings[c.USER_ID])
    cold = random.choice(users, len(users) // 5, replace=False)
    shuffled = rows(ratings, random.permutation(len(ratings[c.USER_ID])))
    is_cold = np.isin(shuffled[c.USER_ID], cold)
    others, theirs = rows(shuffled, np.flatnonzero(~is_cold)), rows(shuffled, np.flatnonzero(is_cold))
    order = np.argsort(theirs[c.USER_ID], kind="stable")
    theirs = rows(theirs, order)
    first = np.searchsorted(theirs[c.USER_ID], theirs[c.USER_ID])  # where each user's ratings begin
    place = np.arange(len(first)) - first
    held_out = rows(theirs, np.flatnonzero(place >= max(given)))

    def shown(count: int) -> Arrays:
        few = rows(theirs, np.flatnonzero(place < count))
        return {name: np.concatenate([others[name], few[name]]) for name in others}

    return Split(others, held_out, movie_ids), {n: Split(shown(n), held_out, movie_ids) for n in given}


# -- answers -------------------------------------------------------------------------------------------------------


def of_model(model: Recommender, tasks: tuple[str, ...], split: Split, *, include_seen: bool = False) -> Answers:
    """The answers of a served model. Where it does not know the user, it is helped out as the tables are: with the
    movie's damped mean and the most rated movies.
    """
    order, popular_rating = popularity(split.movie_ids, *split.counts())
    users = split.users
    row = np.searchsorted(users, split.held_out[c.USER_ID])
    movie = np.searchsorted(split.movie_ids, split.held_out[c.MOVIE_ID])
    predicted = popular_rating[movie].copy()
    lists = np.full((len(users), min(LIST_LENGTH, len(split.movie_ids))), -1)
    for start in range(0, len(users), _BLOCK):
        block = users[start : start + _BLOCK]
        seen, ratings = split.histories(block)
        if "rating" in tasks:
            pairs = np.flatnonzero((row >= start) & (row < start + len(block)))
            if model.needs_history:
                block_ratings, _ = model.rate_catalogue(block, seen, ratings)
                values = block_ratings[row[pairs] - start, movie[pairs]]
            else:
                found = model.predict(split.held_out[c.USER_ID][pairs], split.held_out[c.MOVIE_ID][pairs])
                values = found.predicted_rating
            predicted[pairs] = np.where(np.isnan(values), predicted[pairs], values)
        if "retrieval" in tasks:
            top = model.recommend(block, seen, ratings, n=LIST_LENGTH, include_seen=include_seen)
            lists[start : start + len(block)] = top.movie_id
            for b in np.flatnonzero(~top.known_user):
                lists[start + b] = split.movie_ids[order[: lists.shape[1]]]
    return Answers(predicted if "rating" in tasks else None, lists if "retrieval" in tasks else None)


def of_popularity(split: Split) -> Answers:
    """The most rated movies that the user has not rated yet."""
    order, _ = popularity(split.movie_ids, *split.counts())
    ranked = split.movie_ids[order]
    lists = np.full((len(split.users), min(LIST_LENGTH, len(ranked))), -1)
    for row, seen in zip(lists, split.histories(split.users)[0], strict=True):
        head = ranked[: len(row) + len(seen)]
        unseen = head[~np.isin(head, seen)][: len(row)]
        row[: len(unseen)] = unseen
    return Answers(lists=lists)


def of_biases(split: Split, damping: float = 5.0) -> Answers:
    """The overall mean plus a bias of each movie and of each user, each damped towards 0.

    Source: Koren, Bell and Volinsky, "Matrix Factorization Techniques for Recommender Systems", 2009, equation 3,
    with the biases estimated one after the other.
    """
    fitted, held_out = split.fitted, split.held_out
    mean = fitted[c.RATING].mean(dtype=np.float64)
    movie_bias = _damped_means(fitted[c.MOVIE_ID], fitted[c.RATING] - mean, damping)
    rest = fitted[c.RATING] - mean - _look_up(movie_bias, fitted[c.MOVIE_ID])
    user_bias = _damped_means(fitted[c.USER_ID], rest, damping)
    return Answers(mean + _look_up(movie_bias, held_out[c.MOVIE_ID]) + _look_up(user_bias, held_out[c.USER_ID]))


def of_ease(split: Split, penalty: float = 100.0) -> Answers:
    """EASE: ridge regression from items to items with a zero diagonal, in closed form; M² memory, M³ time.

    Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", 2019.
    """
    size = len(split.movie_ids)
    users, user = np.unique(split.fitted[c.USER_ID], return_inverse=True)
    rated = np.zeros((len(users), size), np.float32)
    rated[user, np.searchsorted(split.movie_ids, split.fitted[c.MOVIE_ID])] = 1
    inverse = np.linalg.inv(rated.T @ rated + penalty * np.eye(size, dtype=np.float32))
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return Answers(lists=_best_unseen(_for_users(rated @ weights, users, split), split))


def of_als(spark: SparkSession, split: Split, rank: int = 32, seed: int = 0) -> Answers:
    """Spark's ALS: implicit feedback for the lists, explicit (cold pairs at the mean) for the ratings."""
    from pyspark.ml.recommendation import ALS

    users, user = np.unique(split.fitted[c.USER_ID], return_inverse=True)
    movie = np.searchsorted(split.movie_ids, split.fitted[c.MOVIE_ID])
    fitted = [(int(u), int(m), float(r)) for u, m, r in zip(user, movie, split.fitted[c.RATING], strict=True)]
    frame = spark.createDataFrame(fitted, "user INT, movie INT, rating FLOAT").cache()

    def scores(als: ALS) -> np.ndarray:
        model = als.setUserCol("user").setItemCol("movie").setRatingCol("rating").setSeed(seed).fit(frame)
        left, right = np.zeros((len(users), rank)), np.zeros((len(split.movie_ids), rank))
        for into, factors in ((left, model.userFactors), (right, model.itemFactors)):
            for row in factors.collect():
                into[row["id"]] = row["features"]
        return left @ right.T

    watched = scores(ALS(rank=rank, implicitPrefs=True, alpha=1.0, regParam=0.1, maxIter=15))
    liked = scores(ALS(rank=rank, regParam=0.15, maxIter=15))
    row, known = lookup.rows(users, split.held_out[c.USER_ID])
    predicted = liked[row, np.searchsorted(split.movie_ids, split.held_out[c.MOVIE_ID])]
    cold = (predicted == 0) | ~known
    predicted[cold] = split.fitted[c.RATING].mean()
    return Answers(predicted, _best_unseen(_for_users(watched, users, split), split))


def _for_users(scores: np.ndarray, users: np.ndarray, split: Split) -> np.ndarray:
    """Rows of `scores` (of the fitted `users`) for the users of the split; for those not fitted, what is popular."""
    counts, _ = split.counts()
    mine = np.tile(counts, (len(split.users), 1))
    known = np.isin(split.users, users)
    mine[known] = scores[np.searchsorted(users, split.users[known])]
    return mine


def _best_unseen(scores: np.ndarray, split: Split) -> np.ndarray:
    scores = scores.copy()
    for row, seen in enumerate(split.histories(split.users)[0]):
        scores[row, np.searchsorted(split.movie_ids, seen)] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :LIST_LENGTH]
    return np.where(np.isinf(np.take_along_axis(scores, best, axis=1)), -1, split.movie_ids[best])


# -- numbers -------------------------------------------------------------------------------------------------------


def rating_metrics(predicted: np.ndarray, actual: np.ndarray) -> dict[str, float]:
    """rmse and mae in stars; calibration_error: the mean distance, over half-star bins of the prediction weighted by
    their size, between the mean prediction and the mean rating.
    """
    error = predicted.astype(np.float64) - actual
    _, bins = np.unique(np.round(predicted * 2), return_inverse=True)
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mae": float(np.mean(np.abs(error))),
        "calibration_error": float(np.abs(np.bincount(bins, error)).sum() / len(error)),
    }


def rmse_by_movie_ratings(answers: Answers, split: Split) -> dict[str, float]:
    """RMSE of the held-out ratings of movies with so many fitted ratings; NaN where there are none."""
    counts, _ = split.counts()
    movie = np.searchsorted(split.movie_ids, split.held_out[c.MOVIE_ID])
    assert answers.predicted is not None
    error = answers.predicted.astype(np.float64) - split.held_out[c.RATING]
    found = {}
    for low, high in ((0, 0), (1, 2), (3, 5), (6, 20), (21, np.inf)):
        mine = error[(counts[movie] >= low) & (counts[movie] <= high)]
        name = f"{low:g}" if low == high else f"{low:g}–{high:g}" if np.isfinite(high) else f"{low:g} and more"
        found[name] = float(np.sqrt(np.mean(mine**2))) if len(mine) else np.nan
    return found


def top_k_accuracy(lists: np.ndarray, split: Split) -> dict[str, float]:
    """For each k of `TOP_K` the share of held-out pairs whose movie is among the first k of the user's list."""
    mine = lists[np.searchsorted(split.users, split.held_out[c.USER_ID])]
    hit = mine == split.held_out[c.MOVIE_ID][:, np.newaxis]
    return {str(k): float(hit[:, :k].any(axis=1).mean()) for k in TOP_K}


def held_out_metrics(model: Recommender, tasks: tuple[str, ...], split: Split) -> dict[str, Any]:
    """What metrics.json says of a model; only `test_rows` where nothing is held out.

    Where there are more, it is measured on 10,000 users: enough for four digits, and done in a minute.

    `top_k_accuracy` ranks the whole catalogue, as the notebook did; `top_k_accuracy_unseen` leaves out what the user
    had rated, as the published tables do.
    """
    metrics: dict[str, Any] = {"test_rows": len(split.held_out[c.RATING])}
    if not metrics["test_rows"]:
        return metrics
    split = split.of_some_users(10_000)
    metrics["measured_users"] = len(split.users)
    answers = of_model(model, tasks, split)
    if answers.predicted is not None:
        metrics |= rating_metrics(answers.predicted, split.held_out[c.RATING])
    if answers.lists is not None:
        everything = of_model(model, ("retrieval",), split, include_seen=True).lists
        assert everything is not None
        metrics["top_k_accuracy"] = top_k_accuracy(everything, split)
        metrics[c.ACCURACY] = top_k_accuracy(answers.lists, split)
    return metrics


def baselines(split: Split) -> dict[str, dict[str, Any]]:
    """What two methods without a model reach on the same held-out ratings, by their names; for metrics.json."""
    split = split.of_some_users(10_000)
    predicted, lists = of_biases(split).predicted, of_popularity(split).lists
    assert predicted is not None
    assert lists is not None
    return {
        c.BIASES: dict(rating_metrics(predicted, split.held_out[c.RATING])),
        c.POPULARITY: {c.ACCURACY: top_k_accuracy(lists, split)},
    }


def gate(
    measured: dict[str, Any], split: Split, current: tuple[str, Recommender, tuple[str, ...]] | None, margins: Gate
) -> list[str]:
    """Why a new model must not take over; nothing if it may.

    It has to beat two biases in RMSE and popularity in top-100 accuracy, each where it was trained for the task, and
    must not be worse than the current model by more than the margins, on the same held-out ratings.

    Args:
        measured: `held_out_metrics` of the new model, and `baselines` under that name.
        current: its version, the model and its tasks; None where there is none.
    """
    rivals: list[tuple[str, dict[str, Any], Gate]] = [
        (name, theirs, _NO_MARGIN) for name, theirs in measured.get(c.BASELINES, {}).items()
    ]
    if current is not None:
        version, model, tasks = current
        rivals.append((version, held_out_metrics(model, tasks, split), margins))
    reasons = []
    for whose, theirs, margin in rivals:
        if "rmse" in measured and "rmse" in theirs and measured["rmse"] > theirs["rmse"] + margin.rmse:
            ours, limit = measured["rmse"], theirs["rmse"]
            reasons.append(f"held-out RMSE {ours:.4f} is above {limit:.4f} of {whose} plus {margin.rmse:g}")
        if c.ACCURACY in measured and c.ACCURACY in theirs:
            ours, limit = measured[c.ACCURACY]["100"], theirs[c.ACCURACY]["100"]
            if ours < limit - margin.accuracy:
                accuracy = f"held-out top-100 accuracy {ours:.4f}"
                reasons.append(f"{accuracy} is below {limit:.4f} of {whose} minus {margin.accuracy:g}")
    return reasons


def list_metrics(spark: SparkSession, lists: np.ndarray, split: Split) -> dict[str, float]:
    """Spark's RankingMetrics at 10 and 100, each a mean over users; every held-out movie is relevant.

    Beside them catalogue coverage (the share of all movies in anybody's first 10) and novelty (the mean of
    -log2 of the share of users who had rated a movie, over everybody's first 10).
    """
    from pyspark.mllib.evaluation import RankingMetrics

    order = np.argsort(split.held_out[c.USER_ID], kind="stable")
    cuts = np.searchsorted(split.held_out[c.USER_ID][order], split.users[1:])
    relevant = np.split(split.held_out[c.MOVIE_ID][order], cuts)
    pairs = [
        ([float(movie) for movie in mine if movie >= 0], [float(movie) for movie in theirs])
        for mine, theirs in zip(lists, relevant, strict=True)
    ]
    ranking = RankingMetrics(spark.sparkContext.parallelize(pairs).cache())
    counts, _ = split.counts()
    users = len(np.unique(split.fitted[c.USER_ID]))
    first = lists[:, :10]
    shown = np.searchsorted(split.movie_ids, first[first >= 0])
    metrics = {}
    for k in (10, 100):
        metrics[f"recall@{k}"] = ranking.recallAt(k)
        metrics[f"ndcg@{k}"] = ranking.ndcgAt(k)
        metrics[f"precision@{k}"] = ranking.precisionAt(k)
    metrics["coverage@10"] = len(np.unique(shown)) / len(split.movie_ids)
    metrics["novelty@10"] = float(-np.log2((counts[shown] + 1) / (users + 1)).mean())
    return metrics


def _damped_means(keys: np.ndarray, values: np.ndarray, damping: float) -> tuple[np.ndarray, np.ndarray]:
    """Sorted keys, and for each the sum of its values over (their number + damping)."""
    unique, row = np.unique(keys, return_inverse=True)
    return unique, np.bincount(row, values) / (np.bincount(row) + damping)


def _look_up(means: tuple[np.ndarray, np.ndarray], keys: np.ndarray) -> np.ndarray:
    """The mean of each key, 0 for one that is not there."""
    unique, mean = means
    row, known = lookup.rows(unique, keys)
    return np.where(known, mean[row], 0.0)
