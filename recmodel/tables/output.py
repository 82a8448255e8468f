"""The one place that knows which output format a location has."""

from __future__ import annotations

from pathlib import Path

from recmodel import storage
from recmodel.tables.base import PARTIAL, Output
from recmodel.tables.linked import LinkedOutput


def open_output(location: str | Path, *, partial: bool = False) -> Output:
    """Return the output at a path (linked folders of Parquet) or a URI (Delta tables), which need not be there yet.

    Args:
        partial: the place of partial runs, OUTPUT/partial. It is an output of its own, with its own dates, `latest`
            and lock: nothing that reads full runs, or builds on them, meets a partial one.
    """
    location = storage.below(location, PARTIAL) if partial else location
    if storage.is_uri(location):
        from recmodel.tables.delta import DeltaOutput  # imported where it is used: quick commands need no Delta

        return DeltaOutput(location)
    return LinkedOutput(location)
