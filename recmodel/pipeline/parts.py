"""Parts: what Spark's tasks do with the users of one part, from files of the staged run to files of its tables.

Every function reads the rows of its users alone and writes files under names of its own, so that tasks share nothing,
and one that is tried again repeats itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark import Broadcast
from pyspark.accumulators import Accumulator

from recmodel import schemas as c
from recmodel import storage
from recmodel.data import duplicates, histories
from recmodel.data import ids as identifiers
from recmodel.data.staged import Part
from recmodel.pipeline import checks, incremental, staging
from recmodel.records import RunRecord
from recmodel.scoring import worker
from recmodel.scoring.request import Payload, TopNRequest
from recmodel.tables.base import StagedRun
from recmodel.tables.output import open_output

_POINTS = 4096  # of a part, by which users are divided; with fewer users than that, the division is exact
# Scoring a user against tens of thousands of movies takes about 200 µs, and each rating of the user adds 1 µs.
_WORK_PER_RATING = 0.005


# -- counting ----------------------------------------------------------------------------------------------------------


class Counted(NamedTuple):
    """What `count` finds."""

    users: int
    user_id: list[int] | list[str]  # some of the users, ascending
    work: np.ndarray  # the work of scoring all users of the part up to each of these
    duplicates: int  # ratings that do not count
    of_movies: tuple[np.ndarray, np.ndarray] | None  # [M] number and sum of these; None: there are none


def count(part: Part, staged: StagedRun, *, fingerprint: bool, add_up: bool) -> Counted:
    """Count the ratings of each user, and set those aside that do not count.

    Writes a file of the table `users`; where the staged ratings are not in order also one of the histories, and of the
    rejects if ratings are superseded.

    Args:
        fingerprint: whether to write fingerprints of the users' ratings, by which a later run sees which have changed.
        add_up: see `duplicates.combined`.
    """
    ratings = staging.ratings(staged)
    columns = None if fingerprint or not ratings.in_order else [c.USER_ID]
    rows = counting = part.read(staged.scratch(staging.RATINGS), columns)
    of_movies = None
    if not ratings.in_order:
        order = histories.in_order(rows.column(c.USER_ID), rows.column(c.MOVIE).to_numpy())
        rows = rows if order is None else rows.take(pa.array(order))
        counting, counts = histories.that_count(rows, add_up=add_up)
        staging.write_parquet(storage.below(staged.scratch(staging.HISTORIES), part.file), counting)
        if not counts.all():
            others = rows.filter(pa.array(~counts))
            if not add_up:
                _reject(part, staged, others)
            movie, rating = (others.column(name).to_numpy() for name in (c.MOVIE, c.RATING))
            movies = len(ratings.counts)
            of_movies = np.bincount(movie, minlength=movies), np.bincount(movie, rating, movies)
    users = _users(rows, counting, _hashes(staged) if fingerprint else None)
    staging.write_parquet(storage.below(staged.table(c.USERS_TABLE), part.file), users)
    work = (1 + _WORK_PER_RATING * users.column(c.RATINGS_COUNT).to_numpy()).cumsum()
    points = np.unique(np.linspace(0, len(work) - 1, min(len(work), _POINTS)).astype(int))
    user_id = users.column(c.USER_ID).take(pa.array(points)).to_pylist()
    return Counted(users.num_rows, user_id, work[points], rows.num_rows - counting.num_rows, of_movies)


def _users(rows: pa.Table, counting: pa.Table, hashes: np.ndarray | None) -> pa.Table:
    """Return `schemas.USER` of all who have rated.

    Args:
        rows: `schemas.STAGED`, in order.
        counting: those of them that count.
        hashes: [M] uint64, of the movies; None: fingerprints are null.
    """
    users, first = histories.starts_of_users(rows.column(c.USER_ID))
    first_counting = first if counting is rows else histories.starts_of_users(counting.column(c.USER_ID))[1]
    columns = {
        c.USER_ID: users,
        c.RATINGS_COUNT: np.diff(first, append=rows.num_rows),
        c.MOVIES_COUNT: np.diff(first_counting, append=counting.num_rows),
        c.FINGERPRINT: pa.nulls(len(users), pa.int64()) if hashes is None else _fingerprints(rows, first, hashes),
    }
    return pa.table([columns[name] for name in c.USER.names], c.USER.names)


def _fingerprints(rows: pa.Table, first: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Return int64, one for each user: another when any of their ratings is another."""
    rating = rows.column(c.RATING).to_numpy().view(np.uint32)
    time = rows.column(c.TIMESTAMP).fill_null(0).to_numpy().view(np.uint64)
    row = _mixed(_mixed(_mixed(hashes[rows.column(c.MOVIE).to_numpy()]) ^ rating) ^ time)
    return _mixed(np.add.reduceat(row, first)).view(np.int64)  # a sum does not depend on the order of rows


