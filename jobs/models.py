"""Model versions: list them, choose the one in use."""

from __future__ import annotations

import click

from recmodel import settings
from recmodel.cli import completion, console, options, views
from recmodel.errors import ModelRejected
from recmodel.jobs.import_model import import_model
from recmodel.models import versions
from recmodel.pipeline import preflight, registry
from recmodel.settings import Settings


@click.group(
    epilog="Example: recmodel models promote 20260131T030000Z-default-1a2b3c4d", context_settings=options.CONTEXT
)
def models() -> None:
    """List, choose and import model versions."""


models.add_command(import_model)


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
    """Make VERSION the current one.

    Where versions are in MLflow (mlflow.tracking_uri), its alias names that one then.
    """
    chosen = _writable(models)
    versions.promote(chosen.paths.models, version)
    console.out.print(f"{version} is now the current version")
    _tell_mlflow(chosen, version)


@models.command(epilog="Example: recmodel models rollback")
@options.models
def rollback(models: str | None) -> None:
    """Go back to the version that was current before this one.

    Where versions are in MLflow (mlflow.tracking_uri), its alias names that one then.
    """
    chosen = _writable(models)
    name = versions.rollback(chosen.paths.models)
    console.out.print(f"{name} is the current version again")
    _tell_mlflow(chosen, name)


def _writable(models: str | None) -> Settings:
    chosen = settings.load(paths={"models": models})
    preflight.check_folder(chosen.paths.models, "choose another --models")
    return chosen


def _tell_mlflow(chosen: Settings, version: str) -> None:
    if registry.tracking_uri(chosen):
        console.start_log(chosen.paths.logs, "models", as_json=chosen.monitoring.json_logs)
        registry.record(chosen, version, promoted=True)


if __name__ == "__main__":
    console.run(models, unexpected=ModelRejected.exit_code)
