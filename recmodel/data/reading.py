"""Reading: pieces of one table, checked row by row.

Takes pieces (`pieces`) and what is asked of their rows, and yields blocks of accepted rows (typed) and rejected rows
(with file, row, column, value and reason). `lines` reads text files, and `values` turns columns into their types.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from recmodel import schemas as c
from recmodel import storage
from recmodel.data import columns, iceberg, lines, pieces, text
from recmodel.data.ahead import ahead
from recmodel.data.columns import Names
from recmodel.data.layouts import Source
from recmodel.data.lines import printable, reject
from recmodel.data.pieces import IcebergPiece, ParquetPiece, Piece, TextPiece
from recmodel.data.text import Dialect
from recmodel.data.values import SAMPLE_ROWS, Conversion, Decisions, Vocabulary
from recmodel.errors import InputRejected

_PARQUET_BATCH_ROWS = 1 << 17
READ_AS = b"recmodel.read_as"  # in the metadata of a copy: what it is a copy of

# Marks the rows of a batch that a rule refuses: (column, reason, mask).
Rule = Callable[[pa.RecordBatch], "tuple[str, str, pa.BooleanArray]"]


@dataclass(frozen=True)
class Contract:
    """What is asked of the rows of a table, wherever they are read."""

    table: str  # its location, for error messages
    schema: pa.Schema  # what the columns become
    rules: list[Rule]
    names: Names  # what the columns are called, where they have uncommon names
    movies: Vocabulary | None = None  # see `values.Conversion`
    as_of: str = ""  # rows of later times are left out before anything else is asked of them; empty: none are
    last_second: int | None = None  # of these times


@dataclass(frozen=True)
class Checked:
    """A block of input rows, split into those that can be used and those that cannot (`schemas.REJECTS`)."""

    accepted: pa.RecordBatch
    rejected: pa.RecordBatch
    times: pa.Array  # of the rejected rows, in seconds since 1970; null where it cannot be read
    left_out: int = 0  # rows of a later time than was asked for, which are neither

    @property
    def rows_in(self) -> int:
        return self.accepted.num_rows + self.rejected.num_rows


@dataclass
class Findings:
    """What was found out about a table, or about a share of it, while it was read."""

    layouts: dict[str, None] = field(default_factory=dict)  # in the order in which they were met
    encodings: dict[str, None] = field(default_factory=dict)  # of text files
    assumptions: dict[str, None] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)  # ours, by what a file calls them
    ignored: dict[str, None] = field(default_factory=dict)  # columns that nobody reads
    lines: int = 0  # of the last text file, from where its reading has begun

    @property
    def has_times(self) -> bool:
        """Whether there is a column of times."""
        return c.TIMESTAMP in self.columns.values()


def check(
    of_table: Iterable[Piece], contract: Contract, findings: Findings, decisions: Decisions | None = None
) -> Generator[Checked]:
    """Read pieces of a table, one after the other, and accept each row, or reject it with the first reason.

    Reasons are a value that cannot be read as its column's type, and a rule that marks the row. Only genres and
    external ids may be empty. Without a column of timestamps all of them are 0.

    Args:
        findings: gets what is found out while reading.
        decisions: of the rows before these, to which those of these rows are added.

    Raises:
        InputRejected: a file cannot be read at all, or lacks a column; or what was there at a time is asked for, and
            the table has no times.
    """
    conversion = Conversion(contract.table, contract.schema, contract.movies, decisions)
    reader = _Reader(contract.schema, contract.names, findings)
    with _refused_if_unreadable(contract.table):
        for block in ahead(reader.blocks(of_table)):
            refuse_without_times(contract, findings)
            checked = _check_block(block, contract, conversion)
            findings.assumptions |= conversion.assumptions
            yield checked


def refuse_without_times(contract: Contract, findings: Findings) -> None:
    """Raise InputRejected if what was there at a time is asked for, and the table has no times."""
    if contract.last_second is not None and not findings.has_times:
        raise InputRejected(
            f"{contract.table} has no column of times, so what it held as of {contract.as_of} is not known; "
            "leave --as-of (input.as_of) out, or add the column"
        )


def column_names(source: Source) -> list[str]:
    """Return the columns of a table as its first file has them, those in its path included.

    Raises:
        InputRejected: the file cannot be read.
    """
    with _refused_if_unreadable(source.location):
        if source.format == "delta":
            return pieces.delta_dataset(source.location)[0].schema.names
        if source.format == "iceberg":
            return iceberg.column_names(iceberg.open_folder(source.location))
        part = source.parts[0]
        if source.format == "parquet":
            names = storage.dataset(part.location).schema.names
        else:
            names = text.detect(part, has_text=False).layout.columns
        return [*names, *(name for name in part.partition if name not in names)]


def first_values(source: Source, names: list[str], settings: Names) -> pa.RecordBatch:
    """Return the first values of some columns of ours, in that order, not converted and with the names in the file.

    Raises:
        InputRejected: the file cannot be read, or lacks a column.
    """
    reader = _Reader(pa.schema([(name, pa.string()) for name in names]), settings, Findings())
    with (
        _refused_if_unreadable(source.location),
        contextlib.closing(reader.blocks(pieces.whole(source))) as blocks,
    ):
        for block in blocks:
            if len(block.row_numbers):
                return pa.RecordBatch.from_arrays(block.columns, names=block.names)[:SAMPLE_ROWS]
    return pa.RecordBatch.from_arrays([pa.nulls(0)] * len(names), names=names)


def parquet_rows(source: Source) -> int:
    """Count the rows of a table in Parquet files, from their footers.

    Raises:
        InputRejected: a file cannot be read.
    """
    with _refused_if_unreadable(source.location):
        if source.format == "delta":
            return pieces.delta_dataset(source.location)[0].count_rows()
        if source.format == "iceberg":
            return iceberg.count(source.location, iceberg.open_folder(source.location))
        return sum(storage.dataset(part.location).count_rows() for part in source.parts)


def text_rows(source: Source) -> int:
    """Count the rows of a table in text files by their lines, which are not parsed."""
    rows = 0
    with _refused_if_unreadable(source.location):
        for part in source.parts:
            dialect = text.detect(part, has_text=False)
            with text.open_text(part.location, dialect) as file:
                rows += sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 22), b""))
            rows -= dialect.layout.lines_before_rows
    return rows


def live_size(source: Source) -> int:
    """Return the bytes of the live files of a Delta or Iceberg table."""
    if source.format == "iceberg":
        return iceberg.size(source.location, iceberg.open_folder(source.location))
    with _refused_if_unreadable(source.location):
        return sum(piece.part.size for piece in pieces.whole(source))


def shares(source: Source, schema: pa.Schema) -> list[pieces.Share]:
    """Return what of a table each task reads; see `pieces.shares`.

    Raises:
        InputRejected: a file cannot be read.
    """
    with _refused_if_unreadable(source.location):
        if _has_prose(schema):
            return [pieces.whole(source)]
        return pieces.shares(source, has_text=pa.string() in schema.types)


def _has_prose(schema: pa.Schema) -> bool:
    """Return whether a table has columns of text, other than ids: then every line is parsed by Python."""
    return any(field.type == pa.string() and field.name not in c.PAIRS.names for field in schema)


@contextmanager
def _refused_if_unreadable(location: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowKeyError, pa.ArrowNotImplementedError, OSError, *text.UNREADABLE) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputRejected(f"{location} cannot be read ({reason}); export it again") from None


# -- one block ---------------------------------------------------------------------------------------------------

_MAY_BE_EMPTY = {c.GENRES, c.IMDB_ID, c.TMDB_ID}
_MISSING = "is missing"


def _check_block(block: _Block, contract: Contract, conversion: Conversion) -> Checked:
    schema = contract.schema
    typed = conversion(block.columns, block.names)
    in_time = np.ones(typed.num_rows, bool)
    if contract.last_second is not None:
        late = pc.fill_null(pc.greater(typed.column(c.TIMESTAMP), contract.last_second), fill_value=False)
        in_time = ~late.to_numpy(zero_copy_only=False)
    refusals = []
    for stored, f in zip(block.columns, schema, strict=True):
        if f.name in _MAY_BE_EMPTY or not typed.column(f.name).null_count:
            continue
        if stored.null_count:  # whose reason does not depend on how other rows are written
            refusals.append((f.name, _MISSING, pc.is_null(stored)))
        refusals.append((f.name, conversion.reason(f.name), pc.is_null(typed.column(f.name))))
    readable = in_time.copy()
    for _, _, mask in refusals:
        readable &= ~mask.to_numpy(zero_copy_only=False)
    refusals += [_on_readable(rule, typed, readable) for rule in contract.rules]

    accepted = in_time.copy()
    times = typed.column(c.TIMESTAMP) if c.TIMESTAMP in schema.names else pa.nulls(typed.num_rows, pa.int64())
    rejects = list(block.malformed)
    for name, reason, mask in refusals:
        refused_here = accepted & mask.to_numpy(zero_copy_only=False)
        accepted &= ~refused_here
        column = schema.get_field_index(name)
        for i in np.flatnonzero(refused_here):
            value = printable(block.columns[column][int(i)].as_py())
            row = reject(block.file, int(block.row_numbers[i]), block.names[column], value, reason)
            rejects.append(row | {c.TIMESTAMP: times[int(i)].as_py()})
    rejects.sort(key=lambda row: row["row"])
    return Checked(
        accepted=typed if accepted.all() else typed.filter(pa.array(accepted)),
        rejected=pa.RecordBatch.from_pylist(rejects, schema=c.REJECTS),
        times=pa.array([row.get(c.TIMESTAMP) for row in rejects], pa.int64()),
        left_out=int((~in_time).sum()),
    )


def _on_readable(rule: Rule, typed: pa.RecordBatch, readable: np.ndarray) -> tuple[str, str, pa.BooleanArray]:
    """Apply a rule to the rows without nulls only, so that rules need not handle them."""
    if readable.all():
        return rule(typed)
    column, reason, mask = rule(typed.filter(pa.array(readable)))
    whole = np.zeros(typed.num_rows, bool)
    whole[readable] = mask.to_numpy(zero_copy_only=False)
    return column, reason, pa.array(whole)


# -- files ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Block:
    """Some rows of a file before they are converted: one array per column of the schema, and the malformed rows."""

    file: str  # as the rejects have it
    columns: list[pa.Array]
    names: list[str]  # of the columns, as the file calls them
    row_numbers: np.ndarray
    malformed: list[dict]  # rejects: rows with the wrong number of fields


@dataclass(frozen=True)
class _Place:
    """Where the columns of a schema are in one file."""

    ours: list[str]  # the columns of the schema
    names: list[str]  # as the file calls them
    positions: list[int]  # of those that are in the file
    stored: list[int]  # indices in the schema of those
    constants: dict[int, str | None]  # by index in the schema: the value of the others, which is the same for all rows

    def ids_as_text(self, of_file: pa.Schema) -> list[str]:
        """Return the columns of ids that are text in a file with that schema."""
        names = {self.names[index] for index in self.stored if self.ours[index] in c.PAIRS.names}
        return [name for name in of_file.names if name in names and of_file.field(name).type == pa.string()]

    def complete(self, stored: list[pa.Array], rows: int) -> list[pa.Array]:
        """Return one array per column of the schema."""
        arrays = dict(zip(self.stored, stored, strict=True))
        for index, value in self.constants.items():
            arrays[index] = pa.nulls(rows, pa.string()) if value is None else pa.repeat(pa.scalar(value), rows)
        return [arrays[index] for index in range(len(self.names))]


@dataclass(frozen=True)
class _Reader:
    """Reads pieces of one table into blocks that are not converted yet."""

    schema: pa.Schema
    names: Names
    findings: Findings

    def blocks(self, of_table: Iterable[Piece]) -> Generator[_Block]:
        """Yield blocks of pieces of a table."""
        for piece in of_table:
            if isinstance(piece, TextPiece):
                yield from self._text_blocks(piece)
            elif isinstance(piece, ParquetPiece):
                yield from self._parquet_blocks(piece)
            elif isinstance(piece, IcebergPiece):
                yield from self._iceberg_blocks(piece)

    def _iceberg_blocks(self, piece: IcebergPiece) -> Iterator[_Block]:
        """Yield blocks of the live rows of an Iceberg table, which are numbered in the order in which they are read."""
        location = piece.part.location
        table = iceberg.open_folder(location)
        self.findings.layouts[f"{iceberg.described(table)}, in one piece, as it has deletes or changed columns"] = None
        present = iceberg.column_names(table)
        place = self._place(location, present, {})
        chosen = [present[position] for position in place.positions]
        first = 1
        for batch in iceberg.batches(location, table, chosen):
            rows = np.arange(first, first + batch.num_rows)
            yield _Block(piece.part.name, place.complete(batch.columns, batch.num_rows), place.names, rows, [])
            first += batch.num_rows

    def _parquet_blocks(self, piece: ParquetPiece) -> Iterator[_Block]:
        """Yield blocks as they are stored. Row numbers start at 1."""
        store, path = storage.at(piece.part.location)
        fragment = pyarrow.dataset.ParquetFileFormat().make_fragment(path, store, piece.values)
        schema = piece.schema or fragment.physical_schema
        layout = piece.layout or (schema.metadata or {}).get(READ_AS, b"Parquet").decode()
        self.findings.layouts[layout] = None
        file = piece.part.name if piece.layout else piece.part.location
        place = self._place(file, schema.names, piece.part.partition)
        if piece.schema is None and (texts := place.ids_as_text(schema)):  # of which each is read, and checked, once
            fragment = pyarrow.dataset.ParquetFileFormat(dictionary_columns=texts).make_fragment(path, store)
            schema = fragment.physical_schema
        if piece.row_groups is not None:  # `make_fragment` would read them in the order of a set
            fragment = fragment.subset(row_group_ids=piece.row_groups)
        first = 1 + piece.rows_before
        # Blocks are read faster than they are checked: reading ahead would fill memory with blocks that wait.
        no_buffer = pyarrow.dataset.ParquetFragmentScanOptions(pre_buffer=False)
        for batch in fragment.to_batches(
            schema=schema,
            columns=[schema.names[i] for i in place.positions],
            batch_size=_PARQUET_BATCH_ROWS,
            batch_readahead=1,
            use_threads=False,
            fragment_scan_options=no_buffer,
        ):
            rows = np.arange(first, first + batch.num_rows)
            yield _Block(piece.part.name, place.complete(batch.columns, batch.num_rows), place.names, rows, [])
            first += batch.num_rows

    def _text_blocks(self, piece: TextPiece) -> Iterator[_Block]:
        """Yield blocks of undecoded text.

        Row numbers are those of the file's lines: a header is row 1. Where a piece begins in the middle of a file, they
        go on from the piece before it, or begin with 1 if this one is the first.
        """
        part = piece.part
        dialect = piece.dialect or text.detect(part, has_text=pa.string() in self.schema.types)
        self.findings.layouts[dialect.layout_name] = None
        self.findings.encodings[dialect.encoding_name] = None
        place = self._place(part.location, dialect.layout.columns, part.partition)
        with text.open_text(part.location, dialect) as file:
            if piece.start:
                lines.skip_line(file, piece.start, part.size if piece.end is None else piece.end)
            else:
                self.findings.lines = dialect.layout.lines_before_rows
                for _ in range(self.findings.lines):
                    file.readline()
            for rows in self._rows(file, piece, dialect, place.positions or [0]):
                stored = rows.columns[: len(place.positions)]
                arrays = place.complete(stored, len(rows.numbers))
                self.findings.lines = rows.lines
                yield _Block(part.name, arrays, place.names, rows.numbers, rows.malformed)

    def _rows(self, file: BinaryIO, piece: TextPiece, dialect: Dialect, positions: list[int]) -> Iterator[lines.Rows]:
        before = self.findings.lines
        if _has_prose(self.schema):
            return lines.of_text(file, piece.part, dialect.layout, positions, before)
        return lines.of_numbers(file, piece.part, dialect.layout, positions, before, piece.end)

    def _place(self, file: str, stored_names: list[str], partition: dict[str, str | None]) -> _Place:
        """Find the columns of the schema in a file or in its path, and note those that nobody reads."""
        present = [*stored_names, *(name for name in partition if name not in stored_names)]
        found = columns.locate(file, self.schema.names, present, self.names)
        names, positions, stored = list[str](), list[int](), list[int]()
        constants: dict[int, str | None] = {}
        for index, (ours, position) in enumerate(zip(self.schema.names, found, strict=True)):
            if position is None:
                self.findings.assumptions["no column of times, so the order of the ratings is unknown"] = None
                names.append(ours)
                constants[index] = "0"
                continue
            name = present[position]
            names.append(name)
            self.findings.columns[name] = ours
            if name.strip().casefold() not in (ours, columns.movielens_name(ours).casefold()):
                self.findings.assumptions[f"{name.strip()} taken as {columns.movielens_name(ours)}"] = None
            if position < len(stored_names):
                positions.append(position)
                stored.append(index)
            else:
                constants[index] = partition[name]
        used = set(names)
        self.findings.ignored |= dict.fromkeys(name or "(without a name)" for name in present if name not in used)
        return _Place(self.schema.names, names, positions, stored, constants)
