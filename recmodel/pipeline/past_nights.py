"""Past nights: what there was on a night, what came after it, and what a model would have served.

All of it is taken from one reading of the input. Lists are made by the functions that Spark's workers run, in this
process and for the users alone who have rated since.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime, timezone
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recmodel import dates
from recmodel import schemas as c
from recmodel.arrays import hashes, places, rows_of
from recmodel.data import feedback as feedbacks
from recmodel.data import histories, movielens
from recmodel.data import ids as identifiers
from recmodel.data.catalogue import Catalogues, combine
from recmodel.data.feedback import Feedback
from recmodel.data.histories import Histories
from recmodel.data.validation import Validation
from recmodel.errors import InputRejected
from recmodel.evaluation import hits, replayed
from recmodel.models import architectures
from recmodel.models.versions import ModelVersion
from recmodel.pipeline import business_rules, sources, staging
from recmodel.pipeline.hits import MOST_USERS
from recmodel.scoring import popularity, worker
from recmodel.scoring.recommender import Recommender
from recmodel.scoring.request import Payload, TopNRequest
from recmodel.settings import Settings
from recmodel.storage import Location


@dataclass(frozen=True)
class Input:
    """All that is read, once for all nights."""

    folder: Location
    feedback: Feedback
    catalogue: pa.Table  # `schemas.CATALOGUE`, of all nights, as files of movies have no dates
    ratings: pa.Table  # `schemas.STAGED`, in order, duplicates included
    denied: pa.Table | None  # `schemas.STAGED_PAIRS`
    opted_out: pa.Array | None

    @cached_property
    def time(self) -> np.ndarray:
        """[S] int64, when each rating was given, in seconds."""
        return self.ratings.column(c.TIMESTAMP).fill_null(0).to_numpy()

    @cached_property
    def users(self) -> pa.Array:
        """[U] all users, ascending."""
        return histories.starts_of_users(self.ratings.column(c.USER_ID))[0]

    @property
    def ends(self) -> tuple[date, date]:
        """The days of the oldest and of the newest rating."""
        first, last = (datetime.fromtimestamp(int(t), timezone.utc).date() for t in (self.time.min(), self.time.max()))
        return first, last

    @property
    def liked_from(self) -> float | None:
        """In stars; None: nobody says what they like."""
        return None if self.feedback.is_implicit else self.feedback.four_stars

    @cached_property
    def digest(self) -> str:
        """Names the ratings, the catalogue, and whom the rules name."""
        digest = hashlib.sha256()
        for table in (self.ratings, self.catalogue, self.denied):
            for column in () if table is None else table.columns:
                values = column.fill_null("") if pa.types.is_string(column.type) else column.fill_null(0)
                digest.update(pd.util.hash_array(values.to_numpy(), categorize=False).data)
        digest.update(repr(self.opted_out and self.opted_out.to_pylist()).encode())
        return digest.hexdigest()


def read(settings: Settings) -> Input:
    """Read all ratings, the catalogue, and the users and pairs of the rules."""
    folder = sources.input_dir(settings.paths.data, settings.paths.sample, settings.input)
    feedback = feedbacks.decide(folder, settings.input)
    validation = Validation(settings.input, identifiers.decide(folder, settings.input))
    catalogue = movielens.read_catalogue(folder, validation)
    numbers, schema = identifiers.movie_numbers(catalogue), c.with_ids(c.STAGED, validation.ids)
    batches = []
    for batch in movielens.stream_ratings(folder, catalogue, validation, feedback):
        user, movie, rating, timestamp = (batch.column(name) for name in c.RATINGS.names)
        row = pa.array(rows_of(numbers, movie.to_numpy()))
        batches.append(pa.RecordBatch.from_arrays([user, row, rating, timestamp], schema=schema))
    denied = opted_out = None
    if settings.rules.deny_pairs:
        pairs = movielens.read_ids(Path(settings.rules.deny_pairs), c.PAIRS, validation)
        denied = staging.with_rows(pairs, catalogue)
    if settings.rules.opt_out:
        users = movielens.read_ids(Path(settings.rules.opt_out), c.USERS, validation, "rules.opt_out")
        opted_out = users.column(c.USER_ID).combine_chunks()
    validation.log_files()
    ratings = pa.Table.from_batches(batches, schema).combine_chunks()
    if not histories.have_order(ratings.column(c.TIMESTAMP).fill_null(0).to_numpy()):
        raise InputRejected("the ratings have no times, so no night can be replayed; give input with timestamps")
    return Input(folder, feedback, catalogue, histories.sorted_rows(ratings), denied, opted_out)


class Night:
    """A night, and what came after it. Nothing but `relevant_to` depends on ratings later than the night."""

    def __init__(self, found: Input, day: date, until: date) -> None:
        self.found, self.day, self.until = found, day, until
        self.second = int(dates.end_of(day).timestamp())
        last = int(dates.end_of(until).timestamp())
        in_between = (found.time > self.second) & (found.time <= last)
        came = pc.unique(found.ratings.column(c.USER_ID).filter(pa.array(in_between)))
        chosen = np.argsort(hashes(came.to_numpy(zero_copy_only=False)), kind="stable")[:MOST_USERS]
        users = came.take(pa.array(chosen))
        users = users.take(pc.sort_indices(users))
        of_users = pc.is_in(found.ratings.column(c.USER_ID), value_set=users)
        rated = found.ratings.filter(pc.and_(of_users, pa.chunked_array([pa.array(found.time <= last)])))
        self.relevant_to = hits.divided(rated, users, self.second, found.liked_from)
        self.users = users.filter(pa.array(self.relevant_to.has_new))  # [B], ascending
        self.came_back = len(came)

    @property
    def ratings_there(self) -> int:
        """How many ratings there were."""
        return int(np.count_nonzero(self.found.time <= self.second))

    @cached_property
    def known(self) -> pa.Table:
        """`schemas.STAGED` of the ratings that counted that night, of all users."""
        there = self.found.ratings.filter(pa.array(self.found.time <= self.second))
        return histories.that_count(there, add_up=self.found.feedback.is_implicit)[0]

    @cached_property
    def counts(self) -> np.ndarray:
        """[M] float64, how many ratings each movie had."""
        return np.bincount(self._movie, minlength=self.found.catalogue.num_rows).astype(np.float64)

    @cached_property
    def sums(self) -> np.ndarray:
        """[M] float64, the sum of each movie's ratings."""
        return np.bincount(self._movie, self.known.column(c.RATING).to_numpy(), self.found.catalogue.num_rows)

    @cached_property
    def recent(self) -> np.ndarray:
        """[M] float64, how popular each movie was of late; see `popularity.trend`."""
        there = self.found.time[self.found.time <= self.second]
        of_day = popularity.weights(np.bincount(popularity.day(there)))
        time_of_rating = self.known.column(c.TIMESTAMP).fill_null(0).to_numpy()
        return popularity.trend(self._movie, time_of_rating, of_day, self.found.catalogue.num_rows)

    @cached_property
    def histories(self) -> Histories:
        """What the users had rated."""
        of_users = self.known.filter(pc.is_in(self.known.column(c.USER_ID), value_set=self.users))
        return histories.of_users(self.users, of_users, self.found.denied)

    @property
    def _movie(self) -> np.ndarray:
        return self.known.column(c.MOVIE).to_numpy()


