"""Storage: folders on a local disk, or elsewhere by URI, such as s3://bucket/models or hdfs://namenode/models.

Takes a path or a URI and returns PyArrow's file system for it, a local copy, or a checksum. Credentials come from the
environment or from the role of the machine, never from the URI, which ends up in logs and in run.json.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import posixpath
import re
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import parse_qs, quote, urlsplit

import numpy as np
import pyarrow as pa
from pyarrow import fs

from recmodel.errors import UsageRejected
from recmodel.formatting import is_secret

if TYPE_CHECKING:
    import pyarrow.dataset as ds

Location = str | Path  # of a folder: a path, or a URI

# How our tables are written. Without Arrow's own schema, every reader finds the same types.
PARQUET = {"compression": "zstd", "store_schema": False}

SHARED_TEMPORARY = "RECMODEL_SHARED_TMPDIR"  # the variable by which a night tells its steps what TMPDIR was before
_copies: list[tempfile.TemporaryDirectory[str]] = []  # removed when the process ends


def is_uri(location: Location) -> bool:
    """Return whether the location is a URI, not a path."""
    return "://" in str(location)


def refuse_credentials(location: Location) -> None:
    """Raise UsageRejected if the URI holds credentials, without repeating them."""
    parts = urlsplit(str(location))
    user, at, _ = parts.netloc.rpartition("@")
    # A key that holds a slash ends what urlsplit takes for the host: s3://id:ab/cd@bucket.
    in_host = (at and (":" in user or not parts.scheme.startswith("abfs"))) or re.search(r":(?!\d*$)", parts.netloc)
    if is_uri(location) and (in_host or any(is_secret(name) or name == "sig" for name in parse_qs(parts.query))):
        raise UsageRejected(
            f"an address of the kind {parts.scheme}:// holds credentials; give them in the environment "
            "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for S3), or let the machine's role have the right"
        )


def refuse_undecodable(location: Location) -> None:
    """Raise UsageRejected if a path is no UTF-8, which neither PyArrow nor Spark could name."""
    try:
        str(location).encode()
    except UnicodeEncodeError:
        shown = str(location).encode(errors="backslashreplace").decode()
        raise UsageRejected(f"{shown} is no text in UTF-8; rename the folder, or give another path") from None


def absolute(location: Location) -> str:
    """Return a path from the root, or a URI as it is."""
    refuse_undecodable(location)
    return str(location) if is_uri(location) else os.path.abspath(os.path.expanduser(location))


def file_system(location: Location) -> fs.FileSystem:
    """Return the file system whose root is that folder, whether or not the folder exists.

    Raises:
        UsageRejected: no file system is known for such a URI, or its library is missing.
    """
    whole, path = at(location)
    return fs.SubTreeFileSystem(path, whole)


def at(location: Location) -> tuple[fs.FileSystem, str]:
    """Return the file system of a file or folder, and its path there.

    Raises:
        UsageRejected: see `file_system`.
    """
    if not is_uri(location):
        return fs.LocalFileSystem(), str(location)
    try:
        return fs.FileSystem.from_uri(str(location))
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UsageRejected(f"{location} cannot be used: {reason}; use a path, or a URI that PyArrow opens") from None


def below(location: Location, *names: str) -> str:
    """Join names to the location of a folder."""
    return posixpath.join(str(location).rstrip("/"), *names)


def inside(location: Location, path: str) -> str:
    """Return the location of what `entries` has found in a folder, whatever characters are in its name."""
    return below(location, quote(path) if is_uri(location) else path)


def fetch(location: str, names: Iterable[str] | None = None) -> Path:
    """Copy a folder, or those of `names` that exist in it, to a local folder of the same name.

    Copies of named files keep the time of their last change. The folder is removed when the process ends.

    Raises:
        OSError: the folder cannot be read.
    """
    folder = temporary_folder(posixpath.basename(urlsplit(location).path.rstrip("/")))
    source, local = file_system(location), fs.LocalFileSystem()
    if names is None:
        fs.copy_files("", str(folder), source, local)
        return folder
    for info in source.get_file_info(list(names)):
        if info.type == fs.FileType.NotFound:
            continue
        if not info.is_file:
            (folder / info.path).mkdir()  # PyArrow makes the folders in it only
        fs.copy_files(info.path, str(folder / info.path), source, local)
        for file in [info] if info.is_file else source.get_file_info(fs.FileSelector(info.path, recursive=True)):
            if file.is_file:
                os.utime(folder / file.path, ns=(file.mtime_ns, file.mtime_ns))
    return folder


def shared_temporary_folder() -> Path:
    """Return the temporary folder that all commands of this machine know, also within a night, which has its own."""
    return Path(os.environ.get(SHARED_TEMPORARY) or tempfile.gettempdir())


def temporary_folder(name: str) -> Path:
    """Return an empty local folder of that name, which is removed when the process ends."""
    scratch = tempfile.TemporaryDirectory(prefix="recmodel-")
    _copies.append(scratch)
    folder = Path(scratch.name) / name
    folder.mkdir(exist_ok=True)
    return folder


def write(location: Location, content: bytes) -> None:
    """Write one small file in one step."""
    with create(location) as stream:
        stream.write(content)


def read(location: Location) -> bytes | None:
    """Return the content of one small file; None if it does not exist."""
    whole, path = at(location)
    try:
        with whole.open_input_stream(path, compression=None) as stream:  # otherwise .gz files are decompressed
            return bytes(stream.read())
    except FileNotFoundError:
        return None


def write_arrays(location: Location, **arrays: np.ndarray | bool) -> None:
    """Write NumPy arrays to one small file, in one step."""
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    write(location, packed.getvalue())


def read_arrays(location: Location) -> dict[str, np.ndarray]:
    """Return what `write_arrays` has written."""
    with np.load(io.BytesIO(read(location) or b"")) as arrays:
        return dict(arrays)


def private(path: str, flags: int) -> int:
    """Open a file as `open` does, which calls this as its opener; one that is made is not for all to read."""
    return os.open(path, flags, 0o640)


@contextmanager
def create(location: Location) -> Iterator[pa.NativeFile]:
    """Open a file for writing and create the folders above it. The file exists, whole, once the block has ended."""
    whole, path = at(location)
    folder, name = posixpath.split(path)
    whole.create_dir(folder)
    if is_uri(location):  # an object store shows complete objects only
        with whole.open_output_stream(path, compression=None) as stream:  # otherwise .gz files are compressed again
            yield stream
        return
    unfinished = Path(folder, f".{name}-{uuid.uuid4().hex}")  # of this attempt alone: another may write the same
    try:
        with whole.open_output_stream(str(unfinished), compression=None) as stream:
            yield stream
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_rows(location: Location, rows: pa.Table) -> None:
    """Write one Parquet file of our tables, in row groups of which a query for a user reads one."""
    import pyarrow.parquet as pq  # which quick commands need not wait for

    with create(location) as sink:
        pq.write_table(rows, sink, row_group_size=1 << 16, **PARQUET)


def open_file(location: Location) -> pa.NativeFile:
    """Open a file for reading at any place."""
    whole, path = at(location)
    return whole.open_input_file(path)


def dataset(location: Location | list[str]) -> ds.Dataset:
    """Open a Parquet file, the Parquet files of a folder, or a list of Parquet files."""
    import pyarrow.dataset as ds  # imports pandas, which quick commands need not wait for

    if not isinstance(location, list):
        store, path = at(location)
        return ds.dataset(path, filesystem=store, format="parquet")
    opened = [at(file) for file in location]
    return ds.dataset([path for _, path in opened], filesystem=opened[0][0], format="parquet")


def open_binary(location: Location) -> BinaryIO:
    """Open a file for reading at any place, as Python's own files are read."""
    if not is_uri(location):
        return Path(location).open("rb")
    return io.BufferedReader(open_file(location), 1 << 20)  # type: ignore[type-var]


