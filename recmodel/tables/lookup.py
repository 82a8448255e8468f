"""Lookup: which published run has a user's list, among full runs and partial ones, and what is similar to a movie."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel.data import catalogue, ids
from recmodel.errors import UsageRejected
from recmodel.records import RunRecord
from recmodel.tables.base import Output
from recmodel.tables.output import open_output


@dataclass(frozen=True)
class UserList:
    """The list of a user in a published run."""

    run: RunRecord
    rows: list[dict[str, Any]]  # `schemas.RECOMMENDATION`, by rank; at least one
    partial: bool  # whether it is of a partial run
    newer_partial: date | None  # a partial run, no older than this full one, that has a list of the user too


def find(location: str, user_id: str, run_date: date | None = None, *, only_partial: bool = False) -> UserList:
    """Find the list of a user in the run of a date, by default the newest full run; otherwise in partial runs.

    Args:
        location: of the output, of any format.
        run_date: None: the newest full run, then all partial runs, newest first.
        only_partial: look at partial runs alone.

    Raises:
        UsageRejected: no such run is published, or none has a list of the user; says what there is.
    """
    output, partial = open_output(location), open_output(location, partial=True)
    partial_dates = [day for day in reversed(partial.run_dates()) if run_date in (None, day)]
    full_dates = [] if only_partial else [day for day in output.run_dates() if run_date in (None, day)]
    look_in_full = bool(full_dates or not partial_dates) and not only_partial
    full_date = output.published(run_date) if look_in_full else None
    if full_date:
        rows = _rows(output, full_date, user_id)
        if rows:
            newer = next((day for day in partial_dates if day >= full_date and _rows(partial, day, user_id)), None)
            run = output.read_run(full_date)
            return UserList(run, rows, partial=not run.all_users, newer_partial=newer)
    elif not partial_dates:
        partial.published(run_date)
    for day in partial_dates:
        rows = _rows(partial, day, user_id)
        if rows:
            return UserList(partial.read_run(day), rows, partial=True, newer_partial=None)
    if full_date is None:
        raise UsageRejected(f"user {user_id} has no recommendations in any partial run in {partial.location}")
    ends = output.user_range(full_date)
    users = f"its users go from {ends[0]} to {ends[1]}" if ends else "it has no users"
    raise UsageRejected(f"user {user_id} has no recommendations in the run of {full_date}; {users}")


def similar_movies(
    location: str, movie: str, run_date: date | None = None
) -> tuple[RunRecord, str, list[dict[str, Any]]]:
    """Return a full run, the title of a movie in it, and its similar movies (`schemas.SIMILAR` and the title), by rank.

    Args:
        movie: an id, or the exact title.
        run_date: None: the newest.

    Raises:
        UsageRejected: no such run is published, or it has no such movie or no similar ones.
    """
    output = open_output(location)
    day = output.published(run_date)
    if not all(output.files(table, day) for table in (c.MOVIES_TABLE, c.SIMILAR_TABLE)):
        raise UsageRejected(f"the run of {day} has no table similar_movies, as it was made before 0.3.2; score again")
    movies = output.dataset(c.MOVIES_TABLE, day).to_table(columns=[c.MOVIE_ID, c.TITLE])
    title_of = dict(zip(*(movies.column(name).to_pylist() for name in (c.MOVIE_ID, c.TITLE)), strict=True))
    movie_id = catalogue.movie_id(movie, movies)
    rows = output.dataset(c.SIMILAR_TABLE, day).to_table(filter=pc.field(c.MOVIE_ID) == movie_id)
    if not rows.num_rows:
        raise UsageRejected(
            f"the run of {day} has nothing similar to {title_of[movie_id]}: its model does not know the movie, or "
            "was not trained for retrieval"
        )
    found = rows.sort_by(c.RANK).to_pylist()
    return (
        output.read_run(day),
        title_of[movie_id],
        [row | {c.TITLE: title_of[row[c.SIMILAR_MOVIE_ID]]} for row in found],
    )


def _rows(output: Output, run_date: date, user_id: str) -> list[dict[str, Any]]:
    user = ids.typed(user_id, output.read_run(run_date).ids.user)
    return output.recommendations_of(run_date, [user]).to_pylist()
