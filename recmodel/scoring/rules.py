"""Rules: what may be recommended, whatever its score.

Takes the catalogue, the number of ratings of each movie and the settings `rules`; gives the movies that are left, and
lists with at most so many movies of a genre. A movie counts for each of its genres; one without genres or without a
year is in no list of them, so it is neither among what such a list allows nor among what it denies.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from recmodel import schemas as c
from recmodel.data import catalogue as lookup
from recmodel.errors import UsageRejected
from recmodel.scoring.topn import Closed, Pairs, Top, ranked

if TYPE_CHECKING:  # workers have no settings
    from recmodel.settings import Rules, Selection


def allowed(catalogue: pa.Table, counts: np.ndarray, rules: Rules) -> np.ndarray:
    """[M] bool: the movies of `columns.CATALOGUE` that may be recommended.

    Ids that the catalogue lacks say nothing: it changes with every model, and a withdrawn movie may come back.

    Args:
        counts: [M] ratings of each movie.

    Raises:
        UsageRejected: no movie is left, or the catalogue lacks a genre.
    """
    chosen = counts >= rules.min_ratings
    for movies in _lists("rules.allow", rules.allow, catalogue):
        chosen &= movies
    for movies in _lists("rules.deny", rules.deny, catalogue):
        chosen &= ~movies
    if not chosen.any():
        raise UsageRejected(
            f"the rules leave nothing to recommend of the {catalogue.num_rows:,} movies in the catalogue; "
            "loosen `rules` in conf/settings.yaml"
        )
    return chosen


def _lists(setting: str, selection: Selection, catalogue: pa.Table) -> Iterator[np.ndarray]:
    """[M] bool: the movies that are in it, for each list that is given."""
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
    """The first and the last year of what `settings.Years` allows."""
    first, dots, last = str(years).partition("..")
    return float(first or "-inf"), float(last or "inf") if dots else float(first)


# -- lists, in the workers --------------------------------------------------------------------------------------------


class Cap(NamedTuple):
    """At most `most` movies of each genre in a list."""

    genres: np.ndarray  # [M, G] float32: 1 where a movie is of a genre, else 0
    most: int


# The best movies of some users of the block, in the order of the ranking: (which users [b], how many at least, hidden
# pairs of a place in `which` and a row, what is closed to them) -> Top.
Search = Callable[[np.ndarray, int, Pairs, "Closed | None"], Top]


def cap(catalogue: pa.Table, rules: Rules) -> Cap | None:
    """How many movies of each genre a list may have; None for any number."""
    if not rules.max_per_genre:
        return None
    names, has = lookup.genres(catalogue)
    counted = [name not in lookup.NO_GENRE for name in names]
    return Cap(has[:, counted].astype(np.float32), rules.max_per_genre)


def lists(search: Search, users: int, n: int, hidden: Pairs, cap: Cap | None) -> Top:
    """The n best movies for each user within the cap, if there is one, without the hidden pairs.

    A list is filled greedily, in the order of its ranking: a movie is passed over where the list has enough of any of
    its genres. How deep that goes is not known before, so it goes in rounds, each among the movies of which no genre is
    full yet. A round fills the list, finds all there is, or passes a movie over and so has filled a genre: there are no
    more rounds than genres, plus one.
    """
    if cap is None:
        best = search(np.arange(users), n, hidden, None)
        return Top(best.row[:, :n], best.score[:, :n])
    row, score = np.full((users, n), -1), np.full((users, n), np.nan, np.float32)
    filled, of_genre = np.zeros(users, int), np.zeros((users, cap.genres.shape[1]), np.float32)
    short = np.arange(users)
    while len(short):
        full = (of_genre[short] >= cap.most).astype(np.float32)
        found = search(short, n, _of(short, hidden), Closed(cap.genres, full) if full.any() else None)
        fits, of_genre[short] = _fitting(found.row, of_genre[short], n - filled[short], cap)
        place, at = np.nonzero(fits)
        user = short[place]
        to = (filled[short, np.newaxis] + np.cumsum(fits, axis=1) - 1)[place, at]
        row[user, to], score[user, to] = found.row[place, at], found.score[place, at]
        filled[short] += fits.sum(axis=1)
        hidden = hidden.and_also(Pairs(user, row[user, to]))
        more = found.row.shape[1] >= n and (found.row[:, -1] >= 0)
        short = short[(filled[short] < n) & more]
    return ranked(row, score, n)


def _fitting(row: np.ndarray, of_genre: np.ndarray, room: np.ndarray, cap: Cap) -> tuple[np.ndarray, np.ndarray]:
    """[b, k] bool: which of the movies found ([b, k] rows) go into the list; and [b, G] how many of a genre are in it.

    Args:
        of_genre: [b, G] how many it has before. room: [b] how many more movies it takes.
    """
    fits = np.zeros(row.shape, bool)
    for place in range(row.shape[1]):
        genres = cap.genres[row[:, place]]
        fits[:, place] = (row[:, place] >= 0) & (room > 0) & ((of_genre * genres).max(axis=1, initial=0) < cap.most)
        of_genre = of_genre + genres * fits[:, place, np.newaxis]
        room = room - fits[:, place]
    return fits, of_genre


def _of(users: np.ndarray, pairs: Pairs) -> Pairs:
    """The pairs of these users (ascending), who are called by their place."""
    place, theirs = lookup.rows(users, pairs.user)
    return Pairs(place[theirs], pairs.row[theirs])
