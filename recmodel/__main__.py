"""The command `recmodel`: every job by its name.

A job is imported when it is called for, so that the quick ones stay quick.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from recmodel.cli import console, options
from recmodel.errors import ModelRejected, ScoringFailed
from recmodel.version import __version__

_JOBS = {  # name: module of recmodel.jobs, and the command in it
    "init": ("init", "init"),
    "train": ("train", "train"),
    "score": ("score_all", "score"),
    "nightly": ("nightly", "nightly"),
    "models": ("models", "models"),
    "tables": ("tables", "tables"),
    "export": ("export", "export"),
    "forget": ("forget", "forget"),
    "report": ("report", "report"),
    "show": ("show", "show"),
    "predict": ("predict", "predict"),
    "evaluate": ("evaluate", "evaluate"),
    "backtest": ("backtest", "backtest"),
    "search": ("search", "search"),
    "capacity": ("capacity", "capacity"),
    "settings": ("settings", "show_settings"),
}


class _Jobs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_JOBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _JOBS:
            return None
        module, command = _JOBS[cmd_name]
        job: click.Command = getattr(importlib.import_module(f"recmodel.jobs.{module}"), command)
        return job


@click.command(
    cls=_Jobs,
    context_settings=options.CONTEXT,
    epilog="Examples: recmodel train --data ml-latest-small; recmodel score --data ml-latest-small --master local[8]; "
    "recmodel show 42",
)
@click.version_option(__version__, prog_name="recmodel")
def jobs(**_: Any) -> None:
    """Movie recommendations for every user, every night.

    Each command explains itself: recmodel score --help.
    """


def main() -> None:
    """Run the command `recmodel`, as `python -m recmodel` does."""
    of_models = sys.argv[1:2] in (["train"], ["models"])
    console.run(jobs, name="recmodel", unexpected=ModelRejected.exit_code if of_models else ScoringFailed.exit_code)


if __name__ == "__main__":
    main()
