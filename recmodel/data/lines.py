"""Lines: rows of a text file, as bytes that are not converted yet.

Python loops over the rows of files with text (movies), because of their quotes, but not over those of files of numbers
(ratings), except where a field in quotes holds a delimiter. A line is a row: a quote that is not closed swallows none.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from recmodel.data.layouts import Part
from recmodel.data.text import Layout
from recmodel.errors import InputRejected

_BLOCK_BYTES = 4 << 20
_BATCH_ROWS = 1 << 14
_NOT_CLOSED = "has a quote that is not closed; a row is one line, so line breaks inside quotes are not read"


class Rows(NamedTuple):
    """Some rows of a file."""

    columns: list[pa.Array]  # binary, one for each position that was asked for
    numbers: np.ndarray  # [R] int64: the lines of the file, from 1; a header is row 1
    malformed: list[dict]  # rejects: rows with the wrong number of fields
    lines: int  # of the file so far, blank ones included


def printable(value: object, limit: int = 80) -> str:
    """Return a value as the rejects have it."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def reject(file: str, row: int, column: str, value: str, reason: str) -> dict:
    """Return a row of `schemas.REJECTS`."""
    return {"file": file, "row": row, "column": column, "value": value, "reason": reason}


def of_text(file: BinaryIO, part: Part, layout: Layout, positions: list[int], before: int) -> Iterator[Rows]:
    """Parse line by line, so that a quote that is not closed cannot swallow the lines after it.

    Args:
        before: the number of lines before these, for the row numbers.
    """
    csv.field_size_limit(1 << 30)
    first = 1 + before
    numbered = ((number, line.rstrip(b"\r\n")) for number, line in enumerate(file, start=first))
    while lines := list(itertools.islice(numbered, _BATCH_ROWS)):
        rows, numbers, malformed = _split(lines, part, layout, positions)
        stored = [pa.array([row[i] for row in rows], pa.binary()) for i in range(len(positions))]
        yield Rows(stored, np.array(numbers, np.int64), malformed, lines[-1][0])


def _split(
    lines: Iterable[tuple[int, bytes]], part: Part, layout: Layout, positions: list[int]
) -> tuple[list[list[bytes]], list[int], list[dict]]:
    """Return some fields of numbered lines that are not blank, the numbers of these lines, and the malformed ones."""
    rows, numbers, malformed = [], [], []
    for number, line in lines:
        try:
            fields = layout.fields(line.decode("latin-1"))  # every byte becomes one character, and can be restored
        except csv.Error as error:
            malformed.append(
                reject(
                    part.name,
                    number,
                    "(all)",
                    printable(line),
                    _NOT_CLOSED if "end of data" in str(error) else f"is not CSV ({error})",
                )
            )
            continue
        if len(fields) == len(layout.columns):
            rows.append([fields[i].encode("latin-1") for i in positions])
            numbers.append(number)
        elif line:
            malformed.append(reject(part.name, number, "(all)", printable(line), _miscounted(len(fields), layout)))
    return rows, numbers, malformed


def of_numbers(
    file: BinaryIO, part: Part, layout: Layout, positions: list[int], before: int, end: int | None = None
) -> Iterator[Rows]:
    """Parse some MiB at a time with PyArrow.

    Args:
        before: the number of lines before these, for the row numbers.
        end: lines that begin at this byte of the file or after it are left; None: all are read.
    """
    first = 1 + before
    for lines in _whole_lines(file, part.location, end):
        plain_lines, quoted = _set_aside_quoted(lines, layout)
        parsed, malformed_lines = _parse_lines(plain_lines, layout, positions)
        rows = parsed.num_rows + len(malformed_lines)
        is_parsed = np.ones(rows, bool)
        is_parsed[[row.number - 1 for row in malformed_lines]] = False
        row_numbers = first + np.flatnonzero(is_parsed)
        filled = np.any([pc.binary_length(column).to_numpy() > 0 for column in parsed.columns], axis=0)
        if not filled.all():
            parsed, row_numbers = parsed.filter(pa.array(filled)), row_numbers[filled]
        malformed = [
            reject(part.name, first + row.number - 1, "(all)", row.text, _miscounted(row.fields, layout))
            for row in malformed_lines
        ]
        stored = parsed.columns
        if quoted:
            split, numbers, not_csv = _split(((first + i, line) for i, line in quoted), part, layout, positions)
            malformed += not_csv
            row_numbers = np.concatenate([row_numbers, np.array(numbers, np.int64)])
            order = np.argsort(row_numbers)
            row_numbers = row_numbers[order]
            stored = [
                pa.concat_arrays([column, pa.array([row[i] for row in split], pa.binary())]).take(pa.array(order))
                for i, column in enumerate(stored)
            ]
        first += rows
        yield Rows(stored, row_numbers, malformed, first - 1)


def _miscounted(fields: int, layout: Layout) -> str:
    expected = len(layout.columns)
    return f"has {fields} fields where " + (f"the header has {expected}" if layout.has_header else f"{expected} belong")


