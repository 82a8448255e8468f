"""Reading: one CSV or Parquet file, checked row by row.

Takes a path, a schema and rules, and yields blocks of accepted rows (typed) and rejected rows (with file, row, column,
value and reason). Python loops over the rows of files with text (movies), because of their quotes, but not over those
of files of numbers (ratings), except where a value cannot be read.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset

from recmodel import schemas as c
from recmodel.errors import InputRejected

_CSV_BLOCK_BYTES = 4 << 20
_PARQUET_BATCH_ROWS = 1 << 17
_TEXT_BATCH_ROWS = 1 << 14

# Marks the rows of a batch that a rule refuses: (column, reason, mask).
Rule = Callable[[pa.RecordBatch], "tuple[str, str, pa.BooleanArray]"]


@dataclass(frozen=True)
class Checked:
    """A block of input rows, split into those that can be used and those that cannot (`schemas.REJECTS`)."""

    accepted: pa.RecordBatch
    rejected: pa.RecordBatch

    @property
    def rows_in(self) -> int:
        return self.accepted.num_rows + self.rejected.num_rows


def check(path: Path, schema: pa.Schema, rules: list[Rule]) -> Iterator[Checked]:
    """Read one file as `schema` and accept each row, or reject it with the first reason that applies.

    Reasons are a value that cannot be read as its column's type, and a rule that marks the row. Only genres and
    external ids may be empty.

    Raises:
        InputRejected: the file cannot be read at all, or lacks a column.
    """
    source = _csv_blocks if path.suffix == ".csv" else _parquet_blocks
    with _refused_if_unreadable(path):
        for block in source(path, schema):
            yield _check_block(block, schema, rules, path.name)


def parquet_rows(path: Path) -> int:
    """Count the rows of a Parquet file, or of a folder of them, from their footers.

    Raises:
        InputRejected: the file cannot be read.
    """
    with _refused_if_unreadable(path):
        return pyarrow.dataset.dataset(path, format="parquet").count_rows()


@contextmanager
def _refused_if_unreadable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputRejected(f"{path} cannot be read ({reason}); export it again") from None


# -- one block ---------------------------------------------------------------------------------------------------

_MAY_BE_EMPTY = {c.GENRES, c.IMDB_ID, c.TMDB_ID}
_TYPE_NAMES = {pa.int64(): "an integer of 64 bits", pa.float32(): "a number", pa.string(): "UTF-8 text"}


def _check_block(block: _Block, schema: pa.Schema, rules: list[Rule], file: str) -> Checked:
    typed = pa.RecordBatch.from_arrays(
        [_parse(column, f.type) for column, f in zip(block.columns, schema, strict=True)], schema=schema
    )
    refusals = [
        (f.name, f"is not {_TYPE_NAMES[f.type]}", pc.is_null(typed.column(f.name)))
        for f in schema
        if f.name not in _MAY_BE_EMPTY and typed.column(f.name).null_count
    ]
    readable = np.ones(typed.num_rows, bool)
    for _, _, mask in refusals:
        readable &= ~mask.to_numpy(zero_copy_only=False)
    refusals += [_on_readable(rule, typed, readable) for rule in rules]

    accepted = np.ones(typed.num_rows, bool)
    rejects = list(block.malformed)
    for name, reason, mask in refusals:
        refused_here = accepted & mask.to_numpy(zero_copy_only=False)
        accepted &= ~refused_here
        column = schema.get_field_index(name)
        for i in np.flatnonzero(refused_here):
            value = _printable(block.columns[column][int(i)].as_py())
            rejects.append(_reject(file, int(block.row_numbers[i]), block.names[column], value, reason))
    rejects.sort(key=lambda reject: reject["row"])
    return Checked(
        accepted=typed if accepted.all() else typed.filter(pa.array(accepted)),
        rejected=pa.RecordBatch.from_pylist(rejects, schema=c.REJECTS),
    )


def _on_readable(rule: Rule, typed: pa.RecordBatch, readable: np.ndarray) -> tuple[str, str, pa.BooleanArray]:
    """Apply a rule to the rows without nulls only, so that rules need not handle them."""
    if readable.all():
        return rule(typed)
    column, reason, mask = rule(typed.filter(pa.array(readable)))
    whole = np.zeros(typed.num_rows, bool)
    whole[readable] = mask.to_numpy(zero_copy_only=False)
    return column, reason, pa.array(whole)


def _parse(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Convert a column to a type; values that cannot be read as one become null."""
    if pa.types.is_timestamp(column.type) and pa.types.is_integer(wanted):
        column = column.cast(pa.timestamp("s"), safe=False)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        column = _cast(column, pa.string())
    if not pa.types.is_string(column.type) or pa.types.is_string(wanted):
        return _cast(column, wanted)
    try:
        return column.cast(wanted)
    except pa.ArrowInvalid:
        column = pc.utf8_trim_whitespace(column)
    try:
        return column.cast(wanted)
    except pa.ArrowInvalid:
        return _cast(pc.replace_substring_regex(column, r'^"([^"]*)"$', r"\1"), wanted)


