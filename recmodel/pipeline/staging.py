"""Staging: the input of a run, read and checked once, and found again when the run is resumed and by its workers.

The staged run's folder gets the usable ratings, the users asked for, what is popular, what may be recommended, and the
rejected rows.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel import storage
from recmodel.data import ids as identifiers
from recmodel.data import intake, movielens, statistics
from recmodel.data import staged as staged_ratings
from recmodel.data.staged import StagedInput, StagedRatings
from recmodel.data.statistics import InteractionStatistics
from recmodel.data.validation import Validation
from recmodel.errors import InputRejected
from recmodel.pipeline import back_fill, taking
from recmodel.pipeline.resolve import ResolvedRun
from recmodel.records import InputFile, Record, RunRecord
from recmodel.schemas import INTEGER_IDS, Ids
from recmodel.scoring.run import Run
from recmodel.storage import Location
from recmodel.tables.base import StagedRun
from recmodel.tables.candidates import candidate_users
from recmodel.tables.output import open_output

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_COUNTS, _MOVIES, _REJECTS = "counts.npz", "movies.npz", "rejects.parquet"
_INPUT = "input.json"  # written last


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


def stage_input(
    resolved: ResolvedRun,
    folder: Location,
    validation: Validation,
    staged: StagedRun,
    starting: Future[SparkSession] | None = None,
    kept_in: str | None = None,
) -> InputCounts:
    """Read and check the input once; stage the usable ratings, the rejects and the users asked for.

    Args:
        folder: a MovieLens directory.
        validation: of the input, which has read the catalogue.
        starting: a session that is being started, for what is left of the ratings when it is there; None: all are read
            in this process.
        kept_in: the folder of the ratings that several dates share; see `back_fill`. None: the run is alone.

    Raises:
        InputRejected: see `movielens`; then nothing stays staged.
        ScoringFailed: Spark does not start, or fails.
    """
    remembered = staged.remembered(_INPUT)
    if remembered is not None:
        return InputCounts.model_validate(remembered)
    catalogue, users, pairs = resolved.catalogues.all, resolved.users_file, resolved.settings.rules.deny_pairs
    try:
        rejected = _stage_ratings(resolved, folder, validation, staged, starting, kept_in)
        asked = None if users is None else movielens.read_ids(users, c.USERS, validation)
        if asked is not None:
            storage.write_rows(staged.scratch(staged_ratings.ASKED), asked)
        if resolved.settings.rules.opt_out:
            file = Path(resolved.settings.rules.opt_out)
            opted_out = movielens.read_ids(file, c.USERS, validation, "rules.opt_out")
            storage.write_rows(staged.scratch(staged_ratings.OPTED_OUT), opted_out)
        if pairs:
            denied = movielens.read_ids(Path(pairs), c.PAIRS, validation)
            storage.write_rows(staged.scratch(staged_ratings.DENIED), with_rows(denied, catalogue))
    except InputRejected:
        staged.discard()
        raise
    validation.log_files()
    storage.write_rows(storage.below(staged.table(c.REJECTS_TABLE), _REJECTS), validation.rejected())
    counts = InputCounts(
        started_at=datetime.now(timezone.utc),
        ratings_file=storage.name(movielens.find(folder, "ratings")),
        input=validation.files,
        rows_in=validation.rows,
        rows_used=validation.used,
        rows_rejected=validation.rejected().num_rows + rejected,
        ratings_left_out=validation.left_out,
        newest_rating=validation.newest_time,
        users_asked=None if asked is None else asked.num_rows,
        ids=validation.ids,
    )
    staged.remember(_INPUT, counts.to_json())
    return counts


def _stage_ratings(
    resolved: ResolvedRun,
    folder: Location,
    validation: Validation,
    staged: StagedRun,
    starting: Future[SparkSession] | None,
    kept_in: str | None,
) -> int:
    """Stage the usable ratings and the rejects among them; return the number of these."""
    catalogue = resolved.catalogues.all
    request = movielens.ratings_request(folder, catalogue, validation, resolved.feedback)
    job = intake.Job(
        contract=request.contract,
        folder=staged.scratch(""),
        rejects=staged.table(c.REJECTS_TABLE),
        movies=identifiers.movie_numbers(catalogue),
        ids=validation.ids,
        rated=not resolved.feedback.is_implicit,
    )
    if kept_in is not None:
        kept_in = back_fill.kept_in(resolved, request, job, kept_in, starting)
    ratings, rejected = taking.stage(request, validation, job, starting, kept_in)
    write_counts(staged, ratings, catalogue)
    return rejected


def write_counts(staged: StagedRun, ratings: StagedRatings, catalogue: pa.Table) -> None:
    """Stage the counts of the ratings and the catalogue whose rows stand for their movies."""
    stars = np.array(sorted(ratings.half_stars.items()), np.int64)
    storage.write_arrays(
        staged.scratch(_COUNTS),
        counts=ratings.counts,
        sums=ratings.sums,
        half_stars=stars,
        in_order=ratings.in_order,
        rated=ratings.rated,
    )
    storage.write_rows(staged.scratch(staged_ratings.CATALOGUE), catalogue)


def with_rows(pairs: pa.Table, catalogue: pa.Table) -> pa.Table:
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
    arrays = storage.read_arrays(staged.scratch(_COUNTS))
    stars = Counter(dict(arrays.pop("half_stars").tolist()))
    in_order, rated = (bool(arrays.pop(name)) for name in ("in_order", "rated"))
    return StagedRatings(**arrays, half_stars=stars, in_order=in_order, rated=rated)


def staged_input(staged: StagedRun) -> StagedInput:
    """Return what is staged, as workers read it."""
    folder = staged.scratch("")
    names, of_ratings = storage.names(folder), ratings(staged)
    return StagedInput(
        folder=folder,
        users_table=staged.table(c.USERS_TABLE),
        in_order=of_ratings.in_order,
        add_up=not of_ratings.rated,
        has_asked=staged_ratings.ASKED in names,
        has_denied=staged_ratings.DENIED in names,
        has_opted_out=staged_ratings.OPTED_OUT in names,
    )


def run_of(staged: StagedRun, carried_run: RunRecord | None) -> Run:
    """Return the run as its workers find it.

    Args:
        carried_run: the earlier run whose lists stand, but for the users to score; None: everybody is scored.
    """
    of_input, before = counts(staged), None
    if carried_run is not None:
        output = open_output(staged.output)
        names = (c.USERS_TABLE, c.RECOMMENDATIONS_TABLE, c.LISTS_TABLE)
        before = {name: output.files(name, carried_run.run_date) for name in names}
    tables = {name: staged.table(name) for name in c.TABLES}
    return Run(staged_input(staged), of_input.ids, of_input.ratings_file, tables, staged.finished, before)


def write_movies(staged: StagedRun, *, popular: np.ndarray, popular_rating: np.ndarray, allowed: np.ndarray) -> None:
    """Keep what `movies` returns."""
    storage.write_arrays(staged.scratch(_MOVIES), popular=popular, popular_rating=popular_rating, allowed=allowed)


def movies(staged: StagedRun) -> dict[str, np.ndarray]:
    """Return `popular`, `popular_rating` (see `popularity.popularity`) and `allowed` (see `business_rules`)."""
    return storage.read_arrays(staged.scratch(_MOVIES))


def asked_users(staged: StagedRun) -> pa.Table:
    """Return the users of --users (`schemas.USERS`), ascending."""
    return storage.dataset(staged.scratch(staged_ratings.ASKED)).to_table()


def interaction_statistics(staged: StagedRun, rows_in: dict[str, int]) -> InteractionStatistics:
    """Return what the report needs of the ratings: counts, and the histories of users whom it may show.

    Call it when the recommendations are written.
    """
    candidates = candidate_users(storage.dataset(staged.table(c.RECOMMENDATIONS_TABLE)))
    rows, ids = staged.scratch(staged_ratings.RATINGS), counts(staged).ids
    of_run = staged_input(staged)
    return statistics.of_staged(
        ratings(staged), rows_in, [*candidates], rows, of_run.catalogue(), ids, add_up=of_run.add_up
    )
