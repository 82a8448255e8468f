"""Tastes: what people have rated, in one pass over the ratings.

Takes a MovieLens directory of any size and a few users; gives counts by stars and by movie, and the histories of those
users.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel.data import movielens as data
from recmodel.settings import Input


@dataclass(frozen=True)
class Tastes:
    """The ratings of a directory."""

    rows_in: dict[str, int]  # read, by file
    stars: dict[float, int]  # ratings, to the nearest half star
    movie_ids: np.ndarray  # [M] int64, ascending: the movies of the directory
    ratings: np.ndarray  # [M] int64: how often each was rated
    histories: dict[int, list[dict[str, Any]]]  # by user: title, rating and timestamp of each movie, newest first


def read(folder: Path, users: list[int], limits: Input) -> Tastes:
    """The tastes of everybody, and the histories of `users` (those who have one).

    Raises:
        InputRejected: see `data.stream_ratings`.
    """
    intake = data.Intake(limits)
    catalogue = data.read_catalogue(folder, intake)
    movie_ids = catalogue.column(c.MOVIE_ID).to_numpy()
    asked = pa.array(users, pa.int64())
    halves: Counter[float] = Counter()
    ratings = np.zeros(len(movie_ids), np.int64)
    theirs: list[pa.RecordBatch] = []
    for batch in data.stream_ratings(folder, catalogue, intake):
        values, counts = np.unique(np.round(batch.column(c.RATING).to_numpy() * 2), return_counts=True)
        halves.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        ratings += np.bincount(np.searchsorted(movie_ids, batch.column(c.MOVIE_ID).to_numpy()), minlength=len(ratings))
        theirs.append(batch.filter(pc.is_in(batch.column(c.USER_ID), value_set=asked)))
    return Tastes(
        rows_in=intake.rows,
        stars={half / 2: halves[half] for half in sorted(halves)},
        movie_ids=movie_ids,
        ratings=ratings,
        histories=_histories(pa.Table.from_batches(theirs, schema=c.RATINGS), catalogue),
    )


def _histories(rated: pa.Table, catalogue: pa.Table) -> dict[int, list[dict[str, Any]]]:
    """By user, one row a movie: the latest rating, the higher among equal times, as in training."""
    newest_first = [(c.TIMESTAMP, "descending"), (c.RATING, "descending"), (c.MOVIE_ID, "ascending")]
    rows = rated.join(catalogue.select([c.MOVIE_ID, c.TITLE]), c.MOVIE_ID).sort_by(newest_first)
    latest: dict[int, dict[int, dict[str, Any]]] = {}
    for row in rows.to_pylist():
        latest.setdefault(row[c.USER_ID], {}).setdefault(row[c.MOVIE_ID], row)
    return {user_id: [*by_movie.values()] for user_id, by_movie in latest.items()}
