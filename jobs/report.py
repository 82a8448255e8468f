"""Write the report of a published run: one HTML page."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import click

from recmodel import console, facts, options, report, settings, tables
from recmodel.errors import UsageRejected


@click.command(
    epilog="Example: python jobs/report.py --output var/output --run-date 2026-01-31", context_settings=options.CONTEXT
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
    folder = Path(chosen.paths.output)
    day = tables.published(folder, run_date.date() if run_date else None)
    made_with = tables.read_run(folder, day)["settings"]["paths"]

    with stage("gather the facts"):
        known = facts.collect(folder, day, Path(models or made_with["models"]), data or made_with["data"], chosen)
    with stage("write the page"):
        page = report.render(known, chosen)
        path = Path(to) if to else folder / "reports" / f"{day}.html"
        try:
            _write(path, page)
            if not to:
                _tidy(path.parent, day, tables.run_dates(folder))
        except OSError as error:
            raise UsageRejected(f"{path} cannot be written ({error}); give another file with --to") from None
    console.out.print(console.facts({"report": path, "size": f"{len(page.encode()) / 1e6:.1f} MB"}))


def _write(path: Path, page: str) -> None:
    """In one step: who opens the file gets the old page or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(page, encoding="utf-8")
    aside.replace(path)


def _tidy(folder: Path, day: date, published: list[date]) -> None:
    """Points `latest.html` to the newest run's page, and removes the pages of runs that are not published any more."""
    latest = folder / "latest.html"
    if day == published[-1]:
        aside = folder / ".latest.new"
        aside.unlink(missing_ok=True)
        aside.symlink_to(f"{day}.html")
        aside.replace(latest)
    for page in set(folder.glob("*.html")) - {folder / f"{other}.html" for other in published} - {latest}:
        page.unlink()


if __name__ == "__main__":
    console.run(write_report)
