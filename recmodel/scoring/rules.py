"""Business rules: which movies may be recommended, whatever their scores, and how many of a genre a list may have.

A movie counts for each of its genres. A movie without genres or without a year matches no list of genres or years, so
such a list neither allows nor denies it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from recmodel import schemas as c
from recmodel.arrays import locate
from recmodel.data import catalogue as lookup
from recmodel.errors import UsageRejected
from recmodel.scoring.topn import ExcludedGenres, Pairs, Search, Top, ranked

if TYPE_CHECKING:  # workers have no settings
    from recmodel.settings import Rules, Selection


def allowed(catalogue: pa.Table, counts: np.ndarray, rules: Rules) -> np.ndarray:
    """Return [M] bool: which movies of the catalogue (`schemas.CATALOGUE`) may be recommended.

    Movie ids that the catalogue lacks are ignored: it changes with every model, and a withdrawn movie may come back.

    Args:
        counts: [M] ratings of each movie.

    Raises:
        UsageRejected: no movie is left, or the catalogue lacks a genre.
    """
    may_be_recommended = counts >= rules.min_ratings
    for in_list in _lists("rules.allow", rules.allow, catalogue):
        may_be_recommended &= in_list
    for in_list in _lists("rules.deny", rules.deny, catalogue):
        may_be_recommended &= ~in_list
    if not may_be_recommended.any():
        raise UsageRejected(
            f"the rules leave nothing to recommend of the {catalogue.num_rows:,} movies in the catalogue; "
            "loosen `rules` in conf/settings.yaml"
        )
    return may_be_recommended


def _lists(setting: str, selection: Selection, catalogue: pa.Table) -> Iterator[np.ndarray]:
    """Yield [M] bool for each list of the selection that is not empty: which movies match it."""
    if selection.genres:
        names, has = lookup.genres(catalogue)
        for genre in selection.genres:
            if genre not in names:
                near = difflib.get_close_matches(genre, names, n=3) or [name for name in names if name]
                raise UsageRejected(f"{setting}.genres: the catalogue has no {genre!r}; it has {', '.join(near)}")
        yield np.logical_or.reduce(has[:, np.isin(names, selection.genres)], axis=1)
    if selection.years:
        year = lookup.years(catalogue)
        within = np.zeros(len(year), bool)
        for first, last in map(_ends, selection.years):
            within |= (year >= first) & (year <= last)
        yield within
    if selection.movies:
        yield np.isin(catalogue.column(c.MOVIE_ID).to_numpy(), selection.movies)


def _ends(years: int | str) -> tuple[float, float]:
    """Return the first and the last year of a `settings.Years`; infinite where an end is left out."""
    first, dots, last = str(years).partition("..")
    return float(first or "-inf"), float(last or "inf") if dots else float(first)


# -- in the workers ---------------------------------------------------------------------------------------------------


class Cap(NamedTuple):
    """A limit on the movies of each genre in a list."""

    genres: np.ndarray  # [M, G] float32: 1 where a movie is of a genre, else 0
    most: int


def cap(catalogue: pa.Table, rules: Rules) -> Cap | None:
    """Return the limit on the movies of each genre in a list; None if there is no limit."""
    if not rules.max_per_genre:
        return None
    names, has = lookup.genres(catalogue)
    counted = [name not in lookup.NO_GENRE for name in names]
    return Cap(has[:, counted].astype(np.float32), rules.max_per_genre)


def lists(search: Search, users: int, n: int, hidden: Pairs, cap: Cap | None) -> Top:
    """Return the n best movies for each user, without the hidden pairs and within the cap, if there is one.

    A list is filled greedily, in the order of the ranking: a movie is skipped if the list has enough movies of any of
    its genres. How far down the ranking that goes is not known in advance, so it happens in rounds, each among the
    movies none of whose genres is full. A round fills the list, exhausts the catalogue, or skips a movie, which means
    that it has filled a genre: there are at most as many rounds as genres, plus one.
    """
    if cap is None:
        best = search(np.arange(users), n, hidden, None)
        return Top(best.row[:, :n], best.score[:, :n])
    row, score = np.full((users, n), -1), np.full((users, n), np.nan, np.float32)
    filled, of_genre = np.zeros(users, int), np.zeros((users, cap.genres.shape[1]), np.float32)
    short = np.arange(users)
    while len(short):
        full = (of_genre[short] >= cap.most).astype(np.float32)
        best = search(short, n, _of(short, hidden), ExcludedGenres(cap.genres, full) if full.any() else None)
        fits, of_genre[short] = _fitting(best.row, of_genre[short], n - filled[short], cap)
        place, at = np.nonzero(fits)
        user = short[place]
        to = (filled[short, np.newaxis] + np.cumsum(fits, axis=1) - 1)[place, at]
        row[user, to], score[user, to] = best.row[place, at], best.score[place, at]
        filled[short] += fits.sum(axis=1)
        hidden = hidden.and_also(Pairs(user, row[user, to]))
        more = best.row.shape[1] >= n and (best.row[:, -1] >= 0)
        short = short[(filled[short] < n) & more]
    return ranked(row, score, n)


def _fitting(row: np.ndarray, of_genre: np.ndarray, room: np.ndarray, cap: Cap) -> tuple[np.ndarray, np.ndarray]:
    """Choose the movies that go into each list.

    Args:
        row: [b, k] the movies to choose from, best first; -1 pads.
        of_genre: [b, G] how many movies of each genre the list has already.
        room: [b] how many more movies the list takes.

    Returns:
        [b, k] bool, the movies that go into the list; and [b, G], how many of each genre it has with them.
    """
    fits = np.zeros(row.shape, bool)
    for place in range(row.shape[1]):
        genres = cap.genres[row[:, place]]
        fits[:, place] = (row[:, place] >= 0) & (room > 0) & ((of_genre * genres).max(axis=1, initial=0) < cap.most)
        of_genre = of_genre + genres * fits[:, place, np.newaxis]
        room = room - fits[:, place]
    return fits, of_genre


def _of(users: np.ndarray, pairs: Pairs) -> Pairs:
    """Select the pairs of these users (ascending), and replace each user by their place among them."""
    place, selected = locate(users, pairs.user)
    return Pairs(place[selected], pairs.row[selected])
