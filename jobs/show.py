"""Show one user's published recommendations in the terminal."""

from __future__ import annotations

from datetime import date

import click

from recmodel import settings
from recmodel.cli import console, options, views
from recmodel.tables import lookup


@click.command(
    short_help="Print what a user is recommended.",
    epilog="Example: recmodel show 42 --top-n 5",
    context_settings=options.CONTEXT,
)
@click.argument("user_id")
@options.output
@options.run_date("A run other than the newest.")
@click.option("--partial", is_flag=True, help="Look in partial runs (score --users) only.")
@click.option("--top-n", type=click.IntRange(min=1), help="Show only the first TOP_N.")
def show(user_id: str, output: str | None, run_date: date | None, partial: bool, top_n: int | None) -> None:
    """Print what user USER_ID is recommended, from the published tables.

    The list is that of the newest full run. A user who is not in it is looked for in partial runs, the newest first.
    """
    location = settings.load(paths={"output": output}).paths.output
    found = lookup.find(location, user_id, run_date, only_partial=partial)
    kind = "partial run" if found.partial else "run"
    title = f"User {user_id}, {kind} of {found.run.run_date}, model {found.rows[0]['model_version']}"
    console.out.print(views.recommendations(title, found.rows[:top_n], found.run.feedback))
    if found.newer_partial:
        console.out.print(f"a partial run of {found.newer_partial} has another list: --partial shows it")


if __name__ == "__main__":
    console.run(show)
