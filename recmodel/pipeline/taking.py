"""Taking: the shares of the input, by the driver while Spark starts and by tasks from then on.

A small input is one share, which waits for no Spark. Where a share turns out to be written in another way than the rows
before it have decided, it is taken again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from recmodel import storage
from recmodel.data import intake, kept, reading
from recmodel.data.intake import Job, Taken, Work
from recmodel.data.pieces import Share
from recmodel.data.staged import StagedRatings
from recmodel.data.tally import MAX_REJECTS, merged, overruled
from recmodel.data.validation import Request, Validation
from recmodel.data.values import Decisions
from recmodel.errors import RecmodelError, ScoringFailed
from recmodel.progress import NOTICE, log, where_the_trace_is

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def stage(
    request: Request,
    validation: Validation,
    job: Job,
    starting: Future[SparkSession] | None,
    kept_in: str | None = None,
) -> tuple[StagedRatings, int]:
    """Stage the usable ratings and the rejects among them; return the counts of the former and the number of these.

    Args:
        request: what is read.
        validation: of the input.
        starting: see `staging.stage_input`.
        kept_in: a folder with what `keep` has read, which is taken instead of the input.

    Raises:
        InputRejected: see `Validation.conclude`; or there is not one rating.
        ScoringFailed: Spark does not start, or fails.
    """
    intake.clear(job)
    shares: Sequence[Share]
    if kept_in is None:
        shares = reading.shares(request.source, request.contract.schema)
    else:
        shares = [[piece] for piece in kept.remembered(kept_in) or []]
        job = replace(job, movies=np.arange(len(job.movies)))  # as the kept ratings have them
    taken = _take_all(shares, job, starting)
    tally = merged(shares[: len(taken)], [share.tally for share in taken])
    validation.conclude(request, tally)
    counted = intake.joined(taken, job)
    _each(partial(intake.publish_rejects, job=job), intake.of_shares(shares[: len(taken)], taken), starting)
    return counted, tally.rejected


def keep(request: Request, job: Job, starting: Future[SparkSession] | None) -> bool:
    """Keep what an input holds in the folder of the job, for several dates; see `kept`.

    Returns:
        Whether that went well: not if the input would be refused.

    Raises:
        ScoringFailed: Spark does not start, or fails.
    """
    intake.clear(job)
    shares = reading.shares(request.source, job.contract.schema)
    taken = _take_all(shares, job, starting)
    if _is_refused(taken) or any(share.tally.failure for share in taken):
        storage.remove(job.folder)
        return False
    kept.remember(job.folder, intake.kept_pieces(shares, taken, job))
    return True


def _take_all(shares: Sequence[Share], job: Job, starting: Future[SparkSession] | None) -> list[Taken]:
    """Take the shares of the ratings, in their order; fewer if one of them shows that the input is refused."""
    taken = _taken_here(shares, job, starting)
    if starting is None or _is_refused(taken):
        return taken
    known = _decided(taken)
    taken += _by_tasks([Work(i, shares[i], known) for i in range(len(taken), len(shares))], job, starting)
    while again := overruled([share.tally for share in taken]):
        log.info("%d shares of the ratings are read again, as earlier rows are written in another way", len(again))
        for share in _by_tasks([Work(i, shares[i], decisions) for i, decisions in again.items()], job, starting):
            taken[share.number] = share
    return taken


def _each(
    work: Callable[[_Item], _Result], items: Sequence[_Item], starting: Future[SparkSession] | None
) -> list[_Result]:
    """Call `work` with each of the items, by tasks if Spark is there; return the results in their order."""
    if starting is None or not starting.done():
        return [work(item) for item in items]
    spark = starting.result()
    from recmodel.spark import session, tasks

    try:
        return tasks.each(spark, work, items)
    except RecmodelError:
        raise
    except Exception as error:
        if storage.is_full_disk(error):
            raise
        raise ScoringFailed(f"reading the input failed: {session.cause(error)}{where_the_trace_is()}") from error


def _taken_here(shares: Sequence[Share], job: Job, starting: Future[SparkSession] | None) -> list[Taken]:
    """Take shares one after the other: the first, local ones until Spark is there, and without Spark all of them."""
    taken: list[Taken] = []
    for number, share in enumerate(shares):
        is_remote = storage.is_uri(share[0].part.location)
        if number and starting is not None and (is_remote or starting.done()):
            break
        taken.append(intake.take(Work(number, share, _decided(taken)), job))
        if _is_refused(taken):
            break
    return taken


def _by_tasks(works: Sequence[Work], job: Job, starting: Future[SparkSession]) -> list[Taken]:
    if not works:
        return []
    starting.result()
    taken = _each(partial(intake.take_if_seen, job=job), works, starting)
    unseen = sum(share is None for share in taken)
    if unseen:
        log.log(
            NOTICE, "%d of %d shares of the ratings are read by the driver, as no executor sees them in %s",
            unseen, len(works), job.contract.table,
        )  # fmt: skip
    return [share or intake.take(work, job) for work, share in zip(works, taken, strict=True)]


def _decided(taken: Sequence[Taken]) -> Decisions:
    known = Decisions()
    for share in taken:
        known = known.then(share.tally.decisions)
    return known


def _is_refused(taken: Sequence[Taken]) -> bool:
    return bool(taken) and (bool(taken[-1].tally.failure) or sum(t.tally.rejected for t in taken) > MAX_REJECTS)
