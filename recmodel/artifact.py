"""Artifact: the directory of one model version, and which version is current.

Takes a trained model with its metrics, gives `MODELS/<version>/`; takes that, gives a verified `ModelVersion`.
A version is written beside and renamed into place, and never changes after that.
"""

from __future__ import annotations

import hashlib
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

from recmodel.errors import ModelRejected
from recmodel.files import sha256
from recmodel.settings import Preset

FORMAT_VERSION = 2  # 1: before the signatures user_vectors, movie_vectors and rate_lists
_CURRENT = "CURRENT"
_SAVED_MODEL = "saved_model"
_CATALOGUE = "catalogue.parquet"
_METRICS = "metrics.json"
_MANIFEST = "manifest.json"
_LIBRARIES = ("numpy", "pandas", "pyarrow", "tensorflow", "tf-keras", "tensorflow-recommenders")


@dataclass(frozen=True)
class ModelVersion:
    """A version on disk whose files are what its manifest says."""

    path: Path
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
        return json.loads((self.path / _METRICS).read_text(encoding="utf-8"))


def write_version(
    models: Path,
    saved_model: Path,
    *,
    catalogue: pa.Table,
    metrics: dict[str, Any],
    preset_name: str,
    preset: Preset,
    training: dict[str, Any],
    data_fingerprint: str,
) -> ModelVersion:
    """Writes a new version and makes it CURRENT.

    Args:
        saved_model: the directory of a SavedModel, which is copied.
        catalogue: `columns.CATALOGUE`, ascending by movie_id, the movies of the model.
        training: the settings of the training run, for the manifest.
        data_fingerprint: see `data.fingerprint`.
    """
    created = datetime.now(timezone.utc)
    models.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".writing-", dir=models))
    try:
        aside.chmod(0o755)  # mkdtemp gives 0700, which a cluster's other users could not read
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
        _write_json(aside / _MANIFEST, manifest)
        content = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
        path = models / f"{created:%Y%m%dT%H%M%SZ}-{preset_name}-{content[:8]}"
        os.rename(aside, path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    set_current(models, path.name)
    return ModelVersion(path, manifest)


def set_current(models: Path, version: str) -> None:
    """Makes `version` the one in use; readers see the old name or the new one, never half of one."""
    aside = models / f".{_CURRENT}-{os.getpid()}"
    aside.write_text(version + "\n", encoding="utf-8")
    os.replace(aside, models / _CURRENT)


def current(models: Path) -> str | None:
    """The name of the version in use; None before the first training."""
    try:
        return (models / _CURRENT).read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def open_version(models: Path, version: str | None = None) -> ModelVersion:
    """The version of that name, or CURRENT, after every file has been held against the manifest.

    Raises:
        ModelRejected: there is none, its format is not ours, or a file is missing, extra or changed; names it.
    """
    name = version or current(models)
    if name is None:
        raise ModelRejected(f"{models} has no model yet; train one first, or point --models elsewhere")
    path = models / name
    if Path(name).name != name or not path.is_dir():
        raise ModelRejected(f"{models} has no version {name!r}; it has {', '.join(versions(models)) or 'none'}")
    try:
        manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        expected, format_version = manifest["files"], manifest["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelRejected(
            f"{path / _MANIFEST} cannot be read ({error}); train again or choose another version"
        ) from None
    if format_version != FORMAT_VERSION:
        raise ModelRejected(f"{path} has format {format_version}, this program reads {FORMAT_VERSION}; train again")
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
            raise ModelRejected(f"{path / file} {what}; restore the version from a copy or train again")
    return ModelVersion(path, manifest)


def versions(models: Path) -> list[str]:
    """The names of all versions, oldest first."""
    return sorted(path.parent.name for path in models.glob(f"[!.]*/{_MANIFEST}"))


def _checksums(directory: Path) -> dict[str, str]:
    """sha256 of every file below `directory` but the manifest, by its path there."""
    files = (path for path in directory.rglob("*") if path.is_file() and path != directory / _MANIFEST)
    return {path.relative_to(directory).as_posix(): sha256(path) for path in sorted(files)}


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _git_commit() -> str | None:
    """The commit of the code that trained, None outside a checkout."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
