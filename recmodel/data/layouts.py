"""Layouts: which files of a directory hold a table.

A table is one file, or a folder of part files as Spark, Hive, DuckDB and Polars write them, or a Delta or
Iceberg table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import unquote

from pyarrow import fs

from recmodel import storage
from recmodel.data import iceberg
from recmodel.errors import InputRejected
from recmodel.storage import Location

TABLES = ("ratings", "movies", "links")
_INTERACTIONS = "interactions"  # what the table of ratings may be called, if there is none of that name

COMPRESSED = r"(\.(gz|gzip|zst|zstd|bz2|xz))?"
_ENDING = rf"(\.(csv|tsv|dat){COMPRESSED}|\.(parquet|parq|pq))"
_OLDEST_NAMES = {"u.data": "ratings", "u.item": "movies"}  # MovieLens 100K
_BELONGS_TO_MOVIES = "u.genre"  # the names of the genres of u.item

_PARQUET_MAGIC = b"PAR1"
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"

Format = Literal["text", "parquet", "delta", "iceberg"]


@dataclass(frozen=True)
class Part:
    """One file of a table."""

    location: str  # a path or a URI
    name: str  # relative to the folder that holds the table, as the rejects have it
    size: int  # bytes
    partition: dict[str, str | None] = field(default_factory=dict)  # columns that are in the path alone


@dataclass(frozen=True)
class Source:
    """The files that make up a table."""

    location: str  # of the file, or of the folder of parts
    format: Format
    parts: list[Part]  # in ascending order of their names; of a Delta or Iceberg table none, as its log names them
    is_folder: bool = False
    skipped: list[str] = field(default_factory=list)  # files of the folder that hold no rows

    @property
    def name(self) -> str:
        """The name of the file or folder."""
        return storage.name(self.location)


def find(folder: Location, table: str) -> Source:
    """Return the files of `folder` that hold `table`.

    Raises:
        InputRejected: it is missing, there twice, or in a folder that holds something else.
    """
    source = find_optional(folder, table)
    if source is None:
        hint = _hint(folder, table) or "a MovieLens directory has one"
        raise InputRejected(f"{folder} holds neither {table}.csv nor {table}.parquet; {hint}")
    return source


def find_optional(folder: Location, table: str) -> Source | None:
    """Return the same as `find`, but None if the table is missing."""
    candidates = _named(folder, table)
    if table == "ratings" and not candidates:
        candidates = _named(folder, _INTERACTIONS)
    if len(candidates) > 1:
        names = " and ".join(candidates)
        raise InputRejected(f"{folder} holds {names}, which may differ; leave one of them for the table {table}")
    return source(storage.below(folder, candidates[0])) if candidates else None


def _named(folder: Location, table: str) -> list[str]:
    entries = _entries(folder)
    return [entry.path for entry in entries if _table_of(entry.path, is_folder=not entry.is_file) == table]


def source(location: Location) -> Source:
    """Return the files of a table whose file or folder is known.

    Raises:
        InputRejected: it is a folder that holds no table, or one of a kind that cannot be read.
    """
    path = str(location)
    entry = storage.entry(path)
    if entry.is_file:
        return Source(path, _format(path) or "text", [Part(path, storage.name(path), entry.size)])
    names = _folders_in(path)
    if "_delta_log" in names:
        return Source(path, "delta", [], is_folder=True)
    if "metadata" in names and iceberg.is_table(path):
        return Source(path, "iceberg", [], is_folder=True)
    if ".hoodie" in names:
        raise InputRejected(
            f"{path} is a Hudi table, whose files alone do not tell which rows are live; export it as CSV or Parquet"
        )
    return _folder_of_parts(path)


def _folders_in(location: str) -> set[str]:
    return {entry.path for entry in _entries(location) if not entry.is_file}


def _entries(folder: Location, *, recursive: bool = False) -> list[fs.FileInfo]:
    try:
        return storage.entries(folder, recursive=recursive)
    except OSError as error:
        raise InputRejected(f"{folder} cannot be read ({error}); check the address and the right to it") from None


def is_part_of_input(name: str) -> bool:
    """Return whether a file or folder of that name belongs to a directory of input."""
    return name == _BELONGS_TO_MOVIES or _table_of(name, is_folder=True) is not None


def is_ratings(name: str) -> bool:
    """Return whether a file or folder of that name holds ratings."""
    return _table_of(name, is_folder=True) in ("ratings", _INTERACTIONS)


def table_of(path: Path) -> str | None:
    """Return the table that a file or folder holds, by its name; None if it is none of them."""
    return _table_of(path.name, is_folder=path.is_dir())


def _table_of(name: str, *, is_folder: bool) -> str | None:
    """Return the table that a file or folder of that name holds, if any."""
    uncompressed = re.sub(COMPRESSED + "$", "", name.lower())
    if uncompressed in _OLDEST_NAMES:
        return _OLDEST_NAMES[uncompressed]
    ending = rf"{_ENDING}?" if is_folder else _ENDING
    return next((table for table in (*TABLES, _INTERACTIONS) if re.fullmatch(table + ending, name.lower())), None)


def _hint(folder: Location, table: str) -> str:
    """Return what is there instead: a file that cannot be read, or one folder deeper, as archives are unpacked."""
    entries = _entries(folder)
    names = [entry.path for entry in entries]
    of_its_name = [name for name in names if PurePosixPath(name).stem.split(".")[0].lower() == table]
    if of_its_name:
        return (
            f"{of_its_name[0]} has an ending that is not read: export it as CSV or Parquet, or correct its name if "
            "it is one of them"
        )
    for entry in entries:
        within = [] if entry.is_file else _entries(storage.inside(folder, entry.path))
        if any(_table_of(inner.path, is_folder=not inner.is_file) == table for inner in within):
            return f"give the directory {storage.inside(folder, entry.path)}, which has one"
    return ""


def _folder_of_parts(folder: str) -> Source:
    parts: dict[Format, list[Part]] = {}
    skipped = []
    for entry in _entries(folder, recursive=True):
        inside = PurePosixPath(entry.path)
        if not entry.is_file or any(name.startswith(("_", ".")) for name in inside.parts):
            continue
        location, name = storage.inside(folder, entry.path), f"{storage.name(folder)}/{entry.path}"
        format_ = _format(location)
        if format_ is None and re.match(r"part-|\d+_\d+", inside.name):
            raise InputRejected(f"{location} is in a format that cannot be read; export it as CSV or Parquet")
        if format_ is None:
            skipped.append(entry.path)
        elif entry.size:  # Spark leaves empty files for empty partitions
            parts.setdefault(format_, []).append(Part(location, name, entry.size, _partition(inside)))
    twice = _twice(part.name for of_format in parts.values() for part in of_format)
    if twice:
        raise InputRejected(f"{folder} holds {twice}, which may be the same rows; leave one of them")
    if len(parts) > 1:
        some = " and ".join(of_format[0].name for of_format in parts.values())
        raise InputRejected(f"{folder} holds both text and Parquet ({some}); leave the files of one kind")
    for only, of_format in parts.items():
        return Source(folder, only, of_format, is_folder=True, skipped=skipped)
    raise InputRejected(f"{folder} holds no CSV and no Parquet files; export the table again")


def _twice(files: Iterable[str]) -> str:
    """Name two parts that differ in their compression alone; empty if there are none."""
    names: dict[str, str] = {}
    for file in files:
        first = names.setdefault(re.sub(COMPRESSED + "$", "", file), file)
        if first != file:
            return f"{first} and {file}"
    return ""


def _partition(inside: PurePosixPath) -> dict[str, str | None]:
    """Return the columns that the folders of a path name, such as rating=4.0."""
    pairs = [folder.split("=", 1) for folder in inside.parts[:-1] if "=" in folder]
    return {unquote(name): None if value == _NULL_PARTITION else unquote(value) for name, value in pairs}


def _format(location: str) -> Format | None:
    """Return the format of a file by its name, or by its first bytes where the name has no ending."""
    if match := re.search(_ENDING + "$", storage.name(location).lower()):
        return "parquet" if match[0] in (".parquet", ".parq", ".pq") else "text"
    try:
        with storage.open_binary(location) as file:
            if file.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC:
                return "parquet"
    except OSError as error:
        raise InputRejected(f"{location} cannot be read ({error.strerror}); check the right to it") from None
    return None
