"""Duplicates: of several ratings of one movie by one user the latest counts, and of equal times the higher.

Several interactions without ratings, such as plays, are one: their weights add up, and its time is that of the latest.

`PAIR` and `ORDER` name the columns, `that_count` is the rule.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from recmodel import schemas as c
from recmodel.arrays import Arrays, take

PAIR = (c.USER_ID, c.MOVIE_ID)  # ratings that are equal in these columns are duplicates
ORDER = (c.TIMESTAMP, c.RATING)  # the greatest of them by these columns, compared in this order, is the one that counts

_REASON = "is superseded: of several ratings of one movie by one user the latest counts"


def latest(ratings: pa.Table) -> Arrays:
    """Return the ratings that count, one per user and movie, as NumPy columns in the order of the table."""
    return combined(ratings, add_up=False)


def combined(ratings: pa.Table, *, add_up: bool) -> Arrays:
    """Return one row per user and movie, as NumPy columns in the order of the table.

    Args:
        add_up: True for implicit feedback, whose weights are added up; False: the latest rating counts.
    """
    arrays = {name: ratings.column(name).to_numpy() for name in ratings.schema.names}
    order = _ascending(arrays, PAIR)
    of_pair = _starts(arrays, order)
    if of_pair.all():
        return arrays
    counts, rating = that_count(of_pair, arrays[c.TIMESTAMP][order], arrays[c.RATING][order], add_up=add_up)
    if add_up:
        arrays[c.RATING] = np.empty_like(rating)
        arrays[c.RATING][order] = rating
    return take(arrays, np.sort(order[counts]))


def that_count(
    starts: np.ndarray, timestamp: np.ndarray, rating: np.ndarray, *, add_up: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Choose among ratings whose duplicates are next to each other.

    Args:
        starts: [S] bool, whether a rating is the first of its user and movie.
        add_up: see `combined`.

    Returns:
        [S] bool, which ratings count; and [S] float32, those that count with what is added to them.
    """
    if starts.all():
        return starts, rating
    counts = starts & np.append(starts[1:], True)  # what is there once; the others are few
    several = np.flatnonzero(~counts)
    pair = np.cumsum(starts[several]) - 1
    order = np.lexsort((rating[several], timestamp[several], pair))  # by ORDER within each pair
    last = several[order[np.append(pair[1:] != pair[:-1], True)]]
    counts[last] = True
    if add_up:
        rating, added = rating.copy(), np.bincount(pair, rating[several])
        rating[last] = added
    return counts, rating


def _ascending(arrays: Arrays, names: tuple[str, ...]) -> np.ndarray:
    return np.lexsort([arrays[name] for name in reversed(names)])


def _starts(arrays: Arrays, order: np.ndarray) -> np.ndarray:
    """[R] bool: in this order, whether a row has another user or movie than the row before it; True for the first."""
    starts = np.arange(len(order)) == 0
    for name in PAIR:
        values = arrays[name][order]
        starts[1:] |= values[1:] != values[:-1]
    return starts


def as_rejects(ratings: pa.Table, file: str) -> pa.Table:
    """Return ratings that do not count (`schemas.RATINGS`) as `schemas.REJECTS`, whose rows are not known."""
    names, columns = ratings.schema.names, [column.to_numpy(zero_copy_only=False) for column in ratings.columns]
    value = [
        ", ".join(f"{name} {value}" for name, value in zip(names, row, strict=True))
        for row in zip(*columns, strict=True)
    ]
    rows = len(value)
    constant = {"file": file, "row": None, "column": "(all)", "reason": _REASON}
    of_all = {name: pa.repeat(pa.scalar(text, c.REJECTS.field(name).type), rows) for name, text in constant.items()}
    return pa.table({**of_all, "value": pa.array(value, pa.string())}).select(c.REJECTS.names)
