"""Write the report of a published run: one HTML page."""

from __future__ import annotations

from datetime import date, datetime

import click

from recmodel import settings, storage
from recmodel.cli import console, options
from recmodel.errors import UsageRejected
from recmodel.report import facts
from recmodel.report import page as report
from recmodel.tables import linked as tables

_LATEST = "latest.html"


@click.command(
    short_help="Write what a run did as one HTML page.",
    epilog="Example: recmodel report --output var/output --run-date 2026-01-31",
    context_settings=options.CONTEXT,
)
@options.data
@options.models
@options.output
@click.option("--run-date", type=click.DateTime(["%Y-%m-%d"]), help="A run other than the newest.")
@click.option("--to", metavar="FILE", callback=options.path, help="Where to write the page, instead.")
def write_report(
    data: str | None, models: str | None, output: str | None, run_date: datetime | None, to: str | None
) -> None:
    """Write what a run did, how good its model is and whom it recommends what, as one HTML page.

    It goes to OUTPUT/reports/DATE.html, with reports/latest.html for the newest run. Pages of runs that are not
    published any more are removed. The ratings and the model are those the run was made with, unless --data or --models
    say otherwise; where they are gone, the page says so.
    """
    chosen = settings.load(paths={"output": output})
    console.start_log(chosen.paths.logs, "report", as_json=chosen.monitoring.json_logs)
    stage = console.Stages()
    output = chosen.paths.output
    day = tables.published(output, run_date.date() if run_date else None)
    made_with = tables.read_run(output, day)["settings"]["paths"]

    with stage("gather the facts"):
        known = facts.collect(output, day, models or made_with["models"], data or made_with["data"], chosen)
    with stage("write the page"):
        page = report.render(known, chosen).encode()
        reports = storage.below(output, "reports")
        target = to or storage.below(reports, f"{day}.html")
        try:
            storage.write(target, page)
            if not to:
                _tidy(reports, day, page, tables.run_dates(output))
        except OSError as error:
            raise UsageRejected(f"{target} cannot be written ({error}); give another file with --to") from None
    console.out.print(console.facts({"report": target, "size": f"{len(page) / 1e6:.1f} MB"}))


def _tidy(reports: str, day: date, page: bytes, published: list[date]) -> None:
    """Keeps `latest.html` that of the newest run, and removes the pages of runs that are not published any more."""
    if day == published[-1]:
        storage.write(storage.below(reports, _LATEST), page)
    kept = {_LATEST, *(f"{other}.html" for other in published)}
    for name in set(storage.names(reports)) - kept:
        storage.file_system(reports).delete_file(name)


if __name__ == "__main__":
    console.run(write_report)
