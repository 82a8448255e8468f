"""Values: columns as they lie in a file, turned into the types of a schema.

A value that cannot be read becomes null. How times and decimal numbers are written is decided by the first rows of a
column, and for the whole column: 1,000 and 1600000000 mean different things in different files.
"""

from __future__ import annotations

import ast
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel.errors import InputRejected

# As programs write that there is no value.
_MISSING = pa.array(["\\N", "NULL", "null", "NaN", "nan", "None", "<NA>", "NA", "N/A", "#N/A"])
_BLANKS = " \t\n\v\f\r\u00a0\u2007\u202f\u3000\u200b\ufeff"  # around ids that are text

SAMPLE_ROWS = 2000  # by which it is decided how a column is written
_UUID_BYTES = 16
_DAY = 86_400  # seconds
_UNITS = {1_000: "milliseconds", 1_000_000: "microseconds", 1_000_000_000: "nanoseconds"}  # in a second
_FIRST_SECOND = 100_000_000  # in 1973: an earlier time in one of these units is taken for a mistake
_EXACT_BELOW = {pa.float16(): 2**11, pa.float32(): 2**24, pa.float64(): 2**53}

_DECIMAL_COMMA = r'^\s*"?([+-]?\d+),(\d+)"?\s*$'
_WHOLE_AS_DECIMAL = r'^\s*"?([+-]?\d+)\.0+"?\s*$'
_DECIMAL = r'^\s*"?([+-]?\d+)\.\d*"?\s*$'
_ISO = r'^\s*"?\d{4}-\d{2}-\d{2}'
_DAY_AS_NUMBER = r"^(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])$"  # 20010909
_WITH_ZONE = r":\d{2}\s*(?:Z|UTC|[+-]\d{2}(?::?\d{2})?)$"

_INTEGER_ID = r"^(?:0|-?[1-9]\d{0,18})$"  # as programs write it: no leading zeros, which text may have
_ROUNDED = r'^\s*"?[+-]?\d(?:[.,]\d+)?E\+\d+"?\s*$'
_PADDED = r'^\s*"?[+-]?0+\d'
_MAX_SHARE_OF_TEXT = 0.05  # of ids that are integers: more than this share of others is no mistake of single rows

NOT_LISTED = "is not in the file of movies"
NO_INTEGER = "is not an integer of 64 bits"
_REASONS = {pa.int64(): NO_INTEGER, pa.float32(): "is not a number", pa.string(): "is not UTF-8 text"}
_NO_TEXT_ID = "is empty, stands for a missing value, or is not UTF-8 text"
_IDS = (c.USER_ID, c.MOVIE_ID)


class Vocabulary:
    """The texts that a column may hold, and the place of each.

    Args:
        texts: string, each once.
    """

    def __init__(self, texts: pa.Array) -> None:
        self._texts = texts

    def places(self, texts: pa.Array) -> pa.Array:
        """Return int64, the place of each text; null where it is none of them."""
        if len(self._texts) < 5 * len(texts):  # to make Arrow's table anew takes less time than to look up one by one
            return pc.index_in(texts, value_set=self._texts).cast(pa.int64())
        return pa.array([self._places.get(text) for text in texts.to_pylist()], pa.int64())

    @cached_property
    def _places(self) -> dict[str, int]:
        return {text: place for place, text in enumerate(self._texts.to_pylist())}


class How(NamedTuple):
    """How the values of a column are written, and so how they are converted."""

    function: Callable[..., pa.Array]
    arguments: tuple[Any, ...] = ()  # after the column
    reason: str = ""  # why a value is refused that cannot be converted; empty: what is said of its type
    assumption: str = ""  # a sentence; empty for nothing

    def __call__(self, column: pa.Array) -> pa.Array:
        """Convert a column."""
        return self.function(column, *self.arguments)


