"""The nightly job: train if there is no model yet, then score everybody and publish."""

import subprocess
import sys
from pathlib import Path

import click

from recmodel import artifact, console, options, settings

SUBMIT = Path(__file__).resolve().parent.parent / "submit.sh"


@click.command(
    epilog="Example, in a crontab: 15 3 * * * /opt/recmodel/submit.sh nightly --data /data/ratings --master local[8]",
    context_settings={**options.CONTEXT, "ignore_unknown_options": True, "allow_extra_args": True},
)
@options.data
@options.models
@click.option("--preset", metavar="NAME", help="What to train, if there is no model yet.")
@click.pass_context
def nightly(context: click.Context, data: str | None, models: str | None, preset: str | None) -> None:
    """Train if there is no model yet, score every user, publish.

    All other flags go to ./submit.sh score, and so to spark-submit. The exit code is that of the step that failed.
    """
    chosen = settings.load(paths={"data": data, "models": models})
    shared = ["--data", chosen.paths.data, "--models", chosen.paths.models]
    if artifact.current(Path(chosen.paths.models)) is None:
        _step("train", *shared, *(["--preset", preset] if preset else []))
    _step("score", *shared, *context.args)


def _step(command: str, *arguments: str) -> None:
    """One step in a process of its own, so that its memory is free before the next."""
    console.out.rule(f"[bold]{command}", align="left")
    code = subprocess.run([str(SUBMIT), command, *arguments], check=False).returncode
    if code:
        sys.exit(code)


if __name__ == "__main__":
    console.run(nightly)
