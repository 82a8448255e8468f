"""Summary: what a run recommends, in figures small enough for a page.

Takes the published recommendations of a run, an Arrow dataset of any size, and returns counts by movie, by predicted
rating and by rank, and the overlap with an earlier run. Never holds all rows in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.acero as acero
import pyarrow.compute as pc
import pyarrow.dataset as ds

from recmodel import schemas as c
from recmodel.arrays import locate

USERS = "users"  # to how many users a movie is recommended
SCORE_BINS = 24


@dataclass(frozen=True)
class Summary:
    """The recommendations of a run, in figures."""

    by_movie: pa.Table  # see `count_by_movie`
    rating_counts: dict[float, int]  # rows by predicted rating, to the nearest half star
    scores: list[dict[str, float]]  # low, high, rows: bins of equal width of the retrieval score; empty without scores
    by_rank: list[dict[str, Any]]  # rank; low, median, high (10, 50, 90 % of the score); predicted_rating (mean)

    def users_per_movie(self, movie_ids: np.ndarray) -> np.ndarray:
        """Return to how many users each of `movie_ids` (ascending) is recommended; other movies are left out."""
        users = np.zeros(len(movie_ids), np.int64)
        row, present = locate(movie_ids, self.by_movie.column(c.MOVIE_ID).to_numpy())
        users[row[present]] = self.by_movie.column(USERS).to_numpy()[present]
        return users


@dataclass(frozen=True)
class Overlap:
    """How much of the users' lists was in the lists of an earlier run; only of users who are in both runs."""

    users: int
    mean: float  # share of a user's list, averaged over users; NaN without users
    by_tenth: list[int]  # users by that share, rounded to 0, 10, 20, …, 100 %


def summarise(rows: ds.Dataset) -> Summary:
    """Compute the figures of a run's recommendations."""
    score, rating = pc.field(c.RETRIEVAL_SCORE), pc.field(c.PREDICTED_RATING)
    half_stars = {c.PREDICTED_RATING: pc.round(rating * 2.0)}
    by_half_star = _aggregate(
        rows, half_stars, [([], "hash_count_all", "rows")], by=c.PREDICTED_RATING, where=_is_number(rating)
    )
    quantiles = pc.TDigestOptions([0.1, 0.5, 0.9])
    by_rank = _aggregate(
        rows,
        [c.RANK, c.RETRIEVAL_SCORE, c.PREDICTED_RATING],
        [
            (c.RETRIEVAL_SCORE, "hash_tdigest", "score", quantiles),
            (c.PREDICTED_RATING, "hash_mean", c.PREDICTED_RATING),
        ],
        by=c.RANK,
    )
    return Summary(
        by_movie=count_by_movie(rows),
        rating_counts={
            row[c.PREDICTED_RATING] / 2: row["rows"] for row in by_half_star.sort_by(c.PREDICTED_RATING).to_pylist()
        },
        scores=_score_histogram(rows, score),
        by_rank=[_rank(row) for row in by_rank.sort_by(c.RANK).to_pylist()],
    )


def count_by_movie(rows: ds.Dataset) -> pa.Table:
    """Count to how many users each movie is recommended.

    Returns:
        movie_id, title, users, predicted_rating (the mean, null without any): descending by users, then ascending by
        movie_id.
    """
    measures = [
        ([], "hash_count_all", USERS),
        (c.TITLE, "hash_one", c.TITLE),
        (c.PREDICTED_RATING, "hash_mean", c.PREDICTED_RATING),
    ]
    by_movie = _aggregate(rows, [c.MOVIE_ID, c.TITLE, c.PREDICTED_RATING], measures, by=c.MOVIE_ID)
    return by_movie.sort_by([(USERS, "descending"), (c.MOVIE_ID, "ascending")])