@dataclass
class Decisions:
    """How the columns of a table are written, as far as its first rows have decided it.

    They are passed on from one piece of a table to the next; see `data.pieces`.
    """

    columns: dict[str, How] = field(default_factory=dict)  # by column and type, as parts may differ in their types
    has_decimal_comma: bool | None = None  # of text; None: not decided yet

    def copy(self) -> Decisions:
        """Return the same decisions, to which others can be added."""
        return Decisions({**self.columns}, self.has_decimal_comma)

    def then(self, later: Decisions) -> Decisions:
        """Return these decisions, and those of `later` rows about what was not decided yet."""
        comma = later.has_decimal_comma if self.has_decimal_comma is None else self.has_decimal_comma
        return Decisions({**later.columns, **self.columns}, comma)

    def agrees(self, later: Decisions) -> bool:
        """Return whether later rows, which may not have known these decisions, have taken none that differ."""
        return self.then(later) == later.then(self)


class Conversion:
    """Turns the columns of one table into those of its schema, block by block.

    Args:
        file: the name of the table in error messages.
        schema: what the columns become.
        movies: the movie ids that are text, whose places stand for them; then the schema has int64 for them.
        decisions: of earlier rows; the others are added.
    """

    def __init__(
        self,
        file: str,
        schema: pa.Schema,
        movies: Vocabulary | None = None,
        decisions: Decisions | None = None,
    ) -> None:
        self.assumptions: dict[str, None] = {}  # sentences, in order
        self.decisions = Decisions() if decisions is None else decisions
        self._file, self._schema, self._movies = file, schema, movies
        self._reasons: dict[str, str] = {}  # by column, of the last block

    def __call__(self, columns: list[pa.Array], names: list[str]) -> pa.RecordBatch:
        """Convert one block.

        Args:
            columns: one for each field of the schema.
            names: what the file calls them.

        Raises:
            InputRejected: a column of ids holds doubles that are no whole numbers or too large to be exact.
        """
        arrays = [
            self._column(column if self._are_texts_once(column, field) else _plain(column), field, name)
            for column, field, name in zip(columns, self._schema, names, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def reason(self, column: str) -> str:
        """Return why a value of a column is refused that could not be converted, in the last block."""
        return self._reasons[column]

    def _column(self, column: pa.Array, field: pa.Field, name: str) -> pa.Array:
        self._reasons[field.name] = _NO_TEXT_ID if _is_text_id(field) else _REASONS[field.type]
        if field.name == c.TIMESTAMP:
            return self._decided(column, field, _how_times_are_written)
        if field.name == c.GENRES:
            return self._decided(column, field, _how_genres_are_divided)
        if field.name in _IDS and pa.types.is_floating(column.type):
            self._assume(f"{name}: doubles, all of them whole numbers")
            column = _exact_integers(column, f"{self._file}, column {name}")
        if _is_text_id(field):
            return _of_distinct(text_ids, column)
        if field.name == c.MOVIE_ID and (movies := self._movies) is not None:
            self._reasons[field.name] = NOT_LISTED
            return _of_distinct(lambda texts: movies.places(text_ids(texts)), column)
        if pa.types.is_integer(field.type):
            if field.name in _IDS and _any_padded(column):
                self._assume(f"{name}: leading zeros and plus signs left out (input.ids: text keeps them)")
            return self._decided(column, field, _how_integers_are_written)
        if pa.types.is_floating(field.type):
            return self._numbers(column)
        return _parse(column, field.type)

    def _are_texts_once(self, column: pa.Array, field: pa.Field) -> bool:
        """Return whether a column of ids that are text is stored with each distinct one once."""
        holds_text = _is_text_id(field) or (field.name == c.MOVIE_ID and self._movies is not None)
        return holds_text and pa.types.is_dictionary(column.type) and pa.types.is_string(column.type.value_type)

    def _decided(self, column: pa.Array, field: pa.Field, decide: Callable[[pa.Array], How]) -> pa.Array:
        """Convert a column as its first rows have decided, or decide it; parts may differ in their types."""
        key = f"{field.name} {'text' if pa.types.is_string(column.type) else column.type}"
        how = self.decisions.columns.get(key)
        if how is None:
            sample = column.drop_null()[:SAMPLE_ROWS]
            if not len(sample):
                return pa.nulls(len(column), field.type)
            how = self.decisions.columns[key] = decide(sample)
        self._assume(how.assumption)
        self._reasons[field.name] = how.reason or self._reasons[field.name]
        return how(column)

    def _assume(self, sentence: str) -> None:
        if sentence:
            self.assumptions.setdefault(sentence)

    def _numbers(self, column: pa.Array) -> pa.Array:
        """Convert numbers. The first rows with a comma or a point decide, which may come late."""
        if pa.types.is_boolean(column.type):
            return pa.nulls(len(column), pa.float32())
        if not pa.types.is_string(column.type):
            return _cast(column, pa.float32())
        if self.decisions.has_decimal_comma is None:
            sample = column.filter(pc.or_(*(pc.match_substring(column, mark) for mark in ",.")))[:SAMPLE_ROWS]
            if len(sample):
                commas = pc.match_substring_regex(sample, _DECIMAL_COMMA).true_count
                self.decisions.has_decimal_comma = commas > pc.match_substring(sample, ".").true_count
        if self.decisions.has_decimal_comma:
            self._assume("decimal comma")
            column = pc.replace_substring_regex(column, _DECIMAL_COMMA, r"\1.\2")
        return _parse(column, pa.float32())


def _no_values(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    return pa.nulls(len(column), wanted)


def _how_integers_are_written(sample: pa.Array) -> How:
    if pa.types.is_boolean(sample.type) or pa.types.is_temporal(sample.type):
        return How(_no_values, (pa.int64(),))
    if not _are_mostly(sample, _WHOLE_AS_DECIMAL):
        return How(_parse, (pa.int64(),))
    return How(_integers_with_point, assumption="ids written with a decimal point, as 1.0")


def _integers_with_point(column: pa.Array) -> pa.Array:
    return _parse(pc.replace_substring_regex(column, _WHOLE_AS_DECIMAL, r"\1"), pa.int64())


def _how_genres_are_divided(sample: pa.Array) -> How:
    if pa.types.is_string(sample.type) and not pc.any(pc.match_substring_regex(sample, r"\||^\s*\[")).as_py():
        for delimiter, name in ((",", "commas"), (";", "semicolons")):
            if 5 * pc.match_substring(sample, delimiter).true_count > len(sample):
                return How(_genres_divided_by, (delimiter,), assumption=f"genres divided by {name}")
    return How(_genres)


def _genres_divided_by(column: pa.Array, delimiter: str) -> pa.Array:
    return _genres(pc.replace_substring(_parse(column, pa.string()), delimiter, " | "))


def _how_times_are_written(sample: pa.Array) -> How:
    if pa.types.is_time(sample.type) or pa.types.is_duration(sample.type) or pa.types.is_boolean(sample.type):
        return How(_no_values, (pa.int64(),))
    if pa.types.is_temporal(sample.type):
        return How(_seconds_of_times, assumption=f"times of the type {sample.type}")
    if pa.types.is_string(sample.type) and _are_mostly(sample, _ISO):
        return How(_iso_times, (), "is not a time in ISO 8601", "times in ISO 8601, in UTC where no time zone is given")
    has_fractions = _are_mostly(sample, _DECIMAL)
    numbers = _whole_numbers(sample, has_fractions)
    if _are_mostly(numbers.cast(pa.string()), _DAY_AS_NUMBER):
        days = "times written as days, such as 20010909"
        return How(_days, (has_fractions,), "is not a day, such as 20010909", days)
    values = numbers.drop_null().to_numpy()
    newest = time.time() + _DAY
    for unit, name in _UNITS.items():
        plausible = (values >= _FIRST_SECOND * unit) & (values <= newest * unit)
        if plausible.sum() * 2 > len(sample):
            reason = f"is not a time in {name} since 1970"
            return How(_seconds, (has_fractions, unit), reason, f"times in {name}")
    is_first_day = ((values > 0) & (values < _DAY)).sum() * 2 > len(sample)
    odd = "times taken as seconds since 1970, though most are of its first day" if is_first_day else ""
    return How(_whole_numbers, (has_fractions,), assumption=odd)


def _seconds_of_times(column: pa.Array) -> pa.Array:
    return _cast(column.cast(pa.timestamp("s"), safe=False), pa.int64())


def are_text_ids(ids: pa.Array) -> bool:
    """Return whether a column, as it lies in a file, holds ids that are text and not integers."""
    column = _plain(ids)
    if not pa.types.is_string(column.type):
        return False
    text = _unquoted(pc.utf8_trim_whitespace(column)).drop_null()
    text = text.filter(pc.invert(pc.or_(pc.equal(text, ""), _stands_for_nothing(text))))
    text = pc.replace_substring_regex(text, _WHOLE_AS_DECIMAL, r"\1")
    is_integer = pc.and_(pc.match_substring_regex(text, _INTEGER_ID), _parse(text, pa.int64()).is_valid())
    return len(text) - is_integer.true_count > _MAX_SHARE_OF_TEXT * len(text)


def rounded_id(ids: pa.Array) -> str | None:
    """Return an id such as 1.23457E+12, if most of those that are no integers are written like that."""
    text = _plain(ids)
    odd = text.filter(pc.invert(pc.match_substring_regex(text, _INTEGER_ID))).drop_null()
    return odd[0].as_py() if len(odd) and _are_mostly(odd, _ROUNDED) else None


def _is_text_id(field: pa.Field) -> bool:
    return field.name in _IDS and pa.types.is_string(field.type)


def text_ids(column: pa.Array) -> pa.Array:
    """Return ids without blanks and quotes around them; null where nothing is left."""
    text = _unquoted(pc.utf8_trim(_cast(column, pa.string()), _BLANKS))
    is_missing = pc.or_(pc.equal(pc.binary_length(text), 0), _stands_for_nothing(text))
    return pc.if_else(is_missing, None, text) if pc.any(is_missing).as_py() else text


def _of_distinct(function: Callable[[pa.Array], pa.Array], column: pa.Array) -> pa.Array:
    """Apply a function to each distinct value: of the ids of a block, most come often."""
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    return function(encoded.dictionary).take(encoded.indices)


def _stands_for_nothing(text: pa.Array) -> pa.BooleanArray:
    return pc.is_in(text, value_set=_MISSING)


def _unquoted(text: pa.Array) -> pa.Array:
    """Take away quotes around texts, as CSV has them; two inside stand for one."""
    if not pc.any(pc.starts_with(text, '"')).as_py():
        return text
    is_quoted = pc.match_substring_regex(text, r'(?s)^".*"$')
    inside = pc.replace_substring(pc.utf8_slice_codeunits(text, 1, -1), '""', '"')
    return pc.if_else(pc.and_(is_quoted, pc.greater(pc.utf8_length(text), 1)), inside, text)


def _any_padded(column: pa.Array) -> bool:
    """Return whether any text has leading zeros or a plus, which integers do not keep."""
    if not pa.types.is_string(column.type):
        return False
    may_be = pc.any(pc.or_(pc.starts_with(column, "0"), pc.match_substring(column, "+"))).as_py()
    return bool(may_be and pc.any(pc.match_substring_regex(column, rf"{_PADDED}|\+")).as_py())


def _plain(column: pa.Array) -> pa.Array:
    """Return a column without the ways of storing one that make no difference here."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_fixed_size_binary(column.type) and column.type.byte_width == _UUID_BYTES:
        return pa.array([None if value is None else str(uuid.UUID(bytes=value)) for value in column.to_pylist()])
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_fixed_size_binary(column.type) and not pa.types.is_decimal(column.type):
        column = column.cast(pa.binary())
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return _cast(column, pa.string())
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        return column.cast(pa.string())
    return column


def _are_mostly(sample: pa.Array, pattern: str) -> bool:
    """Return whether more than half of the texts match."""
    return pa.types.is_string(sample.type) and 2 * pc.match_substring_regex(sample, pattern).true_count > len(sample)


def _exact_integers(column: pa.Array, place: str) -> pa.Array:
    """Convert floating-point ids.

    Raises:
        InputRejected: one of them is no whole number, or so large that it may stand for another one.
    """
    values = column.to_numpy(zero_copy_only=False)
    missing = np.isnan(values)
    limit = _EXACT_BELOW[column.type]
    wrong = ~missing & ((np.abs(values) >= limit) | (values != np.trunc(values)))
    if wrong.any():
        value = values[wrong][0]
        why = f"too large to be exact as a {column.type}" if abs(value) >= limit else "not a whole number"
        raise InputRejected(
            f"{place}: the id {value:.17g} is {why}, so ids cannot be told apart; export the column as integers or text"
        )
    return pa.array(np.where(missing, 0, values).astype(np.int64), mask=missing)


def _whole_numbers(column: pa.Array, has_fractions: bool) -> pa.Array:
    """Convert times that are numbers; fractions of a second are left out."""
    if has_fractions:
        column = pc.replace_substring_regex(column, _DECIMAL, r"\1")
    if pa.types.is_floating(column.type):
        return _cast(pc.floor(column), pa.int64())
    return _parse(column, pa.int64())


def _seconds(column: pa.Array, has_fractions: bool, unit: int) -> pa.Array:
    """Return times in seconds; null for those that can hardly be in that unit. A time of 0 means that none is known."""
    column = _whole_numbers(column, has_fractions)
    plausible = pc.or_(pc.equal(column, 0), pc.greater_equal(column, _FIRST_SECOND * unit))
    return pc.if_else(plausible, pc.divide(column, unit), None)


def _days(column: pa.Array, has_fractions: bool) -> pa.Array:
    """Return the seconds of days such as 20010909; null for what is none."""
    column = _whole_numbers(column, has_fractions)
    text = pc.replace_substring_regex(column.cast(pa.string()), r"^(\d{4})(\d{2})(\d{2})$", r"\1-\2-\3")
    return _cast(_cast(text, pa.date32()).cast(pa.timestamp("s")), pa.int64())


def _iso_times(column: pa.Array) -> pa.Array:
    text = pc.utf8_upper(pc.utf8_trim(pc.utf8_trim_whitespace(column), '"'))
    text = pc.replace_substring_regex(text, r"(:\d{2})[.,]\d+", r"\1")
    text = pc.replace_substring_regex(text, r"\s*(?:UTC|Z)$", "Z")
    has_zone = pc.match_substring_regex(text, _WITH_ZONE).fill_null(False)
    whole = np.zeros(len(text), np.int64)
    missing = np.ones(len(text), bool)
    for mask, type_ in ((has_zone, pa.timestamp("s", "UTC")), (pc.invert(has_zone), pa.timestamp("s"))):
        times = _cast(pc.replace_substring_regex(text.filter(mask), r"\s+([+-])", r"\1"), type_).cast(pa.int64())
        rows = np.flatnonzero(mask.to_numpy(zero_copy_only=False))
        whole[rows], missing[rows] = times.fill_null(0), times.is_null()
    return pa.array(whole, mask=missing)


def _genres(column: pa.Array) -> pa.Array:
    """Return genres as A|B, whether they are a text, with or without blanks, or a list, or a list written as text."""
    if isinstance(column, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray | pa.ListViewArray):
        return pa.array([None if genres is None else _joined(genres) for genres in column.to_pylist()], pa.string())
    text = _parse(column, pa.string())
    text = pc.if_else(_stands_for_nothing(text), None, text)
    if pc.any(pc.match_substring_regex(text, r"^\s|\s$|\s\||\|\s|\|\||^\||\|$|^\[.*\]$")).as_py():
        return pa.array(
            [None if genres is None else _joined(_listed(genres)) for genres in text.to_pylist()], pa.string()
        )
    return text


def _listed(text: str) -> list[Any]:
    """Return the genres of a text such as A | B, ['A', 'B'] as Python and JSON write it, or [A, B] as DuckDB does."""
    inside = re.fullmatch(r"\s*\[(.*)\]\s*", text)
    if inside is None:
        return text.split("|")
    try:
        values = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return inside[1].split(",")
    return values if isinstance(values, list) else [text]


def _joined(genres: list[Any]) -> str | None:
    """Return the genres, which are texts or have a name, as A|B; null if there are none."""
    names = [genre.get("name") if isinstance(genre, dict) else genre for genre in genres]
    return "|".join(text for name in names if name is not None and (text := str(name).strip())) or None


def _parse(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Convert a column to a type; values that cannot be read as one become null."""
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
