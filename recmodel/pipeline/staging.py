"""Staging: the input of a run, read, checked and counted once, and found again when the run is resumed.

The staged run's folder gets the usable ratings, how many of them each user has, what is popular, what may be
recommended, and the rejected rows.
"""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recmodel import schemas as c
from recmodel import storage
from recmodel.data import ids as identifiers
from recmodel.data import movielens, statistics
from recmodel.data.catalogue import Catalogues
from recmodel.data.statistics import InteractionStatistics
from recmodel.data.validation import Validation
from recmodel.errors import InputRejected
from recmodel.pipeline import business_rules, incremental
from recmodel.pipeline.resolve import ResolvedRun
from recmodel.progress import Stages, log
from recmodel.records import InputFile, Record, RunRecord
from recmodel.schemas import INTEGER_IDS, Ids
from recmodel.settings import Rules, Scoring
from recmodel.tables.base import StagedRun
from recmodel.tables.candidates import candidate_users
from recmodel.tables.output import open_output

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_RATINGS, _ASKED, _COUNTS, _REJECTS = "ratings.parquet", "asked.parquet", "counts.npz", "rejects.parquet"
_CATALOGUE = "catalogue.parquet"  # tonight's movies and the delisted ones
_DUPLICATES, _TO_SCORE, _MOVIES, _DENIED = "duplicates.parquet", "to_score.parquet", "movies.npz", "denied.parquet"
_OPTED_OUT = "opted-out.parquet"
_STAGED_INPUT, _COUNTED_INPUT, _PLAN = "input.json", "counted.json", "plan.json"  # each written last of its step


class InputCounts(Record):
    """What was read and what became of it; fields of run.json."""

    started_at: datetime
    ratings_file: str
    input: list[InputFile]  # how each was read
    rows_in: dict[str, int]  # by file, as are the next
    rows_used: dict[str, int]
    rows_rejected: int
    ratings_left_out: int  # as they are later than the run is as of; not among rows_in
    newest_rating: datetime | None
    users_asked: int | None  # those of --users
    users_opted_out: int = 0  # of all of the run; set once they are divided
    ids: Ids = INTEGER_IDS  # what the ids are
    # Set once the ratings are counted by user:
    ratings_superseded: int = 0
    interactions_repeated: int = 0
    users_rated: int = 0
    movies_allowed: int = 0


class Plan(Record):
    """How the users are divided among Spark's tasks; the same when a run is resumed."""

    scored_at: str  # ISO 8601, UTC
    users: int
    starts: list[int] | list[str]  # the first user_id of each partition except the first

    @property
    def partitions(self) -> int:
        """The number of partitions, and of output files."""
        return len(self.starts) + 1


@dataclass(frozen=True)
class Workload:
    """Who is in a run, and how the users are divided."""

    counts: InputCounts
    by_user: DataFrame  # see `run_users`
    to_score: DataFrame | None
    plan: Plan
    users_scored: int


def stage_input(resolved: ResolvedRun, folder: Path, validation: Validation, staged: StagedRun) -> InputCounts:
    """Read and check the input once, without Spark; stage the usable ratings, the rejects and the users asked for.

    Args:
        folder: a MovieLens directory.
        validation: of the input, which has read the catalogue.

    Raises:
        InputRejected: see `movielens`; then nothing stays staged.
    """
    remembered = staged.remembered(_STAGED_INPUT)
    if remembered is not None:
        return InputCounts.model_validate(remembered)
    catalogue, users, pairs = resolved.catalogues.all, resolved.users_file, resolved.settings.rules.deny_pairs
    try:
        batches = movielens.stream_ratings(folder, catalogue, validation, resolved.feedback)
        with storage.create(staged.scratch(_RATINGS)) as sink:
            movie_ids = identifiers.movie_numbers(catalogue)
            is_rated = not resolved.feedback.is_implicit
            ids = identifiers.numbered(validation.ids)
            ratings = movielens.stage_ratings(batches, sink, movie_ids, ids, rated=is_rated)
        asked = None if users is None else movielens.read_ids(users, c.USERS, validation)
        if asked is not None:
            _write_parquet(staged.scratch(_ASKED), asked)
        if resolved.settings.rules.opt_out:
            file = Path(resolved.settings.rules.opt_out)
            _write_parquet(staged.scratch(_OPTED_OUT), movielens.read_ids(file, c.USERS, validation, "rules.opt_out"))
        if pairs:
            denied = movielens.read_ids(Path(pairs), c.PAIRS, validation)
            _write_parquet(staged.scratch(_DENIED), identifiers.with_movie_numbers(denied, catalogue))
    except InputRejected:
        staged.discard()
        raise
    validation.log_files()
    stars = np.array(sorted(ratings.half_stars.items()), np.int64)
    _write_arrays(staged.scratch(_COUNTS), **{**vars(ratings), "half_stars": stars})
    _write_parquet(staged.scratch(_CATALOGUE), catalogue)
    _write_parquet(staged.scratch(_REJECTS), validation.rejected())
    counts = InputCounts(
        started_at=datetime.now(timezone.utc),
        ratings_file=movielens.find(folder, "ratings").name,
        input=validation.files,
        rows_in=validation.rows,
        rows_used=validation.used,
        rows_rejected=validation.rejected().num_rows,
        ratings_left_out=validation.left_out,
        newest_rating=validation.newest_time,
        users_asked=None if asked is None else asked.num_rows,
        ids=validation.ids,
    )
    staged.remember(_STAGED_INPUT, counts.to_json())
    return counts


