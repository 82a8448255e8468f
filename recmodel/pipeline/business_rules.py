"""Business rules: which movies may be recommended, whatever their scores, and how many of a genre a list may have.

A movie counts for each of its genres. A movie without genres or without a year matches no list of genres or years, so
such a list neither allows nor denies it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel.data import catalogue as lookup
from recmodel.data.catalogue import Catalogues
from recmodel.errors import UsageRejected
from recmodel.schemas import Id
from recmodel.scoring.rules import Cap
from recmodel.settings import Rules, Selection


def allowed(catalogues: Catalogues, counts: np.ndarray, rules: Rules) -> np.ndarray:
    """Return [M] bool: which of the model's movies may be recommended: those that are listed and keep all rules.

    Movie ids that the catalogue lacks are ignored: it changes with every model, and a withdrawn movie may come back.

    Args:
        counts: [M] ratings of each movie.

    Raises:
        UsageRejected: no movie is left, or the catalogue lacks a genre.
    """
    catalogue = catalogues.of_model
    if not catalogues.listed.any():
        raise UsageRejected(
            f"the model knows none of the {catalogues.tonight.num_rows:,} movies in tonight's catalogue; "
            "train it on these ratings, or correct --data"
        )
    may_be_recommended = catalogues.listed & (counts >= rules.min_ratings)
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
        yield pc.is_in(catalogue.column(c.MOVIE_ID), _ids(setting, selection.movies, catalogue)).to_numpy()


def _ids(setting: str, movies: list[Id], catalogue: pa.Table) -> pa.Array:
    """Return movie ids of the settings as the catalogue has them: int64 or string."""
    kind = catalogue.schema.field(c.MOVIE_ID).type
    try:
        return pa.array(map(str, movies) if pa.types.is_string(kind) else map(int, movies), kind)
    except ValueError:
        raise UsageRejected(f"{setting}.movies: the ids of movies are integers here, not {movies}") from None


def _ends(years: int | str) -> tuple[float, float]:
    """Return the first and the last year of a `settings.Years`; infinite where an end is left out."""
    first, dots, last = str(years).partition("..")
    return float(first or "-inf"), float(last or "inf") if dots else float(first)


def most_new(rules: Rules, top_n: int) -> int:
    """Return how many new movies a list of `top_n` may have."""
    return math.floor(rules.max_new * top_n + 1e-9)


def cap(catalogues: Catalogues, rules: Rules, top_n: int) -> Cap | None:
    """Return the limit on the movies of each genre, and on the new ones, in a list; None if there is no limit."""
    groups, most = [], []
    if rules.max_per_genre:
        names, has = lookup.genres(catalogues.of_model)
        groups = [has[:, i] for i, name in enumerate(names) if name not in lookup.NO_GENRE]
        most = [rules.max_per_genre] * len(groups)
    if catalogues.placed.any() and most_new(rules, top_n) < top_n:
        groups.append(catalogues.placed)
        most.append(most_new(rules, top_n))
    return Cap(np.stack(groups, axis=1).astype(np.float32), np.array(most)) if groups else None
