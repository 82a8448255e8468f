"""Interaction statistics: how often each star and each movie was rated, and what some users have rated.

Takes ratings of any number, from a MovieLens directory or as a run has staged them, in one pass. A run publishes its
statistics, so that its report need not read the ratings again.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from recmodel import schemas as c
from recmodel.data import duplicates, movielens, staged
from recmodel.data import feedback as feedbacks
from recmodel.data import ids as identifiers
from recmodel.data.catalogue import with_delisted
from recmodel.data.feedback import Feedback
from recmodel.data.limits import Input
from recmodel.data.validation import Validation
from recmodel.schemas import INTEGER_IDS, TEXT, Id, Ids
from recmodel.storage import Location

FILE = "statistics.json.gz"  # next to run.json
# Title, rating, timestamp and ids of each movie of a user, newest first. Of implicit feedback, rating holds the weight.
History = list[dict[str, Any]]


@dataclass(frozen=True)
class InteractionStatistics:
    """The ratings of a MovieLens directory, duplicates included, and the histories of some users, without them.

    Implicit feedback has no stars.
    """

    rows_in: dict[str, int]  # read, by file
    stars: dict[float, int]  # number of ratings, by their value rounded to half stars, ascending
    movie_ids: np.ndarray  # [M] int64, or texts (object), ascending: all movies of the directory
    ratings: np.ndarray  # [M] int64: number of ratings of each
    histories: dict[Id, History]  # by user; only of users who have rated
    ids: Ids = INTEGER_IDS  # what the ids are

    def to_bytes(self) -> bytes:
        """Return gzipped JSON, which `from_bytes` reads."""
        arrays = {"movie_ids": self.movie_ids.tolist(), "ratings": self.ratings.tolist()}
        fields = vars(self) | arrays | {"ids": asdict(self.ids)}
        # Level 6, zlib's own default, is three times as fast as Python's, for 5 % more bytes.
        return gzip.compress(json.dumps(fields).encode(), compresslevel=6, mtime=0)

    @classmethod
    def from_bytes(cls, content: bytes) -> InteractionStatistics:
        """Return the statistics that `to_bytes` has written."""
        fields = json.loads(gzip.decompress(content))
        ids = Ids(**fields.get("ids", {}))  # which versions before 0.3.2 lack
        as_user_id = str if ids.user == TEXT else int
        return cls(
            rows_in=fields["rows_in"],
            stars={float(value): count for value, count in fields["stars"].items()},
            movie_ids=np.array(fields["movie_ids"], object if ids.movie == TEXT else np.int64),
            ratings=np.array(fields["ratings"], np.int64),
            histories={as_user_id(user_id): history for user_id, history in fields["histories"].items()},
            ids=ids,
        )


def read(
    folder: Location,
    users: list[Id],
    limits: Input,
    known: pa.Table | None = None,
    feedback: Feedback | None = None,
    ids: Ids | None = None,
) -> InteractionStatistics:
    """Read a MovieLens directory once, for the statistics of all ratings and the histories of `users`.

    Args:
        known: the catalogue of a model, for ratings of delisted movies; see `movielens.read`.
        feedback: None: as `feedback.decide` has it.
        ids: what the ids are; None: as `ids.decide` has it.

    Raises:
        InputRejected: see `movielens.stream_ratings`.
    """
    validation = Validation(limits, ids or identifiers.decide(folder, limits))
    feedback = feedback or feedbacks.decide(folder, limits)
    catalogue = with_delisted(movielens.read_catalogue(folder, validation), known)
    numbers = identifiers.movie_numbers(catalogue)
    user_ids = pa.array(users, c.with_ids(c.USERS, validation.ids).field(c.USER_ID).type)
    counts, half_stars = np.zeros(len(numbers), np.int64), Counter[int]()
    batches: list[pa.RecordBatch] = []
    for batch in movielens.stream_ratings(folder, catalogue, validation, feedback):
        if not feedback.is_implicit:
            half_stars.update(staged.half_stars(batch.column(c.RATING).to_numpy()))
        row = np.searchsorted(numbers, batch.column(c.MOVIE_ID).to_numpy())
        counts += np.bincount(row, minlength=len(counts))
        batches.append(batch.filter(pc.is_in(batch.column(c.USER_ID), value_set=user_ids)))
    rated = pa.Table.from_batches(batches, schema=c.with_ids(c.RATINGS, identifiers.numbered(validation.ids)))
    histories = _histories(rated, catalogue, validation.ids, add_up=feedback.is_implicit)
    return InteractionStatistics(
        validation.rows, _stars(half_stars), _movie_ids(catalogue), counts, histories, validation.ids
    )


def of_staged(
    counted: staged.StagedRatings,
    rows_in: dict[str, int],
    users: list[Id],
    ratings: str,
    catalogue: pa.Table,
    ids: Ids,
    *,
    add_up: bool = False,
) -> InteractionStatistics:
    """Return the statistics that were collected while the ratings were staged, and the histories of `users`.

    Args:
        rows_in: rows read, by file.
        ratings: the file of them (`schemas.STAGED`), of which the row groups with these users are read.
        catalogue: `schemas.CATALOGUE` of all movies that can be rated.
        add_up: see `duplicates.combined`.
    """
    rated = staged.of_some_users(ratings, users)
    movie_id = pa.array(identifiers.movie_numbers(catalogue)).take(rated.column(c.MOVIE).combine_chunks())
    rated = rated.set_column(1, c.MOVIE_ID, movie_id)
    histories = _histories(rated, catalogue, ids, add_up=add_up)
    stars = _stars(counted.half_stars)
    return InteractionStatistics(rows_in, stars, _movie_ids(catalogue), counted.counts, histories, ids)


def _stars(half_stars: Mapping[int, int]) -> dict[float, int]:
    return {half / 2: half_stars[half] for half in sorted(half_stars)}


def _histories(ratings: pa.Table, catalogue: pa.Table, ids: Ids, *, add_up: bool) -> dict[Id, History]:
    ratings, _, labels = identifiers.number(ratings, catalogue)
    latest = duplicates.combined(ratings, add_up=add_up)
    latest[c.USER_ID], latest[c.MOVIE_ID] = labels.user_ids(latest[c.USER_ID]), labels.movie_ids(latest[c.MOVIE_ID])
    newest_first = [(c.TIMESTAMP, "descending"), (c.RATING, "descending"), (c.MOVIE_ID, "ascending")]
    titles = catalogue.select([c.MOVIE_ID, c.TITLE])
    rows = (
        pa.table(latest, schema=c.with_ids(c.RATINGS, ids))
        .join(titles, c.MOVIE_ID, join_type="inner")
        .sort_by(newest_first)
    )
    histories: dict[Id, History] = {}
    for row in rows.to_pylist():
        histories.setdefault(row[c.USER_ID], []).append(row)
    return histories


def _movie_ids(catalogue: pa.Table) -> np.ndarray:
    return catalogue.column(c.MOVIE_ID).to_numpy()