def count_ratings(
    spark: SparkSession,
    staged: StagedRun,
    catalogues: Catalogues,
    rules: Rules,
    *,
    fingerprint: bool,
    add_up: bool = False,
) -> InputCounts:
    """Count the staged ratings by user, set duplicates aside, and find what is popular and may be recommended.

    Writes the tables `users` and `rejects`.

    Args:
        fingerprint: also write fingerprints of the users' ratings, by which a later run sees which have changed.
        add_up: see `duplicates.combined`; then no duplicate is a reject.

    Raises:
        UsageRejected: see `business_rules.allowed`.
    """
    from pyspark.sql import Observation
    from pyspark.sql import functions as f

    from recmodel.data import duplicates
    from recmodel.scoring.popularity import popularity
    from recmodel.spark import histories, labels

    remembered = staged.remembered(_COUNTED_INPUT)
    if remembered is not None:
        return InputCounts.model_validate(remembered)
    counts = InputCounts.model_validate(staged.remembered(_STAGED_INPUT))
    ratings = read_ratings(spark, staged)
    movie_id = catalogues.movie_numbers
    staged_ratings = _staged_ratings(staged)
    number, total = staged_ratings.of_movies(movie_id)
    by_user = histories.ratings_by_user(ratings, may_repeat=staged_ratings.may_repeat, fingerprint=fingerprint)
    observed = Observation()
    by_user = by_user.observe(observed, f.count("*").alias("users"), duplicates.count().alias("duplicates"))
    by_user = _materialize(by_user, staged.table(c.USERS_TABLE))
    repeats = observed.get["duplicates"]
    if repeats:
        others = _materialize(duplicates.find(ratings, by_user), staged.scratch(_DUPLICATES))
        number, total = np.subtract((number, total), duplicates.by_movie(others, movie_id))
    superseded = 0 if add_up else repeats
    if superseded:
        rejects = _read(spark, staged.scratch(_REJECTS), c.REJECTS)
        with_ids = labels.with_movie_ids(others, catalogues.all)
        rejects = rejects.union(duplicates.as_rejects(with_ids, counts.ratings_file))
        rejects.write.mode("overwrite").parquet(storage.spark_path(staged.table(c.REJECTS_TABLE)))
    else:
        content = storage.read(staged.scratch(_REJECTS)) or b""
        storage.write(storage.below(staged.table(c.REJECTS_TABLE), _REJECTS), content)
    popular, rating = popularity(movie_id, number, total)
    may_recommend = business_rules.allowed(catalogues, number, rules)
    _write_arrays(staged.scratch(_MOVIES), popular=popular, popular_rating=rating, allowed=may_recommend)
    used = counts.rows_used[counts.ratings_file] - superseded
    counts = counts.model_copy(
        update={
            "rows_used": counts.rows_used | {counts.ratings_file: used},
            "rows_rejected": counts.rows_rejected + superseded,
            "ratings_superseded": superseded,
            "interactions_repeated": repeats - superseded,
            "users_rated": observed.get["users"],
            "movies_allowed": int(may_recommend.sum()),
        }
    )
    staged.remember(_COUNTED_INPUT, counts.to_json())
    return counts


