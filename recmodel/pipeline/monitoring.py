"""Monitoring: what a night did, for those who did not watch it.

Metrics in Prometheus' text format, for node_exporter's textfile collector; what the hook hears; and the findings of the
report, which a night reads back.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from recmodel import storage
from recmodel.records import Manifest, Metrics, RunRecord
from recmodel.tables.base import Output

Training = Literal["not-due", "promoted", "refused", "failed"]


@dataclass(frozen=True)
class Model:
    """The model version of a published run."""

    manifest: Manifest
    metrics: Metrics


@dataclass(frozen=True)
class NightFigures:
    """What the metrics say of the night itself."""

    training: Training = "not-due"
    seconds: Mapping[str, float] = field(default_factory=dict)  # by step
    findings: int = 0  # warnings


def write_textfile(
    path: Path,
    exit_code: int,
    run: RunRecord | None,
    *,
    training_failed: bool = False,
    environment: str = "",
    night: NightFigures | None = None,
    model: Model | None = None,
) -> None:
    """Write the metrics in one step.

    Args:
        exit_code: of the night.
        run: the newest published run, of this night or an earlier one; None before the first.
        training_failed: whether training was due that night and ended without a model.
        environment: a label of all series; empty: none.
        night: None where nothing is known of it.
        model: that made the run; None where it is gone.
    """
    registry = CollectorRegistry()
    common = {"environment": environment} if environment else {}

    def gauge(name: str, help_text: str, *samples: tuple[float, dict[str, str]]) -> None:
        labels = [*common, *samples[0][1]] if samples else []
        series = Gauge(f"recmodel_{name}", help_text, labels, registry=registry)
        for value, of_sample in samples:
            (series.labels(**common, **of_sample) if labels else series).set(value)

    def number(name: str, help_text: str, value: float | None) -> None:
        if value is not None:
            gauge(name, help_text, (value, {}))

    def by(label: str, name: str, help_text: str, values: Mapping[str, float]) -> None:
        if values:
            gauge(name, help_text, *((value, {label: key}) for key, value in values.items()))

    number("last_exit_code", "Exit code of the last night; 0 is published.", exit_code)
    number("training_failed", "1 if training failed in the last night, whether or not it published.", training_failed)
    number("last_run_timestamp_seconds", "When the last night ended.", time.time())
    if night is not None:
        outcomes = {outcome: float(outcome == night.training) for outcome in get_args(Training)}
        by("outcome", "training_outcome", "1 for how training ended in the last night.", outcomes)
        by("step", "step_seconds", "Time of each step of the last night, over all of its dates.", night.seconds)
        number("findings", "Warnings of the last night, most of them on its report.", night.findings)
    if run is not None:
        published = run.finished_at.timestamp()
        number("last_published_timestamp_seconds", "When the newest published run was finished.", published)
        number("users", "Users of the newest published run.", run.users)
        number("recommendation_rows", "Rows of the newest published run.", run.recommendations.rows)
        rejected = run.rows_rejected - run.ratings_superseded
        number("rejected_rows", "Input rows that the newest run rejected.", rejected)
        replaced = "Ratings that a later one of the same user and movie replaced."
        number("superseded_ratings", replaced, run.ratings_superseded)
        cold = run.recommendations.popular_users / max(1, run.recommendations.users)
        number("cold_share", "Share of the newest run's users who are served from popularity.", cold)
        gauge("model_info", "The model version of the newest run; always 1.", (1, {"version": run.model_version}))
        by("stage", "stage_seconds", "Time of each stage.", run.seconds)
    if model is not None:
        created = model.manifest.created_at.timestamp()
        number("model_created_timestamp_seconds", "When the newest run's model was trained.", created)
        number("model_age_seconds", "How old the newest run's model was when the night ended.", time.time() - created)
        number("model_rmse", "Held-out RMSE of the newest run's model, in stars.", model.metrics.rmse)
        accuracy = "Held-out top-100 accuracy of the newest run's model, among unseen movies."
        number("model_accuracy_at_100", accuracy, model.metrics.accuracy_at_100)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(path), registry)


# -- findings ----------------------------------------------------------------------------------------------------------


def write_findings(output: Output, run_date: date, findings: Sequence[Mapping[str, str]]) -> None:
    """Write the findings of a run's report next to its page.

    Args:
        findings: kind ("warning", "good", "note") and sentence of each.
    """
    content = {"run_date": str(run_date), "findings": [dict(finding) for finding in findings]}
    storage.write(_findings_file(output, run_date), f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode())


def read_warnings(output: Output, run_date: date) -> list[str]:
    """Return the sentences of the warnings on a run's report; none where there is no report."""
    content = storage.read(_findings_file(output, run_date))
    findings = json.loads(content)["findings"] if content else []
    return [finding["sentence"] for finding in findings if finding["kind"] == "warning"]


def _findings_file(output: Output, run_date: date) -> str:
    return storage.below(output.location, "reports", f"{run_date}.json")
