"""Model versions: list them, choose the one in use, import one that was trained elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from recmodel import settings
from recmodel.cli import completion, console, options, views
from recmodel.errors import ModelRejected
from recmodel.models import versions
from recmodel.pipeline import importing, preflight
from recmodel.progress import Stages
from recmodel.records import IMPORTED


@click.group(
    epilog="Example: recmodel models promote 20260131T030000Z-default-1a2b3c4d", context_settings=options.CONTEXT
)
def models() -> None:
    """List, choose and import model versions."""


@models.command(
    "list", short_help="Print all versions, oldest first.", epilog="Example: recmodel models list --models var/models"
)
@options.models
def list_versions(models: str | None) -> None:
    """Print all versions, oldest first, with how good they were and why the gate refused one."""
    folder = settings.load(paths={"models": models}).paths.models
    metrics = {name: versions.read_metrics(folder, name) for name in versions.list_versions(folder)}
    if not metrics:
        console.out.print(f"{folder} has no version yet; the command train makes one")
        return
    console.out.print(views.model_versions(metrics, versions.current(folder)))


@models.command(epilog="Example: recmodel models promote 20260131T030000Z-default-1a2b3c4d")
@click.argument("version", shell_complete=completion.versions)
@options.models
def promote(version: str, models: str | None) -> None:
    """Make VERSION the current one."""
    versions.promote(_writable(models), version)
    console.out.print(f"{version} is now the current version")


@models.command(epilog="Example: recmodel models rollback")
@options.models
def rollback(models: str | None) -> None:
    """Go back to the version that was current before this one."""
    name = versions.rollback(_writable(models))
    console.out.print(f"{name} is the current version again")


@models.command("import", short_help="Make a version of a SavedModel from elsewhere.",
                epilog="Example: recmodel models import export/index --catalogue ml-small/movies.csv")  # fmt: skip
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
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


def _writable(models: str | None) -> str:
    folder = settings.load(paths={"models": models}).paths.models
    preflight.check_folder(folder, "choose another --models")
    return folder


if __name__ == "__main__":
    console.run(models, unexpected=ModelRejected.exit_code)