def plan(staged: StagedRun, by_user: DataFrame, users: int, scoring: Scoring, slots: int) -> Plan:
    """Divide the users into partitions of about equal work.

    Args:
        by_user: see `run_users`.
        users: the number of its rows.
        slots: how many tasks Spark runs at a time; partitions fill whole rounds of them.
    """
    from recmodel.spark import histories, resources

    remembered = staged.remembered(_PLAN)
    if remembered is not None:
        return Plan.model_validate(remembered)
    warning = resources.too_many_partitions(users, scoring.users_per_task)
    if warning:
        log.warning("%s", warning)
    partitions = resources.partitions(users, scoring.users_per_task, slots)
    starts = histories.partition_starts(by_user, users, partitions)
    division = Plan(scored_at=datetime.now(timezone.utc).isoformat(), users=users, starts=starts)
    staged.remember(_PLAN, division.to_json())
    return division


def divide(spark: SparkSession, resolved: ResolvedRun, staged: StagedRun, stages: Stages) -> Workload:
    """Count what was staged and divide the users: all that comes before they are scored."""
    from recmodel.spark import session

    settings, carried_run = resolved.settings, resolved.carried_run
    only_asked = resolved.users_file is not None
    with stages("count the ratings"):
        counts = count_ratings(
            spark,
            staged,
            resolved.catalogues,
            settings.rules,
            fingerprint=settings.scoring.incremental,
            add_up=resolved.feedback.is_implicit,
        )
        by_user, to_score = run_users(spark, staged, carried_run, settings.rules, only_asked=only_asked)
    with stages("divide the users"):
        users = (counts.users_asked or 0) if only_asked else counts.users_rated
        division = plan(staged, by_user, users, settings.scoring, session.slots(spark))
        session.expect(spark, counts.rows_used[counts.ratings_file] + users * settings.scoring.top_n)
        users_scored = division.users if carried_run is None or to_score is None else to_score.count()
        counts = counts.model_copy(update={"users_opted_out": _count_opted_out(staged, only_asked=only_asked)})
    return Workload(counts, by_user, to_score, division, users_scored)


def read_ratings(spark: SparkSession, staged: StagedRun) -> DataFrame:
    """Return the usable ratings (`schemas.RATINGS`), duplicates included; movie ids that are text as their numbers."""
    return _read(spark, staged.scratch(_RATINGS), c.with_ids(c.RATINGS, _numbered_ids(staged)))


def run_users(
    spark: SparkSession, staged: StagedRun, carried_run: RunRecord | None, rules: Rules, *, only_asked: bool
) -> tuple[DataFrame, DataFrame | None]:
    """Return the users of the run.

    Args:
        carried_run: the run whose rows are carried on, if any.
        only_asked: only the users of --users; otherwise all who have rated.

    Returns:
        `histories.ratings_by_user` of the run's users, and the `user_id` of those to be scored (None: all of them).
    """
    from recmodel.spark import histories

    by_user = _read(spark, staged.table(c.USERS_TABLE), c.with_ids(c.USER, _ids(staged)))
    if only_asked:
        asked = _read(spark, staged.scratch(_ASKED), c.with_ids(c.USERS, _ids(staged)))
        return histories.of_asked(by_user, asked), asked
    if carried_run is None:
        return by_user, None
    before = [_read_published(spark, staged, carried_run, name) for name in (c.USERS_TABLE, c.RECOMMENDATIONS_TABLE)]
    to_score = incremental.users_to_score(by_user, *before)
    if rules.opt_out:  # their lists may be of a time before they did
        gone = _read(spark, staged.scratch(_OPTED_OUT), c.with_ids(c.USERS, _ids(staged)))
        to_score = to_score.union(by_user.join(gone, c.USER_ID, "left_semi").select(c.USER_ID)).distinct()
    return by_user, _materialize(to_score, staged.scratch(_TO_SCORE))


def carried_rows(
    spark: SparkSession, staged: StagedRun, carried_run: RunRecord, by_user: DataFrame, to_score: DataFrame
) -> DataFrame:
    """Return the earlier run's rows that still stand; see `incremental.carried_rows`."""
    rows = _read_published(spark, staged, carried_run, c.RECOMMENDATIONS_TABLE)
    return incremental.carried_rows(rows, by_user, to_score)


