"""The nightly job: train when it is due, score everybody, publish, report, clean up, tell."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import click

from recmodel import settings
from recmodel.cli import console, options
from recmodel.data import movielens as data
from recmodel.errors import ModelRejected, RecmodelError, UsageRejected
from recmodel.jobs.score_all import score
from recmodel.models import versions
from recmodel.pipeline import monitoring
from recmodel.tables import linked as tables

MODEL_REJECTED = ModelRejected.exit_code


@click.command(
    short_help="Train when it is due, score, publish, report, clean up.",
    epilog="Example, in a crontab: 15 3 * * * /opt/recmodel/submit.sh nightly --data /data/ratings --master local[8]",
    context_settings={**options.CONTEXT, "ignore_unknown_options": True, "allow_extra_args": True},
)
@options.data
@options.models
@options.output
@click.option("--preset", metavar="NAME", help="What to train, when it is due.")
@click.option("--run-date", metavar="D[..D]", help="A date, or a range: then those that were missed.")
@options.dry_run
@click.pass_context
def nightly(
    context: click.Context, /, preset: str | None, run_date: str | None, dry_run: bool, **paths: str | None
) -> None:
    """Train when it is due, score every user, publish, write the report, remove what is too old.

    A new model takes over only if it passes the gate; else the night goes on with the current one. All other flags go
    to the command score, and so to spark-submit. The exit code is that of the step that failed.
    """
    chosen = settings.load(paths=paths)
    folder = chosen.paths.output
    score.make_context(context.command_path, list(context.args))  # wrong flags are said before hours of training
    if dry_run:
        sys.exit(_foresee(chosen, preset, _dates(run_date, folder), context.args))
    with tables.locked(folder, "nightly"):
        try:
            code = _night(chosen, preset, _dates(run_date, folder), context.args)
        except RecmodelError as error:
            code = console.complain(error)
        if chosen.monitoring.textfile:
            published = tables.run_dates(folder)
            newest = tables.read_run(folder, published[-1]) if published else None
            monitoring.write_textfile(Path(chosen.monitoring.textfile), code, newest)
        if code and chosen.monitoring.on_failure:
            told = {"RECMODEL_EXIT_CODE": str(code), "RECMODEL_LOGS": chosen.paths.logs}
            subprocess.run(chosen.monitoring.on_failure, shell=True, check=False, env={**os.environ, **told})
    sys.exit(code)


def _night(chosen: settings.Settings, preset: str | None, dates: list[date], more: list[str]) -> int:
    """All steps; the exit code of the first that failed for good."""
    shared = ["--data", chosen.paths.data, "--models", chosen.paths.models]
    models = chosen.paths.models
    reason = _training_is_due(chosen)
    if reason:
        console.out.print(f"training is due: {reason}")
        code = _step("train", *shared, "--gate", *(["--preset", preset] if preset else []))
        if code == MODEL_REJECTED and versions.current(models) is not None:
            console.out.print("the night goes on with the current version")
        elif code:
            return code
    for day in dates:
        run = [*shared, "--output", chosen.paths.output, "--run-date", f"{day:%Y-%m-%d}"]
        code = _step("score", *run, *more)
        if code:
            return code
        if _step("report", *run):
            console.out.print(f"there is no report of {day:%Y-%m-%d}; what was published stands, and the night goes on")
    for name in versions.prune(models, chosen.retention.models):
        console.out.print(f"removed model version {name}")
    _prune_logs(Path(chosen.paths.logs), chosen.retention.log_days)
    return 0


def _foresee(chosen: settings.Settings, preset: str | None, dates: list[date], more: list[str]) -> int:
    """Each step with --dry-run, on the first of the dates; the exit code of the first that would fail for good."""
    shared = ["--data", chosen.paths.data, "--models", chosen.paths.models]
    output = chosen.paths.output
    for what in ("nightly", "lock"):
        tables.ready(output, what)
    reason = _training_is_due(chosen)
    console.out.print(f"training is due: {reason}" if reason else "training is not due")
    console.out.print(f"dates to score: {', '.join(map(str, dates)) or 'none'}")
    if reason:
        code = _step("train", *shared, "--gate", *(["--preset", preset] if preset else []), "--dry-run")
        if code:
            return code
        try:
            versions.open_version(chosen.paths.models)
        except ModelRejected:
            console.out.print("what scoring would do shows once there is a model that can be used")
            return 0
        console.out.print("scoring is shown with the current version; the new one may take over before it")
    if not dates:
        return 0
    return _step("score", *shared, "--output", output, "--run-date", f"{dates[0]:%Y-%m-%d}", *more, "--dry-run")


def _training_is_due(chosen: settings.Settings) -> str | None:
    """Why, or None."""
    models = chosen.paths.models
    if versions.current(models) is None:
        return "there is no model yet"
    try:
        version = versions.open_version(models)
    except ModelRejected as error:
        return str(error)
    age = datetime.now(timezone.utc) - datetime.fromisoformat(version.manifest["created_at"])
    if age > timedelta(days=chosen.training.max_age_days):
        return f"the current version is {age.days} days old"
    metrics = version.metrics()
    then = metrics["train_rows"] + metrics["test_rows"] + metrics.get("superseded_rows", 0)
    now = data.count_ratings(data.data_dir(chosen.paths.data, chosen.paths.sample))
    if now > then * (1 + chosen.training.max_growth):
        return f"there are {now:,} ratings, the current version has seen {then:,}"
    return None


def _dates(given: str | None, output: str) -> list[date]:
    """The dates to score.

    Raises:
        UsageRejected: it is neither a date nor a range of dates.
    """
    if given is None:
        return [date.today()]
    try:
        first, last = (date.fromisoformat(part) for part in (given.split("..") * 2)[:2])
    except ValueError:
        raise UsageRejected(
            f"--run-date {given} is neither a date nor a range such as 2026-01-01..2026-01-31"
        ) from None
    if ".." not in given:
        return [first]
    days = [first + timedelta(n) for n in range((last - first).days + 1)]
    return sorted(set(days) - set(tables.run_dates(output)))


def _prune_logs(folder: Path, days: int) -> None:
    for path in folder.glob("*.log*"):
        if path.stat().st_mtime < time.time() - days * 86_400:
            path.unlink(missing_ok=True)


def _step(command: str, *arguments: str) -> int:
    """One step in a process of its own, so that its memory is free before the next; gives its exit code."""
    console.out.rule(f"[bold]{command}", align="left")
    return subprocess.run([sys.executable, "-m", "recmodel", command, *arguments], check=False).returncode


if __name__ == "__main__":
    console.run(nightly)
