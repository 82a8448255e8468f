"""What the shell offers where a flag or an argument takes the name of something: presets, versions, dates.

Completion is quick and silent: whatever goes wrong, and whatever is not on this machine, is not offered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from recmodel.settings import Settings

_Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _offering(names: Callable[[click.Context], Iterable[object]]) -> _Complete:
    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            return [name for name in map(str, names(context)) if name.startswith(incomplete)]
        except Exception:  # noqa: BLE001 - nobody wants a traceback for pressing the tab key
            return []

    return complete


def _settings(context: click.Context) -> Settings:
    from recmodel import settings

    return settings.load_with(context.params, "paths", "training")


def _presets(context: click.Context) -> Iterable[object]:
    from recmodel.models import presets

    return presets.names(_settings(context).training.presets)


def _versions(context: click.Context) -> Iterable[object]:
    from recmodel import storage
    from recmodel.models import versions

    models = _settings(context).paths.models
    return [] if storage.is_uri(models) else reversed(versions.list_versions(models))


def _run_dates(context: click.Context) -> Iterable[object]:
    from recmodel import storage
    from recmodel.tables.output import open_output

    output = _settings(context).paths.output
    if storage.is_uri(output):
        return []
    return reversed(open_output(output, partial=bool(context.params.get("partial"))).run_dates())


presets = _offering(_presets)
versions = _offering(_versions)
run_dates = _offering(_run_dates)
