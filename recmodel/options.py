"""The command-line flags that several jobs share. A flag that is not given leaves the setting as it is."""

from __future__ import annotations

import os
from pathlib import Path

import click

from recmodel import stores
from recmodel.settings import SAMPLE

CONTEXT = {"max_content_width": 100, "help_option_names": ["-h", "--help"]}


def _data(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    return value if value in (None, SAMPLE) else absolute(value)


def path(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Click callback: a path from where the command is typed, not from where it runs."""
    return None if value is None else absolute(value)


def absolute(given: str) -> str:
    """A path from the root, or an address as it is."""
    return given if stores.is_uri(given) else os.path.abspath(Path(given).expanduser())


data = click.option(
    "--data",
    metavar="DIR",
    callback=_data,
    help="MovieLens directory with ratings and movies, as a path or a URI, or the word sample.",
)
models = click.option("--models", metavar="DIR", callback=path, help="Where model versions live: a path or a URI.")
model_version = click.option("--model-version", metavar="V", help="A version other than CURRENT.")
dry_run = click.option(
    "--dry-run", is_flag=True, help="Check everything that can be checked beforehand and say what would happen."
)
output = click.option(
    "--output", metavar="DIR", callback=path, help="Where the tables are published: a path, or a URI (as Delta tables)."
)