def _cast(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Cast a column; bad values, which are found by halving it until they stand alone, become null."""
    try:
        return column.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        if len(column) <= 1:
            return pa.nulls(len(column), wanted)
        half = len(column) // 2
        return pa.concat_arrays([_cast(column[:half], wanted), _cast(column[half:], wanted)])


def _printable(value: object, limit: int = 80) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _reject(file: str, row: int, column: str, value: str, reason: str) -> dict:
    return {"file": file, "row": row, "column": column, "value": value, "reason": reason}


# -- files ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Block:
    """Some rows of a file before they are converted: one array per column of the schema, and the malformed rows."""

    columns: list[pa.Array]
    names: list[str]  # of the columns, as the file calls them
    row_numbers: np.ndarray
    malformed: list[dict]  # rejects: rows with the wrong number of fields


def _csv_blocks(path: Path, schema: pa.Schema) -> Iterator[_Block]:
    """Yield blocks of undecoded text. Row numbers are those of the file's lines: the header is row 1."""
    with path.open("rb") as file:
        header = file.readline(_CSV_BLOCK_BYTES).decode("utf-8-sig").strip()
        if not header:
            raise InputRejected(f"{path} is empty; its first line must name the columns")
        written = header.split(",")
        present = [name.strip('"') for name in written]
        names = _file_names(path, schema, present)
        if pa.string() in schema.types:
            yield from _text_blocks(file, path, present, names)
        else:
            yield from _number_blocks(file, path, written, names)


def _text_blocks(file: BinaryIO, path: Path, present: list[str], names: list[str]) -> Iterator[_Block]:
    """Parse line by line, so that a quote that is not closed cannot swallow the lines after it."""
    csv.field_size_limit(1 << 30)
    positions = [present.index(name) for name in names]
    numbered = ((number, line.rstrip(b"\r\n")) for number, line in enumerate(file, start=2))
    while lines := list(itertools.islice(numbered, _TEXT_BATCH_ROWS)):
        rows, numbers, malformed = [], [], []
        for number, line in lines:
            text = line.decode("latin-1")  # every byte becomes one character, and can be restored
            try:
                fields = next(csv.reader([text], strict=True), [])
            except csv.Error as error:
                malformed.append(_reject(path.name, number, "(all)", _printable(line), f"is not CSV ({error})"))
                continue
            if len(fields) == len(present):
                rows.append([fields[i].encode("latin-1") for i in positions])
                numbers.append(number)
            elif line:
                reason = _miscounted(len(fields), len(present))
                malformed.append(_reject(path.name, number, "(all)", _printable(line), reason))
        columns = [pa.array([row[i] for row in rows], pa.binary()) for i in range(len(names))]
        yield _Block(columns, names, np.array(numbers, np.int64), malformed)


def _number_blocks(file: BinaryIO, path: Path, written: list[str], names: list[str]) -> Iterator[_Block]:
    """Parse some MiB at a time with PyArrow.

    Args:
        written: every name in the header as it is written, with quotes where there are some.
        names: those to be read, without quotes.
    """
    present = [name.strip('"') for name in written]
    header, columns = ",".join(written).encode(), [written[present.index(name)] for name in names]
    first = 2
    for lines in _whole_lines(file, path):
        parsed, malformed = _parse_lines(header, lines, columns)
        rows = parsed.num_rows + len(malformed)
        is_parsed = np.ones(rows, bool)
        is_parsed[[row.number - 2 for row in malformed]] = False
        row_numbers = first + np.flatnonzero(is_parsed)
        filled = np.any([pc.binary_length(column).to_numpy() > 0 for column in parsed.columns], axis=0)
        if not filled.all():
            parsed, row_numbers = parsed.filter(pa.array(filled)), row_numbers[filled]
        rejects = [
            _reject(path.name, first + row.number - 2, "(all)", row.text, _miscounted(row.fields, len(written)))
            for row in malformed
        ]
        yield _Block(parsed.columns, names, row_numbers, rejects)
        first += rows


def _miscounted(fields: int, expected: int) -> str:
    return f"has {fields} fields where the header has {expected}"


def _whole_lines(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Yield the rest of a file in blocks that end where a line ends."""
    while lines := file.read(_CSV_BLOCK_BYTES):
        end = file.readline(_CSV_BLOCK_BYTES)
        if len(end) == _CSV_BLOCK_BYTES:
            raise InputRejected(f"{path} has a line of more than {_CSV_BLOCK_BYTES >> 20} MiB; export it again")
        yield lines + end


class _Malformed(NamedTuple):
    """A row with the wrong number of fields."""

    number: int  # within its block, in which the header is row 1
    fields: int
    text: str


def _parse_lines(header: bytes, lines: bytes, columns: list[str]) -> tuple[pa.RecordBatch, list[_Malformed]]:
    """Return some columns (binary) of the lines, which may be blank, and the rows of the wrong length."""
    try:
        lines.decode()
        encoding = "utf-8"
    except UnicodeDecodeError:  # PyArrow loses a malformed row that is not UTF-8. In Latin-1 every byte is a character.
        encoding = "latin-1"
    malformed: list[_Malformed] = []

    def set_aside(row: pyarrow.csv.InvalidRow) -> str:
        malformed.append(_Malformed(row.number, row.actual_columns, _printable(row.text.encode(encoding))))
        return "skip"

    table = pyarrow.csv.read_csv(
        pa.BufferReader(b"\n".join((header, lines))),
        # Rows keep their numbers only in one thread, which still reads 8 million ratings per second.
        read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=3 * _CSV_BLOCK_BYTES, encoding=encoding),
        # Blank lines are read, to keep the numbers right, and dropped later. Quotes are ordinary characters: numbers
        # need none, and one that is not closed would swallow the lines after it.
        parse_options=pyarrow.csv.ParseOptions(
            ignore_empty_lines=False, invalid_row_handler=set_aside, quote_char=False
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=columns, column_types=dict.fromkeys(columns, pa.binary()), strings_can_be_null=False
        ),
    )
    arrays = [column.combine_chunks() for column in table.columns]
    if encoding == "latin-1":
        arrays = [_original_bytes(column) for column in arrays]
    return pa.RecordBatch.from_arrays(arrays, names=columns), malformed


def _original_bytes(column: pa.Array) -> pa.Array:
    """Restore what was in the file from text that was read as Latin-1."""
    return pa.array([value.decode("utf-8").encode("latin-1") for value in column.to_pylist()], pa.binary())


def _parquet_blocks(path: Path, schema: pa.Schema) -> Iterator[_Block]:
    """Yield blocks as they are stored. Row numbers start at 1."""
    dataset = pyarrow.dataset.dataset(path, format="parquet")
    names = _file_names(path, schema, dataset.schema.names)
    first = 1
    # Blocks are read faster than they are checked: reading ahead would fill memory with blocks that wait.
    no_buffer = pyarrow.dataset.ParquetFragmentScanOptions(pre_buffer=False)
    for batch in dataset.to_batches(
        columns=names,
        batch_size=_PARQUET_BATCH_ROWS,
        batch_readahead=1,
        use_threads=False,
        fragment_scan_options=no_buffer,
    ):
        yield _Block(batch.columns, names, np.arange(first, first + batch.num_rows), [])
        first += batch.num_rows


def _file_names(path: Path, schema: pa.Schema, present: list[str]) -> list[str]:
    """Return the name that each column of the schema has in the file: MovieLens' own name, or ours."""
    movielens_names = {ours: theirs for theirs, ours in c.MOVIELENS_NAMES.items()}
    names = []
    for name in schema.names:
        choices = [movielens_names.get(name, name), name]
        present_name = next((choice for choice in choices if choice in present), None)
        if present_name is None:
            raise InputRejected(f"{path} has no column {choices[0]} (it has {', '.join(present)}); add it")
        names.append(present_name)
    return names
