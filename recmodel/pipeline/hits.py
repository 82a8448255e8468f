"""Hits, every night: the run before is held against the ratings that came since, and what was measured so far is kept.

Only ratings later than the newest that the run before knew are looked at: each rating counts once, for the lists that
were in force when it was given. Ratings that arrive late, with times before that, count for no run.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel import storage
from recmodel.arrays import hashes, places
from recmodel.data import staged as staged_ratings
from recmodel.evaluation import hits
from recmodel.progress import log
from recmodel.records import HitsOfRun, RunRecord
from recmodel.scoring import topn
from recmodel.tables.base import Output

MOST_USERS = 20_000  # who are measured at most; of more, these are chosen by their ids
_KEPT = timedelta(400)  # results of runs before that are dropped


def measure(
    output: Output, run_date: date, ratings: str, catalogue: pa.Table, liked_from: float | None
) -> tuple[pa.Table, HitsOfRun | None]:
    """Return `schemas.HITS` so far, and how the run before did; None where there is none, or no rating since.

    Args:
        run_date: of the run under way.
        ratings: where its ratings are staged (`schemas.STAGED`).
        catalogue: `schemas.CATALOGUE` whose rows stand for movies there.
        liked_from: in stars; None: nobody says what they like.
    """
    rows = c.HITS.empty_table()
    days = [day for day in output.run_dates() if day < run_date and output.is_full(day)]
    if not days:
        return rows, None
    before = output.read_run(days[-1])
    if output.files(c.HITS_TABLE, before.run_date):
        table = output.dataset(c.HITS_TABLE, before.run_date).to_table(columns=c.HITS.names).cast(c.HITS)
        rows = table.filter(pc.field(c.SCORED_ON) > run_date - _KEPT)
    if before.newest_rating is None or not output.files(c.MOVIES_TABLE, before.run_date):
        why = "does not know when ratings were given" if before.newest_rating is None else "has no table movies"
        log.info("the run of %s is not held against the ratings since, as it %s", before.run_date, why)
        return rows, None
    new, of_run = _of_run(output, before, ratings, catalogue, liked_from)
    return pa.concat_tables([rows, new]), of_run


def _of_run(
    output: Output, run: RunRecord, ratings: str, catalogue: pa.Table, liked_from: float | None
) -> tuple[pa.Table, HitsOfRun | None]:
    """Return the rows of one run, and their sum."""
    assert run.newest_rating is not None
    day, since = run.run_date, int(run.newest_rating.timestamp())
    is_new = pc.field(c.TIMESTAMP) > since
    back = storage.dataset(ratings).to_table(columns=[c.USER_ID], filter=is_new).column(c.USER_ID).unique()
    had_list = output.recommendations(day).to_table(
        columns=[c.USER_ID, c.SOURCE], filter=(pc.field(c.RANK) == 1) & pc.field(c.USER_ID).isin(back)
    )
    users, source = had_list.column(c.USER_ID).combine_chunks(), had_list.column(c.SOURCE).to_numpy()
    if not len(users):
        log.info("nobody who had a list in the run of %s has rated since", day)
        return c.HITS.empty_table(), None
    came_back = len(users)
    chosen = np.argsort(hashes(users.to_numpy(zero_copy_only=False)), kind="stable")[:MOST_USERS]
    users, source = users.take(pa.array(chosen)), source[chosen]
    rated = staged_ratings.of_some_users(ratings, users.to_pylist())
    has_new, known, relevant, until = hits.divided(rated, users, since, liked_from)
    users, source = users.filter(pa.array(has_new)), source[has_new]
    if not len(users):
        return c.HITS.empty_table(), None
    movie_ids = catalogue.column(c.MOVIE_ID).combine_chunks()
    mine = hits.score(_lists(output, day, users, movie_ids), relevant)
    popular = hits.score(_popular(output, day, len(users), known, movie_ids), relevant)
    had = output.dataset(c.USERS_TABLE, day).to_table(
        columns=[c.USER_ID, c.RATINGS_COUNT], filter=pc.field(c.USER_ID).isin(users)
    )
    place = places(had.column(c.USER_ID).combine_chunks(), users)
    ratings_before = np.where(place >= 0, np.append(had.column(c.RATINGS_COUNT).to_numpy(), 0)[place], 0)
    sources = (c.SOURCE_MODEL, c.SOURCE_POPULARITY, c.SOURCE_TRENDING)  # the model's alike, whatever it went by
    of_source = sum(i * (source == name) for i, name in enumerate(sources))
    group = hits.segments(ratings_before) * len(sources) + of_source
    columns: dict[str, list[object]] = {name: [] for name in c.HITS.names}
    for one in np.unique(group):
        of_group = group == one
        some = int(of_group.sum())
        values = {
            c.SCORED_ON: day,
            c.MODEL_VERSION: run.model_version,
            c.RANK_BY: run.rank_by,
            c.SOURCE: sources[one % len(sources)],
            "segment": hits.SEGMENTS[one // len(sources)][0],
            "since": run.newest_rating,
            "until": datetime.fromtimestamp(until, timezone.utc),
            "users_back": some if came_back <= MOST_USERS else round(some * came_back / MOST_USERS),
            "users_measured": some,
            c.RATINGS_COUNT: int(of_group[relevant.user].sum()),
            "hits": int(mine.hits[of_group].sum()),
            "liked_hits": None if liked_from is None else int(mine.liked[of_group].sum()),
            "recall_10": mine.recall[of_group].mean(),
            "ndcg_10": mine.ndcg[of_group].mean(),
            "popular_hits": int(popular.hits[of_group].sum()),
            "popular_liked_hits": None if liked_from is None else int(popular.liked[of_group].sum()),
            "popular_recall_10": popular.recall[of_group].mean(),
            "popular_ndcg_10": popular.ndcg[of_group].mean(),
        }
        for name, value in values.items():
            columns[name].append(value)
    of_run = HitsOfRun(
        run_date=day,
        users=len(users),
        ratings=len(relevant.user),
        hits=int(mine.hits.sum()),
        liked_hits=None if liked_from is None else int(mine.liked.sum()),
        recall_10=float(mine.recall.mean()),
        ndcg_10=float(mine.ndcg.mean()),
        popular_recall_10=float(popular.recall.mean()),
        popular_ndcg_10=float(popular.ndcg.mean()),
    )
    log.info(
        "of the run of %s, %d users have rated since: NDCG@10 %.4f, of what was popular %.4f",
        day, len(users), of_run.ndcg_10, of_run.popular_ndcg_10,
    )  # fmt: skip
    return pa.table(columns, schema=c.HITS), of_run


def _lists(output: Output, day: date, users: pa.Array, movie_ids: pa.Array) -> np.ndarray:
    """Return [B, 10] rows of the movies that a run recommended; -1 pads."""
    rows = output.recommendations(day).to_table(
        columns=[c.USER_ID, c.RANK, c.MOVIE_ID],
        filter=(pc.field(c.RANK) <= hits.K) & pc.field(c.USER_ID).isin(users),
    )
    lists = np.full((len(users), hits.K), -1)
    rank = rows.column(c.RANK).to_numpy()
    lists[places(users, rows.column(c.USER_ID)), rank - 1] = places(movie_ids, rows.column(c.MOVIE_ID))
    return lists


def _popular(output: Output, day: date, users: int, known: topn.Pairs, movie_ids: pa.Array) -> np.ndarray:
    """Return [B, 10] rows of the movies that were most rated that day, allowed, and not known to each user."""
    movies = output.dataset(c.MOVIES_TABLE, day).to_table(
        columns=[c.MOVIE_ID, c.RATINGS_COUNT], filter=pc.field(c.ALLOWED)
    )
    row, count = places(movie_ids, movies.column(c.MOVIE_ID)), movies.column(c.RATINGS_COUNT).to_numpy()
    order = np.lexsort((row, -count))
    return hits.first_unknown(row[order][row[order] >= 0], len(movie_ids), users, known)
