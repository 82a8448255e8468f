"""Show one user's published recommendations in the terminal."""

from __future__ import annotations

from datetime import datetime

import click

from recmodel import settings
from recmodel.cli import console, options, views
from recmodel.data import ids
from recmodel.errors import UsageRejected
from recmodel.tables.output import open_output


@click.command(
    short_help="Print what a user is recommended.",
    epilog="Example: recmodel show 42 --top-n 5",
    context_settings=options.CONTEXT,
)
@click.argument("user_id")
@options.output
@click.option("--run-date", type=click.DateTime(["%Y-%m-%d"]), help="A run other than the newest.")
@click.option("--top-n", type=click.IntRange(min=1), help="Show only the first TOP_N.")
def show(user_id: str, output: str | None, run_date: datetime | None, top_n: int | None) -> None:
    """Print what user USER_ID is recommended, from the published tables."""
    published = open_output(settings.load(paths={"output": output}).paths.output)
    day = published.published(options.day(run_date))
    user = ids.typed(user_id, published.read_run(day).ids.user)
    rows = published.recommendations_of(day, [user]).slice(0, top_n).to_pylist()
    if not rows:
        ends = published.user_range(day)
        users = f"its users go from {ends[0]} to {ends[1]}" if ends else "it has no users"
        raise UsageRejected(f"user {user_id} has no recommendations in the run of {day}; {users}")
    title = f"User {user_id}, run of {day}, model {rows[0]['model_version']}"
    console.out.print(views.recommendations(title, rows, published.read_run(day).feedback))


if __name__ == "__main__":
    console.run(show)
