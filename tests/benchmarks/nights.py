"""Run many nights in a row on a growing input, and look for what grows more than the input: disk, memory, time.

    ./submit.sh benchmark nights --nights 30

Each night is `recmodel nightly` for the next date. The input grows from 70 % of each user's ratings to all of them, by
the same number each night: so a model is trained every few nights, when the input has grown by more than
`training.max_growth`. Few dates, versions and days of logs are kept, so that pruning is at work for most of the nights.
The disk is counted by part, each file once however many links it has; the temporary folder is one of its own, so that
what stays there is seen. Processor seconds say more than seconds where others use the machine too.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from unittest.mock import patch

import altair as alt
import click
import small
import watched
from harness import write_json
from rich.console import Console
from rich.table import Table

DATES, MODELS = 7, 3
SETTINGS = {
    "RECMODEL_RETENTION__RUN_DATES": str(DATES), "RECMODEL_RETENTION__MODELS": str(MODELS),
    "RECMODEL_RETENTION__LOG_DAYS": str(DATES),
}  # fmt: skip


@dataclass(frozen=True)
class Night:
    """What a night used and left."""

    night: int
    ratings: int
    trained: bool
    seconds: float
    core_seconds: float  # of all processes
    peak_gib: float  # of all processes together
    tables_mb: float  # what readers see
    store_mb: float  # and what else is in OUTPUT/.store
    staged: int  # folders in .store/staging
    models_mb: float
    models: int
    reports_mb: float
    logs_mb: float
    logs: int
    temporary: int  # files and folders that it left in the temporary folder


@click.command(help=__doc__)
@click.option("--nights", default=30, show_default=True)
@click.option("--users", default=120, show_default=True, help="Of the sample's.")
@click.option("--format", "kind", type=click.Choice(small.FORMATS), default="linked", show_default=True)
@click.option("--json", "as_json", type=click.Path(path_type=Path))
@click.option("--chart", type=click.Path(path_type=Path), help="Draw what a night uses and leaves, as SVG.")
def main(nights: int, users: int, kind: str, as_json: Path | None, chart: Path | None) -> None:
    """Run the nights and print a row for each."""
    done: list[Night] = []
    with tempfile.TemporaryDirectory(prefix="nights-") as scratch:
        for number in range(1, nights + 1):
            done.append(_night(Path(scratch), number, nights, users, kind))
            click.echo(" ".join(f"{name}={value:.4g}" for name, value in asdict(done[-1]).items()))
            if as_json:
                write_json(as_json, [asdict(night) for night in done])
    show(done)
    if chart:
        draw(done, chart)


def _night(folder: Path, number: int, nights: int, users: int, kind: str) -> Night:
    ratings = small.write_cut(folder / "data", users, 500, 0.7 + 0.3 * number / nights)
    temporary, models = folder / "tmp", folder / "models"
    temporary.mkdir(exist_ok=True)
    before = len(list(models.glob("2*")))
    newest = max(models.glob("2*"), default=None)
    _age(folder / "log")
    day = date.today() - timedelta(days=nights - number)
    words = ("--data", folder / "data", "--models", models, "--output", small.location(folder / "output", kind))
    with patch.dict(os.environ, {**SETTINGS, "TMPDIR": str(temporary)}):
        usage = watched.run(folder, "nightly", *words, "--run-date", day, "--master", "local[1]")
    assert before <= MODELS
    store, logs = folder / "output/.store", folder / "log"
    tables = _mb(folder / "output", without=(store, folder / "output/reports"))
    if kind == "linked":
        tables = _mb(store / os.readlink(store / "current"))
    return Night(
        number, ratings, max(models.glob("2*")) != newest, round(usage.seconds, 1), round(usage.core_seconds, 1),
        round(usage.peak_gib, 3), tables, round(_mb(store) - (tables if kind == "linked" else 0), 3),
        len(list((store / "staging").glob("*"))), _mb(models), len(list(models.glob("2*"))),
        _mb(folder / "output/reports"), _mb(logs) + _mb(folder / "spark.log"), len(list(logs.glob("*"))),
        len(list(temporary.iterdir())),
    )  # fmt: skip


def _age(logs: Path) -> None:
    """Make the logs a day older, as they would be."""
    for file in logs.glob("*"):
        seen = file.stat().st_mtime - 86_400
        os.utime(file, (seen, seen))


def _mb(folder: Path, without: tuple[Path, ...] = ()) -> float:
    """The size of a file or of all files of a folder, in MB; a file with several names counts once."""
    files = [folder] if folder.is_file() else [Path(at, name) for at, _, names in os.walk(folder) for name in names]
    kept = [file for file in files if not any(other in file.parents for other in without)]
    sizes = {stat.st_ino: stat.st_size for stat in (file.lstat() for file in kept)}
    return round(sum(sizes.values()) / 1e6, 3)


def show(nights: list[Night]) -> None:
    """Print a row for each night."""
    table = Table()
    for heading in asdict(nights[0]):
        table.add_column(heading.replace("_mb", ", MB").replace("_gib", ", GiB"), justify="right")
    for night in nights:
        table.add_row(
            *(f"{value:,.4g}" if isinstance(value, float) else str(value) for value in asdict(night).values())
        )
    Console(width=None if sys.stdout.isatty() else 180).print(table)


def draw(nights: list[Night], chart: Path) -> None:
    """Draw what each night used and left, over its number."""
    kinds = {
        "core_seconds": "processor seconds", "peak_gib": "GiB, peak of all processes", "tables_mb": "MB, tables",
        "models_mb": "MB, models", "logs_mb": "MB, logs",
    }  # fmt: skip
    points = [
        {"night": night.night, "what": label, "value": getattr(night, name), "trained": night.trained}
        for night in nights for name, label in kinds.items()
    ]  # fmt: skip
    base = alt.Chart(alt.InlineData(points)).encode(
        alt.X("night:Q"), alt.Y("value:Q", title=None, scale=alt.Scale(zero=True))
    )
    layers = base.mark_line() + base.mark_point(filled=True).encode(alt.Color("trained:N", title="with training"))
    both = layers.properties(width=200, height=110).facet(alt.Facet("what:N", title=None), columns=3)
    both.resolve_scale(y="independent").save(str(chart))


if __name__ == "__main__":
    main()
