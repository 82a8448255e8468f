"""Score every user against the whole catalogue with a broadcast SavedModel, and publish the top N."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import click

from recmodel import settings
from recmodel.cli import console, options, views
from recmodel.pipeline import score as pipeline
from recmodel.progress import Stages
from recmodel.scoring import policies
from recmodel.spark import launch
from recmodel.tables.output import open_output

_PREVIEW_ROWS = 3


@click.command(
    short_help="Score every user and publish the top N.",
    epilog="Example: recmodel score --data ml-latest-small --rank-by two-stage --top-n 20",
    context_settings=options.CONTEXT,
)
@options.data
@options.models
@options.model_version
@options.output
@options.run_date("The date to publish; today by default.")
@options.allow_future
@options.as_of
@click.option("--top-n", type=int, help="Recommendations per user.")
@click.option("--rank-by", type=click.Choice(policies.NAMES), help=policies.HELP)
@click.option("--candidates", type=int, help="How many movies two-stage retrieves before it ranks them by rating.")
@click.option("--users", metavar="FILE", callback=options.path, help="A partial run of these: a file with userId.")
@click.option("--include-seen/--exclude-seen", default=None, help="Also recommend movies that the user has rated.")
@click.option("--predicted-ratings", type=click.Choice(["top-n", "all"]),
              help="What the table predicted_ratings holds: the recommended pairs, or the whole matrix.")  # fmt: skip
@click.option("--min-history", type=int, help="Users with fewer ratings are served from popularity.")
@click.option("--incremental/--full", default=None,
              help="Score only users whose ratings have changed since the last run with this model and these settings.",
)  # fmt: skip
@options.read_until
@options.spark
@options.dry_run
def score(
    run_date: date | None, allow_future: bool, model_version: str | None, users: str | None, read_until: str | None,
    dry_run: bool, **flags: Any,
) -> None:  # fmt: skip
    """Score every user against the whole catalogue and publish the top N as Parquet.

    Runs on Spark: the model is packed and broadcast once, each Python worker loads it once, and pandas UDFs score a
    user's whole row of the catalogue at a time. Nothing is visible until everything is there. Settings that are not
    given come from conf/settings.yaml.

    With --users the run is a partial one, published in OUTPUT/partial: full runs and `latest` stay as they are.
    """
    chosen = settings.load_with(flags, "paths", "input", "scoring")
    day = run_date or date.today()
    launch.prepare(options.for_spark())
    console.start_log(chosen.paths.logs, "score", as_json=chosen.monitoring.json_logs)
    what: dict[str, Any] = {
        "model_version": model_version, "users_file": users and Path(users), "allow_future": allow_future
    }  # fmt: skip
    output, stages = open_output(chosen.paths.output, partial=users is not None), Stages(console.show_stage)
    if dry_run:
        plan = pipeline.dry_run(chosen, day, **what, stages=stages)
        console.conclude(views.score_dry_run(plan, day, output.location), views.DRY_RUN)
        return
    run = pipeline.run(chosen, day, **what, read_until=read_until, stages=stages)
    console.conclude(views.run_summary(run, output.location))
    for user_id in output.first_users(day, 1) if console.out.is_terminal else []:  # not into a mail or the journal
        rows = output.recommendations_of(day, [user_id]).slice(0, _PREVIEW_ROWS).to_pylist()
        preview = views.recommendations(f"\nThe first {len(rows)} for user {user_id}", rows, run.feedback)
        console.conclude(preview, private=True)


if __name__ == "__main__":
    console.run(score)
