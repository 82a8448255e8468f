"""Model versions: list them, choose the one in use."""

import click

from recmodel import schemas as c
from recmodel import settings
from recmodel.cli import console, options
from recmodel.models import versions


@click.group(
    epilog="Example: recmodel models promote 20260131T030000Z-default-1a2b3c4d", context_settings=options.CONTEXT
)
def models() -> None:
    """List model versions, and choose the one in use."""


@models.command(
    "list", short_help="Print all versions, oldest first.", epilog="Example: recmodel models list --models var/models"
)
@options.models
def list_versions(models: str | None) -> None:
    """Print all versions, oldest first, with how good they were and why one was not let in."""
    folder = settings.load(paths={"models": models}).paths.models
    names, current = versions.versions(folder), versions.current(folder)
    if not names:
        console.out.print(f"{folder} has no version yet; the command train makes one")
        return
    shown = console.table(None, ["", "version", "kept out because"], ["RMSE", "top-100 accuracy"])
    for name in names:
        metrics = versions.read_metrics(folder, name)
        accuracy = metrics.get(c.ACCURACY, {}).get("100")
        figures = (f"{value:.4f}" if value is not None else "–" for value in (metrics.get("rmse"), accuracy))
        shown.add_row("CURRENT" if name == current else "", name, "; ".join(metrics.get("gate", [])), *figures)
    console.out.print(shown)


@models.command(epilog="Example: recmodel models promote 20260131T030000Z-default-1a2b3c4d")
@click.argument("version")
@options.models
def promote(version: str, models: str | None) -> None:
    """Make VERSION the current one."""
    versions.promote(settings.load(paths={"models": models}).paths.models, version)
    console.out.print(f"{version} is now the current version")


@models.command(epilog="Example: recmodel models rollback")
@options.models
def rollback(models: str | None) -> None:
    """Go back to the version that was current before this one."""
    name = versions.rollback(settings.load(paths={"models": models}).paths.models)
    console.out.print(f"{name} is the current version again")


if __name__ == "__main__":
    console.run(models)
