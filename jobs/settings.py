"""Print the settings in force."""

from __future__ import annotations

import click

from recmodel import settings
from recmodel.cli import console, options
from recmodel.models import presets


@click.command(
    short_help="Check all settings and print them.",
    epilog="Example: RECMODEL_SCORING__TOP_N=20 recmodel settings > settings.yaml",
    context_settings=options.CONTEXT,
)
def show_settings() -> None:
    """Check all settings and print them, as YAML that conf/settings.yaml could be.

    A comment next to each value that is not the default names its source, your settings.yaml (of the folder that
    RECMODEL_CONF names) or an environment variable, and what the default is.
    """
    chosen = settings.load()
    presets.load(chosen.training.preset, chosen.training.presets)
    console.out.print(f"# {settings.conf_dir() / 'settings.yaml'}", soft_wrap=True)
    for line in settings.as_yaml(chosen):
        console.out.print(line, soft_wrap=True)


if __name__ == "__main__":
    console.run(show_settings)
