"""Print the settings in force."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import yaml

from recmodel import settings
from recmodel.cli import console, options


@click.command(
    short_help="Check all settings and print them.",
    epilog="Example: RECMODEL_SCORING__TOP_N=20 recmodel settings > settings.yaml",
    context_settings=options.CONTEXT,
)
def show_settings() -> None:
    """Check all settings and print them, as YAML that conf/settings.yaml could be.

    A comment says of each value that is not the default whether it comes from your settings.yaml (of the folder that
    RECMODEL_CONF names) or from an environment variable, and what the default is.
    """
    chosen = settings.load()
    settings.preset(chosen.training.preset)
    click.echo(f"# {settings.conf_dir() / 'settings.yaml'}")
    for line in _lines(chosen.model_dump(mode="json"), settings.origins()):
        click.echo(line)


def _lines(values: dict[str, Any], origins: dict[str, str], inside: str = "") -> Iterator[str]:
    """The YAML of a section, values that are not the default with where they come from."""
    margin = "  " * inside.count(".")
    for name, value in values.items():
        if isinstance(value, dict):
            yield f"{margin}{name}:"
            yield from _lines(value, origins, f"{inside}{name}.")
        else:
            text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
            origin = origins.get(f"{inside}{name}")
            line = f"{margin}{name}: " + text.removesuffix("...\n").strip()
            yield f"{line}  # {origin}" if origin else line


if __name__ == "__main__":
    console.run(show_settings)
