"""Staged ratings: the usable ratings of a run in Parquet files, of which each task reads the users that it scores.

The files are written while the input is read, one for each share of it, in chunks that ascend by user and movie. Row
groups are small, and footers say which users they hold: a range of users is found again without a shuffle, whatever the
order of the input. Where the input is sorted as MovieLens' files are, all rows ascend and nothing has to be sorted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recmodel import schemas as c
from recmodel import storage
from recmodel.arrays import rows_of
from recmodel.data import histories
from recmodel.data.histories import Histories
from recmodel.errors import InputRejected
from recmodel.schemas import INTEGER_IDS, Id, Ids

if TYPE_CHECKING:
    import pyarrow.dataset as ds

# Names of files and folders of what is staged.
RATINGS = "ratings"  # `schemas.STAGED`, duplicates included
CATALOGUE = "catalogue.parquet"  # `schemas.CATALOGUE` of tonight's movies and the delisted ones
ASKED = "asked.parquet"  # the users of --users
OPTED_OUT = "opted-out.parquet"
DENIED = "denied.parquet"  # `schemas.STAGED_PAIRS`

_CHUNK = 3 << 20  # rows that are sorted together, 90 MiB; most shares of the input have fewer
_ROW_GROUP = 1 << 14  # rows: of a range of users, at most two row groups of a chunk hold others too
# The files are read three times within minutes and then removed. So they are written as fast as can be: dictionaries
# only of what repeats within a row group, and no compression.
_PARQUET = {"compression": "none", "use_dictionary": [c.USER_ID, c.RATING]}


@dataclass
class StagedRatings:
    """Counts of ratings that have been staged. M movies: those of the run's catalogue."""

    counts: np.ndarray  # [M] int64: number of ratings of each movie
    sums: np.ndarray  # [M] float64: their sum; NaN if they are weights
    half_stars: Counter[int]  # number of ratings by twice their value, rounded: 7 stands for 3.5 stars
    in_order: bool = True  # whether they ascend strictly by user and movie, so that there are no duplicates
    first: pa.RecordBatch | None = None  # `schemas.STAGED`, one row; None: there are no ratings
    last: pa.RecordBatch | None = None
    rated: bool = True  # whether they are ratings, and not the weights of implicit feedback


def write(
    batches: Iterable[pa.RecordBatch],
    sink: Path | pa.NativeFile,
    movie_ids: np.ndarray,
    ids: Ids = INTEGER_IDS,
    *,
    rated: bool = True,
) -> StagedRatings:
    """Write ratings (`schemas.STAGED`) to one Parquet file and count them in the same pass.

    Memory depends on the number of movies, not on that of ratings.

    Args:
        batches: see `movielens.stream_ratings`.
        movie_ids: [M] int64, ascending: every movie that can be rated, or the numbers of all of them.
        ids: what the ids of the batches are.
        rated: False: the values are weights, so the sums are NaN and there are no stars to count.
    """
    counts, sums = np.zeros(len(movie_ids), np.int64), np.full(len(movie_ids), 0.0 if rated else np.nan)
    staged = StagedRatings(counts, sums, Counter(), rated=rated)
    schema = c.with_ids(c.STAGED, ids)
    with pq.ParquetWriter(sink, schema, **_PARQUET) as writer:
        for batch in _chunks(batches):
            user_id, movie_id, rating, timestamp = (batch.column(name) for name in c.RATINGS.names)
            movie = rows_of(movie_ids, movie_id.to_numpy())
            counts += np.bincount(movie, minlength=len(movie_ids))
            if rated:
                sums += np.bincount(movie, rating, len(movie_ids))
                staged.half_stars.update(half_stars(rating.to_numpy()))
            chunk = pa.RecordBatch.from_arrays([user_id, pa.array(movie), rating, timestamp], schema=schema)
            order = histories.in_order(user_id, movie)
            chunk = chunk if order is None else chunk.take(pa.array(order))
            staged.in_order &= order is None and (staged.last is None or _follows(staged.last, chunk))
            staged.first, staged.last = staged.first or _row(chunk, 0), _row(chunk, chunk.num_rows - 1)
            writer.write_batch(chunk, row_group_size=_ROW_GROUP)
    return staged


def joined(files: Iterable[StagedRatings]) -> StagedRatings:
    """Return the counts of several files, one after the other, each of which is let go of before the next is made.

    Raises:
        InputRejected: there is not one rating.
    """
    whole: StagedRatings | None = None
    for file in files:
        if whole is None:
            whole = file
            continue
        whole.counts += file.counts
        whole.sums += file.sums
        whole.half_stars += file.half_stars
        if file.first is not None:
            whole.in_order &= file.in_order and (whole.last is None or _follows(whole.last, file.first))
            whole.first, whole.last = whole.first or file.first, file.last
    if whole is None or whole.last is None:
        raise InputRejected("the file of ratings holds none that can be used; export it again")
    return whole


def half_stars(rating: np.ndarray) -> dict[int, int]:
    """Count ratings by twice their value, rounded."""
    pairs = pc.value_counts(pa.array(np.rint(rating * 2).astype(np.int64)))
    return dict(zip(pairs.field("values").to_pylist(), pairs.field("counts").to_pylist(), strict=True))


def _chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Join batches, so that each but the last has at least `_CHUNK` rows; none is empty."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(part.num_rows for part in waiting) >= _CHUNK:
            yield pa.concat_batches(waiting)
            waiting = []
    if any(part.num_rows for part in waiting):
        yield pa.concat_batches(waiting)


