"""Staging: what a run scores, read, checked and counted once, and found again when the run is resumed.

Takes a MovieLens directory and the catalogue of the model; gives, in the run's own folder, the usable ratings, how many
of them each user has, what is popular, what may be recommended, and the rows that are not used; and figures for
run.json.
"""

from __future__ import annotations

import io
from datetime import date, datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recmodel import schemas as c
from recmodel import storage
from recmodel.cli import console
from recmodel.data import movielens as data
from recmodel.errors import InputRejected
from recmodel.pipeline import incremental
from recmodel.settings import Input, Rules, Scoring
from recmodel.tables import linked as tables

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_RATINGS, _ASKED, _RATED, _REJECTS = "ratings.parquet", "asked.parquet", "rated.npz", "rejects.parquet"
_SUPERSEDED, _CHANGED, _MOVIES = "superseded.parquet", "changed.parquet", "movies.npz"
_DENIED = "denied.parquet"
_TAKEN_IN, _COUNTED, _PLAN = "taken_in.json", "counted.json", "plan.json"  # each written last of its step


def take_in(
    folder: Path, users: Path | None, catalogue: pa.Table, limits: Input, rules: Rules, staged: tables.Staged
) -> dict[str, Any]:
    """Stages the usable ratings, counted by movie, the users asked for, what is denied to whom, and the rejects.

    Needs no Spark.

    Args:
        users: a file of the users to be scored; None: all who have rated.

    Returns:
        When the run started, rows in, used and rejected by file, and how many users were asked for, if they were.

    Raises:
        InputRejected: see `data`; then nothing stays staged.
    """
    known = staged.remembered(_TAKEN_IN)
    if known is not None:
        return known
    intake = data.Intake(limits)
    try:
        batches = data.stream_ratings(folder, data.read_catalogue(folder, intake), intake)
        with storage.create(staged.scratch(_RATINGS)) as sink:
            rated = data.stage_ratings(batches, sink, catalogue.column(c.MOVIE_ID).to_numpy())
        asked = None if users is None else data.read_ids(users, c.USERS, intake)
        if asked is not None:
            _write_parquet(staged.scratch(_ASKED), asked)
        if rules.deny_pairs:
            _write_parquet(staged.scratch(_DENIED), data.read_ids(Path(rules.deny_pairs), c.PAIRS, intake))
    except InputRejected:
        staged.discard()
        raise
    _write_arrays(staged.scratch(_RATED), **vars(rated))
    _write_parquet(staged.scratch(_REJECTS), intake.rejected())
    found = {
        "started_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "ratings_file": data.find(folder, "ratings").name,
        "rows_in": intake.rows,
        "rows_used": intake.used,
        "rows_rejected": intake.rejected().num_rows,
        "users_asked": None if asked is None else asked.num_rows,
    }
    return staged.remember(_TAKEN_IN, found)


def count(
    spark: SparkSession,
    staged: tables.Staged,
    catalogue: pa.Table,
    rules: Rules,
    *,
    fingerprint: bool,
) -> dict[str, Any]:
    """Counts the ratings by user, finds those that do not count, and with that what is popular and may be recommended.

    Writes the rejects.

    Args:
        fingerprint: with fingerprints of the users' ratings, by which a later run sees which have changed.

    Returns:
        What `take_in` returned, with the superseded ratings among the rejects, how many users have rated, and how many
        movies may be recommended.

    Raises:
        UsageRejected: see `rules.allowed`.
    """
    from pyspark.sql import Observation
    from pyspark.sql import functions as f

    from recmodel.data import duplicates
    from recmodel.scoring.popularity import popularity
    from recmodel.scoring.rules import allowed
    from recmodel.spark import histories

    known = staged.remembered(_COUNTED)
    if known is not None:
        return known
    taken_in = staged.remembered(_TAKEN_IN)
    assert taken_in is not None
    rows = ratings(spark, staged)
    movie_id = catalogue.column(c.MOVIE_ID).to_numpy()
    rated = _read_arrays(staged.scratch(_RATED))
    counts, sums = rated["counts"], rated["sums"]
    by_user = histories.ratings_by_user(rows, may_repeat=bool(rated["may_repeat"]), fingerprint=fingerprint)
    observed = Observation()
    by_user = by_user.observe(observed, f.count("*").alias("users"), duplicates.count().alias("superseded"))
    by_user = _kept(by_user, staged.table(c.USERS_TABLE))
    found = observed.get["superseded"]
    if found:
        others = _kept(duplicates.superseded(rows, by_user), staged.scratch(_SUPERSEDED))
        rejects = _read(spark, staged.scratch(_REJECTS), c.REJECTS)
        rejects = rejects.union(duplicates.as_rejects(others, taken_in["ratings_file"]))
        rejects.write.mode("overwrite").parquet(storage.spark_path(staged.table(c.REJECTS_TABLE)))
        counts, sums = np.subtract((counts, sums), duplicates.by_movie(others, movie_id))
    else:
        rejected = storage.read(staged.scratch(_REJECTS)) or b""
        storage.write(storage.below(staged.table(c.REJECTS_TABLE), _REJECTS), rejected)
    popular, rating = popularity(movie_id, counts, sums)
    may_be_recommended = allowed(catalogue, counts, rules)
    _write_arrays(staged.scratch(_MOVIES), popular=popular, popular_rating=rating, allowed=may_be_recommended)
    used = taken_in["rows_used"]
    counted = {
        **taken_in,
        "rows_used": used | {taken_in["ratings_file"]: used[taken_in["ratings_file"]] - found},
        "rows_rejected": taken_in["rows_rejected"] + found,
        "ratings_superseded": found,
        "users_rated": observed.get["users"],
        "movies_allowed": int(may_be_recommended.sum()),
    }
    return staged.remember(_COUNTED, counted)


