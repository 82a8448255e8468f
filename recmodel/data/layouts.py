"""Layouts: which files of a directory hold a table.

A table is one file, or a folder of part files as Spark, Hive, DuckDB and Polars write them, or a Delta or
Iceberg table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from recmodel.data import iceberg
from recmodel.errors import InputRejected

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

    path: Path
    name: str  # relative to the folder that holds the table, as the rejects have it
    partition: dict[str, str | None] = field(default_factory=dict)  # columns that are in the path alone


@dataclass(frozen=True)
class Source:
    """The files that make up a table."""

    path: Path  # of the file, or of the folder of parts
    format: Format
    parts: list[Part]  # in ascending order of their names; of a Delta or Iceberg table none, as its log names them
    skipped: list[str] = field(default_factory=list)  # files of the folder that hold no rows

    @property
    def name(self) -> str:
        """The name of the file or folder."""
        return self.path.name


def find(folder: Path, table: str) -> Source:
    """Return the files of `folder` that hold `table`.

    Raises:
        InputRejected: it is missing, there twice, or in a folder that holds something else.
    """
    source = find_optional(folder, table)
    if source is None:
        hint = _hint(folder, table) or "a MovieLens directory has one"
        raise InputRejected(f"{folder} holds neither {table}.csv nor {table}.parquet; {hint}")
    return source


def find_optional(folder: Path, table: str) -> Source | None:
    """Return the same as `find`, but None if the table is missing."""
    candidates = _named(folder, table)
    if table == "ratings" and not candidates:
        candidates = _named(folder, _INTERACTIONS)
    if len(candidates) > 1:
        names = " and ".join(path.name for path in candidates)
        raise InputRejected(f"{folder} holds {names}, which may differ; leave one of them for the table {table}")
    return source(candidates[0]) if candidates else None


def _named(folder: Path, table: str) -> list[Path]:
    return sorted(path for path in folder.iterdir() if table_of(path) == table)


def source(path: Path) -> Source:
    """Return the files of a table whose file or folder is known.

    Raises:
        InputRejected: it is a folder that holds no table, or one of a kind that cannot be read.
    """
    if not path.is_dir():
        return Source(path, _format(path) or "text", [Part(path, path.name)])
    if (path / "_delta_log").is_dir():
        return Source(path, "delta", [])
    if iceberg.is_table(path):
        return Source(path, "iceberg", [])
    if (path / ".hoodie").is_dir():
        raise InputRejected(
            f"{path} is a Hudi table, whose files alone do not tell which rows are live; export it as CSV or Parquet"
        )
    return _folder_of_parts(path)


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


def _hint(folder: Path, table: str) -> str:
    """Return what is there instead: a file that cannot be read, or one folder deeper, as archives are unpacked."""
    of_its_name = [path.name for path in sorted(folder.iterdir()) if path.stem.split(".")[0].lower() == table]
    if of_its_name:
        return (
            f"{of_its_name[0]} has an ending that is not read: export it as CSV or Parquet, or correct its name if "
            "it is one of them"
        )
    deeper = [path for path in sorted(folder.glob("*/*")) if _table_of(path.name, is_folder=path.is_dir()) == table]
    return f"give the directory {deeper[0].parent}, which has one" if deeper else ""


def _folder_of_parts(folder: Path) -> Source:
    parts: dict[Format, list[Part]] = {}
    skipped = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_dir() or any(name.startswith(("_", ".")) for name in inside.parts):
            continue
        name = f"{folder.name}/{inside.as_posix()}"
        format_ = _format(path)
        if format_ is None and re.match(r"part-|\d+_\d+", path.name):
            raise InputRejected(
                f"{folder.parent / name} is in a format that cannot be read; export it as CSV or Parquet"
            )
        if format_ is None:
            skipped.append(inside.as_posix())
        elif path.stat().st_size:  # Spark leaves empty files for empty partitions
            parts.setdefault(format_, []).append(Part(path, name, _partition(inside)))
    twice = _twice(path for of_format in parts.values() for path in of_format)
    if twice:
        raise InputRejected(f"{folder} holds {twice}, which may be the same rows; leave one of them")
    if len(parts) > 1:
        some = " and ".join(of_format[0].name for of_format in parts.values())
        raise InputRejected(f"{folder} holds both text and Parquet ({some}); leave the files of one kind")
    for only, of_format in parts.items():
        return Source(folder, only, of_format, skipped)
    raise InputRejected(f"{folder} holds no CSV and no Parquet files; export the table again")


def _twice(parts: Iterable[Part]) -> str:
    """Name two parts that differ in their compression alone; empty if there are none."""
    names: dict[str, str] = {}
    for part in parts:
        first = names.setdefault(re.sub(COMPRESSED + "$", "", part.name), part.name)
        if first != part.name:
            return f"{first} and {part.name}"
    return ""


def _partition(inside: Path) -> dict[str, str | None]:
    """Return the columns that the folders of a path name, such as rating=4.0."""
    pairs = [folder.split("=", 1) for folder in inside.parts[:-1] if "=" in folder]
    return {unquote(name): None if value == _NULL_PARTITION else unquote(value) for name, value in pairs}


def _format(path: Path) -> Format | None:
    """Return the format of a file by its name, or by its first bytes where the name has no ending."""
    if match := re.search(_ENDING + "$", path.name.lower()):
        return "parquet" if match[0] in (".parquet", ".parq", ".pq") else "text"
    try:
        with path.open("rb") as file:
            if file.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC:
                return "parquet"
    except OSError as error:
        raise InputRejected(f"{path} cannot be read ({error.strerror}); check the right to it") from None
    return None