def _mixed(values: np.ndarray) -> np.ndarray:
    """Return hashes of uint64: the finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _hashes(staged: StagedRun) -> np.ndarray:
    """Return [M] uint64, which depend on the ids of the movies alone."""
    return identifiers.hashes(staging.catalogue(staged).column(c.MOVIE_ID).to_numpy()) + np.uint64(1)


def _reject(part: Part, staged: StagedRun, ratings: pa.Table) -> None:
    movie_id = (
        staging.catalogue(staged).column(c.MOVIE_ID).combine_chunks().take(ratings.column(c.MOVIE).combine_chunks())
    )
    with_ids = ratings.set_column(1, c.MOVIE_ID, movie_id)
    rejects = duplicates.as_rejects(with_ids, staging.counts(staged).ratings_file)
    staging.write_parquet(storage.below(staged.table(c.REJECTS_TABLE), f"superseded-{part.file}"), rejects)


def divide(part: Part, staged: StagedRun, run: RunRecord) -> int:
    """Write the users of a part who are scored again, as their lists in an earlier run do not stand; count them."""
    users, before = staging.users(staged, part), open_output(staged.output)
    opted_out = staging.opted_out(staged)
    to_score = incremental.users_to_score(
        users,
        part.read(before.files(c.USERS_TABLE, run.run_date)),
        part.read(before.files(c.RECOMMENDATIONS_TABLE, run.run_date), [c.USER_ID, c.SOURCE]),
        opted_out,
    )
    staging.write_parquet(storage.below(staged.scratch(staging.TO_SCORE), part.file), pa.table({c.USER_ID: to_score}))
    return len(to_score)


# -- scoring -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """What all parts of a run have in common."""

    staged: StagedRun
    in_order: bool  # see `data.staged.StagedRatings`
    carried_run: RunRecord | None  # whose lists stand, but for the users to score
    all_pairs: bool  # whether the ratings of all pairs are predicted, or those of the recommendations
    payload: Broadcast[Payload]
    request: TopNRequest
    stats: Accumulator[worker.WorkerStats]


def score(part: Part, job: Job) -> None:
    """Write the recommendations and the predicted ratings of a part."""
    staged, payload = job.staged, job.payload.value
    users = staging.users(staged, part).column(c.USER_ID).combine_chunks()
    to_score = users
    if job.carried_run is not None:
        to_score = part.read(staged.scratch(staging.TO_SCORE)).column(c.USER_ID).combine_chunks()
    of_users = staging.histories_of(staged, part, to_score, in_order=job.in_order)
    schema = c.with_ids(c.RECOMMENDATION, staging.counts(staged).ids)
    blocks = [block.cast(schema) for block in worker.recommend(of_users, payload, job.request, job.stats)]
    if job.carried_run is not None:
        files = open_output(staged.output).files(c.RECOMMENDATIONS_TABLE, job.carried_run.run_date)
        carried = incremental.carried_rows(part.read(files, c.RECOMMENDATION.names), users, to_score)
        blocks.append(carried.cast(schema))
    rows = pa.concat_tables([schema.empty_table(), *blocks])
    if job.carried_run is not None:
        rows = rows.sort_by([(c.USER_ID, "ascending"), (c.RANK, "ascending")])
    staging.write_parquet(storage.below(staged.table(c.RECOMMENDATIONS_TABLE), part.file), rows)
    predicted = storage.below(staged.table(c.PREDICTED_RATINGS_TABLE), part.file)
    if job.all_pairs:
        everybody = staging.histories_of(staged, part, users, in_order=job.in_order)
        schema = c.with_ids(c.PREDICTED_RATING_ROW, staging.counts(staged).ids)
        with (
            storage.create(predicted) as sink,
            pq.ParquetWriter(sink, schema, compression="zstd", store_schema=False) as writer,
        ):
            for block in worker.predict_all(everybody, payload, job.request, job.stats):
                writer.write_table(block.cast(schema))
    else:
        staging.write_parquet(predicted, worker.predicted_of(rows))
    staged.finish_part(part.number)


# -- checking ----------------------------------------------------------------------------------------------------------


def check(part: Part, staged: StagedRun, expected: Broadcast[checks.Expectations]) -> checks.Found:
    """Check the written recommendations of a part against the staged input; see `checks.found`.

    The ratings are read as they were staged, and not as they were put in order for scoring.
    """
    rows = storage.dataset(storage.below(staged.table(c.RECOMMENDATIONS_TABLE), part.file)).to_table()
    rated = None if expected.value.include_seen else part.read(staged.scratch(staging.RATINGS), c.STAGED_PAIRS.names)
    users, denied = staging.users(staged, part), staging.denied(staged, part)
    return checks.found(rows, users, rated, denied, staging.opted_out(staged), expected.value)
