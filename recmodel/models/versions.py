"""Artifact: the directory of one model version, and which version is current.

Takes a trained model with its metrics, gives `MODELS/<version>/`; takes that, gives a verified `ModelVersion`.
MODELS is a path or a URI (`stores`). A version is written beside and renamed into place; where the store cannot rename,
its manifest is written last, and without one it is no version. It never changes after that.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from recmodel import storage
from recmodel.errors import ModelRejected
from recmodel.files import sha256, sha256_of
from recmodel.settings import Preset
from recmodel.storage import Location

FORMAT_VERSION = 2  # 1: before the signatures user_vectors, movie_vectors and rate_lists
_CURRENT, _HISTORY = "CURRENT", ".history"
_SAVED_MODEL = "saved_model"
_CATALOGUE = "catalogue.parquet"
_METRICS = "metrics.json"
_MANIFEST = "manifest.json"
_LIBRARIES = ("numpy", "pandas", "pyarrow", "tensorflow", "tf-keras", "tensorflow-recommenders")

_reading: list[int] = []  # open folders of versions, locked against `prune`


@dataclass(frozen=True)
class ModelVersion:
    """A version whose files are what its manifest says."""

    path: Path  # of the files, or of a copy that lives as long as this process
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def saved_model(self) -> Path:
        return self.path / _SAVED_MODEL

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks it was trained for: of 'retrieval' and 'rating'."""
        return tuple(self.manifest["tasks"])

    def catalogue(self) -> pa.Table:
        """`columns.CATALOGUE`, ascending by movie_id: row i is movie i of the SavedModel."""
        return pq.read_table(self.path / _CATALOGUE)

    def metrics(self) -> dict[str, Any]:
        return read_metrics(self.path.parent, self.name)


def write_version(
    models: Location,
    saved_model: Path,
    *,
    catalogue: pa.Table,
    metrics: dict[str, Any],
    preset_name: str,
    preset: Preset,
    training: dict[str, Any],
    data_fingerprint: str,
) -> ModelVersion:
    """Writes a new version. It is in use only after `promote`.

    Args:
        saved_model: the directory of a SavedModel, which is copied.
        catalogue: `columns.CATALOGUE`, ascending by movie_id, the movies of the model.
        training: the settings of the training run, for the manifest.
        data_fingerprint: see `data.fingerprint`.
    """
    created = datetime.now(timezone.utc)
    remote = storage.is_uri(models)
    if not remote:
        Path(models).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=None if remote else models) as scratch:
        aside = Path(scratch) / "version"
        aside.mkdir()
        shutil.copytree(saved_model, aside / _SAVED_MODEL)
        pq.write_table(catalogue, aside / _CATALOGUE)
        _write_json(aside / _METRICS, metrics)
        files = _checksums(aside)
        manifest = {
            "format_version": FORMAT_VERSION,
            "created_at": created.isoformat(timespec="seconds"),
            "preset": preset_name,
            "tasks": list(preset.tasks),
            "settings": {"preset": preset.model_dump(), "training": training},
            "data_fingerprint": data_fingerprint,
            "libraries": {name: metadata.version(name) for name in _LIBRARIES},
            "git_commit": _git_commit(),
            "files": files,
        }
        name = f"{created:%Y%m%dT%H%M%SZ}-{preset_name}-{sha256_of(files)[:8]}"
        if remote:
            fs.copy_files(str(aside), name, fs.LocalFileSystem(), storage.file_system(models))
            _write_json(storage.below(models, name, _MANIFEST), manifest)
            return open_version(models, name)
        _write_json(aside / _MANIFEST, manifest)
        return ModelVersion(aside.rename(Path(models) / name), manifest)


def promote(models: Location, version: str) -> None:
    """Makes `version` CURRENT; readers see the old name or the new one, never half of one.

    Raises:
        ModelRejected: see `open_version`.
    """
    open_version(models, version)
    if version != current(models):
        _write_lines(models, _HISTORY, [*_history(models), version])
        _write_lines(models, _CURRENT, [version])


def rollback(models: Location) -> str:
    """Makes the version that was CURRENT before this one CURRENT again; gives its name.

    Raises:
        ModelRejected: there was none, or it is gone or damaged.
    """
    history = _history(models)
    if len(history) < 2:
        names = versions(models)
        hint = f"promote one of its versions: {', '.join(names)}" if names else "train one first"
        raise ModelRejected(f"{models} has no earlier version to go back to; {hint}")
    open_version(models, history[-2])
    _write_lines(models, _HISTORY, history[:-1])
    _write_lines(models, _CURRENT, [history[-2]])
    return history[-2]


