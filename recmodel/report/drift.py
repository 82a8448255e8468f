"""Drift: a run compared with the runs before it.

Takes the published runs of an output and returns a few figures per run.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from recmodel.records import RunRecord
from recmodel.report import summary
from recmodel.tables.base import Output


@dataclass(frozen=True)
class Night:
    """A published run in a few figures."""

    run_date: date
    model_version: str
    users: int
    popular_users: int  # of them, served from popularity
    coverage: float  # share of the catalogue that is recommended to at least one user
    predicted_rating: float | None  # mean, in stars
    overlap: summary.Overlap | None  # with the lists of the previous night; None for the first


def nights(output: Output, run_date: date, limit: int) -> list[Night]:
    """Return the run of that date, last, and up to `limit - 1` comparable runs before it, ascending."""
    current = output.read_run(run_date)
    runs = [current]
    if current.all_users:
        for day in reversed(output.run_dates()):
            if len(runs) == limit:
                break
            if day < run_date and current.is_comparable_with(run := output.read_run(day)):
                runs.insert(0, run)
    return [_night(output, run, before) for before, run in zip([None, *runs], runs, strict=False)]


def _night(output: Output, run: RunRecord, before: RunRecord | None) -> Night:
    figures = run.recommendations
    overlap = None
    if before is not None:
        overlap = summary.overlap(output.recommendations(run.run_date), output.recommendations(before.run_date))
    return Night(
        run_date=run.run_date,
        model_version=run.model_version,
        users=figures.users,
        popular_users=figures.popular_users,
        coverage=figures.distinct_movies / max(1, run.movies),
        predicted_rating=figures.mean_predicted_rating,
        overlap=overlap,
    )
