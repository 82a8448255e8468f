"""Import a model that was trained elsewhere as a version."""

from __future__ import annotations

from pathlib import Path

import click

from recmodel import settings
from recmodel.cli import console, options, views
from recmodel.errors import ModelRejected
from recmodel.pipeline import importing, registry
from recmodel.progress import Stages
from recmodel.records import IMPORTED


@click.command(
    "import",
    short_help="Make a version of a SavedModel from elsewhere.",
    epilog="Example: recmodel models import export/index --catalogue ml-latest-small/movies.csv",
    context_settings=options.CONTEXT,
)
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, path_type=Path))
@click.option("--catalogue", required=True, metavar="FILE", callback=options.path,
              help="The movies it was trained with: movies.csv, another table, or a folder with one.")  # fmt: skip
@click.option("--users", "users_file", metavar="FILE", type=click.Path(path_type=Path),
              help="CSV or Parquet with a column userId: the users, if its vocabulary does not say.")  # fmt: skip
@click.option("--preset-name", default=IMPORTED, show_default=True, metavar="NAME", help="Part of the version's name.")
@click.option("--task", "tasks", type=click.Choice(importing.TASKS), multiple=True,
              help="What it was trained for, if not for all that it answers. May be repeated.")  # fmt: skip
@click.option("--promote", is_flag=True, help="Make it current, even if there is a current version.")
@options.models
def import_model(
    folder: Path, catalogue: str, users_file: Path | None, preset_name: str, tasks: tuple[str, ...], promote: bool,
    models: str | None,
) -> None:  # fmt: skip
    """Make a version of a SavedModel that TensorFlow Recommenders or Keras saved elsewhere.

    DIR holds one of these: the SavedModels user_model/ and movie_model/, the two towers; a BruteForce index with its
    query model; or a model that takes a user and a movie, and returns a rating, both vectors or all three. Users are
    known by their ids, movies by their titles or their ids, as texts or integers.

    Its answers for a sample are compared with the original's before the version is there. A title of several movies
    stands for the one with the lowest id. Ratings are computed by the original's graph, which is slower.
    """
    chosen = settings.load(paths={"models": models})
    console.start_log(chosen.paths.logs, "models", as_json=chosen.monitoring.json_logs)
    done = importing.run(
        chosen, folder, catalogue, users_file=users_file, name=preset_name, tasks=tasks or importing.TASKS,
        promote=promote, stages=Stages(console.show_stage),
    )  # fmt: skip
    console.conclude(views.imported(done))
    registry.record(chosen, done.version.name, promoted=done.promoted)


if __name__ == "__main__":
    console.run(import_model, unexpected=ModelRejected.exit_code)
