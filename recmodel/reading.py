"""Reading: one CSV or Parquet file, checked row by row.

Takes a path, a schema and rules; gives blocks of accepted rows (typed) and refused rows (with file, row, column, value
and reason). Nothing here loops over rows, unless a block holds a value that cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset

from recmodel import columns as c
from recmodel.errors import InputRejected

_CSV_BLOCK_BYTES = 4 << 20
_PARQUET_BATCH_ROWS = 1 << 17

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
    """The column as the wanted type; null where a value cannot be read as one.

    Halves a block that does not convert until the bad values stand alone: fast where nearly all is well.
    """
    if pa.types.is_timestamp(column.type) and pa.types.is_integer(wanted):
        column = column.cast(pa.timestamp("s"), safe=False)
    try:
        text = pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
        column = column.cast(pa.string()) if text else column
        if pa.types.is_string(column.type) and not pa.types.is_string(wanted):
            column = pc.utf8_trim_whitespace(column)
        return column.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        if len(column) <= 1:
            return pa.nulls(len(column), wanted)
        half = len(column) // 2
        return pa.concat_arrays([_parse(column[:half], wanted), _parse(column[half:], wanted)])


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
    names = _file_names(path, schema, [name.strip('"') for name in header.split(",")])
    malformed: list[dict] = []

    def set_aside(row: pyarrow.csv.InvalidRow) -> str:
        reason = f"has {row.actual_columns} fields where the header has {row.expected_columns}"
        malformed.append(_reject(path.name, row.number, "(all)", _printable(row.text), reason))
        return "skip"

    reader = pyarrow.csv.open_csv(
        path,
        # Rows keep their numbers only in one thread, which still reads 8 million ratings a second.
        read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK_BYTES),
        # Blank lines are read, to keep the numbers right, and dropped below.
        parse_options=pyarrow.csv.ParseOptions(ignore_empty_lines=False, invalid_row_handler=set_aside),
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
        yield _Block(
            [column.filter(mask) for column in batch.columns], names, row_numbers[filled], malformed[reported:]
        )
        reported = len(malformed)
    if malformed[reported:]:
        yield _Block([pa.array([], field.type) for field in schema], names, np.empty(0, np.int64), malformed[reported:])


def _parquet_blocks(path: Path, schema: pa.Schema) -> Iterator[_Block]:
    """Blocks as they are stored. Row numbers start at 1."""
    dataset = pyarrow.dataset.dataset(path, format="parquet")
    names = _file_names(path, schema, dataset.schema.names)
    first = 1
    for batch in dataset.to_batches(columns=names, batch_size=_PARQUET_BATCH_ROWS):
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
