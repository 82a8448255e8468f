"""Forecast what a nightly run takes for any number of users, movies and cores, from rates measured on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from recmodel import settings
from recmodel.cli import completion, console, options, views
from recmodel.models import presets
from recmodel.pipeline import capacity as pipeline
from recmodel.pipeline import training_capacity


@click.command(
    short_help="Forecast time, memory and cost of a night.",
    epilog="Examples: recmodel capacity --users 10000000 --cores 64 --price-per-core-hour 0.04; "
    "recmodel capacity --users 100000000 --movies 1000000 --cores 512 --executor-cores 8 --save rates.json; "
    "recmodel capacity --users 50000000 --cores 128 --rates rates.json; recmodel capacity --ratings 100000000",
    context_settings=options.CONTEXT,
)
@click.option("--users", type=int, help="How many to recommend to.")
@click.option("--ratings", type=int, help="Forecast training on that many ratings, instead of a night.")
@click.option("--movies", type=int, help="In the catalogue; the model's own by default.")
@click.option("--top-n", type=int, help="Recommendations per user.")
@click.option("--cores", type=int, help="All cores of the cluster, or of the one machine.")
@click.option("--executor-cores", type=int, default=0, help="On a cluster: cores per executor.")
@click.option("--price-per-core-hour", "price", type=float, help="In your currency.")
@click.option("--preset", metavar="NAME", shell_complete=completion.presets, help="With --ratings: what is trained.")
@options.presets
@options.data
@options.models
@options.model_version
@click.option("--save", type=click.Path(path_type=Path), help="Write the measured rates here.")
@click.option("--rates", "saved", type=click.Path(path_type=Path), help="Use saved rates; nothing is measured.")
def capacity(
    users: int | None, ratings: int | None, movies: int | None, cores: int | None, executor_cores: int,
    price: float | None, save: Path | None, saved: Path | None, model_version: str | None, **flags: Any,
) -> None:  # fmt: skip
    """Forecast time, core hours, memory, table sizes and cost of scoring that many users.

    Measures for a few minutes: two whole runs on users made from DATA, with the current model (its catalogue
    made larger or smaller by --movies), on all cores of this machine; run it while nothing else does. Seconds are
    a line through both, and Spark's share of them goes down with the cores. Users are taken to have as many
    ratings as those of DATA.

    With --ratings it trains three times instead, on users made from DATA, and forecasts training on this machine.
    """
    chosen = settings.load_with(flags, "paths", "scoring", "training")
    if ratings is not None:
        epochs = presets.load(chosen.training.preset, chosen.training.presets).epochs
        with console.out.status("three trainings to measure …"):
            runs = training_capacity.measure(chosen)
        console.out.print(views.training_forecast(training_capacity.forecast(runs, ratings, epochs), ratings))
        return
    if users is None or cores is None:
        raise click.UsageError("give --users and --cores for a night, or --ratings for training")
    if saved:
        rates = pipeline.load(saved)
    else:
        with console.out.status("two runs to measure …"):
            rates = pipeline.measure(chosen, model_version, movies)
    if save:
        pipeline.save(rates, save)
    forecast = pipeline.forecast(rates, users, cores, executor_cores, chosen.scoring.block_mib)
    for table in views.capacity_forecast(forecast, rates, users, cores, price):
        console.out.print(table)


if __name__ == "__main__":
    console.run(capacity)
