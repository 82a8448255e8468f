"""Iceberg: the live rows of Iceberg tables, read by PyIceberg.

Deletes and renamed columns are respected. Catalogues are those of PyIceberg's own configuration.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import pyarrow as pa

from recmodel import storage
from recmodel.errors import InputRejected, RecmodelError, UsageRejected
from recmodel.storage import Location

if TYPE_CHECKING:
    from pyiceberg.table import Table

_OF_S3 = {"s3.endpoint": "AWS_ENDPOINT_URL", "s3.region": "AWS_REGION"}
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

        newest = _newest_metadata(storage.below(folder, "metadata"))
        # What PyArrow and others take from the environment, PyIceberg takes from its own settings alone.
        given = {name: os.environ[variable] for name, variable in _OF_S3.items() if variable in os.environ}
        return StaticTable.from_metadata(newest, given)


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


class DataFile(NamedTuple):
    """A Parquet file of a table, all rows of which are live."""

    location: str  # a path or a URI
    name: str  # below the table
    size: int  # bytes


def plain_files(name: str, table: Table) -> list[DataFile] | None:
    """Return the live data files if any reader of Parquet finds the live rows in them; None otherwise.

    That is so where no file has deletes, and no column was ever renamed, dropped or given another type.

    Raises:
        InputRejected: the metadata cannot be read.
    """
    with _readable(name):
        if not _has_kept_its_columns(table):
            return None
        files = []
        for task in table.scan().plan_files():
            if task.delete_files or task.file.file_format.value != "PARQUET":
                return None
            place = task.file.file_path
            below = place.removeprefix(f"{table.location().rstrip('/')}/")
            files.append(DataFile(_location(place), below, task.file.file_size_in_bytes))
        return files


def _has_kept_its_columns(table: Table) -> bool:
    """Return whether each name has always stood for the same column, and each column is there still."""
    now = {field.field_id: field for field in table.schema().fields}
    earlier = [field for schema in table.schemas().values() for field in schema.fields]
    names = {field.name for field in now.values()}
    return (
        len(names) == len(now)
        and all(
            field.field_id in now
            and (field.name, field.field_type) == (now[field.field_id].name, now[field.field_id].field_type)
            for field in earlier
        )
        and all(field.initial_default is None for field in now.values())
    )


def _location(place: str) -> str:
    """Return where a file is, as the rest of the program has it. Iceberg's URIs are not quoted."""
    parts = re.match(r"(\w+)://([^/]*)(/.*)", place)
    if parts is None or parts[1] == "file":
        return parts[3] if parts else place.removeprefix("file:")
    return f"{re.sub('^s3[an]$', 's3', parts[1])}://{parts[2]}{quote(parts[3])}"


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


def _newest_metadata(folder: str) -> str:
    names = storage.names(folder)
    hint = (storage.read(storage.below(folder, "version-hint.text")) or b"").decode().strip()
    hinted = [name for name in (f"v{hint}.metadata.json", hint) if name in names]
    numbered = [(int(match[1]), name) for name in names if (match := re.fullmatch(_METADATA, name))]
    if not hinted and not numbered:
        raise InputRejected(f"{folder} names no version of the Iceberg table; export it as Parquet")
    newest = storage.below(folder, hinted[0] if hinted else max(numbered)[1])
    return newest if storage.is_uri(newest) else str(Path(newest).resolve())


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
