"""Model versions: the directory of each, `MODELS/<version>/`, and which of them is the current one.

MODELS is a path or a URI (see `storage`). A version is written to a temporary directory and renamed into place; where
the store cannot rename, its manifest is written last, and a directory without a manifest is no version. A version never
changes after that.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from pydantic import ValidationError

from recmodel import storage
from recmodel.errors import ModelRejected
from recmodel.models import architectures
from recmodel.models.architectures import Preset
from recmodel.records import EXPLICIT, TRAINED, FeedbackKind, HeldOut, Manifest, Metrics, Origin
from recmodel.schemas import INTEGER_IDS, Ids
from recmodel.scoring import policies
from recmodel.storage import Location, sha256, sha256_of
from recmodel.version import __version__

FORMAT_VERSION = 2  # 1: before the signatures user_vectors, movie_vectors and rate_lists
_CURRENT, _HISTORY, _FAILED = "CURRENT", ".history", ".training-failed"
_PROMOTIONS = ".promotions"  # a line for each time that a version became CURRENT; versions before 0.3.2 have none
_TAKEN = ".taken"  # which version each address of a registry was, when it was last asked for
_TIME = "%Y%m%dT%H%M%SZ"  # with which names of versions and promotions begin, UTC
_SAVED_MODEL = "saved_model"
_MEASURED_MODEL = "measured_model"  # if another one serves: the one that was measured, as it was not fitted to all
_CATALOGUE = "catalogue.parquet"
_METRICS = "metrics.json"
_MANIFEST = "manifest.json"
_HALF_WRITTEN = re.compile(r"\.writing-.*|\..*-[0-9a-f]{32}")  # a version, and a file of `storage.create`
_LIBRARIES = ("numpy", "pandas", "pyarrow", "tensorflow", "tf-keras", "tensorflow-recommenders")

_NEEDED = {"predict", "user_vectors", "movie_vectors"}  # signatures that scoring is made of
_NEEDED_TO_RATE = {"rate_lists", "rate_catalogue"}

_reading: list[int] = []  # open folders of versions, locked against `prune`


@dataclass(frozen=True)
class ModelVersion:
    """A version whose files agree with its manifest."""

    path: Path  # of the files, or of a copy that lives as long as this process
    manifest: Manifest = field(repr=False)  # long

    @property
    def name(self) -> str:
        """The name of the version's directory."""
        return self.path.name

    @property
    def saved_model(self) -> Path:
        """The directory of the SavedModel."""
        return self.path / _SAVED_MODEL

    @property
    def measured_model(self) -> Path:
        """The directory of the SavedModel that was not fitted to held-out ratings."""
        measured = self.path / _MEASURED_MODEL
        return measured if measured.is_dir() else self.saved_model

    @property
    def saved_model_bytes(self) -> int:
        """The size of the SavedModel on disk."""
        return sum(file.stat().st_size for file in self.saved_model.rglob("*") if file.is_file())

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that the model was trained for: of 'retrieval' and 'rating'."""
        return self.manifest.tasks

    @property
    def feedback(self) -> FeedbackKind:
        """What the model was trained on: ratings, or implicit feedback."""
        return self.manifest.feedback

    @property
    def ids(self) -> Ids:
        """What the ids of users and movies are."""
        return self.manifest.ids

    @property
    def places_new_movies(self) -> bool:
        """Whether the model can place movies that it does not know."""
        return "place_movies" in self.manifest.signatures

    @property
    def rank_by(self) -> str:
        """The ranking policy where none is chosen. Models before 0.3.2 keep theirs: they lack what `blend` needs."""
        return policies.automatic(self.tasks, says_highest_rating="recmodel" in self.manifest.libraries)

    @property
    def architecture(self) -> str:
        """The name of the model's architecture; see `architectures`."""
        return self.manifest.settings["preset"]["architecture"]

    def catalogue(self) -> pa.Table:
        """Read `schemas.CATALOGUE`, ascending by movie_id: row i is movie i of the SavedModel."""
        return pq.read_table(self.path / _CATALOGUE)

    def metrics(self) -> Metrics:
        """Read how the training went, and how good the model is."""
        return read_metrics(self.path.parent, self.name)


