"""In memory: all ratings of an input at once, in the narrowest types, as training needs them.

A rating takes 16 bytes where ids and times fit in 32 bits, as MovieLens' do, and 28 where they do not. Blocks are
narrowed as they are read, and no column is ever there twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel.arrays import Arrays, places, runs, take
from recmodel.data import duplicates, histories, movielens
from recmodel.data import ids as identifiers
from recmodel.data.catalogue import with_delisted
from recmodel.data.feedback import Feedback
from recmodel.data.ids import Labels
from recmodel.data.limits import Input
from recmodel.data.validation import Validation
from recmodel.schemas import Ids
from recmodel.storage import Location

_NARROW = np.iinfo(np.int32)


@dataclass(frozen=True)
class Ratings:
    """The ratings that count, one per user and movie, ascending by both: the same whatever their order in the input."""

    columns: Arrays  # those of `schemas.RATINGS`; ids that are text as their numbers; integers int32, or int64
    users: pa.Array | None  # string, ascending: the ids of users that are text; None: they are integers
    superseded: int  # ratings that do not count; see `duplicates`

    def __len__(self) -> int:
        return len(self.columns[c.RATING])

    def without(self, users: pa.Array) -> Ratings:
        """Return the ratings of all but some users, which are given by their ids."""
        numbers = users.to_numpy() if self.users is None else places(self.users, users)
        columns, of_others = take(self.columns, ~np.isin(self.columns[c.USER_ID], numbers)), self.users
        if of_others is not None:  # whose numbers are their places, without gaps
            left, columns[c.USER_ID] = runs(columns[c.USER_ID])
            of_others = of_others.take(pa.array(left))
        return Ratings(columns, of_others, self.superseded)


def read(
    folder: Location, limits: Input, known: pa.Table | None, feedback: Feedback, ids: Ids
) -> tuple[pa.Table, Ratings, Validation]:
    """Read the catalogue (`schemas.CATALOGUE`) and the ratings of a directory, and what was rejected.

    Args and raises: see `movielens.read`.
    """
    validation = Validation(limits, ids)
    tonight = movielens.read_catalogue(folder, validation)
    everything = with_delisted(tonight, known)
    ratings = gather(movielens.stream_ratings(folder, everything, validation, feedback), add_up=feedback.is_implicit)
    rated = pc.unique(pa.array(ratings.columns[c.MOVIE_ID])).cast(pa.int64())
    catalogue = movielens.with_rated(tonight, known, identifiers.movie_ids(rated, everything))
    if identifiers.has_text(catalogue):
        numbers = places(catalogue.column(c.MOVIE_ID).combine_chunks(), everything.column(c.MOVIE_ID))
        ratings.columns[c.MOVIE_ID] = numbers.astype(np.int32)[ratings.columns[c.MOVIE_ID]]
    return catalogue, ratings, validation


def number(ratings: Ratings, catalogue: pa.Table) -> tuple[pa.Table, Labels]:
    """Return the catalogue with int64 ids, and what these and the numbers of users stand for; see `ids.number`."""
    _, numbered, labels = identifiers.number(c.RATINGS.empty_table(), catalogue)
    return numbered, Labels(ratings.users, labels.movies)


def gather(batches: Iterable[pa.RecordBatch], *, add_up: bool) -> Ratings:
    """Collect the ratings that count from `schemas.RATINGS`, whose movie ids that are text are given as numbers.

    Args:
        add_up: see `duplicates.combined`.
    """
    chunks: dict[str, list] = {name: [] for name in c.RATINGS.names}
    for batch in batches:
        for name, some in chunks.items():
            some.append(_narrowed(batch.column(name)))
    users = None
    if chunks[c.USER_ID] and not isinstance(chunks[c.USER_ID][0], np.ndarray):
        chunks[c.USER_ID], users = _numbered(chunks[c.USER_ID])
    columns = {name: np.concatenate(chunks.pop(name) or [_nothing(name)]) for name in c.RATINGS.names}
    pa.default_memory_pool().release_unused()  # what blocks were read into, which Arrow would keep

    order = histories.in_order(pa.array(columns[c.USER_ID]), columns[c.MOVIE_ID]) if len(columns[c.RATING]) else None
    if order is None:
        return Ratings(columns, users, 0)
    for name in columns:
        columns[name] = columns[name][order]
    del order
    user, movie = columns[c.USER_ID], columns[c.MOVIE_ID]
    starts = np.append(True, (user[1:] != user[:-1]) | (movie[1:] != movie[:-1]))
    counts, columns[c.RATING] = duplicates.that_count(starts, columns[c.TIMESTAMP], columns[c.RATING], add_up=add_up)
    return Ratings(columns if counts.all() else take(columns, counts), users, int((~counts).sum()))


def _narrowed(column: pa.Array) -> np.ndarray | pa.DictionaryArray:
    """Return a copy of a column in a narrow type; texts as a dictionary."""
    if pa.types.is_string(column.type):
        return column.dictionary_encode()
    values = column.fill_null(0).to_numpy()
    if values.dtype == np.int64 and len(values) and _NARROW.min <= values.min() and values.max() <= _NARROW.max:
        return values.astype(np.int32)
    return values.copy()


def _numbered(chunks: list[pa.DictionaryArray]) -> tuple[list[np.ndarray], pa.Array]:
    """Return the place of each text among all, ascending by their bytes; and these."""
    unified = pa.chunked_array(chunks).unify_dictionaries()
    order = pc.sort_indices(unified.chunk(0).dictionary)
    place = np.empty(len(order), np.int32)
    place[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
    return [place[chunk.indices.to_numpy()] for chunk in unified.chunks], unified.chunk(0).dictionary.take(order)


def _nothing(name: str) -> np.ndarray:
    return np.empty(0, c.RATINGS.field(name).type.to_pandas_dtype())
