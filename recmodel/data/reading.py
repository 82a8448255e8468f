"""Reading: one CSV or Parquet file, checked row by row.

Takes a path, a schema and rules; gives blocks of accepted rows (typed) and refused rows (with file, row, column, value
and reason). Files of numbers (ratings) are never looped over row by row, unless a block holds a value that cannot be
read; files with text (movies) are, for their quotes.
"""

from __future__ import annotations

import codecs
import csv
import itertools
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass, replace
from pathlib import Path

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

# A rule marks the rows of a batch it refuses: (column, reason, mask).
Rule = Callable[[pa.RecordBatch], "tuple[str, str, pa.BooleanArray]"]


@dataclass(frozen=True)
class Checked:
    """A block of input rows, split into those that can be used and those that cannot (`columns.REJECTS`)."""

    accepted: pa.RecordBatch
    rejected: pa.RecordBatch

    @property
    def rows_in(self) -> int:
        return self.accepted.num_rows + self.rejected.num_rows


def check(path: Path, schema: pa.Schema, rules: list[Rule]) -> Iterator[Checked]:
    """The rows of one file as `schema`, each accepted or rejected with the first reason that applies.

    A value that cannot be read as its column's type is a reason; so is each rule that marks the row. Only text
    and external ids may be empty.

    Raises:
        InputRejected: the file cannot be read at all, or lacks a column.
    """
    source = _csv_blocks if path.suffix == ".csv" else _parquet_blocks
    try:
        for block in source(path, schema):
            yield _check_block(block, schema, rules, path.name)
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
        if f.name not in _MAY_BE_EMPTY
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
    """Applies a rule to the rows without nulls, so that no rule needs to think of them."""
    if readable.all():
        return rule(typed)
    column, reason, mask = rule(typed.filter(pa.array(readable)))
    whole = np.zeros(typed.num_rows, bool)
    whole[readable] = mask.to_numpy(zero_copy_only=False)
    return column, reason, pa.array(whole)


