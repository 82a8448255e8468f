"""Rows as texts: JSON, held against Python's own reader, and COPY, against its rules in PostgreSQL's documentation."""

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmodel.tables import as_text

ENTRY = pa.struct([("movie_id", pa.string()), ("score", pa.float64()), ("rank", pa.int64())])
LISTS = pa.list_(ENTRY)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
finite = st.floats(allow_nan=False, allow_infinity=False)
entry = st.fixed_dictionaries(
    {"movie_id": st.none() | texts, "score": st.none() | finite, "rank": st.none() | st.integers(-(2**62), 2**62)}
)
lists = st.lists(st.none() | st.lists(st.none() | entry, max_size=3), min_size=1, max_size=5)


@given(lists, st.data())
def test_json_is_what_python_reads_of_it(values, data):
    start = data.draw(st.integers(0, len(values) - 1))
    array = pa.array(values, LISTS).slice(start)
    assert [json.loads(text) for text in as_text.as_json(array).to_pylist()] == values[start:]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), None])
def test_what_json_has_no_number_for_is_null(value):
    assert as_text.as_json(pa.array([value, 0.1], pa.float32())).to_pylist() == ["null", "0.1"]


def unescaped(field: str) -> str | None:
    """A field of COPY's text format, read character by character."""
    if field == "\\N":
        return None
    read, characters = "", iter(field)
    for character in characters:
        read += {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}[next(characters)] if character == "\\" else character
    return read


def elements(array: str) -> list[str]:
    """The elements of an array of texts in quotes."""
    read, inside, characters = [], False, iter(array[1:-1])
    for character in characters:
        if character == '"':
            inside = not inside
            read += [""] if inside else []
        elif inside:
            read[-1] += next(characters) if character == "\\" else character
        else:
            assert character == ","
    return read


@given(st.lists(st.tuples(st.none() | texts, st.none() | st.lists(texts, max_size=3), st.integers(0, 9)), min_size=1))
def test_copy_returns_what_went_in(rows):
    names, kinds = ["text", "texts", "number"], [pa.string(), pa.list_(pa.string()), pa.int32()]
    columns = [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)]
    copied = bytes(as_text.as_copy(pa.record_batch(columns, names))).decode()
    assert copied.endswith("\n")
    lines = [[unescaped(field) for field in line.split("\t")] for line in copied[:-1].split("\n")]
    assert [(a, None if b is None else elements(b), int(c)) for a, b, c in lines] == rows


def test_a_nul_which_postgresql_cannot_hold_is_shown_as_unknown():
    texts = pa.array(["a\0b\\u0000", None])
    assert as_text.as_json(texts).to_pylist() == ['"a\ufffdb\\\\u0000"', "null"]
    copied = as_text.as_copy(pa.record_batch([texts, pa.array([["\0"], []], pa.list_(pa.string()))], ["a", "b"]))
    assert bytes(copied).decode() == 'a\ufffdb\\\\u0000\t{"\ufffd"}\n\\N\t{}\n'


def test_no_rows_are_no_text():
    assert bytes(as_text.as_copy(pa.record_batch([pa.array([], pa.int64())], ["a"]))) == b""
