"""Staging: the input of a run, read and checked once, and found again when the run is resumed and by its workers.

The staged run's folder gets the usable ratings, the users asked for, what is popular, what may be recommended, and the
rejected rows.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from recmodel import schemas as c
from recmodel import storage
from recmodel.data import histories, movielens, statistics
from recmodel.data import ids as identifiers
from recmodel.data import staged as staged_ratings
from recmodel.data.histories import Histories
from recmodel.data.staged import Part, StagedRatings
from recmodel.data.statistics import InteractionStatistics
from recmodel.data.validation import Validation
from recmodel.errors import InputRejected
from recmodel.pipeline.resolve import ResolvedRun
from recmodel.records import InputFile, Record
from recmodel.schemas import INTEGER_IDS, Ids
from recmodel.tables.base import StagedRun
from recmodel.tables.candidates import candidate_users

_ASKED, _COUNTS, _REJECTS = "asked.parquet", "counts.npz", "rejects.parquet"
_CATALOGUE = "catalogue.parquet"  # tonight's movies and the delisted ones
_MOVIES, _DENIED, _OPTED_OUT = "movies.npz", "denied.parquet", "opted-out.parquet"
_INPUT = "input.json"  # written last

RATINGS = "ratings.parquet"  # `schemas.STAGED`, duplicates included
HISTORIES = "histories"  # the same in order and without duplicates, where RATINGS is not
TO_SCORE = "to_score"  # users, where others keep the lists of an earlier run


class InputCounts(Record):
    """What was read and what became of it; fields of run.json."""

    started_at: datetime
    ratings_file: str
    input: list[InputFile]  # how each was read
    rows_in: dict[str, int]  # by file, as are the next
    rows_used: dict[str, int]
    rows_rejected: int
    ratings_left_out: int  # as they are later than the run is as of; not among rows_in
    newest_rating: datetime | None
    users_asked: int | None  # those of --users
    users_opted_out: int = 0  # of all of the run; set once they are divided
    ids: Ids = INTEGER_IDS  # what the ids are
    # Set once the ratings are counted by user:
    ratings_superseded: int = 0
    interactions_repeated: int = 0
    users_rated: int = 0
    movies_allowed: int = 0


def stage_input(resolved: ResolvedRun, folder: Path, validation: Validation, staged: StagedRun) -> InputCounts:
    """Read and check the input once, without Spark; stage the usable ratings, the rejects and the users asked for.

    Args:
        folder: a MovieLens directory.
        validation: of the input, which has read the catalogue.

    Raises:
        InputRejected: see `movielens`; then nothing stays staged.
    """
    remembered = staged.remembered(_INPUT)
    if remembered is not None:
        return InputCounts.model_validate(remembered)
    catalogue, users, pairs = resolved.catalogues.all, resolved.users_file, resolved.settings.rules.deny_pairs
    try:
        batches = movielens.stream_ratings(folder, catalogue, validation, resolved.feedback)
        write_ratings(staged, batches, catalogue, validation.ids, rated=not resolved.feedback.is_implicit)
        asked = None if users is None else movielens.read_ids(users, c.USERS, validation)
        if asked is not None:
            write_parquet(staged.scratch(_ASKED), asked)
        if resolved.settings.rules.opt_out:
            file = Path(resolved.settings.rules.opt_out)
            write_parquet(staged.scratch(_OPTED_OUT), movielens.read_ids(file, c.USERS, validation, "rules.opt_out"))
        if pairs:
            denied = movielens.read_ids(Path(pairs), c.PAIRS, validation)
            write_parquet(staged.scratch(_DENIED), _with_rows(denied, catalogue))
    except InputRejected:
        staged.discard()
        raise
    validation.log_files()
    write_parquet(storage.below(staged.table(c.REJECTS_TABLE), _REJECTS), validation.rejected())
    counts = InputCounts(
        started_at=datetime.now(timezone.utc),
        ratings_file=movielens.find(folder, "ratings").name,
        input=validation.files,
        rows_in=validation.rows,
        rows_used=validation.used,
        rows_rejected=validation.rejected().num_rows,
        ratings_left_out=validation.left_out,
        newest_rating=validation.newest_time,
        users_asked=None if asked is None else asked.num_rows,
        ids=validation.ids,
    )
    staged.remember(_INPUT, counts.to_json())
    return counts


def write_ratings(
    staged: StagedRun, batches: Iterable[pa.RecordBatch], catalogue: pa.Table, ids: Ids, *, rated: bool
) -> None:
    """Stage ratings and the catalogue whose rows stand for their movies; see `data.staged.write`."""
    with storage.create(staged.scratch(RATINGS)) as sink:
        ratings = staged_ratings.write(batches, sink, identifiers.movie_numbers(catalogue), ids, rated=rated)
    stars = np.array(sorted(ratings.half_stars.items()), np.int64)
    _write_arrays(staged.scratch(_COUNTS), **{**vars(ratings), "half_stars": stars})
    write_parquet(staged.scratch(_CATALOGUE), catalogue)


def _with_rows(pairs: pa.Table, catalogue: pa.Table) -> pa.Table:
    """Return `schemas.STAGED_PAIRS` of `schemas.PAIRS`; those of movies that the catalogue lacks are left out."""
    movie = pc.index_in(pairs.column(c.MOVIE_ID), value_set=catalogue.column(c.MOVIE_ID).combine_chunks())
    rows = pa.table({c.USER_ID: pairs.column(c.USER_ID), c.MOVIE: movie})
    return rows.filter(pc.is_valid(movie))


# -- what is staged ----------------------------------------------------------------------------------------------------


def counts(staged: StagedRun) -> InputCounts:
    """Return what `stage_input` has returned."""
    return InputCounts.model_validate(staged.remembered(_INPUT))


def ratings(staged: StagedRun) -> StagedRatings:
    """Return the counts of the staged ratings."""
    arrays = _read_arrays(staged.scratch(_COUNTS))
    stars, in_order = Counter(dict(arrays.pop("half_stars").tolist())), bool(arrays.pop("in_order"))
    return StagedRatings(**arrays, half_stars=stars, in_order=in_order)


def catalogue(staged: StagedRun) -> pa.Table:
    """Return `schemas.CATALOGUE` of tonight's movies and the delisted ones, whose rows stand for movies."""
    return storage.dataset(staged.scratch(_CATALOGUE)).to_table().combine_chunks()


