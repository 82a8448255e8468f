"""Scoring: users with their histories, and a broadcast model, become rows of recommendations.

Takes a Spark DataFrame of histories (see `histories`) and a `Payload`; gives DataFrames of `columns.SCORED` and
`columns.PREDICTED`. A user's whole row of scores is computed in one place, so nothing is
shuffled after scoring, and rows leave in the order in which users came in.

The functions that run in Spark's Python workers need TensorFlow, NumPy and pandas, but no settings and no files.
"""

from __future__ import annotations

import gc
import os
import resource
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pyspark.accumulators import Accumulator, AccumulatorParam

from recmodel import schemas as c
from recmodel.scoring import recommender, rules, topn

if TYPE_CHECKING:
    from pyspark import Broadcast
    from pyspark.sql import DataFrame

    from recmodel.cli.console import Progress


@dataclass(frozen=True)
class Payload:
    """Everything a worker needs, broadcast once. M movies, row i being movie i of the SavedModel."""

    model_version: str
    saved_model: bytes  # recommender.pack
    tasks: tuple[str, ...]  # that the model was trained for
    movie_id: np.ndarray  # [M] int64, ascending
    popular: np.ndarray  # [M] rows of the catalogue, most rated first
    popular_rating: np.ndarray  # [M] float32: each movie's damped mean rating, in stars
    allowed: np.ndarray | None = None  # [M] bool: what may be recommended, by the model or as popular; None: everything
    cap: rules.Cap | None = None  # on the genres in a list

    @cached_property
    def by_popularity(self) -> topn.Vectors:
        """The search for what is popular, which is the same for everybody: vectors of one dimension."""
        falling = np.empty((len(self.popular), 1), np.float32)
        falling[self.popular, 0] = np.arange(len(self.popular), 0, -1)
        return topn.Vectors(falling, allowed=self.allowed)


@dataclass(frozen=True)
class TopNRequest:
    """What to recommend; see conf/settings.yaml."""

    n: int
    rank_by: str  # retrieval | rating | two-stage
    candidates: int
    include_seen: bool
    min_history: int
    liked_from: float | None  # stars, see `reasons.liked`; None: no reasons
    block_bytes: int  # memory of a worker for the users it scores at a time
    threads: int  # of TensorFlow in a worker


# What scores a few users: (model, users, payload, request) -> rows.
ScoreBlock = Callable[[recommender.Recommender, pd.DataFrame, Payload, TopNRequest], pd.DataFrame]


_ROWS = 1 << 15  # of a frame that leaves a worker, at least: Spark takes 5 ms for each, whatever its size


def recommend(users: DataFrame, payload: Broadcast[Payload], request: TopNRequest, stats: Accumulator) -> DataFrame:
    """`columns.SCORED`: the top n of every user of `users`, in their order within each partition."""
    function = partial(_score_partition, score_block=recommend_block, broadcast=payload, request=request, stats=stats)
    return users.mapInPandas(function, c.SCORED)


def predict_all(users: DataFrame, payload: Broadcast[Payload], request: TopNRequest, stats: Accumulator) -> DataFrame:
    """`columns.PREDICTED`: every user the model knows with every movie of the catalogue, ascending movie_id."""
    function = partial(_score_partition, score_block=predict_block, broadcast=payload, request=request, stats=stats)
    return users.mapInPandas(function, c.PREDICTED)


def publishable(scored: DataFrame, titles: DataFrame, model_version: str, scored_at: datetime) -> DataFrame:
    """`columns.RECOMMENDATION` from `columns.SCORED`, in the same order: titles (`movie_id, title`) are broadcast."""
    from pyspark.sql import functions as f

    reasons = titles.select(f.col(c.MOVIE_ID).alias(c.BECAUSE_MOVIE_ID), f.col(c.TITLE).alias(c.BECAUSE_TITLE))
    source = f.when(f.col(c.BY_MODEL), c.SOURCE_MODEL).otherwise(c.SOURCE_POPULARITY)
    made = {c.SOURCE: source, c.MODEL_VERSION: f.lit(model_version), c.SCORED_AT: f.lit(scored_at).cast("timestamp")}
    named = scored.join(f.broadcast(titles), c.MOVIE_ID).join(f.broadcast(reasons), c.BECAUSE_MOVIE_ID, "left")
    return named.withColumns(made).select(*c.RECOMMENDATION)


