"""Show one user's published recommendations in the terminal."""

from datetime import datetime

import click

from recmodel import settings
from recmodel.cli import console, options
from recmodel.errors import UsageRejected
from recmodel.tables import linked as tables


@click.command(
    short_help="Print what a user is recommended.",
    epilog="Example: recmodel show 42 --top-n 5",
    context_settings=options.CONTEXT,
)
@click.argument("user_id", type=int)
@options.output
@click.option("--run-date", type=click.DateTime(["%Y-%m-%d"]), help="A run other than the newest.")
@click.option("--top-n", type=click.IntRange(min=1), help="Show only the first so many.")
def show(user_id: int, output: str | None, run_date: datetime | None, top_n: int | None) -> None:
    """Print what user USER_ID is recommended, from the published tables."""
    folder = settings.load(paths={"output": output}).paths.output
    chosen = tables.published(folder, run_date.date() if run_date else None)
    rows = tables.recommendations_of(folder, chosen, [user_id]).slice(0, top_n).to_pylist()
    if not rows:
        known = tables.user_range(folder, chosen)
        users = f"its users go from {known[0]} to {known[1]}" if known else "it has no users"
        raise UsageRejected(f"user {user_id} has no recommendations in the run of {chosen}; {users}")
    console.out.print(
        console.recommendations(f"User {user_id}, run of {chosen}, model {rows[0]['model_version']}", rows)
    )


if __name__ == "__main__":
    console.run(show)
