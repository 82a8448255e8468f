"""Pieces: what of a table one task reads, so that many can read it at a time, wherever its files lie.

A piece is a file, or some lines or row groups of one. Pieces are grouped into shares of about equal work: a share is
several small files, or one piece of a large one. Nothing here reads rows, but for the footers of large Parquet files
and the first lines of large text files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow.parquet as pq

from recmodel import storage
from recmodel.data import iceberg, text
from recmodel.data.layouts import Part, Source
from recmodel.data.text import Dialect

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

TEXT_BYTES = 48 << 20  # of a share: about two million ratings
PARQUET_BYTES = 16 << 20  # files up to this size are not divided
PARQUET_ROWS = 1 << 21
_FOOTERS = 16  # read at a time: most of the time is waiting, where files are far away


@dataclass(frozen=True)
class TextPiece:
    """The lines of a text file that begin in a range of its bytes."""

    part: Part
    dialect: Dialect | None = None  # None: it is found out when the piece is read
    start: int = 0  # bytes; beyond the header, or 0
    end: int | None = None  # None: the end of the file


@dataclass(frozen=True)
class ParquetPiece:
    """A Parquet file, or some row groups of it."""

    part: Part
    row_groups: tuple[int, ...] | None = None  # None: all
    rows_before: int = 0  # rows of the file before these
    # Of a file of a Delta or Iceberg table, whose log says what the files alone do not:
    layout: str = ""  # what to call the table; empty: a Parquet file
    schema: pa.Schema | None = None  # the table's; None: the file's own
    values: ds.Expression | None = field(default=None, compare=False)  # of columns that are in the log alone


@dataclass(frozen=True)
class IcebergPiece:
    """All live rows of an Iceberg table whose data files do not say by themselves which rows these are."""

    part: Part  # the table


@dataclass(frozen=True)
class KeptPiece:
    """What a share of the input was found to hold, when it was read for several dates; see `kept`."""

    part: Part  # the file of its ratings (`schemas.STAGED`)
    rejects: str | None  # where the file of its rejects (`schemas.TIMED_REJECTS`) is; None: there are none
    lines_before: int  # to be added to the row numbers of the rejects
    left_out: int  # rows that are not kept, as they are later than any of the dates
    findings: dict[str, Any] = field(compare=False)  # `reading.Findings`
    observed: list[float] = field(compare=False)  # see `rules.OnScale`


Piece: TypeAlias = TextPiece | ParquetPiece | IcebergPiece | KeptPiece
Share: TypeAlias = Sequence[Piece]  # what one task reads, in order


def whole(source: Source) -> list[Piece]:
    """Return the files of a table as they are, in order; those of a Delta table are found in its log.

    Raises:
        InputRejected: the log of a Delta table cannot be read.
    """
    if source.format == "delta":
        return [*_live_files(source)]
    if source.format == "iceberg":
        return _of_iceberg(source)
    return [TextPiece(part) if source.format == "text" else ParquetPiece(part) for part in source.parts]


def shares(source: Source, *, has_text: bool) -> list[Share]:
    """Divide a table into what tasks read, in the order of its rows.

    Args:
        has_text: see `text.detect`.

    Raises:
        InputRejected: a file is empty, no text or damaged.
    """
    files = whole(source)
    with ThreadPoolExecutor(_FOOTERS) as threads:
        divided = [*threads.map(lambda file: _divide(file, has_text=has_text), files)]
    return [*_grouped(divided)]


def is_continuation(share: Share) -> bool:
    """Return whether a share begins in the middle of a text file, so that the numbers of its lines are not known."""
    return isinstance(share[0], TextPiece) and share[0].start > 0


def _divide(file: Piece, *, has_text: bool) -> list[Piece]:
    if isinstance(file, ParquetPiece) and file.part.size > PARQUET_BYTES:
        return [*_of_row_groups(file)]
    if isinstance(file, TextPiece) and file.part.size > TEXT_BYTES:
        return [*of_bytes(file.part, text.detect(file.part, has_text=has_text), TEXT_BYTES)]
    return [file]


def of_bytes(part: Part, dialect: Dialect, size: int) -> Iterator[TextPiece]:
    """Divide a text file into pieces of `size` bytes, unless it must be read from its beginning."""
    starts = [0]
    if dialect.is_plain:
        with text.open_text(part.location, dialect) as file:
            for _ in range(dialect.layout.lines_before_rows):
                file.readline()
            first_row = file.tell()
        starts += [start for start in range(size, part.size, size) if start >= first_row]
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        yield TextPiece(part, dialect, start, end)


def _of_row_groups(file: ParquetPiece) -> Iterator[ParquetPiece]:
    """Divide a Parquet file into pieces of at least `PARQUET_ROWS`, but for the last."""
    with storage.open_file(file.part.location) as opened:
        footer = pq.read_metadata(opened)
    groups: list[int] = []
    before = rows = 0
    for group in range(footer.num_row_groups):
        groups.append(group)
        rows += footer.row_group(group).num_rows
        if rows >= PARQUET_ROWS or group == footer.num_row_groups - 1:
            yield replace(file, row_groups=tuple(groups), rows_before=before)
            groups, before, rows = [], before + rows, 0
    if not footer.num_row_groups:
        yield file


def _grouped(files: Iterable[list[Piece]]) -> Iterator[Share]:
    """Join the pieces of small files; those of a file that was divided stay alone."""
    waiting: list[Piece] = []
    fill = 0.0  # of a share
    for pieces in files:
        if len(pieces) > 1:
            if waiting:
                yield waiting
            yield from ([piece] for piece in pieces)
            waiting, fill = [], 0.0
            continue
        waiting += pieces
        fill += pieces[0].part.size / (TEXT_BYTES if isinstance(pieces[0], TextPiece) else PARQUET_BYTES)
        if fill >= 1:
            yield waiting
            waiting, fill = [], 0.0
    if waiting:
        yield waiting


def _live_files(source: Source) -> Iterator[ParquetPiece]:
    dataset, version = delta_dataset(source.location)
    layout = f"Delta table, version {version}"
    for fragment in dataset.get_fragments():
        location = storage.inside(source.location, fragment.path)
        size = dataset.filesystem.get_file_info(fragment.path).size
        part = Part(location, f"{source.name}/{fragment.path}", size)
        yield ParquetPiece(part, layout=layout, schema=dataset.schema, values=fragment.partition_expression)


def _of_iceberg(source: Source) -> list[Piece]:
    table = iceberg.open_folder(source.location)
    files = iceberg.plain_files(source.location, table)
    if files is None:
        return [IcebergPiece(Part(source.location, source.name, 0))]
    layout, schema = iceberg.described(table), iceberg.arrow_schema(table, iceberg.column_names(table))
    return [
        ParquetPiece(Part(file.location, f"{source.name}/{file.name}", file.size), layout=layout, schema=schema)
        for file in files
    ]


def delta_dataset(location: str) -> tuple[ds.FileSystemDataset, int]:
    """Open the live files of a Delta table; return them and the version of the table.

    Raises:
        InputRejected: its log cannot be read, or asks for what cannot be done here.
    """
    from deltalake import DeltaTable  # slow to import, and few need it
    from deltalake.exceptions import DeltaError

    from recmodel.errors import InputRejected

    try:
        table = DeltaTable(location)
        return table.to_pyarrow_dataset(), table.version()
    except DeltaError as error:
        reason = str(error).splitlines()[0]
        raise InputRejected(
            f"{location} is a Delta table that cannot be read ({reason}); export it as Parquet"
        ) from None
