"""Scoring in Spark: users with their histories, and a broadcast model, become rows of recommendations.

Takes a DataFrame of histories (see `spark.histories`) and a `Payload`, and returns DataFrames of `schemas.SCORED` and
`schemas.PREDICTED`. All movies are scored for a user in one place, so nothing is shuffled after scoring, and rows leave
in the order in which users came in.

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
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.accumulators import Accumulator, AccumulatorParam

from recmodel import schemas as c
from recmodel.scoring import recommender, rules, topn
from recmodel.scoring.request import Payload, TopNRequest

if TYPE_CHECKING:
    from pyspark import Broadcast
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

    from recmodel.progress import Progress


# Scores a block of users: (model, users, payload, request) -> rows.
ScoreBlock = Callable[[recommender.Recommender, pd.DataFrame, Payload, TopNRequest], pd.DataFrame]


_REASON = "because_number"
_MIN_ROWS = 1 << 15  # of a frame that leaves a worker: Spark takes 5 ms for each, whatever its size


def recommend(users: DataFrame, payload: Broadcast[Payload], request: TopNRequest, stats: Accumulator) -> DataFrame:
    """Return `schemas.SCORED`: the top n of every user of `users`, in their order within each partition."""
    function = partial(_score_partition, score_block=recommend_block, broadcast=payload, request=request, stats=stats)
    return users.mapInPandas(function, _spark_schema(c.SCORED, users))


def predict_all(users: DataFrame, payload: Broadcast[Payload], request: TopNRequest, stats: Accumulator) -> DataFrame:
    """Return `schemas.PREDICTED`: the ratings of all movies by each user the model knows, ascending movie_id."""
    function = partial(_score_partition, score_block=predict_block, broadcast=payload, request=request, stats=stats)
    return users.mapInPandas(function, _spark_schema(c.PREDICTED, users))


def _spark_schema(schema: pa.Schema, users: DataFrame) -> StructType:
    """Return the schema with user ids as `users` has them. Movie ids that are text are numbers in the workers."""
    from pyspark.sql.pandas.types import from_arrow_schema
    from pyspark.sql.types import StructType

    fields = from_arrow_schema(schema).fields
    return StructType([users.schema[c.USER_ID] if field.name == c.USER_ID else field for field in fields])


def publishable(scored: DataFrame, titles: DataFrame, model_version: str, scored_at: datetime) -> DataFrame:
    """Turn `schemas.SCORED` into `schemas.RECOMMENDATION`, in the same order.

    Args:
        titles: columns number (see `Catalogues.movie_numbers`), movie_id, title and placed (bool, see `Catalogues`),
            small enough to be broadcast.
    """
    from pyspark.sql import functions as f

    reasons = titles.select(
        f.col(c.NUMBER).alias(_REASON),
        f.col(c.MOVIE_ID).alias(c.BECAUSE_MOVIE_ID),
        f.col(c.TITLE).alias(c.BECAUSE_TITLE),
    )
    numbered = scored.withColumnsRenamed({c.MOVIE_ID: c.NUMBER, c.BECAUSE_MOVIE_ID: _REASON})
    by_model = f.when(f.col(c.PLACED), c.SOURCE_CONTENT).otherwise(c.SOURCE_MODEL)
    source = f.when(f.col(c.BY_MODEL), by_model).otherwise(c.SOURCE_POPULARITY)
    constant = {
        c.SOURCE: source,
        c.MODEL_VERSION: f.lit(model_version),
        c.SCORED_AT: f.lit(scored_at).cast("timestamp"),
    }
    titled = numbered.join(f.broadcast(titles), c.NUMBER).join(f.broadcast(reasons), _REASON, "left")
    return titled.withColumns(constant).select(*c.RECOMMENDATION.names)


@dataclass(frozen=True)
class WorkerStats:
    """Figures that the Python workers of a run report."""

    users: int = 0  # scored, in finished partitions
    model_loads: int = 0
    load_seconds: float = 0.0  # of the slowest: importing TensorFlow and loading the model
    peak_bytes: int = 0  # resident memory of the largest worker


class MergeWorkerStats(AccumulatorParam[WorkerStats]):
    """Merge figures for the accumulator `stats`: users and loads are added up, of the rest the largest is kept."""

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
    """Report to `progress`, every few `seconds` and at the end, how many users were scored inside this context."""
    before, ended = stats.value.users, threading.Event()

    def watch() -> None:
        last = False
        while not last:
            last = ended.wait(seconds)
            progress(min(stats.value.users - before, users), users, "users")  # a retried task counts twice

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


# -- in the workers ----------------------------------------------------------------------------------------------

# The loaded model, by its version and what it may recommend. Lives as long as the Python worker, which Spark reuses.
_loaded: dict[tuple[str, bytes | None], recommender.Recommender] = {}


def _model(payload: Payload, request: TopNRequest, stats: Accumulator[WorkerStats]) -> recommender.Recommender:
    """Return the broadcast model, which is loaded once per worker, however many partitions the worker processes."""
    key = payload.model_version, None if payload.allowed is None else payload.allowed.tobytes()
    if key not in _loaded:
        started = time.perf_counter()
        gc.disable()  # half a million objects are created here, hardly any of them garbage: a sixth faster
        # oneDNN caches a kernel per shape, and each block has another shape: 3 KiB per user that are never freed.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
        from recmodel.tf import tf

        tf.config.threading.set_intra_op_parallelism_threads(request.threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        _loaded.clear()
        _loaded[key] = recommender.unpack(payload.saved_model, payload.allowed)
        gc.enable()
        gc.freeze()  # Spark collects garbage after every task, and scanning all of TensorFlow's objects takes 0.25 s
        stats.add(WorkerStats(model_loads=1, load_seconds=time.perf_counter() - started))
    return _loaded[key]


def _score_partition(
    frames: Iterator[pd.DataFrame],
    score_block: ScoreBlock,
    broadcast: Broadcast[Payload],
    request: TopNRequest,
    stats: Accumulator[WorkerStats],
) -> Iterator[pd.DataFrame]:
    return gathered(_score_blocks(frames, score_block, broadcast.value, request, stats), _MIN_ROWS)


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
    """Cut rows, which ascend by user, into frames such that no user is in two of them."""
    waiting: pd.DataFrame | None = None
    for frame in frames:
        if not len(frame):
            continue
        if waiting is not None:
            user = waiting[c.USER_ID].to_numpy()
            of_last = int(np.searchsorted(user, user[-1]))  # the rows of the last user may continue in this frame
            if of_last:
                yield waiting.iloc[:of_last]
            frame = pd.concat([waiting.iloc[of_last:], frame])
        waiting = frame
    if waiting is not None:
        yield waiting


def by_user(rows: pd.DataFrame) -> pd.DataFrame:
    """Turn rows of a history (see `schemas.NO_MOVIE`), which ascend by user, into one row of arrays per user."""
    user_id, movie, rating = (rows[name].to_numpy() for name in (c.USER_ID, c.MOVIE_ID, c.RATING))
    within = user_id[1:] == user_id[:-1]
    user = np.concatenate([[0], np.cumsum(~within)])[: len(user_id)]  # numbers, as ids may be text, which is slow
    if (within & (movie[1:] < movie[:-1])).any():
        order = np.lexsort((movie, user))
        user, movie, rating = user[order], movie[order], rating[order]
    rated = ~np.isnan(rating)
    users = np.unique(user[rated | (movie == c.NO_MOVIE)])
    denied = ~rated & (movie != c.NO_MOVIE) & np.isin(user, users)

    def lists(values: np.ndarray, which: np.ndarray) -> list[np.ndarray]:
        selected, ends = values[which], np.searchsorted(user[which], users, "right").tolist()
        return [selected[start:end] for start, end in zip([0, *ends], ends, strict=False)]  # np.split is far slower

    first = np.searchsorted(user, users)  # rows may have been sorted, but only within users
    columns = {c.USER_ID: user_id[first], c.SEEN_MOVIE_IDS: lists(movie, rated), c.SEEN_RATINGS: lists(rating, rated)}
    if denied.any():
        columns[c.DENIED_MOVIE_IDS] = lists(movie, denied)
    return pd.DataFrame(columns)


def gathered(frames: Iterable[pd.DataFrame], rows: int) -> Iterator[pd.DataFrame]:
    """Join frames so that each has at least `rows` rows, except the last."""
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
    """Join frames into one; a single one is not copied, since it may hold the ratings of a whole catalogue."""
    return frames[0] if len(frames) == 1 else pd.concat(frames)


def _memory(
    score_block: ScoreBlock, model: recommender.Recommender, payload: Payload, request: TopNRequest
) -> tuple[int, int]:
    """Return the bytes that a block needs per user, and per rating of their histories."""
    if score_block is predict_block:
        return 40 * len(payload.movie_id), 0
    return model.memory(request.n, request.rank_by, request.candidates)


def blocks(users: pd.DataFrame, per_user: int, per_rating: int, budget: int) -> Iterator[pd.DataFrame]:
    """Cut users into blocks of at most `topn.USERS` that need at most `budget` bytes each, or are a single user."""
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
    """Return the rows (`schemas.SCORED`) of a block of users, in their order, rank ascending.

    A user unknown to the model, with fewer than `min_history` ratings, or who has opted out gets the most rated movies
    instead. The column of a task that the model was not trained for is null.
    """
    seen, ratings = _seen(users, payload)
    denied = topn.pairs(payload.movie_id, list(users[c.DENIED_MOVIE_IDS]))[0] if c.DENIED_MOVIE_IDS in users else None
    top = model.recommend_rows(
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
    cold = ~top.known_user | (users[c.SEEN_MOVIE_IDS].map(len).to_numpy() < request.min_history)
    cold |= _opted_out(users, payload)
    row, because = top.row.copy(), np.where(cold[:, np.newaxis], -1, top.because)
    score = top.retrieval_score.copy() if "retrieval" in payload.tasks else np.full_like(top.retrieval_score, np.nan)
    rating = top.predicted_rating.copy()
    if cold.any():
        hidden = topn.NO_PAIRS if request.include_seen else seen
        popular = _popular(payload, hidden if denied is None else hidden.and_also(denied), cold, request.n)
        row[cold] = -1
        row[cold, : popular.shape[1]] = popular
        score[cold], rating[cold] = np.nan, payload.popular_rating[row[cold]]
    filled = row >= 0
    user, position = np.nonzero(filled)
    without_reason = because[filled] < 0
    return pd.DataFrame(
        {
            c.USER_ID: users[c.USER_ID].to_numpy()[user],
            c.RANK: (position + 1).astype(np.int32),
            c.MOVIE_ID: payload.movie_id[row[filled]],
            c.RETRIEVAL_SCORE: score[filled],  # Spark turns NaN into null
            c.PREDICTED_RATING: rating[filled],
            c.BECAUSE_MOVIE_ID: pd.arrays.IntegerArray(payload.movie_id[because[filled]], without_reason),
            c.BY_MODEL: ~cold[user],
        }
    )


def predict_block(
    model: recommender.Recommender, users: pd.DataFrame, payload: Payload, request: TopNRequest
) -> pd.DataFrame:
    """Return the rows (`schemas.PREDICTED`) of a block of users, in their order: all movies.

    Users who are unknown or have opted out have none.
    """
    user_id = users[c.USER_ID].to_numpy()
    seen, stars = _seen(users, payload)
    ends = np.searchsorted(seen.user, np.arange(1, len(users)))
    lists = np.split(model.catalogue_ids[seen.row], ends), np.split(stars, ends)
    ratings, known = model.rate_catalogue(user_id, *lists)
    known = known & ~_opted_out(users, payload)
    return pd.DataFrame(
        {
            c.USER_ID: np.repeat(user_id[known], len(payload.movie_id)),
            c.MOVIE_ID: np.tile(payload.movie_id, known.sum()),
            c.PREDICTED_RATING: ratings[known].ravel(),
        }
    )


def _opted_out(users: pd.DataFrame, payload: Payload) -> np.ndarray:
    """Return [B] bool: who has opted out."""
    if payload.opted_out is None:
        return np.zeros(len(users), bool)
    return users[c.USER_ID].isin(payload.opted_out).to_numpy()


def _seen(users: pd.DataFrame, payload: Payload) -> tuple[topn.Pairs, np.ndarray]:
    """Return what the users have seen of the model's movies, ascending by user, and the ratings of it ([S] float32)."""
    seen, in_catalogue = topn.pairs(payload.movie_id, list(users[c.SEEN_MOVIE_IDS]))
    return seen, np.concatenate([np.empty(0, np.float32), *users[c.SEEN_RATINGS]])[in_catalogue]


def _popular(payload: Payload, hidden: topn.Pairs, users: np.ndarray, n: int) -> np.ndarray:
    """Return [b, n] rows of the catalogue: the n most rated movies without the `hidden` ones of each user; -1 pads.

    Args:
        users: [B] bool, which users of the block.
    """
    place = np.cumsum(users) - 1
    of_users = users[hidden.user]
    pairs = topn.Pairs(place[hidden.user[of_users]], hidden.row[of_users])

    def search(which: np.ndarray, n: int, hidden: topn.Pairs, excluded: topn.ExcludedGroups | None) -> topn.Top:
        return payload.popularity_search.top(np.ones((len(which), 1), np.float32), n, hidden, excluded)

    return rules.lists(search, int(users.sum()), n, pairs, payload.cap).row