def name(location: Location) -> str:
    """Return the last name in a path or a URI."""
    return posixpath.basename(str(location).rstrip("/"))


def above(location: Location) -> str:
    """Return the folder that a file or folder is in."""
    return posixpath.dirname(str(location).rstrip("/"))


def entry(location: Location) -> fs.FileInfo:
    """Return what is at a place: whether it is a file, its size and the time of its last change."""
    whole, path = at(location)
    return whole.get_file_info(path)


def entries(location: Location, *, recursive: bool = False) -> list[fs.FileInfo]:
    """Return the files and folders in a folder as `entry` does, with ascending paths relative to it."""
    found = file_system(location).get_file_info(fs.FileSelector("", recursive=recursive))
    return sorted(found, key=lambda info: PurePosixPath(info.path))


def names(location: Location) -> list[str]:
    """Return the names in a folder in ascending order; none if it does not exist."""
    whole, path = at(location)
    return sorted(info.base_name for info in whole.get_file_info(fs.FileSelector(path, allow_not_found=True)))


def folders_with(location: Location, file: str) -> list[str]:
    """Return the names of the folders inside a folder that hold a file of that name, in ascending order."""
    inside = names(location)
    infos = file_system(location).get_file_info([f"{name}/{file}" for name in inside])
    return [name for name, info in zip(inside, infos, strict=True) if info.is_file]


def remove(location: Location) -> None:
    """Remove a folder and all that is in it, if it exists."""
    whole, path = at(location)
    if whole.get_file_info(path).type != fs.FileType.NotFound:
        whole.delete_dir(path)


def is_writable(folder: Path) -> bool:
    """Return whether files can be created in a local folder, or the folder itself can be. Creates nothing."""
    nearest = nearest_folder(folder)
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def check_bucket(location: Location) -> None:
    """Raise OSError if the bucket or container that a URI names is not there, or may not be looked at."""
    whole, path = at(location)
    bucket = path.split("/")[0]
    if bucket and whole.get_file_info(bucket).type == fs.FileType.NotFound:
        raise FileNotFoundError(f"there is no bucket {bucket}")


def nearest_folder(folder: Path) -> Path:
    """Return `folder` if it exists, otherwise the nearest folder above it that does."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def is_full_disk(error: BaseException) -> bool:
    """Return whether a failure, of Python or of Java, is that of a disk without room."""
    return any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT))


def sha256(path: Path) -> str:
    """Return the checksum of one file, or of all files of a folder together with their names."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                digest.update(f"{file.relative_to(path).as_posix()} {sha256(file)}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_of(value: object) -> str:
    """Return the checksum of anything that JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