def plan(staged: tables.Staged, by_user: DataFrame, users: int, scoring: Scoring, slots: int) -> dict[str, Any]:
    """How many users there are, where each partition of them starts, and when; the same when a run is resumed.

    Args:
        by_user: see `users`, of whom there are so many.
        slots: how many tasks Spark runs at a time; partitions fill whole rounds of them.
    """
    from recmodel.spark import histories, resources

    known = staged.remembered(_PLAN)
    if known is not None:
        return known
    warning = resources.too_many_partitions(users, scoring.users_per_task)
    if warning:
        console.warn(warning)
    partitions = resources.partitions(users, scoring.users_per_task, slots)
    found = {
        "started_at": datetime.now(timezone.utc).isoformat(),
        "users": users,
        "starts": histories.partition_starts(by_user, users, partitions),
    }
    return staged.remember(_PLAN, found)


def ratings(spark: SparkSession, staged: tables.Staged) -> DataFrame:
    """The usable ratings (`columns.RATINGS`)."""
    return _read(spark, staged.scratch(_RATINGS), c.RATINGS)


def users(
    spark: SparkSession, staged: tables.Staged, before: dict[str, Any] | None, *, only_some: bool
) -> tuple[DataFrame, DataFrame | None]:
    """Who is in the run.

    Args:
        before: run.json of the run whose rows are carried on, if any.
        only_some: the users asked for; else all who have rated.

    Returns:
        (`histories.ratings_by_user` of the run's users, `user_id` of those to be scored; None: all of them)
    """
    from recmodel.spark import histories

    by_user = _read(spark, staged.table(c.USERS_TABLE), c.USER)
    if only_some:
        asked = _read(spark, staged.scratch(_ASKED), c.USERS)
        return histories.of_asked(by_user, asked), asked
    if before is None:
        return by_user, None
    changed = incremental.changed(by_user, *_tables(spark, staged, before, c.USERS_TABLE, c.RECOMMENDATIONS_TABLE))
    return by_user, _kept(changed, staged.scratch(_CHANGED))


def carried(
    spark: SparkSession, staged: tables.Staged, before: dict[str, Any], by_user: DataFrame, to_score: DataFrame
) -> DataFrame:
    """See `incremental.carried`."""
    (rows,) = _tables(spark, staged, before, c.RECOMMENDATIONS_TABLE)
    return incremental.carried(rows, by_user, to_score)


def _tables(spark: SparkSession, staged: tables.Staged, run: dict[str, Any], *names: str) -> list[DataFrame]:
    """Those tables of a published run."""
    day = date.fromisoformat(run["run_date"])
    return [spark.read.parquet(*tables.files(staged.output, name, day)) for name in names]


def movies(staged: tables.Staged) -> dict[str, np.ndarray]:
    """`popular` and `popular_rating`, see `popularity.popularity`; and `allowed`, see `rules.allowed`."""
    return _read_arrays(staged.scratch(_MOVIES))


def denied(spark: SparkSession, staged: tables.Staged, rules: Rules) -> DataFrame | None:
    """`columns.PAIRS` of what may not be recommended to whom; None where nothing is denied to anybody."""
    return _read(spark, staged.scratch(_DENIED), c.PAIRS) if rules.deny_pairs else None


def _kept(rows: DataFrame, location: str) -> DataFrame:
    """The rows, computed once."""
    rows.write.mode("overwrite").parquet(storage.spark_path(location))
    return rows.sparkSession.read.schema(rows.schema).parquet(storage.spark_path(location))


def _read(spark: SparkSession, location: str, schema: pa.Schema) -> DataFrame:
    """What is there; to be told its schema spares Spark a job to find it out."""
    from pyspark.sql.pandas.types import from_arrow_schema

    return spark.read.schema(from_arrow_schema(schema)).parquet(storage.spark_path(location))


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