def prune(models: Location, keep: int) -> list[str]:
    """Removes all but the newest `keep` versions; never CURRENT, the one before it, or one that is being read.

    A store elsewhere is read by copying, and who copies a version that goes meanwhile is told so.

    Returns:
        What was removed.
    """
    old = sorted(set(versions(models)[:-keep]) - set(_history(models)[-2:]) - {str(current(models))})
    if not storage.is_uri(models):
        return [name for name in old if _remove(Path(models), name)]
    store = storage.file_system(models)
    for name in old:
        store.delete_file(f"{name}/{_MANIFEST}")  # so that what is left is no version
        store.delete_dir(name)
    return old


def _remove(models: Path, name: str) -> bool:
    """Whether it could be removed: not while somebody reads it."""
    path = models / name
    opened = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        gone = path.with_name(f".removed-{name}")
        path.rename(gone)  # so that no half of it is ever opened
        shutil.rmtree(gone, ignore_errors=True)
        return True
    except BlockingIOError:
        return False  # the next night will do
    finally:
        os.close(opened)


def _history(models: Location) -> list[str]:
    """Every version that is or was CURRENT, in the order of promotion."""
    now, history = current(models), _read_lines(models, _HISTORY)
    return history if now in (None, *history[-1:]) else [*history, str(now)]


def current(models: Location) -> str | None:
    """The name of the version in use; None before the first training."""
    return next(iter(_read_lines(models, _CURRENT)), None)


def open_version(models: Location, version: str | None = None) -> ModelVersion:
    """The version of that name, or CURRENT, after every file has been held against the manifest.

    `prune` leaves it alone until this process ends.

    Raises:
        ModelRejected: there is none, its format is not ours, or a file is missing, extra or changed; names it.
    """
    name = version or current(models)
    if name is None:
        raise ModelRejected(f"{models} has no model yet; train one first, or point --models elsewhere")
    path = _files_of(models, name)
    try:
        manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        expected, format_version = manifest["files"], manifest["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelRejected(
            f"{storage.below(models, name, _MANIFEST)} cannot be read ({error}); train again or choose another version"
        ) from None
    where = storage.below(models, name)
    if format_version != FORMAT_VERSION:
        raise ModelRejected(f"{where} has format {format_version}, this program reads {FORMAT_VERSION}; train again")
    found = _checksums(path)
    for file in sorted(expected.keys() | found.keys()):
        if expected.get(file) != found.get(file):
            what = (
                "is missing"
                if file not in found
                else "is not in its manifest"
                if file not in expected
                else "was changed"
            )
            raise ModelRejected(f"{where}/{file} {what}; restore the version from a copy or train again")
    return ModelVersion(path, manifest)


def _files_of(models: Location, name: str) -> Path:
    """The folder of a version's files, or a copy of it, which `prune` leaves alone until this process ends.

    Raises:
        ModelRejected: there is none of that name.
    """
    nothing = ModelRejected(f"{models} has no version {name!r}; it has {', '.join(versions(models)) or 'none'}")
    if Path(name).name != name:
        raise nothing
    if storage.is_uri(models):
        if name not in versions(models):
            raise nothing
        return storage.fetch(storage.below(models, name))
    path = Path(models) / name
    if not path.is_dir():
        raise nothing
    _reading.append(os.open(path, os.O_RDONLY))
    fcntl.flock(_reading[-1], fcntl.LOCK_SH)
    return path


def read_metrics(models: Location, version: str) -> dict[str, Any]:
    """The metrics.json of a version, whatever state the rest of it is in."""
    return json.loads(storage.read(storage.below(models, version, _METRICS)) or b"")


def versions(models: Location) -> list[str]:
    """The names of all versions, oldest first."""
    return [name for name in storage.folders_with(models, _MANIFEST) if not name.startswith(".")]


def _read_lines(models: Location, name: str) -> list[str]:
    return (storage.read(storage.below(models, name)) or b"").decode().split()


def _write_lines(models: Location, name: str, lines: list[str]) -> None:
    storage.write(storage.below(models, name), "".join(f"{line}\n" for line in lines).encode())


def _checksums(directory: Path) -> dict[str, str]:
    """sha256 of every file below `directory` but the manifest, by its path there."""
    files = (path for path in directory.rglob("*") if path.is_file() and path != directory / _MANIFEST)
    return {path.relative_to(directory).as_posix(): sha256(path) for path in sorted(files)}


def _write_json(location: Location, value: dict[str, Any]) -> None:
    storage.write(location, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def _git_commit() -> str | None:
    """The commit of the code that trained, None outside a checkout."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
