"""Published rows as the texts that databases take: JSON, and the text format of PostgreSQL's COPY.

Whole columns at a time by Arrow, since a run has millions of values. Both formats are as their readers define them:
https://www.rfc-editor.org/rfc/rfc8259 and https://www.postgresql.org/docs/current/sql-copy.html. The character NUL,
which PostgreSQL cannot hold, becomes U+FFFD in both.
"""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_NULL = "\\N"  # of COPY
_NUL = ("\0", "\ufffd")
_SPECIAL = (
    _NUL,
    ("\\", "\\\\"),
    ("\t", "\\t"),
    ("\n", "\\n"),
    ("\r", "\\r"),
)  # in COPY; the backslash before all that get one


def as_json(values: pa.Array) -> pa.Array:
    """Return each value as JSON: numbers, text, structs and lists of them; null, NaN and infinity as `null`.

    Returns:
        [len(values)] string, without nulls.
    """
    if pa.types.is_list(values.type):
        start, end = int(values.offsets[0].as_py()), int(values.offsets[-1].as_py())
        offsets = pc.subtract(values.offsets, start)
        inner = as_json(values.values.slice(start, end - start))
        joined = pc.binary_join(pa.ListArray.from_arrays(offsets, inner), ",")
        text = pc.binary_join_element_wise("[", joined, "]", "")
    elif pa.types.is_struct(values.type):
        pieces: list[pa.Array | str] = []
        for field, column in zip(values.type, values.flatten(), strict=True):
            pieces += [f"{',' if pieces else '{'}{json.dumps(field.name)}:", as_json(column)]
        text = pc.binary_join_element_wise(*pieces, "}", "")
    elif pa.types.is_string(values.type):
        # A text is escaped once, however often it occurs: the movies of all lists are those of one catalogue.
        known = values.dictionary_encode()
        escaped = [json.dumps(value.replace(*_NUL), ensure_ascii=False) for value in known.dictionary.to_pylist()]
        text = pa.array(escaped, pa.string()).take(known.indices)
    else:
        finite = pc.if_else(pc.is_finite(values), values, None) if pa.types.is_floating(values.type) else values
        text = finite.cast(pa.string())
    is_null = values.is_null()
    return pc.fill_null(pc.if_else(is_null, None, text) if values.null_count else text, "null")


def as_copy(rows: pa.RecordBatch) -> memoryview:
    """Return rows as COPY reads them: a line each, columns divided by tabs. Structs, and lists of them, are JSON."""
    columns = [_copied(column) for column in rows.columns]
    lines = pc.binary_join_element_wise(pc.binary_join_element_wise(*columns, "\t"), "", "\n")
    _, offsets, text = lines.buffers()
    ends = np.frombuffer(offsets, np.int32)[lines.offset : lines.offset + len(lines) + 1]
    return memoryview(text)[ends[0] : ends[-1]] if len(lines) else memoryview(b"")


def _copied(values: pa.Array) -> pa.Array:
    kind = values.type
    if pa.types.is_list(kind) and not pa.types.is_nested(kind.value_type):
        text = _escaped(_as_array(values))
    elif pa.types.is_nested(kind):
        text = _escaped(as_json(values))
    elif pa.types.is_string(kind):
        text = _escaped(values)
    else:
        text = values.cast(pa.string())
    return pc.if_else(values.is_null(), _NULL, text) if values.null_count else text


def _escaped(text: pa.Array) -> pa.Array:
    for character, escape in _SPECIAL:
        text = pc.replace_substring(text, character, escape)
    return text


def _as_array(values: pa.Array) -> pa.Array:
    """Return lists of texts as PostgreSQL writes arrays: {"a","b"}."""
    start, end = int(values.offsets[0].as_py()), int(values.offsets[-1].as_py())
    quoted = values.values.slice(start, end - start)
    for character in ("\\", '"'):
        quoted = pc.replace_substring(quoted, character, f"\\{character}")
    quoted = pc.binary_join_element_wise('"', quoted, '"', "")
    joined = pc.binary_join(pa.ListArray.from_arrays(pc.subtract(values.offsets, start), quoted), ",")
    return pc.binary_join_element_wise("{", joined, "}", "")
