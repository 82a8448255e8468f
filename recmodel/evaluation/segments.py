"""Segments: groups of users and of movies, and how good predictions are for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from recmodel import schemas as c
from recmodel.data import catalogue as catalogues
from recmodel.evaluation.baselines import Predictions
from recmodel.evaluation.splits import Split


@dataclass(frozen=True)
class Segment:
    """Some of the users who are measured, or some of the movies."""

    kind: str
    name: str
    users: np.ndarray | None = None  # [U] bool
    movies: np.ndarray | None = None  # [M] bool


def of(split: Split, catalogue: pa.Table) -> list[Segment]:
    """Return users by the number of their known ratings, movies by theirs, by year, and by genre.

    Args:
        catalogue: `schemas.CATALOGUE` of the movies of the split, ascending by movie_id.
    """
    known = np.array([len(movies) for movies in split.histories(split.users)[0]])
    rated, _ = split.counts()
    years = catalogues.years(catalogue)
    genres, has = catalogues.genres(catalogue)
    return [
        *(Segment("users by ratings", name, users=rows) for name, rows in _thirds(known)),
        *(Segment("movies by ratings", name, movies=rows) for name, rows in _thirds(rated)),
        *(Segment("movies by year", name, movies=rows) for name, rows in _thirds(years)),
        *(Segment("genre", name, movies=has[:, g]) for g, name in enumerate(genres) if name not in catalogues.NO_GENRE),
    ]


def measure(
    predictions: Predictions, per_user: dict[str, np.ndarray] | None, split: Split, segments: list[Segment]
) -> Iterator[dict[str, Any]]:
    """Yield for each segment its size and measures: of its users, or of the held-out ratings of its movies.

    Recall of movies is the share of their relevant held-out ratings that is in the first 10 of the user's list.

    Args:
        per_user: what `ranking.per_user` returns of the lists; None: there are none.
    """
    user = np.searchsorted(split.users, split.held_out[c.USER_ID])
    movie = np.searchsorted(split.movie_ids, split.held_out[c.MOVIE_ID])
    relevant_user = np.searchsorted(split.users, split.relevant[c.USER_ID])
    relevant_movie = np.searchsorted(split.movie_ids, split.relevant[c.MOVIE_ID])
    found = None
    if predictions.lists is not None:
        first = predictions.lists[relevant_user, :10]
        found = (first == split.relevant[c.MOVIE_ID][:, np.newaxis]).any(axis=1)
    for segment in segments:
        rows = segment.users[user] if segment.users is not None else segment.movies[movie]  # type: ignore[index]
        measures: dict[str, Any] = {"segment": segment.kind, "of": segment.name, "held out": int(rows.sum())}
        if predictions.ratings is not None and rows.any():
            error = predictions.ratings[rows].astype(np.float64) - split.held_out[c.RATING][rows]
            measures["rmse"] = float(np.sqrt(np.mean(error**2)))
        if per_user is not None and segment.users is not None:
            measures |= {name: _mean(per_user[name][segment.users]) for name in ("recall@10", "ndcg@10")}
        elif found is not None:
            measures["recall@10"] = _mean(found[segment.movies[relevant_movie]])  # type: ignore[index]
        yield measures


def _thirds(values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield three groups of about the same size by value, each with its range as a name; fewer where values repeat."""
    present = values[~np.isnan(values)]
    if not len(present):
        return
    bounds = np.unique(np.quantile(present, [1 / 3, 2 / 3], method="lower"))
    group = np.where(np.isnan(values), -1, np.searchsorted(bounds, values))
    for rows in (group == i for i in range(len(bounds) + 1)):
        if rows.any():
            least, most = values[rows].min(), values[rows].max()
            yield (f"{least:g}" if least == most else f"{least:g} to {most:g}"), rows


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if len(values) and not np.isnan(values).all() else np.nan