def interaction_statistics(
    staged: StagedRun, rows_in: dict[str, int], *, add_up: bool = False
) -> InteractionStatistics:
    """Return what the report needs of the ratings: counts, and the histories of users whom it may show.

    Call it when the recommendations are written.

    Args:
        add_up: see `duplicates.combined`.
    """
    candidates = candidate_users(storage.dataset(staged.table(c.RECOMMENDATIONS_TABLE)))
    catalogue = storage.dataset(staged.scratch(_CATALOGUE)).to_table()
    ratings = storage.dataset(staged.scratch(_RATINGS))
    counted = _staged_ratings(staged)
    return statistics.of_staged(counted, rows_in, [*candidates], ratings, catalogue, _ids(staged), add_up=add_up)


def _staged_ratings(staged: StagedRun) -> movielens.StagedRatings:
    arrays = _read_arrays(staged.scratch(_COUNTS))
    stars, may_repeat = Counter(dict(arrays.pop("half_stars").tolist())), bool(arrays.pop("may_repeat"))
    return movielens.StagedRatings(**arrays, half_stars=stars, may_repeat=may_repeat)


def asked_users(staged: StagedRun) -> pa.Table:
    """Return the users of --users (`schemas.USERS`)."""
    return storage.dataset(staged.scratch(_ASKED)).to_table()


def movies(staged: StagedRun) -> dict[str, np.ndarray]:
    """Return `popular`, `popular_rating` (see `popularity.popularity`) and `allowed` (see `business_rules`)."""
    return _read_arrays(staged.scratch(_MOVIES))


def denied_pairs(spark: SparkSession, staged: StagedRun, rules: Rules) -> DataFrame | None:
    """Return `schemas.PAIRS` of what may not be recommended to whom; None where nothing is denied to anybody.

    Movie ids that are text are in it as their numbers.
    """
    if not rules.deny_pairs:
        return None
    return _read(spark, staged.scratch(_DENIED), c.with_ids(c.PAIRS, _numbered_ids(staged)))


def opted_out(staged: StagedRun) -> pa.Array | None:
    """Return the ids of those who have opted out, in the run or not, ascending; None without a list."""
    if _OPTED_OUT not in storage.names(staged.scratch("")):
        return None
    return storage.dataset(staged.scratch(_OPTED_OUT)).to_table().column(c.USER_ID).combine_chunks()


def _count_opted_out(staged: StagedRun, *, only_asked: bool) -> int:
    """Count those of the run's users who have opted out."""
    users = opted_out(staged)
    if users is None:
        return 0
    in_run = storage.dataset(staged.scratch(_ASKED) if only_asked else staged.table(c.USERS_TABLE))
    return int(in_run.count_rows(filter=pc.field(c.USER_ID).isin(users)))


def _ids(staged: StagedRun) -> Ids:
    return InputCounts.model_validate(staged.remembered(_STAGED_INPUT)).ids


def _numbered_ids(staged: StagedRun) -> Ids:
    return identifiers.numbered(_ids(staged))


def _read_published(spark: SparkSession, staged: StagedRun, run: RunRecord, table: str) -> DataFrame:
    from recmodel.spark import session

    files = open_output(staged.output).files(table, run.run_date)
    return session.reader(spark).parquet(*map(storage.spark_path, files))


def _materialize(rows: DataFrame, location: str) -> DataFrame:
    """Write the rows, so that they are computed once; return what was written."""
    from recmodel.spark import session

    rows.write.mode("overwrite").parquet(storage.spark_path(location))
    return session.reader(rows.sparkSession).schema(rows.schema).parquet(storage.spark_path(location))


def _read(spark: SparkSession, location: str, schema: pa.Schema) -> DataFrame:
    """Read Parquet of a known schema, which spares Spark a job to find it out."""
    from pyspark.sql.pandas.types import from_arrow_schema

    from recmodel.spark import session

    return session.reader(spark).schema(from_arrow_schema(schema)).parquet(storage.spark_path(location))


def _write_parquet(location: str, rows: pa.Table) -> None:
    with storage.create(location) as sink:
        pq.write_table(rows, sink)


def _write_arrays(location: str, **arrays: np.ndarray) -> None:
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    storage.write(location, packed.getvalue())


def _read_arrays(location: str) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(storage.read(location) or b"")) as arrays:
        return dict(arrays)
