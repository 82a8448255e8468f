"""Reading: the files of one table, checked row by row.

Takes a source (`layouts`), a schema and rules, and yields blocks of accepted rows (typed) and rejected rows (with file,
row, column, value and reason). `lines` reads text files, and `values` turns columns into their types.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from recmodel import schemas as c
from recmodel.data import columns, iceberg, lines, text
from recmodel.data.ahead import ahead
from recmodel.data.layouts import Part, Source
from recmodel.data.limits import Columns
from recmodel.data.lines import printable, reject
from recmodel.data.values import SAMPLE_ROWS, Conversion, Vocabulary
from recmodel.errors import InputRejected

_PARQUET_BATCH_ROWS = 1 << 17
READ_AS = b"recmodel.read_as"  # in the metadata of a copy: what it is a copy of

# Marks the rows of a batch that a rule refuses: (column, reason, mask).
Rule = Callable[[pa.RecordBatch], "tuple[str, str, pa.BooleanArray]"]


@dataclass(frozen=True)
class Checked:
    """A block of input rows, split into those that can be used and those that cannot (`schemas.REJECTS`)."""

    accepted: pa.RecordBatch
    rejected: pa.RecordBatch
    left_out: int = 0  # rows of a later time than was asked for, which are neither

    @property
    def rows_in(self) -> int:
        return self.accepted.num_rows + self.rejected.num_rows


@dataclass
class Findings:
    """What was found out about a table while it was read."""

    layouts: dict[str, None] = field(default_factory=dict)  # in the order in which they were met
    encodings: dict[str, None] = field(default_factory=dict)  # of text files
    assumptions: dict[str, None] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)  # ours, by what a file calls them
    ignored: dict[str, None] = field(default_factory=dict)  # columns that nobody reads


def check(
    source: Source,
    schema: pa.Schema,
    rules: list[Rule],
    settings: Columns,
    findings: Findings,
    movies: Vocabulary | None = None,
    last_second: int | None = None,
) -> Generator[Checked]:
    """Read a table as `schema` and accept each row, or reject it with the first reason that applies.

    Reasons are a value that cannot be read as its column's type, and a rule that marks the row. Only genres and
    external ids may be empty. Without a column of timestamps all of them are 0.

    Args:
        settings: what the columns are called, where they have uncommon names.
        findings: gets what is found out while reading.
        movies: see `values.Conversion`.
        last_second: rows of later times are left out before anything else is asked of them; None: none are.

    Raises:
        InputRejected: a file cannot be read at all, or lacks a column.
    """
    conversion = Conversion(str(source.path), schema, movies)
    findings.assumptions = conversion.assumptions
    reader = _Reader(schema, settings, findings)
    with _refused_if_unreadable(source.path):
        for block in ahead(reader.blocks(source)):
            yield _check_block(block, schema, rules, conversion, last_second)


def column_names(source: Source) -> list[str]:
    """Return the columns of a table as its first file has them, those in its path included.

    Raises:
        InputRejected: the file cannot be read.
    """
    with _refused_if_unreadable(source.path):
        if source.format == "delta":
            return _delta_dataset(source.path)[0].schema.names
        if source.format == "iceberg":
            return iceberg.column_names(iceberg.open_folder(source.path))
        part = source.parts[0]
        if source.format == "parquet":
            names = pyarrow.dataset.dataset(part.path, format="parquet").schema.names
        else:
            names = text.detect(part, has_text=False).layout.columns
        return [*names, *(name for name in part.partition if name not in names)]


def first_values(source: Source, names: list[str], settings: Columns) -> pa.RecordBatch:
    """Return the first values of some columns of ours, in that order, not converted and with the names in the file.

    Raises:
        InputRejected: the file cannot be read, or lacks a column.
    """
    reader = _Reader(pa.schema([(name, pa.string()) for name in names]), settings, Findings())
    with _refused_if_unreadable(source.path), contextlib.closing(reader.blocks(source)) as blocks:
        for block in blocks:
            if len(block.row_numbers):
                return pa.RecordBatch.from_arrays(block.columns, names=block.names)[:SAMPLE_ROWS]
    return pa.RecordBatch.from_arrays([pa.nulls(0)] * len(names), names=names)


def parquet_rows(source: Source) -> int:
    """Count the rows of a table in Parquet files, from their footers.

    Raises:
        InputRejected: a file cannot be read.
    """
    with _refused_if_unreadable(source.path):
        if source.format == "delta":
            return _delta_dataset(source.path)[0].count_rows()
        if source.format == "iceberg":
            return iceberg.count(str(source.path), iceberg.open_folder(source.path))
        return sum(pyarrow.dataset.dataset(part.path, format="parquet").count_rows() for part in source.parts)


def text_rows(source: Source) -> int:
    """Count the rows of a table in text files by their lines, which are not parsed."""
    rows = 0
    with _refused_if_unreadable(source.path):
        for part in source.parts:
            dialect = text.detect(part, has_text=False)
            with text.open_text(part.path, dialect) as file:
                rows += sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 22), b""))
            rows -= dialect.layout.lines_before_rows
    return rows


def live_size(source: Source) -> int:
    """Return the bytes of the live files of a Delta or Iceberg table."""
    if source.format == "iceberg":
        return iceberg.size(str(source.path), iceberg.open_folder(source.path))
    with _refused_if_unreadable(source.path):
        dataset, _ = _delta_dataset(source.path)
        return sum(dataset.filesystem.get_file_info(file).size for file in dataset.files)


@contextmanager
def _refused_if_unreadable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowKeyError, pa.ArrowNotImplementedError, OSError, *text.UNREADABLE) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputRejected(f"{path} cannot be read ({reason}); export it again") from None


# -- one block ---------------------------------------------------------------------------------------------------

_MAY_BE_EMPTY = {c.GENRES, c.IMDB_ID, c.TMDB_ID}


def _check_block(
    block: _Block, schema: pa.Schema, rules: list[Rule], conversion: Conversion, last_second: int | None
) -> Checked:
    typed = conversion(block.columns, block.names)
    in_time = np.ones(typed.num_rows, bool)
    if last_second is not None and c.TIMESTAMP in schema.names:
        late = pc.fill_null(pc.greater(typed.column(c.TIMESTAMP), last_second), fill_value=False)
        in_time = ~late.to_numpy(zero_copy_only=False)
    refusals = [
        (f.name, conversion.reason(f.name), pc.is_null(typed.column(f.name)))
        for f in schema
        if f.name not in _MAY_BE_EMPTY and typed.column(f.name).null_count
    ]
    readable = in_time.copy()
    for _, _, mask in refusals:
        readable &= ~mask.to_numpy(zero_copy_only=False)
    refusals += [_on_readable(rule, typed, readable) for rule in rules]

    accepted = in_time.copy()
    rejects = list(block.malformed)
    for name, reason, mask in refusals:
        refused_here = accepted & mask.to_numpy(zero_copy_only=False)
        accepted &= ~refused_here
        column = schema.get_field_index(name)
        for i in np.flatnonzero(refused_here):
            value = printable(block.columns[column][int(i)].as_py())
            rejects.append(reject(block.file, int(block.row_numbers[i]), block.names[column], value, reason))
    rejects.sort(key=lambda row: row["row"])
    return Checked(
        accepted=typed if accepted.all() else typed.filter(pa.array(accepted)),
        rejected=pa.RecordBatch.from_pylist(rejects, schema=c.REJECTS),
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

    names: list[str]  # as the file calls them
    positions: list[int]  # of those that are in the file
    stored: list[int]  # indices in the schema of those
    constants: dict[int, str | None]  # by index in the schema: the value of the others, which is the same for all rows

    def complete(self, stored: list[pa.Array], rows: int) -> list[pa.Array]:
        """Return one array per column of the schema."""
        arrays = dict(zip(self.stored, stored, strict=True))
        for index, value in self.constants.items():
            arrays[index] = pa.nulls(rows, pa.string()) if value is None else pa.repeat(pa.scalar(value), rows)
        return [arrays[index] for index in range(len(self.names))]


@dataclass(frozen=True)
class _Reader:
    """Reads the files of one table into blocks that are not converted yet."""

    schema: pa.Schema
    settings: Columns
    findings: Findings

    def blocks(self, source: Source) -> Generator[_Block]:
        """Yield blocks of the files of a table, or of the live rows of a Delta or Iceberg table."""
        if source.format == "delta":
            yield from self._delta_blocks(source)
        elif source.format == "iceberg":
            yield from self._iceberg_blocks(source)
        for part in source.parts:
            yield from self._text_blocks(part) if source.format == "text" else self._parquet_blocks(part)

    def _delta_blocks(self, source: Source) -> Iterator[_Block]:
        """Yield blocks of the live rows of a Delta table. Row numbers are those of its files."""
        dataset, version = _delta_dataset(source.path)
        self.findings.layouts[f"Delta table, version {version}"] = None
        for fragment in dataset.get_fragments():
            file = f"{source.name}/{fragment.path}"
            place = self._place(file, dataset.schema.names, {})
            of_fragment = functools.partial(fragment.to_batches, schema=dataset.schema)
            yield from _batches(file, dataset.schema.names, place, of_fragment)

    def _iceberg_blocks(self, source: Source) -> Iterator[_Block]:
        """Yield blocks of the live rows of an Iceberg table, which are numbered in the order in which they are read."""
        table = iceberg.open_folder(source.path)
        self.findings.layouts[iceberg.described(table)] = None
        present = iceberg.column_names(table)
        place = self._place(str(source.path), present, {})
        chosen = [present[position] for position in place.positions]
        first = 1
        for batch in iceberg.batches(str(source.path), table, chosen):
            rows = np.arange(first, first + batch.num_rows)
            yield _Block(source.name, place.complete(batch.columns, batch.num_rows), place.names, rows, [])
            first += batch.num_rows

    def _parquet_blocks(self, part: Part) -> Iterator[_Block]:
        """Yield blocks as they are stored. Row numbers start at 1."""
        dataset = pyarrow.dataset.dataset(part.path, format="parquet")
        self.findings.layouts[(dataset.schema.metadata or {}).get(READ_AS, b"Parquet").decode()] = None
        place = self._place(str(part.path), dataset.schema.names, part.partition)
        yield from _batches(part.name, dataset.schema.names, place, dataset.to_batches)

    def _text_blocks(self, part: Part) -> Iterator[_Block]:
        """Yield blocks of undecoded text. Row numbers are those of the file's lines: a header is row 1."""
        has_text = pa.string() in self.schema.types
        dialect = text.detect(part, has_text=has_text)
        self.findings.layouts[dialect.layout_name] = None
        self.findings.encodings[dialect.encoding_name] = None
        place = self._place(str(part.path), dialect.layout.columns, part.partition)
        with text.open_text(part.path, dialect) as file:
            for _ in range(dialect.layout.lines_before_rows):
                file.readline()
            has_prose = any(field.type == pa.string() and field.name not in c.PAIRS.names for field in self.schema)
            read = lines.of_text if has_prose else lines.of_numbers
            for rows in read(file, part, dialect.layout, place.positions or [0]):
                stored = rows.columns[: len(place.positions)]
                arrays = place.complete(stored, len(rows.numbers))
                yield _Block(part.name, arrays, place.names, rows.numbers, rows.malformed)

    def _place(self, file: str, stored_names: list[str], partition: dict[str, str | None]) -> _Place:
        """Find the columns of the schema in a file or in its path, and note those that nobody reads."""
        present = [*stored_names, *(name for name in partition if name not in stored_names)]
        found = columns.locate(file, self.schema.names, present, self.settings)
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
        return _Place(names, positions, stored, constants)