def _parse(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    """The column as the wanted type; null where a value cannot be read as one."""
    if pa.types.is_timestamp(column.type) and pa.types.is_integer(wanted):
        column = column.cast(pa.timestamp("s"), safe=False)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        column = _cast(column, pa.string())
    if not pa.types.is_string(column.type) or pa.types.is_string(wanted):
        return _cast(column, wanted)
    column = pc.utf8_trim_whitespace(column)
    try:
        return column.cast(wanted)
    except pa.ArrowInvalid:
        return _cast(pc.replace_substring_regex(column, r'^"([^"]*)"$', r"\1"), wanted)


def _cast(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Null where a value does not convert: a block is halved until the bad values stand alone."""
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
    """Some rows of a file as they stand there: one array a column of the schema, and rows of the wrong length."""

    columns: list[pa.Array]
    names: list[str]  # of the columns, as the file calls them
    row_numbers: np.ndarray
    malformed: list[dict]


def _csv_blocks(path: Path, schema: pa.Schema) -> Iterator[_Block]:
    """Blocks of undecoded text. Row numbers are those of the file's lines: the header is row 1."""
    with path.open("rb") as file:
        header = file.readline(_CSV_BLOCK_BYTES).decode("utf-8-sig").strip()
        if not header:
            raise InputRejected(f"{path} is empty; its first line must name the columns")
        written = header.split(",")
        present = [name.strip('"') for name in written]
        names = _file_names(path, schema, present)
        header_alone = not file.read(1)
    if header_alone:
        return
    if pa.string() in schema.types:
        yield from _lines_of_text(path, present, names)
    else:
        as_written = [written[present.index(name)] for name in names]
        for block in _lines_of_numbers(path, schema, as_written):
            yield replace(block, names=names)


def _lines_of_text(path: Path, present: list[str], names: list[str]) -> Iterator[_Block]:
    """Line by line, so that a quote that is not closed cannot swallow the lines after it."""
    csv.field_size_limit(1 << 30)
    at = [present.index(name) for name in names]
    with path.open("rb") as file:
        numbered = ((number, line.rstrip(b"\r\n")) for number, line in enumerate(file, start=1))
        next(numbered)
        while lines := list(itertools.islice(numbered, _TEXT_BATCH_ROWS)):
            rows, numbers, malformed = [], [], []
            for number, line in lines:
                text = line.decode("latin-1")  # every byte is a character, and back again
                try:
                    fields = next(csv.reader([text], strict=True), [])
                except csv.Error as error:
                    malformed.append(_reject(path.name, number, "(all)", _printable(line), f"is not CSV ({error})"))
                    continue
                if len(fields) == len(present):
                    rows.append([fields[i].encode("latin-1") for i in at])
                    numbers.append(number)
                elif line:
                    malformed.append(
                        _reject(path.name, number, "(all)", _printable(line), _miscounted(fields, present))
                    )
            columns = [pa.array([row[i] for row in rows], pa.binary()) for i in range(len(names))]
            yield _Block(columns, names, np.array(numbers, np.int64), malformed)


def _miscounted(fields: Sized, present: Sized) -> str:
    return f"has {len(fields)} fields where the header has {len(present)}"


def _lines_of_numbers(path: Path, schema: pa.Schema, names: list[str]) -> Iterator[_Block]:
    # PyArrow loses a malformed row that is not UTF-8. As Latin-1 every byte is a character, and back again.
    as_latin_1 = not _is_utf8(path)
    malformed: list[dict] = []

    def set_aside(row: pyarrow.csv.InvalidRow) -> str:
        reason = _miscounted(range(row.actual_columns), range(row.expected_columns))
        text = row.text.encode("latin-1") if as_latin_1 else row.text
        malformed.append(_reject(path.name, row.number, "(all)", _printable(text), reason))
        return "skip"

    file = pa.OSFile(str(path))
    file.seek(3 if file.read(3) == codecs.BOM_UTF8 else 0)
    reader = pyarrow.csv.open_csv(
        file,
        # Rows keep their numbers only in one thread, which still reads 8 million ratings a second.
        read_options=pyarrow.csv.ReadOptions(
            use_threads=False, block_size=_CSV_BLOCK_BYTES, encoding="latin-1" if as_latin_1 else "utf-8"
        ),
        # Blank lines are read, to keep the numbers right, and dropped below. A quote is a character like others:
        # numbers need none, and one that is not closed would swallow the lines after it.
        parse_options=pyarrow.csv.ParseOptions(
            ignore_empty_lines=False, invalid_row_handler=set_aside, quote_char=False
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=names, column_types=dict.fromkeys(names, pa.binary()), strings_can_be_null=False
        ),
    )
    first = reported = 0
    for batch in reader:
        position = np.arange(first, first + batch.num_rows)
        first += batch.num_rows
        # The j-th malformed row has (its number - 2 - j) good rows before it.
        good_rows_before = np.array([row["row"] for row in malformed], np.int64) - 2 - np.arange(len(malformed))
        row_numbers = position + 2 + np.searchsorted(good_rows_before, position, side="right")
        filled = np.zeros(batch.num_rows, bool)
        for column in batch.columns:
            filled |= pc.binary_length(column).to_numpy() > 0
        mask = pa.array(filled)
        columns = [column.filter(mask) for column in batch.columns]
        if as_latin_1:
            columns = [_bytes_again(column) for column in columns]
        yield _Block(columns, names, row_numbers[filled], malformed[reported:])
        reported = len(malformed)
    if malformed[reported:]:
        yield _Block([pa.array([], field.type) for field in schema], names, np.empty(0, np.int64), malformed[reported:])


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        try:
            while chunk := file.read(_CSV_BLOCK_BYTES):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _bytes_again(column: pa.Array) -> pa.Array:
    """What was in the file, from text that was read as Latin-1."""
    return pa.array([value.decode("utf-8").encode("latin-1") for value in column.to_pylist()], pa.binary())


def _parquet_blocks(path: Path, schema: pa.Schema) -> Iterator[_Block]:
    """Blocks as they are stored. Row numbers start at 1."""
    dataset = pyarrow.dataset.dataset(path, format="parquet")
    names = _file_names(path, schema, dataset.schema.names)
    first = 1
    # Reading ahead would fill memory with blocks that wait to be checked, which takes longer than to read them.
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
    """For each column of the schema the name it has in the file: MovieLens' own, or ours."""
    theirs = {ours: movielens for movielens, ours in c.MOVIELENS_NAMES.items()}
    names = []
    for name in schema.names:
        choices = [theirs.get(name, name), name]
        chosen = next((choice for choice in choices if choice in present), None)
        if chosen is None:
            raise InputRejected(f"{path} has no column {choices[0]} (it has {', '.join(present)}); add it")
        names.append(chosen)
    return names