@dataclass(frozen=True)
class WorkerStats:
    """What the Python workers of a run report."""

    users: int = 0  # scored, in partitions that are finished
    model_loads: int = 0
    load_seconds: float = 0.0  # of the slowest: importing TensorFlow and loading the model
    peak_bytes: int = 0  # resident memory of the largest worker


class MergeWorkerStats(AccumulatorParam[WorkerStats]):
    """Adds up users and loads, and keeps the largest of the rest: the rule of the accumulator `stats` above."""

    def zero(self, value: WorkerStats) -> WorkerStats:
        return WorkerStats()

    def addInPlace(self, left: WorkerStats, right: WorkerStats) -> WorkerStats:  # noqa: N802 - Spark's name
        return WorkerStats(
            left.users + right.users,
            left.model_loads + right.model_loads,
            max(left.load_seconds, right.load_seconds),
            max(left.peak_bytes, right.peak_bytes),
        )


@contextmanager
def watched(stats: Accumulator[WorkerStats], users: int, progress: Progress, seconds: float = 0.5) -> Iterator[None]:
    """Tells `progress`, so often and at the end, how many of the users were scored inside this context."""
    before, ended = stats.value.users, threading.Event()

    def watch() -> None:
        last = False
        while not last:
            last = ended.wait(seconds)
            progress(min(stats.value.users - before, users), users, "users")  # a task that is run again counts again

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


# -- in the workers ----------------------------------------------------------------------------------------------

# Lives as long as the Python worker, which Spark reuses; by the model's version and what it may recommend.
_loaded: dict[tuple[str, bytes | None], recommender.Recommender] = {}


