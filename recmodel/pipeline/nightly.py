"""Nightly: train when it is due, score everybody, publish, report, clean up, tell.

Each step runs in a process of its own, so that its memory is free before the next, and so that a step that is killed
does not take the night with it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from recmodel import dates, formatting
from recmodel.errors import EXIT_CODES, InputRejected, ModelRejected, ScoringFailed, UsageRejected
from recmodel.formatting import redacted_values
from recmodel.models import versions
from recmodel.pipeline import due, monitoring, preflight, processes, registry
from recmodel.progress import FAILURE_SUFFIX, FINDINGS_SUFFIX, HEADING, NIGHT_LOG, NOTICE, log, log_file
from recmodel.settings import HOOK_FACTS, Settings
from recmodel.tables.output import open_output


@dataclass(frozen=True)
class Night:
    """What a night is to do."""

    settings: Settings
    preset: str | None  # what to train when it is due; None: as the settings say
    dates: Sequence[date]
    score_flags: Sequence[str]  # for the command score
    spark_flags: Sequence[str] = ()  # those among them that spark-submit gets
    partial: bool = False  # whether they name users, so that runs are partial ones
    model_version: str = ""  # what all dates are scored with; empty: what is, or was then, the current one


@dataclass(frozen=True)
class Failure:
    """A step that failed."""

    step: str
    exit_code: int  # one that is documented, also for a step that was killed
    sentence: str


Outcome = Literal["success", "findings", "training-failed", "failure"]


@dataclass
class Ending:
    """How a night ended; `run` fills it while the night goes on, so that it is known however it ends."""

    failure: Failure | None = None  # that ended it; None: all dates are published
    training_failure: Failure | None = None  # in spite of which the night went on
    training: monitoring.Training = "not-due"
    day: date | None = None  # the date that it scored last, or tried to
    published: list[date] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)  # what somebody should look at, though the night did not fail
    seconds: dict[str, float] = field(default_factory=dict)  # by step, over all dates
    at_work: str = ""  # the step that runs; empty between steps, and stays if the night itself is interrupted in it

    @property
    def exit_code(self) -> int:
        """The exit code of the night."""
        return self.failure.exit_code if self.failure else 0

    @property
    def outcome(self) -> Outcome:
        """How it ended, in a word."""
        if self.failure:
            return "failure"
        if self.training_failure:
            return "training-failed"
        return "findings" if self.warnings else "success"

    @property
    def sentence(self) -> str:
        """How it ended, in a sentence."""
        failures = [failure.sentence for failure in (self.failure, self.training_failure) if failure]
        if failures:
            return "; before that, ".join(failures)
        others = f" (and {len(self.warnings) - 1} more)" if len(self.warnings) > 1 else ""
        if self.warnings:
            return f"{self.warnings[0]}{others}"
        return f"published {', '.join(map(str, self.published))}" if self.published else "there was nothing to publish"


def check(night: Night) -> None:
    """Check what all steps need; see `preflight.check`."""
    paths = night.settings.paths
    preflight.check(night.settings, spark=True, spark_flags=night.spark_flags, models=paths.models, output=paths.output)


def run(night: Night, ending: Ending) -> None:
    """Do all steps until one fails for good.

    Args:
        ending: is filled.

    Raises:
        RecmodelError: it cannot be decided whether training is due.
    """
    log.info("versions: %s", ", ".join(f"{name} {version}" for name, version in _versions().items()))
    ending.day = night.dates[0] if night.dates else date.today()
    reason = _reason_to_train(night)
    if reason:
        log.log(NOTICE, "training is due: %s", reason)
        _train(night, ending)
        if ending.failure:
            return
    else:
        log.log(NOTICE, "training is not due")
    for day in night.dates:
        ending.day = day
        _score_and_report(night, day, ending)
        if ending.failure:
            return
    _try("clean up", _clean_up, night)


def _reason_to_train(night: Night) -> str | None:
    """Return why a model should be trained tonight, or None; see `due.reason_to_train`."""
    if night.model_version.startswith(registry.ADDRESS):
        log.log(NOTICE, "tonight's model is %s, so no night trains another; the command train does",
                night.model_version)  # fmt: skip
        return None
    return due.reason_to_train(night.settings)


def _train(night: Night, ending: Ending) -> None:
    settings, models = night.settings, night.settings.paths.models
    before = versions.list_versions(models)
    ending.training = "failed"  # unless it comes to an end
    failure = _timed_step(ending, settings, "train", *_train_flags(night))
    if not failure:
        ending.training = "promoted"
    elif stops_the_night(failure) or versions.open_current(models) is None:
        ending.failure = failure
    elif versions.list_versions(models) == before:  # otherwise the gate refused the new one
        ending.training_failure = failure
        log.warning("training failed; the night continues with the current version")
        _try("remember that training failed", versions.note_failed_training, models, failure.sentence)
    else:
        ending.training = "refused"
        ending.warnings.append("the new model is not good enough; the night continued with the current version")
        log.log(NOTICE, "the night continues with the current version")


def _score_and_report(night: Night, day: date, ending: Ending) -> None:
    settings = night.settings
    ending.failure = _timed_step(ending, settings, "score", *_score_flags(night, day))
    if ending.failure:
        return
    ending.published.append(day)
    output = open_output(settings.paths.output, partial=night.partial)
    if _timed_step(ending, settings, "report", "--output", output.location, "--run-date", f"{day:%Y-%m-%d}"):
        log.log(NOTICE, "there is no report of %s; what was published stands, and the night continues", day)
        ending.warnings.append(f"there is no report of {day}")
    else:
        _try("read the findings", lambda: ending.warnings.extend(monitoring.read_warnings(output, day)))


def _timed_step(ending: Ending, settings: Settings, command: str, *arguments: str) -> Failure | None:
    started, ending.at_work = time.monotonic(), command
    try:
        failure = _step(settings, command, *arguments)
        ending.at_work = ""
        ending.warnings += [sentence for sentence in _left(FINDINGS_SUFFIX) if sentence not in ending.warnings]
        return failure
    finally:
        ending.seconds[command] = round(ending.seconds.get(command, 0) + time.monotonic() - started, 3)


def _versions() -> dict[str, str]:
    """Return the versions of all that decides what a night does, by name."""
    return {**preflight.driver_python(), "pyspark": metadata.version("pyspark")}


def stops_the_night(training: Failure) -> bool:
    """Return whether scoring would fail for the reason that training failed for: its settings or its input."""
    return training.exit_code in (UsageRejected.exit_code, InputRejected.exit_code)


def dry_run(night: Night) -> int:
    """Run each step with --dry-run, on the first of the dates; return the exit code of the first that would fail."""
    settings, output = night.settings, open_output(night.settings.paths.output)
    check(night)
    for purpose in ("nightly", "lock"):
        output.check_ready(purpose)
    reason = _reason_to_train(night)
    log.log(NOTICE, "%s", f"training is due: {reason}" if reason else "training is not due")
    log.log(NOTICE, "dates to score: %s", ", ".join(map(str, night.dates)) or "none")
    if reason:
        failure = _step(settings, "train", *_train_flags(night), "--dry-run")
        if failure:
            return failure.exit_code
        try:
            versions.open_version(settings.paths.models)
        except ModelRejected:
            log.log(NOTICE, "what scoring would do shows once there is a model that can be used")
            return 0
        log.log(NOTICE, "scoring is shown with the current version; the new one may replace it first")
    if not night.dates:
        return 0
    failure = _step(settings, "score", *_score_flags(night, night.dates[0]), "--dry-run")
    return failure.exit_code if failure else 0


def tell(settings: Settings, ending: Ending) -> None:
    """Log how the night ended, tell monitoring, and call the hooks that want to know of such a night.

    What fails here is a warning: it says nothing about the night.
    """
    log.log(NOTICE, "outcome: %s, exit code %d: %s", ending.outcome, ending.exit_code, ending.sentence)
    chosen = settings.monitoring
    if chosen.textfile:
        _try("write monitoring.textfile", _write_metrics, settings, ending)
    kind = "failure" if ending.outcome == "training-failed" else ending.outcome
    for name, hook, wanted in (
        ("on_failure", chosen.on_failure, kind == "failure"),
        ("hook", chosen.hook, kind in chosen.hook_on),
    ):
        if hook and wanted:
            log.info("calling monitoring.%s", name)
            _try(f"run monitoring.{name}", _call_hook, hook, hook_facts(settings, ending))


def _write_metrics(settings: Settings, ending: Ending) -> None:
    output, models = open_output(settings.paths.output), settings.paths.models
    latest = output.newest()
    newest = output.read_run(latest) if latest else None
    model = None
    if newest and newest.model_version in versions.list_versions(models):
        name = newest.model_version
        model = monitoring.Model(versions.read_manifest(models, name), versions.read_metrics(models, name))
    monitoring.write_textfile(
        Path(settings.monitoring.textfile),
        ending.exit_code,
        newest,
        training_failed=ending.training == "failed",
        environment=settings.monitoring.environment,
        night=monitoring.NightFigures(ending.training, ending.seconds, len(ending.warnings)),
        model=model,
    )


def hook_facts(settings: Settings, ending: Ending) -> dict[str, Any]:
    """Return what a hook hears of a night: as JSON all of it, as variables what is text or a number."""
    failure = ending.failure or ending.training_failure
    facts = {
        "outcome": ending.outcome,
        "exit_code": ending.exit_code,
        "step": failure.step if failure else "",
        "message": ending.sentence,
        "date": str(ending.day or ""),
        "output": settings.paths.output,
        "log": log_file() or "",
        "logs": settings.paths.logs,
        "environment": settings.monitoring.environment,
        "training": ending.training,
        "published": [str(day) for day in ending.published],
        "findings": ending.warnings,
        "seconds": ending.seconds,
    }
    return {name: redacted_values(value) for name, value in facts.items()}


def _call_hook(hook: str, facts: dict[str, Any]) -> None:
    variables = {f"RECMODEL_{name.upper()}": str(facts[name]) for name in HOOK_FACTS}
    try:
        ended = subprocess.run(
            hook, shell=True, check=False, timeout=_HOOK_SECONDS, env={**os.environ, **variables},
            input=json.dumps(facts, ensure_ascii=False).encode(),
        )  # fmt: skip
    except subprocess.TimeoutExpired:  # which would name the command, and so what is secret in it
        raise ScoringFailed(f"it took longer than {_HOOK_SECONDS} s") from None
    if ended.returncode:
        raise ScoringFailed(f"it ended with exit code {ended.returncode}")


def _try(what: str, function: Callable[..., None], *arguments: object) -> None:
    """Call a function whose failure is not the night's."""
    try:
        function(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not change how the night ended
        log.warning("could not %s (%s); the night ends as it would have without it", what, error)


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
    together = ["--read-until", _last_as_of(night)] if len(night.dates) > 1 else []
    return [*where, "--run-date", f"{day:%Y-%m-%d}", *as_then, *together, *night.score_flags]


def _last_as_of(night: Night) -> str:
    """Return the time up to which ratings are needed by the last date of a night; empty: all there are."""
    last = night.dates[-1]
    return night.settings.input.as_of or (f"{last:%Y-%m-%d}" if last < date.today() else "")


def _as_of(settings: Settings) -> list[str]:
    return ["--as-of", settings.input.as_of] if settings.input.as_of else []


def _as_then(night: Night, day: date) -> list[str]:
    """Return the flags by which a day in the past is scored with the ratings and the version of its end."""
    as_of = _as_of(night.settings) or ["--as-of", f"{day:%Y-%m-%d}"]
    models = night.settings.paths.models
    name, current = versions.current_at(models, dates.end_of(day)), versions.current(models)
    if name == current or night.model_version or any(flag.startswith("--model-version") for flag in night.score_flags):
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


def _clean_up(night: Night) -> None:
    settings = night.settings
    if len(night.dates) > 1:
        output = open_output(settings.paths.output, partial=night.partial)
        with output.locked():
            output.discard_kept_input()
    for name in versions.prune(settings.paths.models, settings.retention.models):
        log.log(NOTICE, "removed model version %s", name)
    for path in Path(settings.paths.logs).glob("*.log*"):
        if path.stat().st_mtime < time.time() - settings.retention.log_days * 86_400:
            path.unlink(missing_ok=True)
            log.info("removed the log %s", path.name)


# -- steps -----------------------------------------------------------------------------------------------------------

_HOOK_SECONDS = 600


def _own_code(step: str) -> int:
    """Return the exit code that a step stands for where it ends in an undocumented way."""
    return ModelRejected.exit_code if step == "train" else ScoringFailed.exit_code


def failure_of(step: str, code: int, logs: str, reason: str = "") -> Failure | None:
    """Return what the end of a step's process means, by its exit code or, below 0, by the signal that killed it.

    Args:
        reason: the step's own sentence; empty where it left none.
    """
    if code in EXIT_CODES:
        why = f": {reason}" if reason else f"; see its log in {logs}"
        return Failure(step, code, f"{step} failed with exit code {code}{why}") if code else None
    return Failure(step, _own_code(step), f"{step} {formatting.ending(code)}; see its log in {logs}")


def _left(suffix: str) -> list[str]:
    """Return the sentences that a step has left next to the night's log, and remove them."""
    file = Path(f"{log_file()}{suffix}")
    try:
        sentences = file.read_text(encoding="utf-8").splitlines()
        file.unlink()
    except OSError:
        return []
    return sentences


def _step(settings: Settings, command: str, *arguments: str) -> Failure | None:
    """Run one step in a process of its own; return how it failed, after saying what it could not say itself."""
    log.log(HEADING, "%s", command)
    night_log, hours = log_file(), settings.monitoring.max_step_hours
    logs = night_log or settings.paths.logs
    words = [sys.executable, "-m", "recmodel", command, *arguments]
    try:
        environment = preflight.without_working_directory() | ({NIGHT_LOG: night_log} if night_log else {})
        code = processes.run(words, environment, 3600 * hours or None)
        failure = failure_of(command, code, logs, " ".join(_left(FAILURE_SUFFIX)) if code else "")
    except subprocess.TimeoutExpired:  # it has been ended
        code, what = -signal.SIGKILL, f"took longer than {hours:g} h (monitoring.max_step_hours) and was ended"
        failure = Failure(command, _own_code(command), f"{command} {what}; see its log in {logs}")
    if failure and code not in EXIT_CODES:
        log.warning("%s", failure.sentence)
    log.info("%s ended with exit code %d", command, code)
    return failure