def _batches(
    file: str, stored_names: list[str], place: _Place, to_batches: Callable[..., Iterator[pa.RecordBatch]]
) -> Iterator[_Block]:
    """Yield blocks of one Parquet file."""
    first = 1
    # Blocks are read faster than they are checked: reading ahead would fill memory with blocks that wait.
    no_buffer = pyarrow.dataset.ParquetFragmentScanOptions(pre_buffer=False)
    for batch in to_batches(
        columns=[stored_names[i] for i in place.positions],
        batch_size=_PARQUET_BATCH_ROWS,
        batch_readahead=1,
        use_threads=False,
        fragment_scan_options=no_buffer,
    ):
        rows = np.arange(first, first + batch.num_rows)
        yield _Block(file, place.complete(batch.columns, batch.num_rows), place.names, rows, [])
        first += batch.num_rows


def _delta_dataset(path: Path) -> tuple[pyarrow.dataset.FileSystemDataset, int]:
    """Open the live files of a Delta table; return them and the version of the table.

    Raises:
        InputRejected: its log cannot be read, or asks for what cannot be done here.
    """
    from deltalake import DeltaTable  # slow to import, and few need it
    from deltalake.exceptions import DeltaError

    try:
        table = DeltaTable(path)
        return table.to_pyarrow_dataset(), table.version()
    except DeltaError as error:
        reason = str(error).splitlines()[0]
        raise InputRejected(f"{path} is a Delta table that cannot be read ({reason}); export it as Parquet") from None