def users(staged: StagedRun, part: Part) -> pa.Table:
    """Return the users of a part (`schemas.USER`), ascending: those asked for, otherwise all who have rated."""
    rated = part.read(staged.table(c.USERS_TABLE))
    if not has_asked(staged):
        return rated
    asked = part.read(staged.scratch(_ASKED)).column(c.USER_ID).combine_chunks()
    place = pc.index_in(asked, value_set=rated.column(c.USER_ID).combine_chunks())
    columns = [rated.column(name).take(place).fill_null(0) for name in rated.schema.names[1:]]
    return pa.table([asked, *columns], rated.schema.names)


def histories_of(staged: StagedRun, part: Part, users: pa.Array, *, in_order: bool) -> Histories:
    """Return the histories of some users of a part, with what is denied to them.

    Args:
        in_order: see `StagedRatings`.
    """
    location = staged.scratch(RATINGS if in_order else HISTORIES)
    rows = part.read(location, [c.USER_ID, c.MOVIE, c.RATING])
    return histories.of_users(users, rows, denied(staged, part))


def denied(staged: StagedRun, part: Part) -> pa.Table | None:
    """Return what may not be recommended to the users of a part (`schemas.STAGED_PAIRS`); None without such a rule."""
    return part.read(staged.scratch(_DENIED)) if _DENIED in storage.names(staged.scratch("")) else None


def write_movies(staged: StagedRun, *, popular: np.ndarray, popular_rating: np.ndarray, allowed: np.ndarray) -> None:
    """Keep what `movies` returns."""
    _write_arrays(staged.scratch(_MOVIES), popular=popular, popular_rating=popular_rating, allowed=allowed)


def movies(staged: StagedRun) -> dict[str, np.ndarray]:
    """Return `popular`, `popular_rating` (see `popularity.popularity`) and `allowed` (see `business_rules`)."""
    return _read_arrays(staged.scratch(_MOVIES))


def has_asked(staged: StagedRun) -> bool:
    """Return whether only the users of --users are scored."""
    return counts(staged).users_asked is not None


def asked_users(staged: StagedRun) -> pa.Table:
    """Return the users of --users (`schemas.USERS`), ascending."""
    return storage.dataset(staged.scratch(_ASKED)).to_table()


def all_users(staged: StagedRun) -> ds.Dataset:
    """Return the users of the run: those asked for, otherwise all who have rated; with a column user_id."""
    return storage.dataset(staged.scratch(_ASKED) if has_asked(staged) else staged.table(c.USERS_TABLE))


def opted_out(staged: StagedRun) -> pa.Array | None:
    """Return the ids of those who have opted out, in the run or not, ascending; None without a list."""
    if _OPTED_OUT not in storage.names(staged.scratch("")):
        return None
    return storage.dataset(staged.scratch(_OPTED_OUT)).to_table().column(c.USER_ID).combine_chunks()


def interaction_statistics(
    staged: StagedRun, rows_in: dict[str, int], *, add_up: bool = False
) -> InteractionStatistics:
    """Return what the report needs of the ratings: counts, and the histories of users whom it may show.

    Call it when the recommendations are written.

    Args:
        add_up: see `duplicates.combined`.
    """
    candidates = candidate_users(storage.dataset(staged.table(c.RECOMMENDATIONS_TABLE)))
    rows, ids = storage.dataset(staged.scratch(RATINGS)), counts(staged).ids
    return statistics.of_staged(ratings(staged), rows_in, [*candidates], rows, catalogue(staged), ids, add_up=add_up)


def write_parquet(location: str, rows: pa.Table) -> None:
    """Write one Parquet file, in row groups of which a query for a user reads one."""
    with storage.create(location) as sink:
        pq.write_table(rows, sink, row_group_size=1 << 16, compression="zstd", store_schema=False)


def _write_arrays(location: str, **arrays: np.ndarray) -> None:
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    storage.write(location, packed.getvalue())


def _read_arrays(location: str) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(storage.read(location) or b"")) as arrays:
        return dict(arrays)
