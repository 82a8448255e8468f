"""Nightly: train when it is due, score everybody, publish, report, clean up, tell.

Each step runs in a process of its own, so that its memory is free before the next.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

from recmodel import dates
from recmodel.data import ids as identifiers
from recmodel.data import movielens
from recmodel.data.catalogue import combine
from recmodel.data.validation import Validation
from recmodel.errors import ModelRejected
from recmodel.models import versions
from recmodel.pipeline import monitoring, sources
from recmodel.progress import HEADING, NOTICE, log
from recmodel.settings import Settings
from recmodel.tables.output import open_output


@dataclass(frozen=True)
class Night:
    """What a night is to do."""

    settings: Settings
    preset: str | None  # what to train when it is due; None: as the settings say
    dates: Sequence[date]
    score_flags: Sequence[str]  # for the command score, and so for spark-submit
    partial: bool = False  # whether they name users, so that runs are partial ones


def run(night: Night) -> int:
    """Do all steps; return the exit code of the first that failed for good."""
    settings = night.settings
    reason = training_is_due(settings)
    if reason:
        log.log(NOTICE, "training is due: %s", reason)
        code = _step("train", *_train_flags(night))
        if code == ModelRejected.exit_code and versions.current(settings.paths.models) is not None:
            log.log(NOTICE, "the night continues with the current version")
        elif code:
            return code
    for day in night.dates:
        code = _step("score", *_score_flags(night, day))
        if code:
            return code
        published = open_output(settings.paths.output, partial=night.partial).location
        if _step("report", "--output", published, "--run-date", f"{day:%Y-%m-%d}"):
            log.log(NOTICE, "there is no report of %s; what was published stands, and the night continues", day)
    for name in versions.prune(settings.paths.models, settings.retention.models):
        log.log(NOTICE, "removed model version %s", name)
    _prune_logs(Path(settings.paths.logs), settings.retention.log_days)
    return 0


def dry_run(night: Night) -> int:
    """Run each step with --dry-run, on the first of the dates; return the exit code of the first that would fail."""
    settings, output = night.settings, open_output(night.settings.paths.output)
    for purpose in ("nightly", "lock"):
        output.check_ready(purpose)
    reason = training_is_due(settings)
    log.log(NOTICE, "%s", f"training is due: {reason}" if reason else "training is not due")
    log.log(NOTICE, "dates to score: %s", ", ".join(map(str, night.dates)) or "none")
    if reason:
        code = _step("train", *_train_flags(night), "--dry-run")
        if code:
            return code
        try:
            versions.open_version(settings.paths.models)
        except ModelRejected:
            log.log(NOTICE, "what scoring would do shows once there is a model that can be used")
            return 0
        log.log(NOTICE, "scoring is shown with the current version; the new one may replace it first")
    if not night.dates:
        return 0
    return _step("score", *_score_flags(night, night.dates[0]), "--dry-run")


def tell(settings: Settings, exit_code: int) -> None:
    """Tell monitoring how the night ended, and call the hook if it failed."""
    output = open_output(settings.paths.output)
    if settings.monitoring.textfile:
        latest = output.newest()
        newest = output.read_run(latest) if latest else None
        monitoring.write_textfile(Path(settings.monitoring.textfile), exit_code, newest)
    if exit_code and settings.monitoring.on_failure:
        variables = {"RECMODEL_EXIT_CODE": str(exit_code), "RECMODEL_LOGS": settings.paths.logs}
        subprocess.run(settings.monitoring.on_failure, shell=True, check=False, env={**os.environ, **variables})


def training_is_due(settings: Settings) -> str | None:
    """Return why a model should be trained, or None."""
    models = settings.paths.models
    if versions.current(models) is None:
        return "there is no model yet"
    try:
        version = versions.open_version(models)
    except ModelRejected as error:
        return str(error)
    age = datetime.now(timezone.utc) - version.manifest.created_at
    if age > timedelta(days=settings.training.max_age_days):
        return f"the current version is {age.days} days old"
    if settings.input.as_of:
        return None  # the size of the input says nothing about how much of it is used
    metrics = version.metrics()
    folder = sources.input_dir(settings.paths.data, settings.paths.sample, settings.input)
    ratings = movielens.estimate_ratings(
        folder,
        metrics.input_rows,
        metrics.ratings_file,
        metrics.ratings_bytes,
    )
    if ratings > metrics.input_rows * (1 + settings.training.max_growth):
        return f"there are {ratings:,} ratings, the current version has seen {metrics.input_rows:,}"
    ids = identifiers.for_model(folder, settings.input, version.name, version.ids)
    tonight = movielens.read_catalogue(folder, Validation(settings.input, ids))
    new = combine(tonight, version.catalogue(), place_new=False).new
    if new > tonight.num_rows * settings.training.max_new:
        return f"{new:,} of the {tonight.num_rows:,} movies are new to the current version"
    return None


def parse_dates(text: str | None, output: str, *, allow_future: bool = False) -> list[date]:
    """Return the dates of `--run-date`: today, a date, or those of a range that have no full run yet.

    Raises:
        UsageRejected: it is neither a date nor a range of dates, or lies in the future and may not.
    """
    if text is None:
        return [date.today()]
    days = dates.parse_days(text, "--run-date")
    dates.refuse_future(days, allow=allow_future)
    if ".." not in text:
        return days
    published = open_output(output)
    have = {*days} & {*published.run_dates()}
    missing = [day for day in days if day not in have or not published.is_full(day)]
    if not missing:
        log.log(NOTICE, "all dates of %s are published already, so there is nothing to score", text)
    return missing


def _train_flags(night: Night) -> list[str]:
    paths = night.settings.paths
    preset = ["--preset", night.preset] if night.preset else []
    return ["--data", paths.data, "--models", paths.models, "--gate", *preset, *_as_of(night.settings)]


def _score_flags(night: Night, day: date) -> list[str]:
    paths = night.settings.paths
    where = ["--data", paths.data, "--models", paths.models, "--output", paths.output]
    as_then = _as_then(night, day) if day < date.today() else _as_of(night.settings)
    return [*where, "--run-date", f"{day:%Y-%m-%d}", *as_then, *night.score_flags]


def _as_of(settings: Settings) -> list[str]:
    return ["--as-of", settings.input.as_of] if settings.input.as_of else []


def _as_then(night: Night, day: date) -> list[str]:
    """Return the flags by which a day in the past is scored with the ratings and the version of its end."""
    as_of = _as_of(night.settings) or ["--as-of", f"{day:%Y-%m-%d}"]
    models = night.settings.paths.models
    name, current = versions.current_at(models, dates.end_of(day)), versions.current(models)
    if name == current or any(flag.startswith("--model-version") for flag in night.score_flags):
        return as_of
    if name is None:
        log.log(NOTICE, "no version was current on %s; it is scored with the one that is now, %s", day, current)
        return as_of
    is_gone = name not in versions.list_versions(models)
    try:
        versions.open_version(models, name)
    except ModelRejected as error:
        why = "is gone" if is_gone else f"cannot be used ({error})"
        log.log(NOTICE, "%s, which was current on %s, %s; the current version, %s, is used", name, day, why, current)
        return as_of
    log.log(NOTICE, "%s is scored with %s, which was current then", day, name)
    return [*as_of, "--model-version", name]


def _prune_logs(folder: Path, days: int) -> None:
    for path in folder.glob("*.log*"):
        if path.stat().st_mtime < time.time() - days * 86_400:
            path.unlink(missing_ok=True)


def _step(command: str, *arguments: str) -> int:
    """Run one step in a process of its own; return its exit code."""
    log.log(HEADING, "%s", command)
    return subprocess.run([sys.executable, "-m", "recmodel", command, *arguments], check=False).returncode