def risen_and_fallen(
    now: pa.Table, users: int, before: pa.Table, users_before: int, limit: int = 5
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the movies whose share of lists has grown most, and those whose share has fallen most, since another run.

    Args:
        now, before: see `count_by_movie`.
        users, users_before: who had lists.

    Returns:
        Of each movie: title, share, share_before (of the users), change; the greatest change first, equal ones by id.
    """
    joined = now.join(before, c.MOVIE_ID, join_type="full outer", right_suffix="_before")
    title = pc.coalesce(joined.column(c.TITLE), joined.column(f"{c.TITLE}_before"))
    share, share_before = (
        pc.fill_null(joined.column(name), 0).to_numpy() / max(1, of)
        for name, of in ((USERS, users), (f"{USERS}_before", users_before))
    )
    columns = {c.MOVIE_ID: joined.column(c.MOVIE_ID), c.TITLE: title, "share": share, "share_before": share_before}
    table = pa.table({**columns, "change": share - share_before})
    risen, fallen = (
        table.filter(compare(table.column("change"), 0))
        .sort_by([("change", order), (c.MOVIE_ID, "ascending")])
        .slice(0, limit)
        .to_pylist()
        for compare, order in ((pc.greater, "descending"), (pc.less, "ascending"))
    )
    return risen, fallen


def reject_reasons(rejects: ds.Dataset) -> list[dict[str, Any]]:
    """Count the rejected rows by reason, the most frequent first: file, column, reason, rows and an example's value."""
    keys = ["file", "column", "reason"]
    measures = [([], "hash_count_all", "rows"), ("value", "hash_one", "value")]
    counted = _aggregate(rejects, [*keys, "value"], measures, by=keys)
    return counted.sort_by([("rows", "descending"), *((key, "ascending") for key in keys)]).to_pylist()


def overlap(rows: ds.Dataset, earlier: ds.Dataset) -> Overlap:
    """Compare the lists of two runs file by file, reading only the same users from `earlier`."""
    pair = [c.USER_ID, c.MOVIE_ID]
    by_tenth, total = np.zeros(11, np.int64), 0.0
    for fragment in rows.get_fragments():
        now = fragment.to_table(columns=pair)
        if not now.num_rows:
            continue
        ids = pc.min_max(now.column(c.USER_ID)).as_py()
        user = pc.field(c.USER_ID)
        before = earlier.to_table(columns=pair, filter=(user >= ids["min"]) & (user <= ids["max"]))
        length = now.group_by(c.USER_ID).aggregate([([], "count_all")])
        in_both = before.group_by(c.USER_ID).aggregate([])
        kept = now.join(before, pair, join_type="inner").group_by(c.USER_ID).aggregate([([], "count_all")])
        users = length.join(in_both, c.USER_ID, join_type="inner").join(kept, c.USER_ID, right_suffix="_kept")
        share = pc.divide(
            pc.cast(pc.fill_null(users.column("count_all_kept"), 0), pa.float64()), users.column("count_all")
        ).to_numpy()
        by_tenth += np.bincount(np.round(share * 10).astype(int), minlength=11)
        total += float(share.sum())
    users_in_both = int(by_tenth.sum())
    return Overlap(users_in_both, total / users_in_both if users_in_both else np.nan, by_tenth.tolist())


def _score_histogram(rows: ds.Dataset, score: pc.Expression) -> list[dict[str, float]]:
    ends = [(c.RETRIEVAL_SCORE, "min", "min"), (c.RETRIEVAL_SCORE, "max", "max")]
    (score_range,) = _aggregate(rows, [c.RETRIEVAL_SCORE], ends, where=_is_number(score)).to_pylist()
    if score_range["min"] is None:
        return []
    low, width = score_range["min"], (score_range["max"] - score_range["min"]) / SCORE_BINS or 1.0
    bin_of = pc.floor((score.cast(pa.float64()) - low) / width)
    counted = _aggregate(rows, {"bin": bin_of}, [([], "hash_count_all", "rows")], by="bin", where=_is_number(score))
    count = np.zeros(SCORE_BINS, np.int64)
    for row in counted.to_pylist():
        count[min(int(row["bin"]), SCORE_BINS - 1)] += row["rows"]  # the maximum belongs to the last bin
    return [{"low": low + i * width, "high": low + (i + 1) * width, "rows": int(n)} for i, n in enumerate(count)]


def _rank(row: dict[str, Any]) -> dict[str, Any]:
    low, median, high = (None if value != value else value for value in row["score"])
    rating = row[c.PREDICTED_RATING]
    return {c.RANK: row[c.RANK], "low": low, "median": median, "high": high, c.PREDICTED_RATING: rating}


def _is_number(value: pc.Expression) -> pc.Expression:
    return value.is_valid() & ~value.is_nan()


def _aggregate(
    rows: ds.Dataset,
    columns: Sequence[str] | dict[str, pc.Expression],
    measures: Sequence[tuple],
    *,
    by: str | Sequence[str] = (),
    where: pc.Expression | None = None,
) -> pa.Table:
    """Group and aggregate as a stream, in memory that depends on the number of groups only.

    Args:
        columns: the columns to read, or expressions to compute by name.
        measures: (column, Arrow's function, name in the result, and options if the function needs any).
    """
    computed = columns if isinstance(columns, dict) else {name: pc.field(name) for name in columns}
    steps = [acero.Declaration("scan", acero.ScanNodeOptions(rows, columns=computed, filter=where))]
    if where is not None:  # the scan's own filter only skips files and row groups
        steps.append(acero.Declaration("filter", acero.FilterNodeOptions(where)))
    steps.append(acero.Declaration("project", acero.ProjectNodeOptions([*computed.values()], [*computed])))
    aggregates = [(column, how, options[0] if options else None, name) for column, how, name, *options in measures]
    keys = [by] if isinstance(by, str) else [*by]
    steps.append(acero.Declaration("aggregate", acero.AggregateNodeOptions(aggregates, keys=keys or None)))
    return acero.Declaration.from_sequence(steps).to_table()
