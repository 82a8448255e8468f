"""Resolve: what a run is to do, decided before any rating is read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from recmodel import schemas as c
from recmodel import storage
from recmodel.data import feedback as feedbacks
from recmodel.data import ids as identifiers
from recmodel.data import movielens
from recmodel.data.catalogue import Catalogues, combine
from recmodel.data.feedback import Feedback
from recmodel.data.validation import Validation
from recmodel.errors import UsageRejected
from recmodel.models import versions
from recmodel.pipeline import business_rules, incremental, registry
from recmodel.progress import Stages, log
from recmodel.records import EXPLICIT, RunRecord
from recmodel.scoring import policies
from recmodel.settings import Scoring, Settings
from recmodel.tables.base import Output
from recmodel.tables.output import open_output


@dataclass(frozen=True)
class ResolvedRun:
    """What a run is to do, resolved before any rating is read."""

    settings: Settings
    version: versions.ModelVersion
    named: registry.Named  # how that was named
    catalogues: Catalogues  # tonight's, and that of the version
    feedback: Feedback  # how the interactions are read
    rank_by: str  # the ranking policy
    users_file: Path | None  # who is scored; None: all who have rated
    conditions: str  # see `incremental`
    carried_run: RunRecord | None  # the earlier run whose rows this one carries on, if it does
    read_until: str | None = None  # the time of the last of several dates whose ratings are read at once, empty for
    # all there are; None: the run is the only one of its night. See `back_fill`


def resolve_run(
    settings: Settings,
    output: Output,
    run_date: date,
    model_version: str | None,
    users_file: Path | None,
    folder: storage.Location,
    validation: Validation,
    stages: Stages,
    read_until: str | None = None,
) -> ResolvedRun:
    """Find and check the model, tonight's catalogue, the ranking policy and the run to carry on.

    Args:
        model_version: a name, or an address in a registry; None: as the settings say, or the current one.
        folder: a MovieLens directory.
        validation: of the input; gets the kind of its ids.
        read_until: see `ResolvedRun`.

    Raises:
        InputRejected: see `movielens.read_catalogue` and `feedback.for_model`.
        ModelRejected: see `versions.open_version` and `registry.find`.
        UsageRejected: the settings contradict each other or the model.
    """
    _refuse_models_among_tables(output.location, settings.paths.models)
    if settings.scoring.incremental and settings.rules.min_ratings:
        raise UsageRejected(
            "incremental runs keep lists of a night when other movies had as many ratings; choose one of "
            "scoring.incremental and rules.min_ratings"
        )
    with stages("check the model"):
        named = registry.find(settings, model_version)
        version = versions.open_version(settings.paths.models, named.name)
        _warn_of_the_future(version, settings.input.last_second)
        rank_by = _ranking_policy(settings.scoring, version)
        _refuse_other_ids(output, version)
        if users_file is not None:  # then the full runs are in another place
            _refuse_other_ids(open_output(settings.paths.output), version)
        feedback = feedbacks.for_model(folder, settings.input, version.name, version.feedback)
        validation.ids = identifiers.for_model(folder, settings.input, version.name, version.ids)
    with stages("read the catalogue"):
        tonight = movielens.read_catalogue(folder, validation)
        may_have_new = business_rules.most_new(settings.rules, settings.scoring.top_n) > 0
        catalogues = combine(tonight, version.catalogue(), place_new=version.places_new_movies and may_have_new)
    conditions, carried_run = incremental.conditions(settings, rank_by, version, catalogues, feedback), None
    if settings.scoring.incremental and users_file is None:
        carried_run = incremental.earlier_run(output, run_date, conditions)
    return ResolvedRun(
        settings, version, named, catalogues, feedback, rank_by, users_file, conditions, carried_run, read_until
    )


def _refuse_models_among_tables(output: str, models: str) -> None:
    """Raise UsageRejected if the models are where a table is published, which would remove what it does not know."""
    for table in (*c.TABLES, c.RUNS_TABLE):
        place = storage.below(output, table)
        if models.rstrip("/") == place or models.startswith(f"{place}/"):
            raise UsageRejected(
                f"--models is {models}, where the table {table} is published; move it, or choose another --output"
            )


def _refuse_other_ids(output: Output, version: versions.ModelVersion) -> None:
    """Raise UsageRejected if the published tables have ids of another kind than the model."""
    for day in output.run_dates()[-1:]:
        published = output.read_run(day).ids
        if published != version.ids:
            raise UsageRejected(
                f"{output.location} holds tables with {identifiers.in_words(published)}, and model {version.name} has "
                f"{identifiers.in_words(version.ids)}; ids keep their kind: publish to another folder with --output, "
                "or choose another model"
            )


def run_key(resolved: ResolvedRun, folder: storage.Location) -> str:
    """Return a digest of all that decides a run's rows: an interrupted run is continued only under the same one."""
    users, opt_out = resolved.users_file, resolved.settings.rules.opt_out
    decides = {
        "conditions": resolved.conditions,
        "input": [movielens.identity(movielens.find(folder, table)) for table in ("ratings", "movies")],
        "users": users and storage.sha256(movielens.find_ids(users, c.USERS)),
        "opted out": opt_out and Path(opt_out).exists() and storage.sha256(Path(opt_out)),
        "accepts": resolved.settings.input.model_dump(),
        "incremental": resolved.settings.scoring.incremental,
        "carried": resolved.carried_run and resolved.carried_run.run_id,
    }
    return storage.sha256_of(decides)[:12]


def _warn_of_the_future(version: versions.ModelVersion, last_second: int | None) -> None:
    """Say that a model was trained on ratings that the run itself must not use."""
    newest = version.manifest.newest_rating
    if last_second is not None and newest is not None and newest.timestamp() > last_second:
        log.warning(
            "model %s has seen ratings up to %s, later than the run is as of", version.name, f"{newest:%Y-%m-%d %H:%M}"
        )


def _ranking_policy(scoring: Scoring, version: versions.ModelVersion) -> str:
    """Return the ranking policy of this run.

    Raises:
        UsageRejected: it, or the table asked for, needs a task that the model was not trained for.
    """
    rank_by = version.rank_by if scoring.rank_by == policies.AUTO else scoring.rank_by
    missing = {*policies.missing_tasks(rank_by, version.tasks)}
    if scoring.predicted_ratings == "all" and "rating" not in version.tasks:
        missing.add("rating")
    if missing and version.feedback != EXPLICIT:
        raise UsageRejected(
            f"model {version.name} was trained on implicit feedback, so it predicts no ratings, which this run needs; "
            "choose --rank-by retrieval and --predicted-ratings top-n, or train on ratings"
        )
    if missing:
        raise UsageRejected(
            f"model {version.name} was not trained for {' and '.join(sorted(missing))}, which this run needs; "
            "choose another --rank-by or --predicted-ratings, or train the preset default"
        )
    return rank_by
