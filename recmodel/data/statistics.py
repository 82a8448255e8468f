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
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from recmodel import schemas as c
from recmodel.data import duplicates, movielens
from recmodel.data import feedback as feedbacks
from recmodel.data.catalogue import with_delisted
from recmodel.data.feedback import Feedback
from recmodel.data.limits import Input
from recmodel.data.validation import Validation

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
    movie_ids: np.ndarray  # [M] int64, ascending: all movies of the directory
    ratings: np.ndarray  # [M] int64: number of ratings of each
    histories: dict[int, History]  # by user; only of users who have rated

    def to_bytes(self) -> bytes:
        """Return gzipped JSON, which `from_bytes` reads."""
        fields = asdict(self) | {"movie_ids": self.movie_ids.tolist(), "ratings": self.ratings.tolist()}
        return gzip.compress(json.dumps(fields).encode(), mtime=0)

    @classmethod
    def from_bytes(cls, content: bytes) -> InteractionStatistics:
        """Return the statistics that `to_bytes` has written."""
        fields = json.loads(gzip.decompress(content))
        return cls(
            rows_in=fields["rows_in"],
            stars={float(value): count for value, count in fields["stars"].items()},
            movie_ids=np.array(fields["movie_ids"], np.int64),
            ratings=np.array(fields["ratings"], np.int64),
            histories={int(user_id): history for user_id, history in fields["histories"].items()},
        )


def read(
    folder: Path, users: list[int], limits: Input, known: pa.Table | None = None, feedback: Feedback | None = None
) -> InteractionStatistics:
    """Read a MovieLens directory once, for the statistics of all ratings and the histories of `users`.

    Args:
        known: the catalogue of a model, for ratings of delisted movies; see `movielens.read`.
        feedback: None: as `feedback.decide` has it.

    Raises:
        InputRejected: see `movielens.stream_ratings`.
    """
    validation = Validation(limits)
    feedback = feedback or feedbacks.decide(folder, limits)
    catalogue = with_delisted(movielens.read_catalogue(folder, validation), known)
    movie_ids = catalogue.column(c.MOVIE_ID).to_numpy()
    counts, half_stars = np.zeros(len(movie_ids), np.int64), Counter[int]()
    batches: list[pa.RecordBatch] = []
    for batch in movielens.stream_ratings(folder, catalogue, validation, feedback):
        if not feedback.is_implicit:
            half_stars.update(movielens.half_stars(batch.column(c.RATING).to_numpy()))
        counts += np.bincount(np.searchsorted(movie_ids, batch.column(c.MOVIE_ID).to_numpy()), minlength=len(counts))
        batches.append(batch.filter(pc.is_in(batch.column(c.USER_ID), value_set=pa.array(users, pa.int64()))))
    rated = pa.Table.from_batches(batches, schema=c.RATINGS)
    histories = _histories(rated, catalogue, add_up=feedback.is_implicit)
    return InteractionStatistics(validation.rows, _stars(half_stars), movie_ids, counts, histories)


def of_staged(
    staged: movielens.StagedRatings, rows_in: dict[str, int], histories: dict[int, History]
) -> InteractionStatistics:
    """Return the statistics that were collected while the ratings were staged.

    Args:
        rows_in: rows read, by file.
        histories: see `staged_histories`.
    """
    return InteractionStatistics(rows_in, _stars(staged.half_stars), staged.movie_ids, staged.counts, histories)


def staged_histories(
    users: list[int], ratings: pyarrow.dataset.Dataset, catalogue: pa.Table, *, add_up: bool = False
) -> dict[int, History]:
    """Return the histories of some users, by user. Users without ratings are missing.

    Args:
        ratings: `schemas.RATINGS` as they are staged. Only the ratings of the users are held in memory.
        catalogue: `schemas.CATALOGUE`, for the titles. Movies that it lacks are left out.
        add_up: see `duplicates.combined`.
    """
    return _histories(ratings.to_table(filter=pc.field(c.USER_ID).isin(users)), catalogue, add_up=add_up)


def _stars(half_stars: Mapping[int, int]) -> dict[float, int]:
    return {half / 2: half_stars[half] for half in sorted(half_stars)}


def _histories(ratings: pa.Table, catalogue: pa.Table, *, add_up: bool) -> dict[int, History]:
    latest = pa.table(duplicates.combined(ratings, add_up=add_up), schema=c.RATINGS)
    newest_first = [(c.TIMESTAMP, "descending"), (c.RATING, "descending"), (c.MOVIE_ID, "ascending")]
    rows = latest.join(catalogue.select([c.MOVIE_ID, c.TITLE]), c.MOVIE_ID, join_type="inner").sort_by(newest_first)
    histories: dict[int, History] = {}
    for row in rows.to_pylist():
        histories.setdefault(row[c.USER_ID], []).append(row)
    return histories
