"""Show one user's published recommendations, or what is similar to a movie, in the terminal."""

from __future__ import annotations

from datetime import date

import click

from recmodel import settings
from recmodel.cli import console, options, views
from recmodel.errors import UsageRejected
from recmodel.tables import lookup


@click.command(
    short_help="Print what a user is recommended, or what is similar to a movie.",
    epilog="Example: recmodel show 42 --top-n 5",
    context_settings=options.CONTEXT,
)
@click.argument("user_id", required=False)
@click.option("--similar-to", metavar="MOVIE", help="Print the movies that are similar to one, by id or exact title.")
@options.output
@options.run_date("A run other than the newest.")
@click.option("--partial", is_flag=True, help="Look in partial runs (score --users) only.")
@click.option("--top-n", type=click.IntRange(min=1), help="Show only the first TOP_N.")
def show(
    user_id: str | None,
    similar_to: str | None,
    output: str | None,
    run_date: date | None,
    partial: bool,
    top_n: int | None,
) -> None:
    """Print what user USER_ID is recommended, or what is similar to a movie, from the published tables.

    The list is that of the newest full run. A user who is not in it is looked for in partial runs, the newest first.
    """
    if (user_id is None) == (similar_to is None):
        raise UsageRejected("give a user, or a movie by --similar-to")
    location = settings.load(paths={"output": output}).paths.output
    if similar_to is not None:
        run, title, rows = lookup.similar_movies(location, similar_to, run_date)
        title = f"Similar to {title}, run of {run.run_date}, model {run.model_version}"
        console.out.print(views.similar_movies(title, rows[:top_n]))
        return
    assert user_id is not None
    found = lookup.find(location, user_id, run_date, only_partial=partial)
    kind = "partial run" if found.partial else "run"
    title = f"User {user_id}, {kind} of {found.run.run_date}, model {found.rows[0]['model_version']}"
    console.out.print(views.recommendations(title, found.rows[:top_n], found.run.feedback))
    if found.newer_partial:
        console.out.print(f"a partial run of {found.newer_partial} has another list: --partial shows it")


if __name__ == "__main__":
    console.run(show)
