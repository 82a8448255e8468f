"""Movies on the page: what is recommended by how often a movie was rated, by genre, and of movies that are new.

Takes the table `movies` of a run and its recommendations counted by movie, and returns shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel.report.summary import USERS
from recmodel.tables.base import Output

NO_GENRE = "(no genre)"
_RATED = (("0", 0), ("1–9", 1), ("10–99", 10), ("100 or more", 100))  # name, and fewest ratings


@dataclass(frozen=True)
class Group:
    """Some of the movies of a night."""

    name: str
    movies: int
    recommended: float  # their share of all recommendations
    rated: float  # their share of all ratings
    predicted_rating: float | None  # mean over their recommendations, in stars
    mean_rating: float | None  # of their ratings, in stars


@dataclass(frozen=True)
class Mix:
    """What a run recommends, by kinds of movies. Delisted movies count nowhere."""

    run_date: date
    movies: int
    new: Group  # the model was not trained on them
    by_ratings: list[Group]  # ascending by the number of ratings
    by_genre: list[Group]  # descending by the share of ratings, then by name; a movie counts in each of its genres


def of_run(output: Output, run_date: date, by_movie: pa.Table) -> Mix | None:
    """Return what a run recommends by kinds of movies; None for runs of versions before 0.3.2.

    Args:
        by_movie: see `summary.Summary`.
    """
    if not output.files(c.MOVIES_TABLE, run_date):
        return None
    columns = [c.MOVIE_ID, c.GENRES, c.RATINGS_COUNT, c.MEAN_RATING, c.STATUS]
    return mix(run_date, output.dataset(c.MOVIES_TABLE, run_date).to_table(columns=columns), by_movie)


def mix(run_date: date, movies: pa.Table, by_movie: pa.Table) -> Mix:
    """Join the movies of a run with what it recommends, see `of_run`.

    Args:
        movies: the columns of `schemas.MOVIE_ROW` that `of_run` reads.
    """
    movies = movies.filter(pc.not_equal(movies.column(c.STATUS), c.STATUS_DELISTED)).combine_chunks()
    of = _PerMovie(movies, by_movie)
    fewest = [least for _, least in _RATED]
    bucket = np.searchsorted(fewest, of.ratings, side="right") - 1
    is_new = pc.equal(movies.column(c.STATUS), c.STATUS_NEW).to_numpy(zero_copy_only=False)
    genres = movies.column(c.GENRES).combine_chunks()
    names, genre = np.unique(genres.flatten().to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
    of_genre = pc.list_parent_indices(genres).to_numpy()
    none = np.flatnonzero(pc.fill_null(pc.list_value_length(genres), 0).to_numpy() == 0)
    by_genre = [of.group(name, of_genre[genre == i]) for i, name in enumerate(names)]
    return Mix(
        run_date=run_date,
        movies=movies.num_rows,
        new=of.group("new", np.flatnonzero(is_new)),
        by_ratings=[of.group(name, np.flatnonzero(bucket == i)) for i, (name, _) in enumerate(_RATED)],
        by_genre=sorted(
            [*by_genre, *([of.group(NO_GENRE, none)] if len(none) else [])],
            key=lambda group: (-group.rated, -group.recommended, group.name),
        ),
    )


class _PerMovie:
    """What is known of each of M movies."""

    def __init__(self, movies: pa.Table, by_movie: pa.Table) -> None:
        place = pc.index_in(movies.column(c.MOVIE_ID), value_set=by_movie.column(c.MOVIE_ID).combine_chunks())
        self.rows = _numbers(by_movie.column(USERS).take(place), 0)  # [M] recommendations
        self.predicted = _numbers(by_movie.column(c.PREDICTED_RATING).take(place), np.nan)  # [M] their mean, in stars
        self.ratings = _numbers(movies.column(c.RATINGS_COUNT), 0)
        self.mean_rating = _numbers(movies.column(c.MEAN_RATING), np.nan)

    def group(self, name: str, which: np.ndarray) -> Group:
        """Return the group of the movies of some rows."""
        return Group(
            name=name,
            movies=len(which),
            recommended=float(self.rows[which].sum() / max(1, self.rows.sum())),
            rated=float(self.ratings[which].sum() / max(1, self.ratings.sum())),
            predicted_rating=_weighted_mean(self.predicted[which], self.rows[which]),
            mean_rating=_weighted_mean(self.mean_rating[which], self.ratings[which]),
        )


def _numbers(column: pa.ChunkedArray, missing: float) -> np.ndarray:
    """Return float64, with what is null replaced."""
    return pc.fill_null(column.cast(pa.float64()), missing).to_numpy()


def _weighted_mean(values: np.ndarray, weights: np.ndarray) -> float | None:
    """Return the mean of the values that are not NaN; None without any."""
    known = ~np.isnan(values) & (weights > 0)
    return float(np.average(values[known], weights=weights[known])) if known.any() else None
