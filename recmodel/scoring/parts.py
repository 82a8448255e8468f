"""Parts: what Spark's tasks do with the users of one part, from files of the staged run to files of its tables.

Every function reads the rows of its users alone and writes files under names of its own, so that tasks share nothing,
and one that is tried again repeats itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark import Broadcast

from recmodel import schemas as c
from recmodel import storage
from recmodel.arrays import hashes, mixed
from recmodel.data import duplicates, histories, staged
from recmodel.data.staged import Part, StagedInput
from recmodel.scoring import carried, faults, popularity, worker
from recmodel.scoring.run import SUPERSEDED, TO_SCORE, Run
from recmodel.scoring.worker import Job

_POINTS = 4096  # of a part, by which users are divided; with fewer users than that, the division is exact
# Scoring a user against tens of thousands of movies takes about 200 µs, and each rating of the user adds 1 µs.
_WORK_PER_RATING = 0.005


def wake(number: int) -> int:
    """Do nothing but to let a worker import this module."""
    return number


# -- counting ----------------------------------------------------------------------------------------------------------


class Counted(NamedTuple):
    """What `count` finds."""

    users: int
    user_id: list[int] | list[str]  # some of the users, ascending
    work: np.ndarray  # the work of scoring all users of the part up to each of these
    duplicates: int  # ratings that do not count
    of_movies: tuple[np.ndarray, np.ndarray] | None  # [M] number and sum of these; None: there are none
    trend: np.ndarray | None  # [M] see `popularity.trend`, of the ratings that count; None: times are not known
    to_score: int  # users whose lists in an earlier run do not stand


def count(part: Part, run: Run, *, fingerprint: bool, of_day: np.ndarray | None = None) -> Counted:
    """Count the ratings of each user, set those aside that do not count, and find out who is scored.

    Writes a file of the table `users`, of the rejects if ratings are superseded, and of those who are scored again if
    lists of an earlier run are carried on.

    Args:
        fingerprint: whether to write fingerprints of the users' ratings, by which a later run sees which have changed.
        of_day: see `popularity.weights`; None: times are not known.
    """
    in_order, of_movies, trend = run.input.in_order, None, None
    needed = [c.USER_ID] if of_day is None else [c.USER_ID, c.MOVIE, c.TIMESTAMP]
    rows = counting = part.read(run.input.at(staged.RATINGS), None if fingerprint or not in_order else needed)
    movies = run.input.catalogue().num_rows
    if not in_order:
        rows = histories.sorted_rows(rows)
        counting, counts = histories.that_count(rows, add_up=run.input.add_up)
        if not counts.all():
            others = rows.filter(pa.array(~counts))
            if not run.input.add_up:
                _reject(part, run, others)
            movie, rating = (others.column(name).to_numpy() for name in (c.MOVIE, c.RATING))
            of_movies = np.bincount(movie, minlength=movies), np.bincount(movie, rating, movies)
    if of_day is not None:
        movie, time = counting.column(c.MOVIE).to_numpy(), counting.column(c.TIMESTAMP).fill_null(0).to_numpy()
        trend = popularity.trend(movie, time, of_day, movies)
    users = _users(rows, counting, _hashes(run.input) if fingerprint else None)
    run.write(c.USERS_TABLE, part.file, users)
    work = (1 + _WORK_PER_RATING * users.column(c.RATINGS_COUNT).to_numpy()).cumsum()
    points = np.unique(np.linspace(0, len(work) - 1, min(len(work), _POINTS)).astype(int))
    user_id = users.column(c.USER_ID).take(pa.array(points)).to_pylist()
    return Counted(
        users=users.num_rows,
        user_id=user_id,
        work=work[points],
        duplicates=rows.num_rows - counting.num_rows,
        of_movies=of_movies,
        trend=trend,
        to_score=users.num_rows if run.before is None else _find_users_to_score(part, run),
    )


def _find_users_to_score(part: Part, run: Run) -> int:
    """Write the users of a part who are scored again, as their lists in an earlier run do not stand; count them."""
    assert run.before is not None
    to_score = carried.users_to_score(
        run.input.users(part),
        part.read(run.before[c.USERS_TABLE]),
        part.read(run.before[c.RECOMMENDATIONS_TABLE], [c.USER_ID, c.SOURCE]),
        run.input.opted_out(),
    )
    storage.write_rows(storage.below(run.input.at(TO_SCORE), part.file), pa.table({c.USER_ID: to_score}))
    return len(to_score)


def _users(rows: pa.Table, counting: pa.Table, movies: np.ndarray | None) -> pa.Table:
    """Return `schemas.USER` of all who have rated.

    Args:
        rows: `schemas.STAGED`, in order.
        counting: those of them that count.
        movies: [M] uint64, hashes of their ids; None: fingerprints are null.
    """
    users, first = histories.starts_of_users(rows.column(c.USER_ID))
    first_counting = first if counting is rows else histories.starts_of_users(counting.column(c.USER_ID))[1]
    columns = {
        c.USER_ID: users,
        c.RATINGS_COUNT: np.diff(first, append=rows.num_rows),
        c.MOVIES_COUNT: np.diff(first_counting, append=counting.num_rows),
        c.FINGERPRINT: pa.nulls(len(users), pa.int64()) if movies is None else _fingerprints(rows, first, movies),
    }
    return pa.table([columns[name] for name in c.USER.names], c.USER.names)


def _fingerprints(rows: pa.Table, first: np.ndarray, movies: np.ndarray) -> np.ndarray:
    """Return int64, one for each user: another when any of their ratings is another."""
    rating = rows.column(c.RATING).to_numpy().view(np.uint32)
    time = rows.column(c.TIMESTAMP).fill_null(0).to_numpy().view(np.uint64)
    row = mixed(mixed(mixed(movies[rows.column(c.MOVIE).to_numpy()]) ^ rating) ^ time)
    return mixed(np.add.reduceat(row, first)).view(np.int64)  # a sum does not depend on the order of rows


def _hashes(of: StagedInput) -> np.ndarray:
    """Return [M] uint64, which depend on the ids of the movies alone."""
    return hashes(of.catalogue().column(c.MOVIE_ID).to_numpy()) + np.uint64(1)


def _reject(part: Part, run: Run, ratings: pa.Table) -> None:
    movie_id = run.input.catalogue().column(c.MOVIE_ID).take(ratings.column(c.MOVIE))
    rejects = duplicates.as_rejects(ratings.set_column(1, c.MOVIE_ID, movie_id), run.ratings_file)
    run.write(c.REJECTS_TABLE, f"{SUPERSEDED}{part.file}", rejects)


# -- scoring -----------------------------------------------------------------------------------------------------------


def score(part: Part, run: Run, job: Job) -> None:
    """Write the recommendations, the lists and the predicted ratings of a part."""
    users = run.input.users(part).column(c.USER_ID).combine_chunks()
    rows, lists = _scored(part, run, job, users) if run.before is None else _scored_or_carried(part, run, job, users)
    run.write(c.RECOMMENDATIONS_TABLE, part.file, rows)
    run.write(c.LISTS_TABLE, part.file, lists)
    if job.all_pairs:
        _predict_all(part, run, job, users)
    else:
        run.write(c.PREDICTED_RATINGS_TABLE, part.file, worker.predicted_of(rows))
    storage.write(storage.below(run.finished, str(part.number)), b"")


def _scored(part: Part, run: Run, job: Job, users: pa.Array) -> tuple[pa.Table, pa.Table]:
    """Return `schemas.RECOMMENDATION` and `schemas.LIST`, of each of the users in turn."""
    schema = c.with_ids(c.RECOMMENDATION, run.ids)
    blocks = worker.recommend(run.input.histories(part, users), job)
    rows = pa.concat_tables([schema.empty_table(), *(block.cast(schema) for block in blocks)])
    lists = worker.lists_of(rows, job.payload.value.valid_until).cast(c.with_ids(c.LIST, run.ids))
    return rows.filter(pc.field(c.RANK) <= job.request.n), lists


def _scored_or_carried(part: Part, run: Run, job: Job, users: pa.Array) -> tuple[pa.Table, pa.Table]:
    """Return what `_scored` does, with what stands of the earlier run."""
    assert run.before is not None
    to_score = part.read(run.input.at(TO_SCORE)).column(c.USER_ID).combine_chunks()
    both = []
    for table, scored in zip((c.RECOMMENDATIONS_TABLE, c.LISTS_TABLE), _scored(part, run, job, to_score), strict=True):
        before = part.read(run.before[table], scored.schema.names)
        rows = pa.concat_tables([scored, carried.rows(before, users, to_score).cast(scored.schema)])
        both.append(rows.sort_by([(name, "ascending") for name in (c.USER_ID, c.RANK) if name in rows.schema.names]))
    rows, lists = both
    until = pa.scalar(job.payload.value.valid_until, lists.schema.field(c.VALID_UNTIL).type)
    return rows, lists.set_column(3, lists.schema.field(3), pa.repeat(until, lists.num_rows))


def _predict_all(part: Part, run: Run, job: Job, users: pa.Array) -> None:
    schema = c.with_ids(c.PREDICTED_RATING_ROW, run.ids)
    location = storage.below(run.tables[c.PREDICTED_RATINGS_TABLE], part.file)
    blocks = worker.predict_all(run.input.histories(part, users), job)
    with storage.create(location) as sink, pq.ParquetWriter(sink, schema, **storage.PARQUET) as writer:
        for block in blocks:
            writer.write_table(block.cast(schema))


# -- checking ----------------------------------------------------------------------------------------------------------


def check(part: Part, run: Run, expected: Broadcast[faults.Expectations]) -> faults.Found:
    """Check the written recommendations of a part against the staged input; see `faults.found`.

    The ratings are read as they were staged, and not as they were put in order for scoring.
    """
    tables = (c.RECOMMENDATIONS_TABLE, c.LISTS_TABLE)
    rows, lists = (storage.dataset(storage.below(run.tables[name], part.file)).to_table() for name in tables)
    rated = None
    if not expected.value.include_seen:
        rated = part.read(run.input.at(staged.RATINGS), c.STAGED_PAIRS.names)
    denied, opted_out = run.input.denied(part), run.input.opted_out()
    return faults.found(rows, lists, run.input.users(part), rated, denied, opted_out, expected.value)
