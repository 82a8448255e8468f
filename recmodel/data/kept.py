"""Kept input: ratings that were read and checked once for several dates, each of which takes those up to its end.

They are kept as they are staged, together with the rejects, both with their times. Each share of the input becomes a
`KeptPiece`, which is taken in its place: what a date then finds is what it would find in the input itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recmodel import schemas as c
from recmodel import storage
from recmodel.data import reading
from recmodel.data.layouts import Part
from recmodel.data.pieces import KeptPiece
from recmodel.data.reading import Checked, Contract, Findings
from recmodel.data.tally import Tally
from recmodel.errors import InputRejected

_RECORD = "kept.json"  # written last


def remember(folder: str, pieces: Sequence[KeptPiece]) -> None:
    """Note that all shares of the input are kept in a folder."""
    storage.write(storage.below(folder, _RECORD), json.dumps([asdict(piece) for piece in pieces]).encode())


def remembered(folder: str) -> list[KeptPiece] | None:
    """Return what `remember` has noted; None if there is nothing."""
    content = storage.read(storage.below(folder, _RECORD))
    if content is None:
        return None
    return [KeptPiece(**piece | {"part": Part(**piece["part"])}) for piece in json.loads(content)]


def accepted(
    piece: KeptPiece, contract: Contract, tally: Tally, keep: Callable[[Checked], None]
) -> Iterator[pa.RecordBatch]:
    """Yield the kept ratings of a share up to the time that is asked for (`schemas.RATINGS`, movies by their rows).

    Args:
        tally: gets what becomes of the rows.
        keep: takes each block that has rejected rows.
    """
    tally.findings, tally.observed = Findings(**piece.findings | {"lines": 0}), piece.observed
    tally.left_out = piece.left_out
    try:
        reading.refuse_without_times(contract, tally.findings)
    except InputRejected as error:
        tally.failure = str(error)
        return
    no_rejects, no_ratings = (pa.RecordBatch.from_pylist([], schema=schema) for schema in (c.REJECTS, c.RATINGS))
    no_times = pa.array([], pa.int64())
    for rows in _batches(piece.part.location):
        in_time = _up_to(contract.last_second, rows)
        tally.add(Checked(in_time, no_rejects, no_times, rows.num_rows - in_time.num_rows))
        yield pa.RecordBatch.from_arrays(in_time.columns, names=c.RATINGS.names)
    for rows in _batches(piece.rejects) if piece.rejects else ():
        in_time = _up_to(contract.last_second, rows)
        numbers = pc.add(in_time.column("row"), piece.lines_before)
        rejected = in_time.select(c.REJECTS.names).set_column(c.REJECTS.get_field_index("row"), "row", numbers)
        block = Checked(no_ratings, rejected, in_time.column(c.TIMESTAMP), rows.num_rows - in_time.num_rows)
        tally.add(block)
        if rejected.num_rows:
            keep(block)


def _batches(location: str) -> Iterator[pa.RecordBatch]:
    with storage.open_file(location) as opened:
        yield from pq.ParquetFile(opened).iter_batches(1 << 17)


def _up_to(last_second: int | None, rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows that are not later than that; those without a time are not."""
    if last_second is None:
        return rows
    late = pc.greater(rows.column(c.TIMESTAMP), last_second)
    return rows.filter(pc.invert(pc.fill_null(late, fill_value=False))) if pc.any(late).as_py() else rows
