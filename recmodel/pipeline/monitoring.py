"""Monitoring: what a night did, as metrics in Prometheus' text format.

Takes the exit code and the last published run.json; gives a file for node_exporter's textfile collector.
"""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile


def write_textfile(path: Path, exit_code: int, run: dict[str, Any] | None) -> None:
    """Writes the metrics in one step.

    Args:
        run: the newest published run.json, of this night or an earlier one; None before the first.
    """
    registry = CollectorRegistry()

    def gauge(name: str, help_text: str, value: float) -> None:
        Gauge(f"recmodel_{name}", help_text, registry=registry).set(value)

    gauge("last_exit_code", "Exit code of the last night; 0 is published.", exit_code)
    gauge("last_run_timestamp_seconds", "When the last night ended.", time.time())
    if run is not None:
        published = datetime.fromisoformat(run["finished_at"]).timestamp()
        gauge("last_published_timestamp_seconds", "When the newest published run was finished.", published)
        gauge("users", "Users of the newest published run.", run["users"])
        gauge("recommendation_rows", "Rows of the newest published run.", run["recommendations"]["rows"])
        superseded = run.get("ratings_superseded", 0)
        gauge("rejected_rows", "Input rows that the newest run refused.", run["rows_rejected"] - superseded)
        gauge("superseded_ratings", "Ratings that a later one of the same user and movie replaced.", superseded)
        stages = Gauge("recmodel_stage_seconds", "Time of each stage.", ["stage"], registry=registry)
        for stage, seconds in run["seconds"].items():
            stages.labels(stage).set(seconds)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(path), registry)