def skip_line(file: BinaryIO, start: int, end: int) -> None:
    """Move to the first line that begins at byte `start` of a file or after it; not beyond the one at `end`."""
    file.seek(start - 1)
    while file.tell() < end:
        line = file.readline(_BLOCK_BYTES)
        if not line or line.endswith(b"\n"):
            break


def _whole_lines(file: BinaryIO, location: str, end: int | None) -> Iterator[bytes]:
    """Yield the rest of a file, or the lines that begin before `end`, in blocks that end where a line ends."""
    left = math.inf if end is None else end - file.tell()
    while left > 0 and (lines := file.read(int(min(_BLOCK_BYTES, left)))):
        rest = b"" if lines.endswith(b"\n") else file.readline(_BLOCK_BYTES)
        if len(rest) == _BLOCK_BYTES:
            raise InputRejected(f"{location} has a line of more than {_BLOCK_BYTES >> 20} MiB; export it again")
        left -= len(lines) + len(rest)
        yield lines + rest


def _set_aside_quoted(lines: bytes, layout: Layout) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Return the lines, blank where a quote is or may be open at a delimiter or at the end, and these with their
    places (from 0).

    On all other lines, quotes divide nothing, so that they can be taken for ordinary characters.
    """
    if not layout.quoted or b'"' not in lines:
        return lines, []
    characters = np.frombuffer(lines, np.uint8)
    is_end = characters == ord("\n")
    is_end[:-1] |= (characters[:-1] == ord("\r")) & (characters[1:] != ord("\n"))  # PyArrow ends a row at either
    starts = np.concatenate([[0], np.flatnonzero(is_end) + 1])
    quotes = np.concatenate([[0], np.cumsum(characters == ord('"'))])  # before each character
    delimiters = np.flatnonzero(characters == ord(layout.delimiter))
    line_of = np.searchsorted(starts, delimiters, "right") - 1
    is_open = (quotes[delimiters] - quotes[starts[line_of]]) % 2 == 1
    escaped = np.flatnonzero((characters[:-1] == ord("\\")) & (characters[1:] == ord('"')))  # not counted right above
    ends = np.append(starts[1:], len(lines))
    is_odd = (quotes[ends] - quotes[starts]) % 2 == 1
    unclear = np.unique(
        np.concatenate([line_of[is_open], np.searchsorted(starts, escaped, "right") - 1, np.flatnonzero(is_odd)])
    )
    quoted, rest, done = [], [], 0
    for i in unclear.tolist():
        line = lines[starts[i] : ends[i]]
        content = line.rstrip(b"\r\n")
        quoted.append((i, content))
        rest += [lines[done : starts[i]], line[len(content) :]]
        done = ends[i]
    return b"".join([*rest, lines[done:]]) or b"\n", quoted


class _Malformed(NamedTuple):
    """A row with the wrong number of fields."""

    number: int  # within its block, from 1
    fields: int
    text: str


def _parse_lines(lines: bytes, layout: Layout, positions: list[int]) -> tuple[pa.RecordBatch, list[_Malformed]]:
    """Return some columns (binary) of the lines, which may be blank, and the rows of the wrong length."""
    lines, delimiter = layout.with_short_delimiter(lines)
    try:
        lines.decode()
        encoding = "utf-8"
        if lines.startswith(codecs.BOM_UTF8):  # PyArrow leaves out one at the start, but only a file has a mark there
            lines = codecs.BOM_UTF8 + lines
    except UnicodeDecodeError:  # PyArrow loses a malformed row that is not UTF-8. In Latin-1 every byte is a character.
        encoding = "latin-1"
    malformed: list[_Malformed] = []

    def set_aside(row: pyarrow.csv.InvalidRow) -> str:
        original = row.text.replace(delimiter, layout.delimiter)
        malformed.append(_Malformed(row.number, row.actual_columns, printable(original.encode(encoding))))
        return "skip"

    names = [str(i) for i in range(len(layout.columns))]
    wanted = [names[i] for i in positions]
    table = pyarrow.csv.read_csv(
        pa.BufferReader(lines),
        # Rows keep their numbers only in one thread, which still reads 8 million ratings per second.
        read_options=pyarrow.csv.ReadOptions(
            use_threads=False, block_size=3 * _BLOCK_BYTES, encoding=encoding, column_names=names
        ),
        # Blank lines are read, to keep the numbers right, and dropped later. Quotes are ordinary characters: numbers
        # need none, and one that is not closed would swallow the lines after it.
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=delimiter, ignore_empty_lines=False, invalid_row_handler=set_aside, quote_char=False
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=wanted, column_types=dict.fromkeys(wanted, pa.binary()), strings_can_be_null=False
        ),
    )
    arrays = [column.combine_chunks() for column in table.columns]
    if encoding == "latin-1":
        arrays = [_original_bytes(column) for column in arrays]
    return pa.RecordBatch.from_arrays(arrays, names=wanted), malformed


def _original_bytes(column: pa.Array) -> pa.Array:
    """Restore what was in the file from text that was read as Latin-1."""
    return pa.array([value.decode("utf-8").encode("latin-1") for value in column.to_pylist()], pa.binary())
