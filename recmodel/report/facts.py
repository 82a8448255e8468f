"""Facts: everything that the report of a run shows, as plain values.

Takes the published tables, the model versions and the ratings, and returns `Facts`. What is not available any more (the
model was removed, the ratings are gone) is None, with a sentence that says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from recmodel import schemas as c
from recmodel.data import feedback as feedbacks
from recmodel.data import statistics
from recmodel.data.statistics import InteractionStatistics
from recmodel.errors import RecmodelError
from recmodel.models import versions
from recmodel.pipeline import sources
from recmodel.records import IMPORTED, Metrics, RunRecord
from recmodel.report import drift, hits, model_versions, movies, sample_users, summary
from recmodel.schemas import Id
from recmodel.settings import Settings
from recmodel.storage import Location
from recmodel.tables.base import Output
from recmodel.tables.candidates import candidate_users

_NIGHTS = 14  # that drift is shown over
_MEASURED_RUNS = 60  # whose hits are shown


@dataclass(frozen=True)
class Model:
    """The model version that made a run."""

    name: str
    preset: str
    created_at: datetime
    metrics: Metrics
    catalogue: pa.Table  # `schemas.CATALOGUE`
    not_promoted: dict[str, list[str]]  # the newest version, if it is newer and did not pass the gate: the reasons
    failed_training: tuple[datetime, str] | None = None  # when and how the last one failed, if it made no version
    newest_rating: datetime | None = None  # that it has seen; None where it is not known
    is_imported: bool = False  # from elsewhere, where it was trained


@dataclass(frozen=True)
class Facts:
    """A run, its model and its input."""

    run: RunRecord
    rejects: list[dict[str, Any]]  # see `summary.reject_reasons`
    summary: summary.Summary
    nights: list[drift.Night]  # ascending; the last is this run
    model: Model | None
    model_missing: str  # why there is no model
    statistics: InteractionStatistics | None  # of the ratings
    statistics_missing: str  # why there are none
    sample_users: list[sample_users.SampleUser]
    hits: hits.AllHits  # of the runs before, as far as users have come back
    risen: list[dict[str, Any]]  # see `summary.risen_and_fallen`; since the run before, if there is one to compare with
    fallen: list[dict[str, Any]]
    versions: model_versions.Comparison | None  # None: a run of a version before 0.3.2
    mix: movies.Mix | None  # likewise
    mix_before: movies.Mix | None  # of the run before, if there is one to compare with


def collect(output: Output, run_date: date, settings: Settings, models: Location | None, data: str | None) -> Facts:
    """Collect the facts of a published run.

    Args:
        models: where the model versions are; None: where the run found its model.
        data: the ratings, as for --data; None: the statistics that the run published, or for runs of versions that
            published none, the ratings where the run found them.
    """
    run = output.read_run(run_date)
    rows = output.recommendations(run_date)
    sources = candidate_users(rows)
    model, model_missing = _model(models or run.models_path, run.model_version)
    ratings, ratings_missing = _statistics(output, run, data, [*sources], settings, model)
    histories = ratings.histories if ratings else {}
    kinds = sample_users.select(sources, histories)
    recommendations: dict[Id, list[dict[str, Any]]] = {user: [] for user in kinds}
    for row in output.recommendations_of(run_date, [*kinds]).to_pylist():
        recommendations[row[c.USER_ID]].append(row)
    of_run, nights = summary.summarise(rows), drift.nights(output, run_date, _NIGHTS)
    before = _before(output, nights)
    risen, fallen = _risen_and_fallen(of_run, nights, before)
    return Facts(
        run=run,
        rejects=summary.reject_reasons(output.rejects(run_date)),
        summary=of_run,
        nights=nights,
        model=model,
        model_missing=model_missing,
        statistics=ratings,
        statistics_missing=ratings_missing,
        sample_users=[
            sample_users.SampleUser(user, kind, histories.get(user, []), recommendations[user])
            for user, kind in kinds.items()
        ],
        hits=hits.of_runs(output, run_date, _MEASURED_RUNS),
        risen=risen,
        fallen=fallen,
        versions=model_versions.of_run(output, run_date, run.noun),
        mix=movies.of_run(output, run_date, of_run.by_movie),
        mix_before=None if before is None else movies.of_run(output, nights[-2].run_date, before),
    )


def _before(output: Output, nights: list[drift.Night]) -> pa.Table | None:
    """Return the recommendations of the run before, counted by movie; None without one to compare with."""
    return summary.count_by_movie(output.recommendations(nights[-2].run_date)) if len(nights) > 1 else None


def _risen_and_fallen(
    of_run: summary.Summary, nights: list[drift.Night], before: pa.Table | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    if before is None:
        return [], []
    return summary.risen_and_fallen(of_run.by_movie, nights[-1].users, before, nights[-2].users)


def _model(models: Location, name: str) -> tuple[Model | None, str]:
    """Return the version, or None and why it is missing."""
    try:
        version = versions.open_version(models, name)
    except RecmodelError as error:
        return None, str(error)
    newer = [other for other in versions.list_versions(models)[-1:] if other > name]
    gates = {other: versions.read_metrics(models, other).gate for other in newer}
    return Model(
        name=name,
        preset=version.manifest.preset,
        created_at=version.manifest.created_at,
        metrics=version.metrics(),
        catalogue=version.catalogue(),
        not_promoted={other: reasons for other, reasons in gates.items() if reasons},
        failed_training=versions.failed_training(models),
        newest_rating=version.manifest.newest_rating,
        is_imported=version.manifest.origin == IMPORTED,
    ), ""


def _statistics(
    output: Output, run: RunRecord, data: str | None, user_ids: list[Id], settings: Settings, model: Model | None
) -> tuple[InteractionStatistics | None, str]:
    """Return the statistics with the histories of those users, or None and why they are missing."""
    published = None if data else output.attachment(run.run_date, statistics.FILE)
    if published:
        return InteractionStatistics.from_bytes(published), ""
    try:
        folder = sources.input_dir(data or run.data_path, settings.paths.sample, settings.input)
        feedback = feedbacks.for_model(folder, settings.input, run.model_version, run.feedback)
        as_then = settings.input.model_copy(update={"as_of": run.settings.get("input", {}).get("as_of", "")})
        known = model and model.catalogue
        return statistics.read(folder, user_ids, as_then, known, feedback, run.ids), ""
    except RecmodelError as error:
        return None, str(error)
