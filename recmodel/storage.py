"""Stores: folders on a local disk, or elsewhere by URI, such as s3://bucket/models or hdfs://namenode/models.

Takes a path or a URI; gives PyArrow's file system for it, or a local copy. Credentials come from the environment or the
machine's own role, never from the URI, which ends up in logs and run.json.
"""

from __future__ import annotations

import os
import posixpath
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from recmodel.errors import UsageRejected

Location = str | Path  # of a folder: a path, or a URI

_copies: list[tempfile.TemporaryDirectory[str]] = []  # removed when the process ends


def is_uri(location: Location) -> bool:
    """Whether it is a URI and not a path."""
    return "://" in str(location)


def refuse_credentials(location: Location) -> None:
    """Raises UsageRejected, without repeating them, if the URI holds credentials."""
    parts = urlsplit(str(location))
    if is_uri(location) and ("@" in parts.netloc or "key" in parts.query.lower() or "secret" in parts.query.lower()):
        raise UsageRejected(
            f"an address of the kind {parts.scheme}:// holds credentials; give them in the environment "
            "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for S3), or let the machine's role have the right"
        )


def file_system(location: Location) -> fs.FileSystem:
    """The file system whose root is that folder, there or not.

    Raises:
        UsageRejected: no file system is known for such a URI, or its library is missing.
    """
    found, path = _open(location)
    return fs.SubTreeFileSystem(path, found)


def _open(location: Location) -> tuple[fs.FileSystem, str]:
    if not is_uri(location):
        return fs.LocalFileSystem(), str(location)
    try:
        return fs.FileSystem.from_uri(str(location))
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UsageRejected(f"{location} cannot be used: {reason}; use a path, or a URI that PyArrow opens") from None


def below(location: Location, *names: str) -> str:
    """The location of something below that folder."""
    return posixpath.join(str(location).rstrip("/"), *names)


def spark_path(location: str) -> str:
    """The same place as Spark names it: Hadoop's file system for S3 is s3a."""
    return re.sub("^s3://", "s3a://", location)


def fetch(location: str, names: Iterable[str] | None = None) -> Path:
    """Copies a folder, or what is there of `names` in it, to a local folder of the same name.

    The copy is there until the process ends.

    Raises:
        OSError: it cannot be read.
    """
    scratch = tempfile.TemporaryDirectory(prefix="recmodel-")
    _copies.append(scratch)
    folder = Path(scratch.name) / posixpath.basename(urlsplit(location).path.rstrip("/"))
    folder.mkdir(exist_ok=True)
    source = file_system(location)
    if names is None:
        fs.copy_files("", str(folder), source, fs.LocalFileSystem())
        return folder
    for info in source.get_file_info(list(names)):
        if info.type != fs.FileType.NotFound:
            fs.copy_files(info.path, str(folder / info.path), source, fs.LocalFileSystem())
    return folder


def write(location: Location, content: bytes) -> None:
    """One small file, in one step: an object store shows an object when it is complete, a disk renames."""
    if is_uri(location):
        with create(location) as stream:
            stream.write(content)
    else:
        path = Path(location)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}-{os.getpid()}")
        aside.write_bytes(content)
        aside.replace(path)


def read(location: Location) -> bytes | None:
    """One small file; None if it is not there."""
    found, path = _open(location)
    try:
        with found.open_input_stream(path) as stream:
            return bytes(stream.read())
    except FileNotFoundError:
        return None


def create(location: Location) -> pa.NativeFile:
    """A file, open for writing, with the folders it is in. It is there once it is closed."""
    found, path = _open(location)
    found.create_dir(posixpath.dirname(path))
    return found.open_output_stream(path)


def names(location: Location) -> list[str]:
    """What is in a folder, in order; nothing if it is not there."""
    found, path = _open(location)
    return sorted(info.base_name for info in found.get_file_info(fs.FileSelector(path, allow_not_found=True)))


def folders_with(location: Location, file: str) -> list[str]:
    """The folders in a folder that hold a file of that name, in order."""
    inside = names(location)
    found = file_system(location).get_file_info([f"{name}/{file}" for name in inside])
    return [name for name, info in zip(inside, found, strict=True) if info.is_file]


def remove(location: Location) -> None:
    """A folder with all that is in it, there or not."""
    found, path = _open(location)
    if found.get_file_info(path).type != fs.FileType.NotFound:
        found.delete_dir(path)