def write_version(
    models: Location,
    saved_model: Path,
    *,
    catalogue: pa.Table,
    metrics: Metrics,
    preset_name: str,
    preset: Preset,
    training: dict[str, Any],
    data_fingerprint: str,
    signatures: Sequence[str] = (),
    feedback: FeedbackKind = EXPLICIT,
    newest_rating: datetime | None = None,
    ids: Ids = INTEGER_IDS,
    measured_model: Path | None = None,
    held_out: HeldOut | None = None,
    origin: Origin = TRAINED,
) -> ModelVersion:
    """Write a new version. It becomes the current one only by `promote`.

    Args:
        saved_model: the directory of a SavedModel, which is copied.
        catalogue: `schemas.CATALOGUE`, ascending by movie_id: the movies of the model.
        preset_name: part of the version's name.
        training: the settings of the training run, for the manifest.
        data_fingerprint: see `movielens.fingerprint`.
        signatures: the names of those of the SavedModel.
        feedback: what the model was trained on.
        newest_rating: the time of the newest rating that it has seen.
        ids: what the ids of users and movies are.
        measured_model: the directory of the SavedModel that was measured; None: it is the same.
        held_out: what it was not fitted to.
        origin: where it comes from.
    """
    created = datetime.now(timezone.utc)
    with scratch_next_to(models) as scratch:
        folder = scratch / "version"
        folder.mkdir()
        shutil.copytree(saved_model, folder / _SAVED_MODEL)
        if measured_model is not None:
            shutil.copytree(measured_model, folder / _MEASURED_MODEL)
        pq.write_table(catalogue, folder / _CATALOGUE)
        storage.write(folder / _METRICS, metrics.to_bytes())
        files = _checksums(folder)
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            created_at=created,
            preset=preset_name,
            tasks=preset.tasks,
            feedback=feedback,
            newest_rating=newest_rating,
            held_out=held_out,
            ids=ids,
            settings={"preset": preset.model_dump(), "training": training},
            data_fingerprint=data_fingerprint,
            signatures=tuple(signatures),
            origin=origin,
            libraries={"recmodel": __version__} | {name: metadata.version(name) for name in _LIBRARIES},
            git_commit=_git_commit(),
            files=files,
        )
        name = f"{created:{_TIME}}-{preset_name}-{sha256_of(files)[:8]}"
        if storage.is_uri(models):
            _copy_to_store(folder, models, name, manifest.to_bytes())
            return open_version(models, name)
        storage.write(folder / _MANIFEST, manifest.to_bytes())
        return ModelVersion(folder.rename(Path(models) / name), manifest)


@contextmanager
def scratch_next_to(models: Location) -> Iterator[Path]:
    """Make a folder from which a version can be renamed into `models`; for an object store, any local folder."""
    remote = storage.is_uri(models)
    if not remote:
        Path(models).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=None if remote else models) as scratch:
        yield Path(scratch)


def _copy_to_store(folder: Path, models: Location, name: str, manifest: bytes) -> None:
    """Copy the files of a version, and then its manifest, without which it is none."""
    fs.copy_files(str(folder), name, fs.LocalFileSystem(), storage.file_system(models))
    storage.write(storage.below(models, name, _MANIFEST), manifest)


def take_over(models: Location, folder: Path) -> None:
    """Let a version that was copied from elsewhere be one of `models`, by the name of its folder, which goes.

    Args:
        folder: inside `scratch_next_to`.

    Raises:
        ModelRejected: its files do not agree with its manifest; see `open_version`.
    """
    open_version(folder.parent, folder.name)
    if storage.is_uri(models):
        manifest = (folder / _MANIFEST).read_bytes()
        (folder / _MANIFEST).unlink()
        _copy_to_store(folder, models, folder.name, manifest)
        return
    try:
        folder.rename(Path(models) / folder.name)
    except OSError:
        if folder.name not in list_versions(models):  # otherwise another process has done the same
            raise


def taken_from(models: Location) -> dict[str, str]:
    """Return the name of the version that each address of a registry was, when it was last asked for."""
    return json.loads(storage.read(storage.below(models, _TAKEN)) or b"{}")


def note_taken(models: Location, address: str, version: str) -> None:
    """Keep which version an address of a registry is. `prune` leaves that version alone."""
    noted = taken_from(models)
    if noted.get(address) != version:
        content = json.dumps(noted | {address: version}, indent=2, ensure_ascii=False)
        storage.write(storage.below(models, _TAKEN), f"{content}\n".encode())


def promote(models: Location, version: str) -> None:
    """Make `version` CURRENT; readers see the old name or the new one, never half of one.

    Raises:
        ModelRejected: see `open_version`.
    """
    open_version(models, version)
    if version != current(models):
        _make_current(models, version, [*_history(models), version])


def rollback(models: Location) -> str:
    """Make the version that was CURRENT before this one CURRENT again, and return its name.

    Raises:
        ModelRejected: there was none, or it is missing or damaged.
    """
    history = _history(models)
    if len(history) < 2:
        names = list_versions(models)
        hint = f"promote one of its versions: {', '.join(names)}" if names else "train one first"
        raise ModelRejected(f"{models} has no earlier version to go back to; {hint}")
    open_version(models, history[-2])
    _make_current(models, history[-2], history[:-1])
    return history[-2]