def _model(payload: Payload, request: TopNRequest, stats: Accumulator[WorkerStats]) -> recommender.Recommender:
    """The broadcast model, unpacked and loaded once a worker, however many partitions and batches it meets."""
    key = payload.model_version, None if payload.allowed is None else payload.allowed.tobytes()
    if key not in _loaded:
        started = time.perf_counter()
        gc.disable()  # half a million objects are made here, hardly any of them garbage: a sixth faster
        # oneDNN keeps a kernel for every shape it meets, and every block is of another: 3 KiB a user that never go.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
        from recmodel.tf import tf

        tf.config.threading.set_intra_op_parallelism_threads(request.threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        _loaded.clear()
        _loaded[key] = recommender.unpack(payload.saved_model, payload.allowed)
        gc.enable()
        gc.freeze()  # Spark collects garbage after every task, and to look through all of TensorFlow takes 0.25 s
        stats.add(WorkerStats(model_loads=1, load_seconds=time.perf_counter() - started))
    return _loaded[key]


def _score_partition(
    frames: Iterator[pd.DataFrame],
    score_block: ScoreBlock,
    broadcast: Broadcast[Payload],
    request: TopNRequest,
    stats: Accumulator[WorkerStats],
) -> Iterator[pd.DataFrame]:
    return gathered(_score_blocks(frames, score_block, broadcast.value, request, stats), _ROWS)


def _score_blocks(
    frames: Iterator[pd.DataFrame],
    score_block: ScoreBlock,
    payload: Payload,
    request: TopNRequest,
    stats: Accumulator[WorkerStats],
) -> Iterator[pd.DataFrame]:
    for users in map(by_user, whole_users(frames)):
        if len(users):
            model = _model(payload, request, stats)
            memory = _memory(score_block, model, payload, request)
            for block in blocks(users, *memory, request.block_bytes):
                yield score_block(model, block, payload, request)
        stats.add(WorkerStats(users=len(users), peak_bytes=_peak_bytes()))


def whole_users(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The rows, which ascend by user, in frames such that no user is in two of them."""
    waiting: pd.DataFrame | None = None
    for frame in frames:
        if not len(frame):
            continue
        if waiting is not None:
            user = waiting[c.USER_ID].to_numpy()
            of_last = int(np.searchsorted(user, user[-1]))  # who may go on in this frame
            if of_last:
                yield waiting.iloc[:of_last]
            frame = pd.concat([waiting.iloc[of_last:], frame])
        waiting = frame
    if waiting is not None:
        yield waiting


def by_user(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a user, of arrays, from rows as `columns.NO_MOVIE` tells of them, which ascend by user."""
    user, movie, rating = (rows[name].to_numpy() for name in (c.USER_ID, c.MOVIE_ID, c.RATING))
    within = user[1:] == user[:-1]
    if (within & (movie[1:] < movie[:-1])).any():
        order = np.lexsort((movie, user))
        user, movie, rating = user[order], movie[order], rating[order]
    rated = ~np.isnan(rating)
    ids = np.unique(user[rated | (movie == c.NO_MOVIE)])
    denied = ~rated & (movie != c.NO_MOVIE) & np.isin(user, ids)

    def lists(values: np.ndarray, which: np.ndarray) -> list[np.ndarray]:
        mine, ends = values[which], np.searchsorted(user[which], ids, "right").tolist()
        return [mine[start:end] for start, end in zip([0, *ends], ends, strict=False)]  # np.split is far slower

    columns = {c.USER_ID: ids, c.SEEN_MOVIE_IDS: lists(movie, rated), c.SEEN_RATINGS: lists(rating, rated)}
    if denied.any():
        columns[c.DENIED_MOVIE_IDS] = lists(movie, denied)
    return pd.DataFrame(columns)


def gathered(frames: Iterable[pd.DataFrame], rows: int) -> Iterator[pd.DataFrame]:
    """The same rows in larger frames, of so many rows at least, but for the last."""
    waiting, count = [], 0
    for frame in frames:
        waiting.append(frame)
        count += len(frame)
        if count >= rows:
            yield _joined(waiting)
            waiting, count = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """One frame; of a single one no copy, since the ratings of a whole catalogue fill it."""
    return frames[0] if len(frames) == 1 else pd.concat(frames)


def _memory(
    score_block: ScoreBlock, model: recommender.Recommender, payload: Payload, request: TopNRequest
) -> tuple[int, int]:
    """Bytes a user, and bytes a rating of their history."""
    if score_block is predict_block:
        return 40 * len(payload.movie_id), 0
    n = min(max(request.n, request.candidates if request.rank_by == "two-stage" else 0), len(payload.movie_id))
    per_user, per_rating = model.memory(n, request.rank_by)
    return per_user + 64 * n, per_rating  # and the rows that come of it


def blocks(users: pd.DataFrame, per_user: int, per_rating: int, budget: int) -> Iterator[pd.DataFrame]:
    """The users in blocks that need at most `budget` bytes (or are one user), and are no larger than is of use."""
    total = np.cumsum(per_user + per_rating * users[c.SEEN_MOVIE_IDS].map(len).to_numpy())
    start = 0
    while start < len(users):
        spent = total[start - 1] if start else 0
        end = int(np.searchsorted(total, spent + budget, "right"))
        end = min(max(end, start + 1), start + topn.USERS)
        yield users.iloc[start:end]
        start = end


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


# -- one block, without Spark ------------------------------------------------------------------------------------


def recommend_block(
    model: recommender.Recommender, users: pd.DataFrame, payload: Payload, request: TopNRequest
) -> pd.DataFrame:
    """The rows (`columns.SCORED`) of a few users, in their order, rank ascending.

    A user unknown to the model, or with fewer than `min_history` ratings, gets the most rated movies instead. A task
    that the model was not trained for leaves its column null.
    """
    seen, ratings = _seen(users)
    denied = _denied(users)
    top = model.recommend(
        users[c.USER_ID].to_numpy(),
        seen,
        ratings,
        n=request.n,
        rank_by=request.rank_by,
        candidates=request.candidates,
        include_seen=request.include_seen,
        denied=denied,
        cap=payload.cap,
        liked_from=request.liked_from,
        rated="rating" in payload.tasks,
    )
    cold = ~top.known_user | (np.array([len(ids) for ids in seen]) < request.min_history)
    row, because = top.row.copy(), np.where(cold[:, np.newaxis], -1, top.because)
    score = top.retrieval_score.copy() if "retrieval" in payload.tasks else np.full_like(top.retrieval_score, np.nan)
    rating = top.predicted_rating.copy()
    if cold.any():
        mine = np.flatnonzero(cold)
        lists = ([ids[b] for b in mine] for ids in (None if request.include_seen else seen, denied) if ids is not None)
        popular = _popular(payload, list(lists), len(mine), request.n)
        row[cold] = -1
        row[cold, : popular.shape[1]] = popular
        score[cold], rating[cold] = np.nan, payload.popular_rating[row[cold]]
    taken = row >= 0
    user, position = np.nonzero(taken)
    nobody = because[taken] < 0
    return pd.DataFrame(
        {
            c.USER_ID: users[c.USER_ID].to_numpy()[user],
            c.RANK: (position + 1).astype(np.int32),
            c.MOVIE_ID: payload.movie_id[row[taken]],
            c.RETRIEVAL_SCORE: score[taken],  # Spark turns NaN into null
            c.PREDICTED_RATING: rating[taken],
            c.BY_MODEL: ~cold[user],
            c.BECAUSE_MOVIE_ID: pd.arrays.IntegerArray(payload.movie_id[because[taken]], nobody),
        }
    )


def predict_block(
    model: recommender.Recommender, users: pd.DataFrame, payload: Payload, request: TopNRequest
) -> pd.DataFrame:
    """The rows (`columns.PREDICTED`) of a few users, in their order: the whole catalogue, or none if unknown."""
    user_id = users[c.USER_ID].to_numpy()
    ratings, known = model.rate_catalogue(user_id, *_seen(users))
    return pd.DataFrame(
        {
            c.USER_ID: np.repeat(user_id[known], len(payload.movie_id)),
            c.MOVIE_ID: np.tile(payload.movie_id, known.sum()),
            c.PREDICTED_RATING: ratings[known].ravel(),
        }
    )


def _seen(users: pd.DataFrame) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The seen movie ids and their ratings, one array a user."""
    return list(users[c.SEEN_MOVIE_IDS]), list(users[c.SEEN_RATINGS])


def _denied(users: pd.DataFrame) -> list[np.ndarray] | None:
    """The movie ids that must not be recommended, one array a user; None where nothing is denied to anybody."""
    return list(users[c.DENIED_MOVIE_IDS]) if c.DENIED_MOVIE_IDS in users else None


def _popular(payload: Payload, hidden: list[list[np.ndarray]], users: int, n: int) -> np.ndarray:
    """[B, n] rows of the catalogue: the n most rated movies without the `hidden` ids of each user; -1 if fewer."""
    pairs = topn.NO_PAIRS
    for lists in hidden:
        pairs = pairs.and_also(topn.pairs(payload.movie_id, lists)[0])

    def search(which: np.ndarray, n: int, hidden: topn.Pairs, closed: topn.Closed | None) -> topn.Top:
        return payload.by_popularity.top(np.ones((len(which), 1), np.float32), n, hidden, closed)

    return rules.lists(search, users, n, pairs, payload.cap).row
