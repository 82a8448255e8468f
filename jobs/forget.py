"""Erase users from everything that was published or kept."""

from __future__ import annotations

from pathlib import Path

import click

from recmodel import settings, storage
from recmodel.cli import console, options, views
from recmodel.report import publish


@click.command(
    short_help="Erase users from everything that was published or kept.",
    epilog="Examples: recmodel forget 42 4711; recmodel forget --users left.csv",
    context_settings=options.CONTEXT,
)
@click.argument("named", metavar="[USER]...", nargs=-1)
@click.option(
    "--users", "file", metavar="FILE", type=click.Path(path_type=Path),
    help="Erase the users of this CSV or Parquet file, too: its column userId.",
)  # fmt: skip
@options.output
@options.models
@click.option("--now", is_flag=True, help="Do not wait for those who are reading: remove the old files at once.")
def forget(named: tuple[str, ...], file: Path | None, output: str | None, models: str | None, now: bool) -> None:
    """Erase each USER from the tables of all dates, of full and partial runs, and from the report pages.

    Gone are their rows in recommendations, predicted_ratings and users, their ratings that a run keeps for its report,
    and rejected rows that name them: those with the id as a rejected user id, or in a row rejected as a whole.
    Interrupted runs, which hold the input, are discarded; so is what a backtest keeps of presets whose models have a
    vector for each user. MLflow gets the pages anew. Readers see each table with the users or without them.

    Folders: those who are reading have ten seconds, then the files are gone. Delta tables: the files stay for a week,
    or until now with --now. A second call finds nothing.

    This does not change the input. While it has the users, the next run brings them back: remove them there too. What
    models have learned stays as well; the command says which ones hold a vector of users.
    """
    from recmodel.pipeline import forget as pipeline
    from recmodel.pipeline import registry

    chosen = settings.load(paths={"output": output, "models": models})
    location = chosen.paths.output
    so_far = "some of it may still be there; the same command removes the rest"
    with pipeline.places(location) as outputs, console.when_interrupted(lambda: so_far):
        whom = pipeline.users(chosen, outputs, named, file)
        replayed = pipeline.erase_kept_nights(chosen.paths.backtest)
        erased = [pipeline.erase(place, whom, 0.0 if now else pipeline.WAIT) for place in outputs]
        places = [(place, publish.erase(place.output, whom)) for place in erased]
        publish.renew_in_mlflow(outputs[0], chosen)
    if replayed or any(place.found or place.staged or pages for place, pages in places):
        console.out.print(views.erased(places, replayed, len(whom.ids)))
        if storage.is_uri(location) and not now:
            console.out.print("Delta keeps the files that had them for a week; the first run after that removes them")
    else:
        console.out.print(f"nothing was found of {len(whom.ids):,} users in {location}")
    in_mlflow = bool(registry.tracking_uri(chosen))
    for sentence in views.after_erasing(pipeline.models(chosen.paths.models), in_mlflow=in_mlflow):
        console.out.print(sentence)


if __name__ == "__main__":
    console.run(forget)
