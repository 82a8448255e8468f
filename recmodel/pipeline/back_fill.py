"""Back-fill: several dates of one night read the ratings once.

The first date reads those up to the last one into a folder next to its own, and each date takes from there what is not
later than its end. Each of them is scored by a process of its own, so the folder's name says of what it is.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from recmodel import dates, storage
from recmodel import schemas as c
from recmodel.data import kept, movielens
from recmodel.data.intake import Job
from recmodel.data.validation import Request
from recmodel.pipeline import taking
from recmodel.pipeline.resolve import ResolvedRun
from recmodel.progress import NOTICE, log
from recmodel.storage import Location
from recmodel.version import __version__

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def key(resolved: ResolvedRun, folder: Location) -> str | None:
    """Return a digest of all that decides what is kept; None: nothing is, as the run is the only one of its night."""
    if resolved.read_until is None:
        return None
    decides = {
        "code": __version__,
        "input": movielens.identity(movielens.find(folder, "ratings")),
        "accepts": resolved.settings.input.model_dump(exclude={"as_of", "max_rejected_share"}),
        "until": resolved.read_until,
        "movies": resolved.catalogues.all.column(c.MOVIE_ID).to_pylist(),
        "feedback": asdict(resolved.feedback),
    }
    return storage.sha256_of(decides)[:12]


def kept_in(
    resolved: ResolvedRun, request: Request, job: Job, place: str, starting: Future[SparkSession] | None
) -> str | None:
    """Return the folder that the ratings are kept in, after reading them if it is not there; None if they are refused.

    Args:
        request: what a run reads that is the only one of its night.
        job: how it takes that.
        place: the folder.
        starting: see `staging.stage_input`.

    Raises:
        ScoringFailed: Spark does not start, or fails.
    """
    until = resolved.read_until or ""
    if kept.remembered(place) is not None:
        log.log(NOTICE, "the ratings were read for an earlier date of this back-fill; they are not read again")
        return place
    up_to = f", up to {until}" if until else ""
    log.log(NOTICE, "the ratings are read once for all dates of this back-fill%s", up_to)
    contract = replace(request.contract, as_of=until, last_second=dates.last_second(until) if until else None)
    job_of_all = replace(job, contract=contract, folder=place, rejects=storage.below(place, c.REJECTS_TABLE))
    if taking.keep(request, job_of_all, starting):
        return place
    log.log(NOTICE, "not all of them can be used%s, so each date reads its own", up_to)
    return None
