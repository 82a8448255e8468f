"""Say what a nightly run takes for so many users, movies and cores, from rates measured on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from recmodel import schemas as c
from recmodel import settings
from recmodel.cli import console, options
from recmodel.data import movielens as data
from recmodel.models import versions
from recmodel.pipeline import capacity
from recmodel.spark import resources


@click.command(
    short_help="Foretell time, memory and cost of a night.",
    epilog="Examples: recmodel capacity --users 10000000 --cores 64 --price-per-core-hour 0.04; "
    "recmodel capacity --users 100000000 --movies 1000000 --cores 512 --executor-cores 8 --save rates.json; "
    "recmodel capacity --users 50000000 --cores 128 --rates rates.json",
    context_settings=options.CONTEXT,
)
@click.option("--users", type=int, required=True, help="Whom to recommend to.")
@click.option("--movies", type=int, help="In the catalogue; the model's own by default.")
@click.option("--top-n", type=int, help="Recommendations a user.")
@click.option("--cores", type=int, required=True, help="All cores of the cluster, or of the one machine.")
@click.option("--executor-cores", type=int, default=0, help="On a cluster: cores of an executor.")
@click.option("--price-per-core-hour", type=float, help="In your currency.")
@options.data
@options.models
@options.model_version
@click.option("--save", type=click.Path(path_type=Path), help="Write the measured rates here.")
@click.option("--rates", type=click.Path(path_type=Path), help="Take rates that were saved; nothing is measured.")
def foretell(users: int, cores: int, executor_cores: int, price_per_core_hour: float | None, **flags: Any) -> None:
    """Time, core hours, memory, table sizes and cost of scoring so many users.

    Measures for a few minutes: two whole runs on users made from DATA, with the current model (its catalogue
    made larger or smaller by --movies), on all cores of this machine; run it while nothing else does. Seconds are
    a line through both, and Spark's share of them goes down with the cores. Users are taken to have as many
    ratings as those of DATA.
    """
    chosen = settings.load(paths={"data": flags["data"], "models": flags["models"]}, scoring={"top_n": flags["top_n"]})
    rates = capacity.load(flags["rates"]) if flags["rates"] else _measured(chosen, flags)
    if flags["save"]:
        capacity.save(rates, flags["save"])
    found = capacity.forecast(rates, users, cores, executor_cores)
    _print(found, rates, users, cores, price_per_core_hour)


def _measured(chosen: settings.Settings, flags: dict[str, Any]) -> capacity.Rates:
    version = versions.open_version(chosen.paths.models, flags["model_version"])
    folder = data.data_dir(chosen.paths.data, chosen.paths.sample)
    intake = data.Intake(chosen.input)
    catalogue = data.read_catalogue(folder, intake).select([c.MOVIE_ID])
    known = version.catalogue().select([c.MOVIE_ID])
    batches = data.stream_ratings(folder, catalogue, intake)
    real = capacity.some_users(batches, data.count_ratings(folder), capacity.RATINGS)
    real = real.join(known, c.MOVIE_ID, join_type="left semi")
    with console.out.status("two runs to measure …"):
        return capacity.measure(chosen, real, version, flags["movies"] or known.num_rows)


def _print(found: capacity.Forecast, rates: capacity.Rates, users: int, cores: int, price: float | None) -> None:
    size = 1 << 20
    hours = found.total_seconds / 3600
    ratings = f"{users * rates.ratings_per_user:,.0f} ratings"
    facts = {
        "to score": f"{users:,} users x {rates.movies:,} movies, top {rates.top_n} by {rates.rank_by}, {ratings}",
        "time": f"{found.total_seconds:,.0f} s" if hours < 1 else f"{hours:,.1f} h",
        "core hours": f"{found.core_hours:,.2f} on {cores:,} cores",
        **({"cost": f"{found.core_hours * price:,.2f}"} if price is not None else {}),
        "tables": f"{found.parquet_bytes / size:,.0f} MiB of Parquet a night",
        "broadcast": f"{found.broadcast_bytes / size:,.0f} MiB, {rates.model_bytes / size:,.0f} MiB to each executor",
        "memory": f"{sum(found.memory_mib.values()) / 1024:,.1f} GiB in all, the same for any number of users",
        **{f"  {name}": f"{mib:,.0f} MiB" for name, mib in found.memory_mib.items()},
        "a worker is planned with": f"{_planned(rates) / size:,.0f} MiB",
        "rates": f"measured on {rates.cores} cores",
    }
    console.out.print(console.facts(facts))
    table = console.table("\nWhere the time goes", ["stage", "done by"], ["seconds"])
    for stage, seconds in sorted(found.seconds.items(), key=lambda item: -item[1]):
        table.add_row(stage, "the driver alone" if stage in capacity.ALONE else "all cores", f"{seconds:,.1f}")
    console.out.print(table)


def _planned(rates: capacity.Rates) -> int:
    return resources.needs(rates.model_bytes, rates.movies, settings.load().scoring.block_mib << 20).worker


if __name__ == "__main__":
    console.run(foretell)
