"""Published runs: list their dates, take one back."""

from __future__ import annotations

from datetime import date

import click

from recmodel import dates, settings
from recmodel.cli import completion, console, options, views
from recmodel.errors import UsageRejected
from recmodel.report import publish
from recmodel.tables.output import open_output

_partial = click.option("--partial", is_flag=True, help="Of the partial runs (score --users), in OUTPUT/partial.")


def _date(_context: click.Context, _parameter: click.Parameter, value: str) -> date:
    return dates.parse_date(value, "DATE")


@click.group(epilog="Example: recmodel tables withdraw 2026-01-31", context_settings=options.CONTEXT)
def tables() -> None:
    """List the dates that are published, and take one back."""


@tables.command(
    "list", short_help="Print all published runs.", epilog="Example: recmodel tables list --output var/output"
)
@options.output
def list_runs(output: str | None) -> None:
    """Print all published runs, oldest first, full ones and partial ones, and which one `latest` shows."""
    location = settings.load(paths={"output": output}).paths.output
    places = [open_output(location, partial=partial) for partial in (False, True)]
    runs = [(place, place.newest(), day) for place in places for day in place.run_dates()]
    if not runs:
        console.out.print(f"{location} holds no published run yet; the command score makes one")
        return
    console.out.print(views.published_runs([(place.read_run(day), day == newest) for place, newest, day in runs]))


@tables.command(short_help="Take a published run back.", epilog="Example: recmodel tables withdraw 2026-01-31")
@click.argument("day", metavar="DATE", callback=_date, shell_complete=completion.run_dates)
@options.output
@_partial
def withdraw(day: date, output: str | None, partial: bool) -> None:
    """Take the run of DATE back, as if it had not been published: its rows leave all tables, its page goes.

    Readers see the run in all tables or in none (Delta: table by table). `latest` shows the newest full run that is
    left. No later run builds on the withdrawn one: incremental nights do not carry its lists on, and checks and the
    report do not compare with it. Scoring DATE again publishes it again.
    """
    published = open_output(settings.load(paths={"output": output}).paths.output, partial=partial)

    def so_far() -> str:
        if day in published.run_dates():
            return f"the run of {day} is still published; the same command withdraws it"
        return f"the run of {day} is no longer published; the same command removes what is left of it"

    with published.locked(), console.when_interrupted(so_far):
        try:
            published.withdraw(day)
        except UsageRejected:  # there is no such run, perhaps since an earlier call that was interrupted
            publish.follow(published)
            raise
        publish.follow(published)
    newest = published.newest()
    console.out.print(f"the run of {day} is withdrawn from {published.location}")
    console.out.print(f"latest is the run of {newest}" if newest else "no run is left that latest could show")


if __name__ == "__main__":
    console.run(tables)