class Serving:
    """A model version as it served on a night; see `pipeline.writing`, which makes the same for Spark's workers."""

    def __init__(self, settings: Settings, night: Night, version: ModelVersion) -> None:
        catalogues = combine(night.found.catalogue, version.catalogue(), place_new=False)
        self._settings, self._night = settings, night
        self._payload = _payload(settings, night, version, catalogues)
        self._model = Recommender(
            version.saved_model, self._payload.allowed, self._payload.open_model(version.saved_model)
        )

    def lists(self, rank_by: str) -> np.ndarray:
        """Return [B, 10] rows of the catalogue: what the users of the night got; -1 pads."""
        night, scoring = self._night, self._settings.scoring
        request = TopNRequest(
            n=scoring.top_n,
            rank_by=rank_by,
            candidates=scoring.candidates,
            include_seen=scoring.include_seen,
            min_history=scoring.min_history,
            liked_from=None,
            block_bytes=scoring.block_mib << 20,
            threads=1,
        )
        lists = np.full((len(night.users), hits.K), -1)
        movie_ids = night.found.catalogue.column(c.MOVIE_ID).combine_chunks()
        per_user, per_rating = self._model.memory(request.n, rank_by, request.candidates)
        for block in worker.blocks(night.histories, per_user, per_rating, request.block_bytes):
            rows = worker.recommend_block(self._model, block, self._payload, request)
            rows = rows.filter(pc.field(c.RANK) <= hits.K)
            user, rank = places(night.users, rows.column(c.USER_ID)), rows.column(c.RANK).to_numpy()
            lists[user, rank - 1] = places(movie_ids, rows.column(c.MOVIE_ID))
        return lists


def _payload(settings: Settings, night: Night, version: ModelVersion, catalogues: Catalogues) -> Payload:
    of_model = catalogues.of_model.column(c.MOVIE_ID).combine_chunks()
    all_movies = night.found.catalogue.column(c.MOVIE_ID).combine_chunks()
    row = places(all_movies, of_model)  # the model knows no other movies, as all nights have one catalogue
    counts, sums, recent = night.counts[row], night.sums[row], night.recent[row]
    popular, popular_rating = popularity.popularity(row, counts, sums, recent)
    allowed = business_rules.allowed(catalogues, counts, settings.rules)
    return Payload(
        model_version=version.name,
        model_digest="",  # it is not broadcast
        open_model=architectures.open_for_scoring(version.architecture),
        tasks=version.tasks,
        movies=catalogues.of_model.select([c.MOVIE_ID, c.TITLE]).combine_chunks(),
        row=places(of_model, all_movies).astype(np.int32),
        popular=popular,
        popular_rating=popular_rating,
        scored_at=dates.end_of(night.day),
        allowed=None if allowed.all() else allowed,
        opted_out=night.found.opted_out,
        cap=business_rules.cap(catalogues, settings.rules, settings.scoring.top_n),
    )


def outcomes_of(night: Night, lists: np.ndarray) -> pd.DataFrame:
    """Return what lists came to, a row per user; see `replayed.by_night`. Users are numbers, so that no id is kept."""
    relevant, found = night.relevant_to.relevant, night.found
    score = hits.score(lists, relevant)
    had_rated = np.bincount(night.relevant_to.known.user, minlength=len(night.users)) > 0
    return pd.DataFrame(
        {
            c.SCORED_ON: night.day,
            "until": night.until,
            replayed.GROUP: np.where(had_rated, replayed.RETURNING, replayed.NEW),
            replayed.USER: places(found.users, night.users),
            c.RATINGS_COUNT: np.bincount(relevant.user, minlength=len(night.users)),
            "hits": score.hits,
            "liked_hits": score.liked.astype(np.float64) if found.liked_from is not None else np.nan,
            "recall_10": score.recall,
            "ndcg_10": score.ndcg,
            "came_back": night.came_back,
        }
    )
