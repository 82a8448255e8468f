"""Facts: all that the report of a run says, as plain values.

Takes the published tables, the model versions and the ratings; gives `Facts`. A part that cannot be had any more (the
model was removed, the ratings are gone) is a sentence that says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from recmodel import schemas as c
from recmodel.data import movielens as data
from recmodel.data import statistics
from recmodel.errors import RecmodelError
from recmodel.models import versions
from recmodel.report import drift, sample_users, summary
from recmodel.settings import Settings
from recmodel.storage import Location
from recmodel.tables import linked as tables

_NIGHTS = 14  # that drift is shown over
_CANDIDATES = 400, 40  # that the dozen users are chosen from: by model, by popularity


@dataclass(frozen=True)
class Model:
    """The version that a run was made with."""

    name: str
    preset: str
    created_at: datetime
    metrics: dict[str, Any]
    refused: dict[str, list[str]]  # the newest version, if it is a newer one and was not let in, with the reasons


@dataclass(frozen=True)
class Facts:
    """A run, its model and its input. A sentence stands for what is not there."""

    run: dict[str, Any]  # its run.json
    rejects: list[dict[str, Any]]  # see `summary.reject_reasons`
    summary: summary.Summary
    nights: list[drift.Night]  # ascending; this run is the last
    model: Model | str
    tastes: statistics.Tastes | str
    people: list[sample_users.Person]


def collect(output: Location, run_date: date, models: Location, data_folder: str, chosen: Settings) -> Facts:
    """The facts of the run of that date, which must be published.

    Args:
        data_folder: as for --data.
    """
    rows = tables.recommendations(output, run_date)
    run = tables.read_run(output, run_date)
    sources = summary.some_users(rows, *_CANDIDATES)
    rated = _tastes(data_folder, [*sources], chosen)
    histories = {} if isinstance(rated, str) else rated.histories
    picked = sample_users.choose(sources, histories)
    offered: dict[int, list[dict[str, Any]]] = {user: [] for user in picked}
    for row in tables.recommendations_of(output, run_date, [*picked]).to_pylist():
        offered[row[c.USER_ID]].append(row)
    return Facts(
        run=run,
        rejects=summary.reject_reasons(tables.rejects(output, run_date)),
        summary=summary.summarise(rows),
        nights=drift.nights(output, run_date, _NIGHTS),
        model=_model(models, run["model_version"]),
        tastes=rated,
        people=[
            sample_users.Person(user, kind, histories.get(user, []), offered[user]) for user, kind in picked.items()
        ],
    )


def _model(models: Location, name: str) -> Model | str:
    try:
        version = versions.open_version(models, name)
    except RecmodelError as error:
        return str(error)
    newer = [other for other in versions.versions(models)[-1:] if other > name]
    refused = {other: versions.read_metrics(models, other).get("gate") for other in newer}
    return Model(
        name=name,
        preset=version.manifest["preset"],
        created_at=datetime.fromisoformat(version.manifest["created_at"]),
        metrics=version.metrics(),
        refused={other: reasons for other, reasons in refused.items() if reasons},
    )


def _tastes(folder: str, users: list[int], chosen: Settings) -> statistics.Tastes | str:
    try:
        return statistics.read(data.data_dir(folder, chosen.paths.sample), users, chosen.input)
    except RecmodelError as error:
        return str(error)