def _row(chunk: pa.RecordBatch, row: int) -> pa.RecordBatch:
    """Return a copy of one row: a slice would keep the whole chunk in memory."""
    return chunk.take(pa.array([row]))


def _follows(last: pa.RecordBatch, chunk: pa.RecordBatch) -> bool:
    user_id, movie = (pa.concat_arrays([last.column(name), chunk.column(name)[:1]]) for name in c.STAGED_PAIRS.names)
    return histories.are_in_order(user_id, movie.to_numpy())


# -- ranges of users ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A range of users: what one task works on, and one file of each table."""

    number: int
    first: Id | None  # the smallest user_id; None: no limit
    end: Id | None  # the smallest user_id beyond it

    @property
    def file(self) -> str:
        """The name of its file in a table."""
        return f"part-{self.number:05d}.parquet"

    def read(self, location: str | list[str], columns: list[str] | None = None) -> pa.Table:
        """Read the rows of these users from Parquet files with a column user_id, in the order of the files."""
        user_id, everybody = pc.field(c.USER_ID), pc.scalar(True)
        above = everybody if self.first is None else user_id >= self.first
        below = everybody if self.end is None else user_id < self.end
        rows = storage.dataset(location).to_table(columns, filter=above & below, use_threads=False)
        return rows.combine_chunks()


def parts(starts: list[int] | list[str]) -> list[Part]:
    """Return the ranges that begin at `starts`, ascending, and the one before them."""
    return [
        Part(number, first, end)
        for number, (first, end) in enumerate(zip([None, *starts], [*starts, None], strict=True))
    ]


def file(number: int) -> str:
    """Return the name of the file of a share of the input in `RATINGS`."""
    return f"part-{number:05d}.parquet"


def starts_by_rows(location: str, count: int) -> list[int] | list[str]:
    """Return the users at which `count` ranges of about as many rows begin, by the footers of a folder of files."""
    firsts = []
    for name in storage.names(location):
        with storage.open_file(storage.below(location, name)) as opened:
            footer = pq.read_metadata(opened)
        firsts += [footer.row_group(i).column(0).statistics.min for i in range(footer.num_row_groups)]
    firsts.sort()
    return sorted({firsts[len(firsts) * i // count] for i in range(1, count)} - {firsts[0]})


def of_some_users(location: str, users: list[Id]) -> pa.Table:
    """Return the ratings of a few users from a folder of files, by the row groups that may hold them."""
    wanted, found = sorted(users), []
    for name in storage.names(location):
        with storage.open_file(storage.below(location, name)) as opened:
            file = pq.ParquetFile(opened)
            groups = []
            for number in range(file.num_row_groups):
                held = file.metadata.row_group(number).column(0).statistics
                nearest = bisect_left(wanted, held.min)
                if nearest < len(wanted) and wanted[nearest] <= held.max:
                    groups.append(number)
            rows = file.read_row_groups(groups)
        of_users = pa.array(users, rows.schema.field(c.USER_ID).type)
        found.append(rows.filter(pc.is_in(rows.column(c.USER_ID), value_set=of_users)))
    return pa.concat_tables(found)


# -- all that is staged ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StagedInput:
    """The staged input of a run, as the driver and its workers read it."""

    folder: str
    users_table: str  # where the table `users` is written
    in_order: bool  # see `StagedRatings`
    add_up: bool  # see `duplicates.combined`
    has_asked: bool  # whether only the users of --users are scored
    has_denied: bool
    has_opted_out: bool

    def at(self, name: str) -> str:
        """Return where something is staged."""
        return storage.below(self.folder, name)

    def catalogue(self) -> pa.Table:
        """Return `schemas.CATALOGUE` of tonight's movies and the delisted ones, whose rows stand for movies."""
        return storage.dataset(self.at(CATALOGUE)).to_table().combine_chunks()

    def all_users(self) -> ds.Dataset:
        """Return the users of the run: those asked for, otherwise all who have rated; with a column user_id."""
        return storage.dataset(self.at(ASKED) if self.has_asked else self.users_table)

    def users(self, part: Part) -> pa.Table:
        """Return the users of a part (`schemas.USER`), ascending."""
        rated = part.read(self.users_table)
        if not self.has_asked:
            return rated
        asked = part.read(self.at(ASKED)).column(c.USER_ID).combine_chunks()
        place = pc.index_in(asked, value_set=rated.column(c.USER_ID).combine_chunks())
        columns = [rated.column(name).take(place).fill_null(0) for name in rated.schema.names[1:]]
        return pa.table([asked, *columns], rated.schema.names)

    def histories(self, part: Part, users: pa.Array) -> Histories:
        """Return the histories of some users of a part, with what is denied to them."""
        rows = part.read(self.at(RATINGS))
        if not self.in_order:
            rows = rows.filter(pc.is_in(rows.column(c.USER_ID), value_set=users))  # few of them are cheaper to sort
            rows, _ = histories.that_count(histories.sorted_rows(rows), add_up=self.add_up)
        return histories.of_users(users, rows, self.denied(part))

    def denied(self, part: Part) -> pa.Table | None:
        """Return what may not be recommended to whom in a part (`schemas.STAGED_PAIRS`); None: no such rule."""
        return part.read(self.at(DENIED)) if self.has_denied else None

    def opted_out(self) -> pa.Array | None:
        """Return the ids of those who have opted out, in the run or not, ascending; None without a list."""
        if not self.has_opted_out:
            return None
        return storage.dataset(self.at(OPTED_OUT)).to_table().column(c.USER_ID).combine_chunks()
