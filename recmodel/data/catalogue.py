"""Looking movies up in the catalogue: by what people type, by id, by genre and by year."""

from __future__ import annotations

import difflib
import re

import numpy as np
import pyarrow as pa

from recmodel import schemas as c
from recmodel.errors import UsageRejected

NO_GENRE = ("", "(no genres listed)")  # what stands where a movie has none
_YEAR = re.compile(r"\((\d{4})\)\s*$")  # MovieLens ends a title with it


def movie_id(typed: str, catalogue: pa.Table) -> int:
    """The id that `typed` means: an id of the catalogue, else the exact title of one movie.

    Raises:
        UsageRejected: no movie or several have that title; names near titles, or the ids to choose from.
    """
    ids, titles = catalogue.column(c.MOVIE_ID).to_pylist(), catalogue.column(c.TITLE).to_pylist()
    if typed.isascii() and typed.isdigit() and int(typed) in set(ids):
        return int(typed)
    found = [i for i, title in zip(ids, titles, strict=True) if title == typed]
    if len(found) > 1:
        choices = " or ".join(str(i) for i in found)
        raise UsageRejected(f"{len(found)} movies are called {typed!r}; give the id of the one you mean: {choices}")
    if not found:
        raise UsageRejected(f"the catalogue has no movie {typed!r}{_near(typed, titles)}")
    return found[0]


def rows(ids: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each wanted id is among `ids` (ascending, at least one), and whether it is there; else the row is any."""
    row = np.searchsorted(ids, wanted).clip(max=len(ids) - 1)
    return row, ids[row] == wanted


def genres(catalogue: pa.Table) -> tuple[list[str], np.ndarray]:
    """The names of all genres, in alphabetical order, and [M, G] bool: which of them each movie of the catalogue has.

    A movie without any has one of `NO_GENRE`.
    """
    lists = [(text or "").split("|") for text in catalogue.column(c.GENRES).to_pylist()]
    names = sorted({genre for mine in lists for genre in mine})
    position = {genre: i for i, genre in enumerate(names)}
    has = np.zeros((len(lists), len(names)), bool)
    for row, mine in enumerate(lists):
        has[row, [position[genre] for genre in mine]] = True
    return names, has


def years(catalogue: pa.Table) -> np.ndarray:
    """[M] float64, the year of each movie of the catalogue by the end of its title; NaN where it has none."""
    found = [_YEAR.search(title) for title in catalogue.column(c.TITLE).to_pylist()]
    return np.array([float(match[1]) if match else np.nan for match in found])


def _near(typed: str, titles: list[str]) -> str:
    """A hint at up to three titles: the shortest that have all the words typed, else those spelled most like it."""
    words = _words(typed)
    near = sorted((title for title in set(titles) if words and words <= _words(title)), key=lambda t: (len(t), t))[:3]
    if not near:
        by_folded = {title.casefold(): title for title in titles}
        near = [by_folded[key] for key in difflib.get_close_matches(typed.casefold(), by_folded, n=3)]
    return f"; near it: {', '.join(repr(title) for title in near)}" if near else "; give an id or an exact title"


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))
