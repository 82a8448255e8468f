"""Catalogue: which movie a user of the command line means, and the genres and years of all movies."""

from __future__ import annotations

import difflib
import re

import numpy as np
import pyarrow as pa

from recmodel import schemas as c
from recmodel.errors import UsageRejected

NO_GENRE = ("", "(no genres listed)")  # what the column holds for a movie without genres
_YEAR = re.compile(r"\((\d{4})\)\s*$")  # at the end of MovieLens' titles


def movie_id(typed: str, catalogue: pa.Table) -> int:
    """Return the id that `typed` means: an id of the catalogue, otherwise the exact title of one movie.

    Raises:
        UsageRejected: no movie or several have that title; names similar titles, or the ids to choose from.
    """
    ids, titles = catalogue.column(c.MOVIE_ID).to_pylist(), catalogue.column(c.TITLE).to_pylist()
    if typed.isascii() and typed.isdigit() and int(typed) in set(ids):
        return int(typed)
    matches = [i for i, title in zip(ids, titles, strict=True) if title == typed]
    if len(matches) > 1:
        choices = " or ".join(map(str, matches))
        raise UsageRejected(f"{len(matches)} movies are called {typed!r}; give the id of the one you mean: {choices}")
    if not matches:
        raise UsageRejected(f"the catalogue has no movie {typed!r}{_hint(typed, titles)}")
    return matches[0]


def genres(catalogue: pa.Table) -> tuple[list[str], np.ndarray]:
    """Return the names of all genres in alphabetical order, and [M, G] bool: which of them each movie has.

    A movie without genres has one of `NO_GENRE`.
    """
    by_movie = [(text or "").split("|") for text in catalogue.column(c.GENRES).to_pylist()]
    names = sorted({genre for genres_of_movie in by_movie for genre in genres_of_movie})
    column = {genre: i for i, genre in enumerate(names)}
    has = np.zeros((len(by_movie), len(names)), bool)
    for row, genres_of_movie in enumerate(by_movie):
        has[row, [column[genre] for genre in genres_of_movie]] = True
    return names, has


def years(catalogue: pa.Table) -> np.ndarray:
    """Return [M] float64, the year at the end of each movie's title; NaN where there is none."""
    matches = [_YEAR.search(title) for title in catalogue.column(c.TITLE).to_pylist()]
    return np.array([float(match[1]) if match else np.nan for match in matches])


def _hint(typed: str, titles: list[str]) -> str:
    """Name up to three titles: the shortest that have all the words typed, otherwise those spelled most like it."""
    words = _words(typed)
    near = sorted((title for title in set(titles) if words and words <= _words(title)), key=lambda t: (len(t), t))[:3]
    if not near:
        by_folded = {title.casefold(): title for title in titles}
        near = [by_folded[key] for key in difflib.get_close_matches(typed.casefold(), by_folded, n=3)]
    return f"; near it: {', '.join(map(repr, near))}" if near else "; give an id or an exact title"


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))
