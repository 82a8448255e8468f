"""The nightly job: train when it is due, score everybody, publish, report, clean up, tell."""

from __future__ import annotations

import sys
from typing import Any

import click

from recmodel import settings
from recmodel.cli import completion, console, options
from recmodel.errors import AnotherRun, ScoringFailed
from recmodel.jobs.score_all import score
from recmodel.models import presets
from recmodel.pipeline import nightly as pipeline
from recmodel.pipeline import processes
from recmodel.tables.output import open_output


@click.command(
    cls=options.passing_on_to(score),
    short_help="Train when it is due, score, publish, report, clean up.",
    epilog="Example, in a crontab: 15 3 * * * /opt/recmodel/submit.sh nightly --data /data/ratings --master local[8]",
    context_settings={**options.CONTEXT, "ignore_unknown_options": True, "allow_extra_args": True},
)
@options.data
@options.models
@options.output
@click.option("--preset", metavar="NAME", shell_complete=completion.presets, help="What to train, when it is due.")
@click.option("--run-date", metavar="D[..D]", shell_complete=completion.run_dates,
              help="A date, or a range: then those that were missed.")  # fmt: skip
@options.allow_future
@options.as_of
@options.dry_run
@click.pass_context
def nightly(
    context: click.Context, /, preset: str | None, run_date: str | None, allow_future: bool, as_of: str | None,
    dry_run: bool, **paths: str | None,
) -> None:  # fmt: skip
    """Train when it is due, score every user, publish, write the report, remove what is too old.

    A new model takes over only if it passes the gate; otherwise the night continues with the current one. All other
    flags go to the command score, and so to spark-submit. The exit code is that of the step that failed.

    A date before today is scored as of its end: with the ratings up to then, and with the version that was current
    then, if there still is one.
    """
    chosen = settings.load(paths=paths, input={"as_of": as_of})
    # Wrong flags and presets are reported before hours of training.
    of_score = score.make_context(context.command_path, list(context.args))
    presets.load(preset or chosen.training.preset, chosen.training.presets)
    days = pipeline.parse_dates(run_date, chosen.paths.output, allow_future=allow_future)
    flags = [*["--allow-future"] * allow_future, *context.args]
    what: dict[str, Any] = {
        "partial": of_score.params["users"] is not None,
        "model_version": of_score.params["model_version"] or chosen.mlflow.model_version,
    }
    night = pipeline.Night(chosen, preset, days, flags, options.for_spark(of_score), **what)
    if dry_run:
        console.start_log(chosen.paths.logs, "nightly", as_json=chosen.monitoring.json_logs)
        sys.exit(pipeline.dry_run(night))
    ending = pipeline.Ending()
    try:
        console.start_log(chosen.paths.logs, "nightly", as_json=chosen.monitoring.json_logs)
        pipeline.check(night)
        with open_output(chosen.paths.output).locked("nightly"), processes.temporary_folder():
            pipeline.run(night, ending)
    except AnotherRun:
        raise  # which tells how its night ended
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever it is, somebody has to hear of it
        code = console.complain(error, ScoringFailed.exit_code)
        sentence = console.sentence_of(error, ending.at_work)
        ending.failure = pipeline.Failure(ending.at_work or "nightly", code, sentence)
    pipeline.tell(chosen, ending)
    sys.exit(ending.exit_code)


if __name__ == "__main__":
    console.run(nightly)
