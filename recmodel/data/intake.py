"""Intake: a share of the input is read, checked and staged by whoever takes it, the driver or one of Spark's tasks.

Each share becomes files of its own, and a small record of what was found: nothing that grows with the ratings is handed
to the driver. Workers need neither settings nor pydantic for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recmodel import schemas as c
from recmodel import storage
from recmodel.data import kept, staged, tally
from recmodel.data.layouts import Part
from recmodel.data.pieces import IcebergPiece, KeptPiece, Piece, Share
from recmodel.data.reading import Checked, Contract
from recmodel.data.rules import as_ratings
from recmodel.data.staged import StagedRatings
from recmodel.data.tally import Tally
from recmodel.data.values import Decisions
from recmodel.schemas import Ids

_COUNTS, _REJECTS = "counts", "rejects"  # folders next to the staged ratings, with a file for each share


@dataclass(frozen=True)
class Job:
    """What all shares of a run have in common."""

    contract: Contract
    folder: str  # where the run is staged
    rejects: str  # where the files of the table `rejects` are written
    movies: np.ndarray  # [M] int64: see `staged.write`
    ids: Ids
    rated: bool  # see `staged.write`


@dataclass(frozen=True)
class Work:
    """A share to be taken."""

    number: int  # of the share
    share: Share
    decisions: Decisions = field(default_factory=Decisions)  # of earlier rows, as far as they are known


@dataclass(frozen=True)
class Taken:
    """What a share was found to hold."""

    number: int
    tally: Tally
    ratings: StagedRatings  # without counts and sums, which are in a file


def take(work: Work, job: Job) -> Taken:
    """Read, check and stage a share of the ratings; see `reading.check` and `kept`."""
    found = Tally(decisions=work.decisions.copy())
    name = staged.file(work.number)

    def keep(block: Checked) -> None:
        write(pa.RecordBatch.from_arrays([*block.rejected.columns, block.times], schema=c.TIMED_REJECTS))

    with (
        _parquet_file(storage.below(job.folder, _REJECTS, name), c.TIMED_REJECTS) as write,
        storage.create(storage.below(job.folder, staged.RATINGS, name)) as sink,
    ):
        if isinstance(work.share[0], KeptPiece):
            batches = kept.accepted(work.share[0], job.contract, found, keep)
        else:
            batches = map(as_ratings, tally.accepted(work.share, job.contract, found, keep))
        ratings = staged.write(batches, sink, job.movies, job.ids, rated=job.rated)
    storage.write_arrays(_counts_file(job, work.number), counts=ratings.counts, sums=ratings.sums)
    nothing = np.empty(0)
    return Taken(work.number, found, replace(ratings, counts=nothing, sums=nothing))


def take_if_seen(work: Work, job: Job) -> Taken | None:
    """Do the same as `take` on another machine; None if it does not see the files, or sees others."""
    return take(work, job) if all(map(_is_seen, work.share)) else None


def _is_seen(piece: Piece) -> bool:
    try:
        entry = storage.entry(piece.part.location)
    except OSError:  # without the right to it
        return False
    return not isinstance(piece, IcebergPiece) and entry.is_file and entry.size == piece.part.size


def joined(taken: Sequence[Taken], job: Job) -> StagedRatings:
    """Return the counts of all shares.

    Raises:
        InputRejected: there is not one rating.
    """
    return staged.joined(_with_counts(share, job) for share in taken)


def _with_counts(taken: Taken, job: Job) -> StagedRatings:
    arrays = storage.read_arrays(_counts_file(job, taken.number))
    return replace(taken.ratings, counts=arrays["counts"], sums=arrays["sums"])


def clear(job: Job) -> None:
    """Remove what an earlier attempt has left."""
    for folder in (*(storage.below(job.folder, name) for name in (staged.RATINGS, _COUNTS, _REJECTS)), job.rejects):
        storage.remove(folder)


def kept_pieces(shares: Sequence[Share], taken: Sequence[Taken], job: Job) -> list[KeptPiece]:
    """Return what all shares hold, to be taken again for other dates than that of the job."""
    before = tally.lines_before(shares, [share.tally for share in taken])
    return [_kept_piece(share, lines, job) for share, lines in zip(taken, before, strict=True)]


def _kept_piece(taken: Taken, lines_before: int, job: Job) -> KeptPiece:
    name, of_share = staged.file(taken.number), taken.tally
    ratings = storage.below(job.folder, staged.RATINGS, name)
    return KeptPiece(
        part=Part(ratings, name, storage.entry(ratings).size),
        rejects=storage.below(job.folder, _REJECTS, name) if of_share.rejected else None,
        lines_before=lines_before,
        left_out=of_share.left_out,
        findings=asdict(of_share.findings),
        observed=of_share.observed,
    )


# -- rejects -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rejects:
    """The rejects of a share, whose row numbers may be those of its own lines."""

    number: int  # of the share
    lines_before: int  # in the same file


def of_shares(shares: Sequence[Share], taken: Sequence[Taken]) -> list[Rejects]:
    """Return the rejects of those shares that have any."""
    before = tally.lines_before(shares, [share.tally for share in taken])
    return [Rejects(share.number, lines) for share, lines in zip(taken, before, strict=True) if share.tally.rejected]


def publish_rejects(rejects: Rejects, job: Job) -> None:
    """Write the rejects of a share to the table, with the row numbers that they have in their file."""
    name = staged.file(rejects.number)
    with (
        storage.open_file(storage.below(job.folder, _REJECTS, name)) as opened,
        _parquet_file(storage.below(job.rejects, name), c.REJECTS) as write,
    ):
        place = c.REJECTS.get_field_index("row")
        for batch in pq.ParquetFile(opened).iter_batches():
            row = pc.add(batch.column(place), rejects.lines_before)
            write(batch.select(c.REJECTS.names).set_column(place, c.REJECTS.field(place), row))


@contextmanager
def _parquet_file(location: str, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Give a function that adds rows to a file, which is there at the end if there are any."""
    with ExitStack() as stack:
        writers: list[pq.ParquetWriter] = []

        def write(rows: pa.RecordBatch) -> None:
            if not writers:
                sink = stack.enter_context(storage.create(location))
                writers.append(stack.enter_context(pq.ParquetWriter(sink, schema, **storage.PARQUET)))
            writers[0].write_batch(rows)

        yield write


def _counts_file(job: Job, number: int) -> str:
    return storage.below(job.folder, _COUNTS, f"{number:05d}.npz")
