"""Drift: a run beside those before it.

Takes the published runs of an output directory; gives one line of figures a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from recmodel.report import summary
from recmodel.storage import Location
from recmodel.tables import linked as tables


@dataclass(frozen=True)
class Night:
    """A published run in a few figures."""

    run_date: date
    model_version: str
    users: int
    popular_users: int  # of them, served from popularity
    coverage: float  # share of the catalogue that somebody was recommended
    predicted_rating: float | None  # mean, in stars
    overlap: summary.Overlap | None  # with the lists of the night before; None where there is none


def alike(run: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two run.json are of runs made in the same way, so that their figures can be compared."""
    return _made_by(run) == _made_by(other)


def _made_by(run: dict[str, Any]) -> tuple[Any, ...]:
    return run.get("all_users"), run.get("rank_by"), run["settings"]["scoring"]["top_n"], _rules(run)


def _rules(run: dict[str, Any]) -> dict[str, Any]:
    """Those that say something; runs of older versions have none."""
    rules = run["settings"].get("rules", {})
    return {name: rule for name, rule in rules.items() if (any(rule.values()) if isinstance(rule, dict) else rule)}


def nights(output: Location, run_date: date, most: int) -> list[Night]:
    """The run of that date, last, and before it the newest of the earlier ones that were made alike."""
    mine = tables.read_run(output, run_date)
    found = {run_date: mine}
    for day in reversed(tables.run_dates(output)):
        if len(found) == most or not mine["all_users"]:
            break
        if day < run_date and alike(mine, run := tables.read_run(output, day)):
            found[day] = run
    days = sorted(found)
    before = dict(zip(days[1:], days, strict=False))
    return [_night(output, day, found[day], before.get(day)) for day in days]


def _night(output: Location, day: date, run: dict[str, Any], before: date | None) -> Night:
    made = run["recommendations"]
    rows = tables.recommendations(output, day)
    return Night(
        run_date=day,
        model_version=run["model_version"],
        users=made["users"],
        popular_users=made["popular_users"],
        coverage=made["distinct_movies"] / max(1, run["movies"]),
        predicted_rating=made["mean_predicted_rating"],
        overlap=None if before is None else summary.overlap(rows, tables.recommendations(output, before)),
    )
