"""Counting: how many ratings each user and movie has, what may be recommended, and how the users are divided."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel import storage
from recmodel.arrays import places
from recmodel.data import staged as staged_ratings
from recmodel.data.staged import Part
from recmodel.pipeline import business_rules, side_tables, staging
from recmodel.pipeline.resolve import ResolvedRun
from recmodel.pipeline.staging import InputCounts
from recmodel.progress import Stages, log
from recmodel.records import Record
from recmodel.scoring import parts, popularity
from recmodel.scoring.parts import Counted
from recmodel.scoring.run import Run
from recmodel.spark import resources, session, tasks
from recmodel.tables.base import StagedRun

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_RATINGS_OF_A_TASK = 2_000_000
_PLAN = "plan.json"  # written last


class Plan(Record):
    """How the users are divided among Spark's tasks; the same when a run is resumed."""

    scored_at: str  # ISO 8601, UTC
    users: int
    users_scored: int  # the others keep the lists of an earlier run
    starts: list[int] | list[str]  # the first user_id of each partition except the first

    @property
    def partitions(self) -> int:
        """The number of partitions, and of output files."""
        return len(self.starts) + 1

    @property
    def parts(self) -> list[Part]:
        """The ranges of users."""
        return staged_ratings.parts(self.starts)


class Workload(Record):
    """Who is in a run, and how the users are divided."""

    counts: InputCounts
    plan: Plan


def divide(spark: SparkSession, resolved: ResolvedRun, staged: StagedRun, stages: Stages) -> Workload:
    """Count what was staged and divide the users: all that comes before they are scored.

    Raises:
        UsageRejected: see `business_rules.allowed`.
    """
    remembered = staged.remembered(_PLAN)
    if remembered is not None:
        return Workload.model_validate(remembered)
    run = staging.run_of(staged, resolved.carried_run)
    run.clear()
    with stages("count the ratings"):
        counts, counted = _count(spark, resolved, staged, run)
    with stages("divide the users"):
        plan = _plan(spark, resolved, staged, counts, counted)
        counts = counts.model_copy(update={"users_opted_out": _count_opted_out(run)})
    workload = Workload(counts=counts, plan=plan)
    staged.remember(_PLAN, workload.to_json())
    return workload


def _count(
    spark: SparkSession, resolved: ResolvedRun, staged: StagedRun, run: Run
) -> tuple[InputCounts, list[Counted]]:
    """Count the staged ratings by user, set duplicates aside, and find what is popular and may be recommended.

    Writes the tables `users`, `rejects` and `movies`.
    """
    counts, ratings = staging.counts(staged), staging.ratings(staged)
    rows, slots = int(ratings.counts.sum()), session.slots(spark)
    starts = staged_ratings.starts_by_rows(
        run.input.at(staged_ratings.RATINGS), resources.partitions(rows, _RATINGS_OF_A_TASK, slots)
    )
    of_day = None if counts.newest_rating is None else _weights_of_days(run)
    work = partial(parts.count, run=run, fingerprint=resolved.settings.scoring.incremental, of_day=of_day)
    counted = tasks.each(spark, work, staged_ratings.parts(starts))
    number, total = ratings.counts.astype(np.float64), ratings.sums.copy()
    for part in counted:
        if part.of_movies is not None:
            number -= part.of_movies[0]
            total -= part.of_movies[1]
    of_model, catalogues = _rows_of_model(resolved), resolved.catalogues
    trends = [part.trend for part in counted if part.trend is not None]
    recent = np.sum(trends, axis=0)[of_model] if trends else None
    popular, rating = popularity.popularity(of_model, number[of_model], total[of_model], recent)
    may_recommend = business_rules.allowed(catalogues, number[of_model], resolved.settings.rules)
    staging.write_movies(staged, popular=popular, popular_rating=rating, allowed=may_recommend)
    movies = side_tables.movies(catalogues, number, total, may_recommend)
    side_tables.write(staged, c.MOVIES_TABLE, movies)
    repeats = sum(part.duplicates for part in counted)
    superseded = 0 if run.input.add_up else repeats
    used = counts.rows_used[counts.ratings_file] - superseded
    counts = counts.model_copy(
        update={
            "rows_used": counts.rows_used | {counts.ratings_file: used},
            "rows_rejected": counts.rows_rejected + superseded,
            "ratings_superseded": superseded,
            "interactions_repeated": repeats - superseded,
            "users_rated": sum(part.users for part in counted),
            "movies_allowed": int(may_recommend.sum()),
        }
    )
    return counts, counted


def _weights_of_days(run: Run) -> np.ndarray:
    """Return how much a rating of each day counts in what is popular of late; see `popularity.weights`."""
    per_day: np.ndarray = np.zeros(0, np.int64)
    for batch in storage.dataset(run.input.at(staged_ratings.RATINGS)).to_batches(columns=[c.TIMESTAMP]):
        days = popularity.day(batch.column(0).fill_null(0).to_numpy())
        longer = np.bincount(days, minlength=len(per_day))
        longer[: len(per_day)] += per_day
        per_day = longer
    return popularity.weights(per_day)


def _rows_of_model(resolved: ResolvedRun) -> np.ndarray:
    """Return [M] int64, ascending: the rows of the model's movies in the run's catalogue."""
    catalogues = resolved.catalogues
    return places(catalogues.all.column(c.MOVIE_ID).combine_chunks(), catalogues.of_model.column(c.MOVIE_ID))


def _plan(
    spark: SparkSession, resolved: ResolvedRun, staged: StagedRun, counts: InputCounts, counted: list[Counted]
) -> Plan:
    """Divide the users into partitions of about equal work."""
    scoring = resolved.settings.scoring
    if counts.users_asked is not None:
        users = counts.users_asked
        user_id = staging.asked_users(staged).column(c.USER_ID).to_pylist()
        work = np.arange(1.0, users + 1)
    else:
        users = counts.users_rated
        user_id = [user for part in counted for user in part.user_id]
        before = np.append(0, np.cumsum([part.work[-1] for part in counted]))
        work = np.concatenate([part.work + start for part, start in zip(counted, before, strict=False)])
    warning = resources.too_many_partitions(users, scoring.users_per_task)
    if warning:
        log.warning("%s", warning)
    shares = resources.partitions(users, scoring.users_per_task, session.slots(spark))
    starts = equal_shares(user_id, work, shares)
    users_scored = sum(part.to_score for part in counted) if counts.users_asked is None else users
    scored_at = datetime.now(timezone.utc).isoformat()
    return Plan(scored_at=scored_at, users=users, users_scored=users_scored, starts=starts)


def equal_shares(user_id: list[int] | list[str], work: np.ndarray, shares: int) -> list[int] | list[str]:
    """Return the ids at which the second and each later share of the work begins; fewer if there are few users.

    Args:
        user_id: [U], ascending.
        work: [U], cumulative.
    """
    if not user_id:
        return []
    ends = work[-1] * np.arange(1, shares) / shares
    first = np.searchsorted(work, ends, side="right")
    return [user_id[place] for place in np.unique(first[(first > 0) & (first < len(user_id))])]


def _count_opted_out(run: Run) -> int:
    """Count those of the run's users who have opted out."""
    users = run.input.opted_out()
    return 0 if users is None else int(run.input.all_users().count_rows(filter=pc.field(c.USER_ID).isin(users)))
