"""Catalogue: the movies of the input and of a model together, their genres and years, and what people type for one."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel.errors import UsageRejected
from recmodel.schemas import Id

NO_GENRE = ("", "(no genres listed)")  # what the column holds for a movie without genres
_YEAR = re.compile(r"\((\d{4})\)\s*$")  # at the end of MovieLens' titles


@dataclass(frozen=True)
class Catalogues:
    """The movies that a run meets: those of tonight's input, and the M that the model can score."""

    tonight: pa.Table  # `schemas.CATALOGUE` of the input: what may be recommended
    of_model: pa.Table  # [M] `schemas.CATALOGUE`, ascending by movie_id, with tonight's titles and genres
    listed: np.ndarray  # [M] bool: which of these tonight's catalogue has; the others are delisted
    placed: np.ndarray  # [M] bool: which of these the model was not trained on, and places by genres and year
    new: int  # how many movies tonight's catalogue has and the model was not trained on

    @cached_property
    def all(self) -> pa.Table:
        """`schemas.CATALOGUE` of tonight's movies and the delisted ones, ascending by movie_id."""
        return with_delisted(self.tonight, self.of_model)

    @property
    def delisted(self) -> int:
        """How many movies the model knows and tonight's catalogue lacks."""
        return int((~self.listed).sum())


def with_delisted(tonight: pa.Table, known: pa.Table | None) -> pa.Table:
    """Add the movies of an earlier catalogue that tonight's lacks (`schemas.CATALOGUE`, ascending by movie_id)."""
    if known is None:
        return tonight
    return (
        pa.concat_tables([tonight, known.filter(pa.array(~_are_in(known, tonight)))])
        .sort_by(c.MOVIE_ID)
        .combine_chunks()
    )


def combine(tonight: pa.Table, trained: pa.Table, *, place_new: bool) -> Catalogues:
    """Combine tonight's catalogue and the one that a model was trained on, both `schemas.CATALOGUE`.

    Args:
        place_new: whether the model can score movies that it was not trained on.
    """
    both = with_delisted(tonight, trained)  # tonight's rows where there are two
    of_model = both if place_new else both.filter(pa.array(_are_in(both, trained))).combine_chunks()
    new = int((~_are_in(tonight, trained)).sum())
    return Catalogues(tonight, of_model, _are_in(of_model, tonight), ~_are_in(of_model, trained), new)


def _are_in(movies: pa.Table, others: pa.Table) -> np.ndarray:
    """Return bool, one for each of the movies: whether it is among the others."""
    return pc.is_in(movies.column(c.MOVIE_ID), others.column(c.MOVIE_ID).combine_chunks()).to_numpy()


def movie_id(typed: str, catalogue: pa.Table) -> Id:
    """Return the id that `typed` means: an id of the catalogue, otherwise the exact title of one movie.

    Raises:
        UsageRejected: no movie or several have that title; names similar titles, or the ids to choose from.
    """
    ids, titles = catalogue.column(c.MOVIE_ID).to_pylist(), catalogue.column(c.TITLE).to_pylist()
    by_text = {str(movie_id): movie_id for movie_id in ids}
    if typed in by_text:
        return by_text[typed]
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
