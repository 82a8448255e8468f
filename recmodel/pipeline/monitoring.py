"""Monitoring: what a night did, as metrics in Prometheus' text format for node_exporter's textfile collector."""

from __future__ import annotations

import time
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from recmodel.records import RunRecord


def write_textfile(path: Path, exit_code: int, run: RunRecord | None, *, training_failed: bool = False) -> None:
    """Write the metrics in one step.

    Args:
        exit_code: of the night.
        run: the newest published run, of this night or an earlier one; None before the first.
        training_failed: whether training was due that night and ended without a model.
    """
    registry = CollectorRegistry()

    def gauge(name: str, help_text: str, value: float) -> None:
        Gauge(f"recmodel_{name}", help_text, registry=registry).set(value)

    gauge("last_exit_code", "Exit code of the last night; 0 is published.", exit_code)
    gauge("training_failed", "1 if training failed in the last night, whether or not it published.", training_failed)
    gauge("last_run_timestamp_seconds", "When the last night ended.", time.time())
    if run is not None:
        published = run.finished_at.timestamp()
        gauge("last_published_timestamp_seconds", "When the newest published run was finished.", published)
        gauge("users", "Users of the newest published run.", run.users)
        gauge("recommendation_rows", "Rows of the newest published run.", run.recommendations.rows)
        rejected = run.rows_rejected - run.ratings_superseded
        gauge("rejected_rows", "Input rows that the newest run rejected.", rejected)
        replaced = "Ratings that a later one of the same user and movie replaced."
        gauge("superseded_ratings", replaced, run.ratings_superseded)
        stages = Gauge("recmodel_stage_seconds", "Time of each stage.", ["stage"], registry=registry)
        for stage, seconds in run.seconds.items():
            stages.labels(stage).set(seconds)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(path), registry)
