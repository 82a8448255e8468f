"""Checks: what must be true of a run before anybody sees it.

They are made from the written rows and from the staged input, by other code than that which scored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel.data import catalogue as lookup
from recmodel.data.catalogue import Catalogues
from recmodel.errors import ScoringFailed
from recmodel.progress import log
from recmodel.records import Figures
from recmodel.scoring.faults import Expectations, Found
from recmodel.settings import Checks


def expectations(catalogues: Catalogues, allowed: np.ndarray, *, max_per_genre: int, **others: object) -> Expectations:
    """Return what the rows of a run must be like.

    Args:
        allowed: [M] bool, which of the model's movies may be recommended.
        max_per_genre: 0 for any number.
        others: the other fields of `Expectations`.
    """
    movie_ids = catalogues.all.column(c.MOVIE_ID).combine_chunks()

    def are_in(movies: pa.ChunkedArray) -> np.ndarray:
        return pc.is_in(movie_ids, value_set=movies.combine_chunks()).to_numpy(zero_copy_only=False)

    genres = None
    if max_per_genre:
        names, has = lookup.genres(catalogues.all)
        genres = has[:, [name not in lookup.NO_GENRE for name in names]]
    return Expectations(
        movie_ids=movie_ids,
        tonight=are_in(catalogues.tonight.column(c.MOVIE_ID)),
        allowed=are_in(catalogues.of_model.column(c.MOVIE_ID).filter(pa.array(allowed))),
        genres=genres,
        max_per_genre=max_per_genre,
        **others,  # type: ignore[arg-type]
    )


def figures(parts: Iterable[Found]) -> Figures:
    """Return the figures of a run: users and rows by source, distinct movies and the mean predicted rating.

    Raises:
        ScoringFailed: a user is missing, a list is too long or has gaps or repeats, a movie was seen or is against the
            rules, or a number is missing or off the scale.
    """
    parts = list(parts)
    counts, faults = Counter[str](), Counter[str]()
    for part in parts:
        counts.update(part.figures)
        faults.update(part.faults)
    for fault, count in faults.items():
        log.info("checked: %d %s", count, fault)
        if count:
            raise ScoringFailed(f"the run is not published: {count:,} {fault}; the last one still stands")
    rated, stars = counts.pop("rated"), counts.pop("stars")
    movies = np.unique(np.concatenate([np.empty(0, np.int64), *(part.movies for part in parts)]))
    return Figures(distinct_movies=len(movies), mean_predicted_rating=stars / rated if rated else None, **counts)


def compare(figures: Figures, last: Figures, limits: Checks) -> None:
    """Compare the figures of a run with those of the last one.

    Raises:
        ScoringFailed: they are further apart than the settings allow.
    """
    coverage = figures.distinct_movies / max(1, last.distinct_movies) - 1
    shift = (figures.mean_predicted_rating or 0) - (last.mean_predicted_rating or 0)
    loss = 1 - figures.users / max(1, last.users)
    for name, change, limit in (
        ("users, as a share lost,", loss, limits.max_user_loss),
        ("the recommended share of the catalogue", abs(coverage), limits.max_coverage_change),
        ("the mean predicted rating", abs(shift), limits.max_rating_shift),
    ):
        log.info("checked: %s changed by %.3f since the last run, %g is allowed", name, change, limit)
        if change > limit:
            raise ScoringFailed(
                f"the run is not published: {name} changed by {change:.3f} since the last run, {limit:g} is allowed; "
                "look at the input, or raise the limit below `checks` in conf/settings.yaml"
            )
