"""Scoring in Spark's Python workers: histories, and a broadcast model, become rows of recommendations.

Takes `Histories` and a `Payload`, and returns tables of `schemas.RECOMMENDATION` and `schemas.PREDICTED_RATING_ROW`, as
they are published. All movies are scored for a user in one place, and rows leave in the order of the users.
"""

from __future__ import annotations

import fcntl
import gc
import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import Broadcast, SparkFiles
from pyspark.accumulators import Accumulator, AccumulatorParam

from recmodel import schemas as c
from recmodel.data import histories
from recmodel.data.histories import AGE_UNKNOWN, Histories, Lists
from recmodel.scoring import recommender, rules, topn
from recmodel.scoring.request import Payload, TopNRequest

if TYPE_CHECKING:
    from recmodel.progress import Progress

_SOURCES = pa.array([c.SOURCE_POPULARITY, c.SOURCE_TRENDING, c.SOURCE_MODEL, c.SOURCE_CONTENT])


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


@dataclass(frozen=True)
class Job:
    """What is made of all parts of a run, and of what."""

    all_pairs: bool  # whether the ratings of all pairs are predicted, or those of the recommendations
    model: Broadcast[bytes]  # the SavedModel; see `recommender.pack`
    payload: Broadcast[Payload]
    request: TopNRequest
    stats: Accumulator[WorkerStats]


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

# The loaded model, by its content, as tonight's new movies are in it, and what it may recommend. Lives as long as the
# Python worker, which Spark reuses.
_loaded: dict[tuple[str, bytes | None], recommender.Recommender] = {}


def _loaded_model(job: Job) -> recommender.Recommender:
    """Return the broadcast model, which is loaded once per worker, however many partitions the worker processes."""
    payload = job.payload.value
    key = payload.model_digest, None if payload.allowed is None else payload.allowed.tobytes()
    if key not in _loaded:
        started = time.perf_counter()
        gc.disable()  # half a million objects are created by TensorFlow, hardly any of them garbage: a sixth faster
        # oneDNN caches a kernel per shape, and each block has another shape: 3 KiB per user that are never freed.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(job.request.threads))
        os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
        _loaded.clear()
        saved_model = _unpacked(job)
        _loaded[key] = recommender.Recommender(saved_model, payload.allowed, payload.open_model(saved_model))
        gc.enable()
        gc.freeze()  # Spark collects garbage after every task, and scanning all of TensorFlow's objects takes 0.25 s
        job.stats.add(WorkerStats(model_loads=1, load_seconds=time.perf_counter() - started))
    return _loaded[key]


