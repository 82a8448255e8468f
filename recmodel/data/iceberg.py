"""Iceberg: the live rows of Iceberg tables, read by PyIceberg.

Deletes and renamed columns are respected. Catalogues are those of PyIceberg's own configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from recmodel import storage
from recmodel.errors import InputRejected, RecmodelError, UsageRejected
from recmodel.storage import Location

if TYPE_CHECKING:
    from pyiceberg.table import Table

_METADATA = r"v?(\d+).*\.metadata\.json"  # Hadoop's v3.metadata.json, and 00003-<uuid>.metadata.json of catalogues


def is_table(folder: Location) -> bool:
    """Return whether a folder is that of an Iceberg table."""
    return any(name.endswith(".metadata.json") for name in storage.names(storage.below(folder, "metadata")))


def open_folder(folder: Location) -> Table:
    """Open the newest version of the table in a folder, without a catalogue.

    Raises:
        InputRejected: its metadata cannot be read.
        UsageRejected: PyIceberg is not installed.
    """
    with _readable(str(folder)):
        from pyiceberg.table import StaticTable

        return StaticTable.from_metadata(str(_newest_metadata(Path(folder, "metadata")).resolve()))


def open_named(name: str) -> Table | None:
    """Open `catalog.namespace.table`; None if the catalogue has no such table.

    Raises:
        InputRejected: the catalogue cannot be reached, or the table cannot be read.
        UsageRejected: PyIceberg is not installed, or does not know the catalogue.
    """
    catalogue, _, identifier = name.partition(".")
    with _readable(f"iceberg:{name}"):
        from pyiceberg.catalog import load_catalog
        from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

        try:
            opened = load_catalog(catalogue)
        except ValueError as error:
            raise UsageRejected(
                f"PyIceberg cannot open the catalogue {catalogue} of iceberg:{name} ({_first_line(error)}); describe "
                f"it in .pyiceberg.yaml or in PYICEBERG_CATALOG__{catalogue.upper()}__URI"
            ) from None
        try:
            return opened.load_table(identifier)
        except (NoSuchTableError, NoSuchNamespaceError):
            return None


def described(table: Table) -> str:
    """Return how the table is read, with its snapshot, as the input lines have it."""
    snapshot = table.current_snapshot()
    return f"Iceberg table, snapshot {snapshot.snapshot_id}" if snapshot else "Iceberg table without a snapshot"


def column_names(table: Table) -> list[str]:
    """Return the names of the columns as they are now."""
    return [field.name for field in table.schema().fields]


def arrow_schema(table: Table, columns: list[str]) -> pa.Schema:
    """Return the Arrow schema of some columns, in that order."""
    whole = table.schema().as_arrow()
    return pa.schema([whole.field(name).remove_metadata() for name in columns])


def batches(name: str, table: Table, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield the live rows, the columns in the order of `columns`.

    Raises:
        InputRejected: files are missing or damaged, or deletes are of a kind that PyIceberg cannot apply.
    """
    with _readable(name):
        for batch in table.scan(selected_fields=tuple(columns)).to_arrow_batch_reader():
            yield batch.select(columns)  # PyIceberg keeps the order of the table


def count(name: str, table: Table) -> int:
    """Count the live rows. Raises InputRejected as `batches` does."""
    with _readable(name):
        return table.scan().count()


def size(name: str, table: Table) -> int:
    """Return the bytes of the live data files. Raises InputRejected as `batches` does."""
    with _readable(name):
        return sum(task.file.file_size_in_bytes for task in table.scan().plan_files())


def _newest_metadata(folder: Path) -> Path:
    hint = folder / "version-hint.text"
    if hint.is_file():
        named = [folder / f"v{hint.read_text().strip()}.metadata.json", folder / hint.read_text().strip()]
        for path in named:
            if path.is_file():
                return path
    numbered = [(int(match[1]), path) for path in folder.iterdir() if (match := re.fullmatch(_METADATA, path.name))]
    if not numbered:
        raise InputRejected(f"{folder} names no version of the Iceberg table; export it as Parquet")
    return max(numbered)[1]


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except RecmodelError:
        raise
    except ImportError as error:
        raise UsageRejected(
            f"{name} is an Iceberg table, and {error.name} is not installed; pip install '.[iceberg]'"
        ) from None
    except Exception as error:  # PyIceberg, its catalogues and file systems have no common error
        raise InputRejected(
            f"{name} is an Iceberg table that cannot be read ({_first_line(error)}); correct that, or export it as "
            "Parquet"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
