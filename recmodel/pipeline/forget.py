"""Forget: users are erased from everything that a run publishes or keeps, full runs and partial ones alike."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from recmodel import schemas as c
from recmodel import storage
from recmodel.data import ids as identifiers
from recmodel.data import movielens
from recmodel.data.validation import Validation
from recmodel.errors import ScoringFailed, UsageRejected
from recmodel.models import architectures, versions
from recmodel.pipeline import kept_nights
from recmodel.schemas import INTEGER_IDS, Ids
from recmodel.settings import Settings
from recmodel.storage import Location
from recmodel.tables.base import PARTIAL, Output
from recmodel.tables.erasing import Found, Users
from recmodel.tables.output import open_output

WAIT = 10.0  # seconds that readers of linked folders have, who have begun to read before


@dataclass(frozen=True)
class Erased:
    """What was removed from one place: from the full runs or from the partial ones."""

    output: Output
    partial: bool  # whether it is the place of partial runs
    found: list[Found]  # by date
    staged: list[str]  # names of interrupted runs, discarded


@dataclass(frozen=True)
class Models:
    """The model versions there are. Each may have been trained with the users."""

    with_users: list[str]  # have a vector for each user that they were trained with
    without_users: list[str]  # have vectors of movies alone


@contextmanager
def places(location: str) -> Iterator[list[Output]]:
    """Hold the right to write to an output, against nights and runs too; yield the places that exist in it.

    Raises:
        AnotherRun: a night or a run is under way there.
        ScoringFailed: nothing can be written there.
        UsageRejected: nothing was ever published or begun there.
    """
    both = [open_output(location), open_output(location, partial=True)]
    existing = [place for place in both if ".store" in storage.names(place.location) or place.run_dates()]
    if not existing:
        raise UsageRejected(f"{location} holds no published run; give another --output")
    with ExitStack() as stack:
        stack.enter_context(both[0].locked("nightly"))
        for place in existing:
            stack.enter_context(place.locked())
        yield existing


def users(settings: Settings, outputs: Sequence[Output], named: Sequence[str], file: Path | None) -> Users:
    """Return the users that are named, one by one or in a file, as the ids of the tables have them.

    Args:
        file: CSV or Parquet, as for `score --users`. Every row of it must be an id.

    Raises:
        InputRejected: the file cannot be read, or a row of it is no id.
        UsageRejected: nobody is named, or a name is no id.
    """
    kinds = _ids(outputs)
    wanted = {identifiers.typed(text, kinds.user) for text in named}
    if file:
        strict = settings.input.model_copy(update={"max_rejected_share": 0.0})
        wanted.update(movielens.read_ids(file, c.USERS, Validation(strict, kinds)).column(c.USER_ID).to_pylist())
    if not wanted:
        raise UsageRejected("nobody is named; give the ids of users, or a file with a column userId by --users")
    return Users(tuple(sorted(wanted)))


def erase(output: Output, whom: Users, wait: float = WAIT) -> Erased:
    """Remove users from all that was published in a place, and its interrupted runs. Call with the lock held.

    Args:
        wait: see `Output.erase`.

    Raises:
        ScoringFailed: see `Output.erase`.
    """
    staged = output.discard_staged()
    found = output.find(whom)
    output.erase(whom, found, wait)
    return Erased(output, output.location.endswith(f"/{PARTIAL}"), found, staged)


def erase_kept_nights(folder: Location) -> list[str]:
    """Remove what a backtest keeps of presets whose models have a vector for each user; return the presets' names.

    Raises:
        AnotherRun: a backtest writes there.
        ScoringFailed: something cannot be removed.
    """
    if storage.is_uri(folder) or not Path(folder, kept_nights.FOLDER).is_dir():
        return []
    with kept_nights.locked(Path(folder)):
        kept = sorted(place for place in Path(folder, kept_nights.FOLDER).iterdir() if place.is_dir())
        holding = [place for place in kept if models(str(place / kept_nights.MODELS)).with_users]
        try:
            for place in holding:
                shutil.rmtree(place)
        except OSError as error:
            raise ScoringFailed(
                f"what is kept in {folder} may still hold the users ({error}); call it again"
            ) from error
    return [place.name for place in holding]


def models(location: Location) -> Models:
    """Return which model versions have vectors of users."""
    names: dict[bool, list[str]] = {True: [], False: []}
    for name in versions.list_versions(location):
        architecture = versions.architecture_of(location, name)
        holds = True if architecture is None else architectures.part(architecture, "preset").Preset.holds_users
        names[holds].append(name)
    return Models(names[True], names[False])


def _ids(outputs: Sequence[Output]) -> Ids:
    """Return what the ids of published tables are, which keep their kind."""
    for output in outputs:
        for day in output.run_dates()[-1:]:
            return output.read_run(day).ids
    return INTEGER_IDS