def _unpacked(job: Job) -> Path:
    """Return the folder of the SavedModel. The workers of an executor share it, and one of them unpacks it."""
    root = Path(SparkFiles.getRootDirectory())  # Spark removes it
    folder = root / f"model-{job.payload.value.model_digest[:16]}"
    with (root / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = root / f"{folder.name}-unfinished"
            recommender.unpack(job.model.value, unfinished)
            unfinished.rename(folder)
            # PySpark would keep the value as long as the worker lives.
            vars(job.model).pop("_value", None)
    return folder


def recommend(users: Histories, job: Job) -> Iterator[pa.Table]:
    """Yield `schemas.RECOMMENDATION`, by blocks of users: the top n of each and the reserve, in their order."""
    if len(users):
        model, request = _loaded_model(job), job.request
        per_user, per_rating = model.memory(request.n + request.reserve, request.rank_by, request.candidates)
        for block in blocks(users, per_user, per_rating, request.block_bytes):
            yield recommend_block(model, block, job.payload.value, request)
    job.stats.add(WorkerStats(users=len(users), peak_bytes=_peak_bytes()))


def predict_all(users: Histories, job: Job) -> Iterator[pa.Table]:
    """Yield `schemas.PREDICTED_RATING_ROW`, by blocks: of each user the model knows all movies, ascending."""
    if len(users):
        model, payload = _loaded_model(job), job.payload.value
        for block in blocks(users, 40 * payload.movies.num_rows, 0, job.request.block_bytes):
            yield predict_block(model, block, payload, is_ordered=job.request.is_ordered)
    job.stats.add(WorkerStats(peak_bytes=_peak_bytes()))


def blocks(users: Histories, per_user: int, per_rating: int, budget: int) -> Iterator[Histories]:
    """Cut users into blocks of at most `topn.USERS` that need at most `budget` bytes each, or are a single user."""
    total = per_user * np.arange(1, len(users) + 1) + per_rating * users.seen.splits[1:]
    start = 0
    while start < len(users):
        spent = total[start - 1] if start else 0
        end = int(np.searchsorted(total, spent + budget, "right"))
        end = min(max(end, start + 1), start + topn.USERS, len(users))
        yield users[start:end]
        start = end


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


# -- one block, without Spark ------------------------------------------------------------------------------------


def recommend_block(
    model: recommender.Recommender, users: Histories, payload: Payload, request: TopNRequest
) -> pa.Table:
    """Return the rows (`schemas.RECOMMENDATION`) of a block of users, in their order, rank ascending.

    Those of the reserve follow with ranks above n, without reasons.
    A user unknown to the model, with fewer than `min_history` ratings, or who has opted out gets the most rated movies
    instead, those of late if times are known. The column of a task that the model was not trained for is null.
    """
    seen, in_catalogue = _pairs(users.seen, payload)
    denied, _ = _pairs(users.denied, payload)
    age = _ages(model, users, in_catalogue, request.is_ordered)
    top = model.recommend_rows(
        users.user_id.to_numpy(zero_copy_only=False),
        seen,
        users.rating[in_catalogue],
        age,
        n=request.n,
        reserve=request.reserve,
        rank_by=request.rank_by,
        candidates=request.candidates,
        include_seen=request.include_seen,
        denied=denied,
        cap=payload.cap,
        liked_from=request.liked_from,
        rated="rating" in payload.tasks,
    )
    cold = ~top.known_user | (np.diff(users.seen.splits) < request.min_history) | _opted_out(users, payload)
    row, because = top.row.copy(), np.where(cold[:, np.newaxis], -1, top.because)
    score = top.retrieval_score.copy() if "retrieval" in payload.tasks else np.full_like(top.retrieval_score, np.nan)
    rating, by = top.predicted_rating.copy(), top.score.copy()
    if cold.any():
        hidden = denied if request.include_seen else seen.and_also(denied)
        popular = _popular(payload, hidden, cold, request.n + request.reserve)
        row[cold] = -1
        row[cold, : popular.shape[1]] = popular
        score[cold], by[cold], rating[cold] = np.nan, np.nan, payload.popular_rating[row[cold]]
    filled = row >= 0
    user, position = np.nonzero(filled)
    row, because = row[filled], because[filled]
    source = np.where(cold[user], int(request.is_ordered), 2 if payload.placed is None else 2 + payload.placed[row])
    reason = pa.array(because, mask=because < 0)
    movie_id, title = (payload.movies.column(name) for name in (c.MOVIE_ID, c.TITLE))
    columns = {
        c.USER_ID: users.user_id.take(pa.array(user)),
        c.RANK: (position + 1).astype(np.int32),
        c.MOVIE_ID: movie_id.take(pa.array(row)),
        c.TITLE: title.take(pa.array(row)),
        c.RETRIEVAL_SCORE: pa.array(score[filled], from_pandas=True),  # NaN is null
        c.PREDICTED_RATING: pa.array(rating[filled], from_pandas=True),
        c.SOURCE: _SOURCES.take(pa.array(source)),
        c.MODEL_VERSION: pa.repeat(payload.model_version, len(row)),
        c.SCORED_AT: pa.repeat(pa.scalar(payload.scored_at, c.RECOMMENDATION.field(c.SCORED_AT).type), len(row)),
        c.BECAUSE_MOVIE_ID: movie_id.take(reason),
        c.BECAUSE_TITLE: title.take(reason),
        c.SCORE: pa.array(by[filled], from_pandas=True),
    }
    return pa.table([columns[name] for name in c.RECOMMENDATION.names], c.RECOMMENDATION.names)


def lists_of(rows: pa.Table, valid_until: datetime | None) -> pa.Table:
    """Return `schemas.LIST` of recommendations and the reserve, which are in the order of user and rank."""
    users, first = histories.starts_of_users(rows.column(c.USER_ID))
    entries = rows.select([c.MOVIE_ID, c.SCORE, c.PREDICTED_RATING, c.SOURCE])
    ends = pa.array(np.append(first, rows.num_rows), pa.int32())
    lists = pa.ListArray.from_arrays(ends, entries.combine_chunks().to_struct_array().combine_chunks())
    version = rows.column(c.MODEL_VERSION).take(pa.array(first))
    until = pa.repeat(pa.scalar(valid_until, c.LIST.field(c.VALID_UNTIL).type), len(first))
    return pa.table([users, lists, version, until], c.LIST.names)


def predicted_of(rows: pa.Table) -> pa.Table:
    """Return the predicted ratings (`schemas.PREDICTED_RATING_ROW`) among recommendations: those by the model."""
    by_model = pc.and_(c.are_by_model(rows.column(c.SOURCE)), rows.column(c.PREDICTED_RATING).is_valid())
    return rows.filter(by_model).select(c.PREDICTED_RATING_ROW.names)


def predict_block(
    model: recommender.Recommender, users: Histories, payload: Payload, *, is_ordered: bool = True
) -> pa.Table:
    """Return the rows (`schemas.PREDICTED_RATING_ROW`) of a block of users, in their order: all movies.

    Users who are unknown or have opted out have none.
    """
    seen, in_catalogue = _pairs(users.seen, payload)
    user_id = users.user_id.to_numpy(zero_copy_only=False)
    age = _ages(model, users, in_catalogue, is_ordered)
    ratings, known = model.rate_catalogue_rows(user_id, seen, users.rating[in_catalogue], age)
    known = np.flatnonzero(known & ~_opted_out(users, payload))
    rows, movies = len(known) * payload.movies.num_rows, np.tile(np.arange(payload.movies.num_rows), len(known))
    columns = {
        c.USER_ID: users.user_id.take(pa.array(np.repeat(known, payload.movies.num_rows))),
        c.MOVIE_ID: payload.movies.column(c.MOVIE_ID).take(pa.array(movies)),
        c.PREDICTED_RATING: ratings[known].ravel(),
        c.MODEL_VERSION: pa.repeat(payload.model_version, rows),
    }
    return pa.table([columns[name] for name in c.PREDICTED_RATING_ROW.names], c.PREDICTED_RATING_ROW.names)


def _ages(
    model: recommender.Recommender, users: Histories, in_catalogue: np.ndarray, is_ordered: bool
) -> np.ndarray | None:
    """Return the age of each rating of a movie in the catalogue; None if the model takes no account of it."""
    if not model.needs_order:
        return None
    return users.age[in_catalogue] if is_ordered else np.full(np.count_nonzero(in_catalogue), AGE_UNKNOWN, np.int32)


def _opted_out(users: Histories, payload: Payload) -> np.ndarray:
    """Return [B] bool: who has opted out."""
    if payload.opted_out is None:
        return np.zeros(len(users), bool)
    return pc.is_in(users.user_id, value_set=payload.opted_out).to_numpy(zero_copy_only=False)


def _pairs(lists: Lists, payload: Payload) -> tuple[topn.Pairs, np.ndarray]:
    """Return pairs of users and of the model's movies, ascending by user, and [S] bool: which movies the model has."""
    row = payload.row[lists.movie]
    in_catalogue = row >= 0
    return topn.Pairs(lists.user[in_catalogue], row[in_catalogue]), in_catalogue


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