def prune(models: Location, keep: int) -> list[str]:
    """Remove all but the newest `keep` versions; never CURRENT, the one before it, or one that is being read.

    Nor are those that an address of a registry was last; see `note_taken`.

    On a disk, what killed commands have left half written or half removed goes too. A version in an object store is
    read by copying it; if it is removed meanwhile, the copying fails.

    Returns:
        The names of the versions that were removed.
    """
    in_use = {*_history(models)[-2:], str(current(models)), *taken_from(models).values()}
    old = sorted({*list_versions(models)[:-keep]} - in_use)
    if not storage.is_uri(models):
        _remove_left_behind(Path(models))
        return [name for name in old if _remove(Path(models), name)]
    store = storage.file_system(models)
    for name in old:
        store.delete_file(f"{name}/{_MANIFEST}")  # first: without it, what is left is no version
        store.delete_dir(name)
    return old


def _remove_left_behind(models: Path) -> None:
    """Remove half a version that was being removed, and what has been half written for a day: nobody is at it now."""
    yesterday = time.time() - 86_400
    for path in models.glob(".*-*"):
        with suppress(OSError):  # another night does the same
            if path.name.startswith(".removed-"):
                shutil.rmtree(path)
            elif _HALF_WRITTEN.fullmatch(path.name) and path.stat().st_mtime < yesterday:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _remove(models: Path, name: str) -> bool:
    """Remove a version unless somebody reads it; return whether it was removed."""
    path = models / name
    opened = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        removed = path.with_name(f".removed-{name}")
        path.rename(removed)  # so that nobody opens it when half of it is deleted
        shutil.rmtree(removed, ignore_errors=True)
        return True
    except BlockingIOError:
        return False  # a later run removes it
    finally:
        os.close(opened)


def _make_current(models: Location, version: str, history: list[str]) -> None:
    now = f"{datetime.now(timezone.utc):{_TIME}}"
    promotions = [*_promotions(models), f"{now}/{version}"]  # before the history has this one
    _write_lines(models, _HISTORY, history)
    _write_lines(models, _CURRENT, [version])
    _write_lines(models, _PROMOTIONS, promotions)


def _promotions(models: Location) -> list[str]:
    """Return TIME/VERSION for each promotion, ascending. Of those that nobody noted, the time is that of training."""
    noted = _read_lines(models, _PROMOTIONS)
    names = {line.partition("/")[2] for line in noted}
    dated = [name for name in _history(models) if name not in names and re.match(r"\d{8}T\d{6}Z-", name)]
    lines = [*noted, *(f"{name.partition('-')[0]}/{name}" for name in dated)]
    return sorted(lines, key=lambda line: line.partition("/")[0])  # those of one second stay in order


def current_at(models: Location, moment: datetime) -> str | None:
    """Return the name of the version that was CURRENT at a moment, which may be gone by now; None before the first."""
    until = [line for line in _promotions(models) if line.partition("/")[0] <= f"{moment:{_TIME}}"]
    return until[-1].partition("/")[2] if until else None


def _history(models: Location) -> list[str]:
    """Return all versions that are or were CURRENT, in the order of promotion."""
    name, history = current(models), _read_lines(models, _HISTORY)
    return history if name in (None, *history[-1:]) else [*history, str(name)]


def current(models: Location) -> str | None:
    """Return the name of the version in use; None before the first training."""
    return next(iter(_read_lines(models, _CURRENT)), None)


