"""Write the report of a published run: one HTML page."""

from __future__ import annotations

from datetime import date

import click

from recmodel import settings
from recmodel.cli import console, options
from recmodel.pipeline import registry
from recmodel.progress import Stages
from recmodel.report import publish
from recmodel.tables.output import open_output


@click.command(
    short_help="Write what a run did as one HTML page.",
    epilog="Example: recmodel report --output var/output --run-date 2026-01-31",
    context_settings=options.CONTEXT,
)
@options.data
@options.models
@options.output
@options.run_date("A run other than the newest.")
@click.option("--to", metavar="FILE", callback=options.path, help="Where to write the page, instead.")
def report(data: str | None, models: str | None, output: str | None, run_date: date | None, to: str | None) -> None:
    """Write what a run did, how good its model is and what it recommends to whom, as one HTML page.

    It goes to OUTPUT/reports/DATE.html, with reports/latest.html for the newest run. Pages of runs that are not
    published any more are removed. The ratings and the model are those the run was made with, unless --data or --models
    name others; where they are gone, the page says so.
    """
    chosen = settings.load(paths={"output": output})
    console.start_log(chosen.paths.logs, "report", as_json=chosen.monitoring.json_logs)
    published = open_output(chosen.paths.output)
    day = published.published(run_date)
    target, size = publish.write(published, day, chosen, Stages(console.show_stage), data=data, models=models, to=to)
    if not to and day == published.newest() and published.is_full(day):
        registry.add_page(chosen, published.read_run(day).model_version, target)
    console.conclude(console.facts({"report": target, "size": f"{size / 1e6:.1f} MB"}))


if __name__ == "__main__":
    console.run(report)