def open_version(models: Location, version: str | None = None) -> ModelVersion:
    """Open the version of that name, or CURRENT, after comparing all of its files with the manifest.

    `prune` leaves it alone until this process ends.

    Raises:
        ModelRejected: there is none, its format is not supported, a file is missing, extra or changed, or the model
            lacks a signature; names it.
    """
    name = version or current(models)
    if name is None:
        raise ModelRejected(f"{models} has no model yet; train one first, or point --models elsewhere")
    path = _files_of(models, name)
    location = storage.below(models, name)
    try:
        manifest = Manifest.parse((path / _MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise ModelRejected(
            f"{location}/{_MANIFEST} cannot be read ({reason}); train again or choose another version"
        ) from None
    if manifest.format_version != FORMAT_VERSION:
        raise ModelRejected(
            f"{location} has format {manifest.format_version}, this program reads {FORMAT_VERSION}; train again"
        )
    expected, actual = manifest.files, _checksums(path)
    for file in sorted(expected.keys() | actual.keys()):
        if expected.get(file) != actual.get(file):
            if file not in actual:
                fault = "is missing"
            else:
                fault = "was changed" if file in expected else "is not in its manifest"
            raise ModelRejected(f"{location}/{file} {fault}; restore the version from a copy or train again")
    missing = _missing_signatures(manifest, path / _SAVED_MODEL)
    if missing:
        raise ModelRejected(f"{location} lacks {', '.join(missing)}, which scoring needs; train again")
    return ModelVersion(path, manifest)


def _missing_signatures(manifest: Manifest, saved_model: Path) -> list[str]:
    """Return the signatures that scoring needs and the model lacks; manifests of versions before 0.3.2 name none."""
    needed = _NEEDED | (_NEEDED_TO_RATE if manifest.feedback == EXPLICIT else set())
    return sorted(needed.difference(manifest.signatures or signatures_of(saved_model)))


def signatures_of(saved_model: Path) -> list[str]:
    """Return the names of a SavedModel's signatures, without importing TensorFlow; none if it is no SavedModel.

    Of the message SavedModel, field 2 are its MetaGraphDefs; of these, field 5 is the map of signatures
    (saved_model.proto and meta_graph.proto of TensorFlow).
    """
    from google.protobuf import empty_pb2, message, unknown_fields

    def fields(packed: bytes, number: int) -> list[bytes]:
        parsed = empty_pb2.Empty()
        parsed.ParseFromString(packed)
        return [field.data for field in unknown_fields.UnknownFieldSet(parsed) if field.field_number == number]

    try:
        content = (saved_model / "saved_model.pb").read_bytes()
        entries = [entry for graph in fields(content, 2) for entry in fields(graph, 5)]
        return sorted(name.decode() for entry in entries for name in fields(entry, 1))
    except (OSError, message.DecodeError):
        return []


def _files_of(models: Location, name: str) -> Path:
    """Return the folder of a version's files, or a copy of it, which `prune` leaves alone until this process ends.

    Raises:
        ModelRejected: there is none of that name.
    """
    missing = ModelRejected(f"{models} has no version {name!r}; it has {', '.join(list_versions(models)) or 'none'}")
    if Path(name).name != name:
        raise missing
    if storage.is_uri(models):
        if name not in list_versions(models):
            raise missing
        return storage.fetch(storage.below(models, name))
    path = Path(models) / name
    if not path.is_dir():
        raise missing
    _reading.append(os.open(path, os.O_RDONLY))
    fcntl.flock(_reading[-1], fcntl.LOCK_SH)
    return path


def open_current(models: Location) -> ModelVersion | None:
    """Open the current version; None where there is none that can be used."""
    try:
        return open_version(models)
    except ModelRejected:
        return None


def note_failed_training(models: Location, sentence: str) -> None:
    """Keep that training failed just now, until a version is written."""
    storage.write(storage.below(models, _FAILED), f"{datetime.now(timezone.utc):{_TIME}} {sentence}\n".encode())


def failed_training(models: Location) -> tuple[datetime, str] | None:
    """Return when and how the last training failed; None if a version has been written since."""
    when, _, sentence = (storage.read(storage.below(models, _FAILED)) or b"").decode().strip().partition(" ")
    if not when or any(name[: len(when)] > when for name in list_versions(models)):
        return None
    return datetime.strptime(when, _TIME).replace(tzinfo=timezone.utc), sentence


def read_metrics(models: Location, version: str) -> Metrics:
    """Read the metrics.json of a version, even if other files of the version are damaged.

    Raises:
        ValueError: it is missing or damaged.
    """
    return Metrics.parse(storage.read(storage.below(models, version, _METRICS)) or b"")


def read_manifest(models: Location, version: str) -> Manifest:
    """Read the manifest.json of a version, without comparing its files with it.

    Raises:
        ValueError: it is missing or damaged.
    """
    return Manifest.parse(storage.read(storage.below(models, version, _MANIFEST)) or b"")


def architecture_of(models: Location, version: str) -> str | None:
    """Return the name of a version's architecture, without looking at its other files; None if it is not known."""
    try:
        manifest = read_manifest(models, version)
    except ValueError:
        return None
    architecture = manifest.settings.get("preset", {}).get("architecture")
    return architecture if architecture in architectures.names() else None


def list_versions(models: Location) -> list[str]:
    """Return the names of all versions, oldest first."""
    return [name for name in storage.folders_with(models, _MANIFEST) if not name.startswith(".")]


def _read_lines(models: Location, name: str) -> list[str]:
    return (storage.read(storage.below(models, name)) or b"").decode().split()


def _write_lines(models: Location, name: str, lines: list[str]) -> None:
    storage.write(storage.below(models, name), "".join(f"{line}\n" for line in lines).encode())


def _checksums(directory: Path) -> dict[str, str]:
    """Return the sha256 of each file below `directory` except the manifest, by its path there."""
    files = (path for path in directory.rglob("*") if path.is_file() and path != directory / _MANIFEST)
    return {path.relative_to(directory).as_posix(): sha256(path) for path in sorted(files)}


def _git_commit() -> str | None:
    """Return the commit of this code; None outside a checkout."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
