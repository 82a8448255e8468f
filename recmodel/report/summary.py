"""Summary: what a run recommends, in figures small enough for a page.

Takes the published rows of a run as an Arrow dataset of any size; gives counts by movie, by stars and by rank, how much
of the lists an earlier run had, and some users. No table of all rows is ever held in memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.acero as acero
import pyarrow.compute as pc
import pyarrow.dataset as ds

from recmodel import schemas as c
from recmodel.data import catalogue as lookup

LISTS = "lists"  # in how many users' lists
SCORE_BINS = 24
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: multiples of it are spread evenly


@dataclass(frozen=True)
class Summary:
    """The recommendations of a run."""

    by_movie: pa.Table  # movie_id, title, lists: descending by lists, then ascending by id
    stars: dict[float, int]  # rows by predicted rating, to the nearest half star
    scores: list[dict[str, float]]  # low, high, rows: equal bins of the retrieval score; none without scores
    by_rank: list[dict[str, Any]]  # rank, low, median, high (the score's 10, 50 and 90 %), predicted_rating (mean)

    def lists_of(self, movie_ids: np.ndarray) -> np.ndarray:
        """[M] in how many lists each of `movie_ids` (ascending) is; movies that are not among them are left out."""
        mine = self.by_movie.column(c.MOVIE_ID).to_numpy()
        counts = np.zeros(len(movie_ids), np.int64)
        row, known = lookup.rows(movie_ids, mine)
        counts[row[known]] = self.by_movie.column(LISTS).to_numpy()[known]
        return counts


@dataclass(frozen=True)
class Overlap:
    """How much of the lists an earlier run had, over the users of both runs."""

    users: int
    mean: float  # share of a user's list, averaged over users; NaN without users
    by_tenth: list[int]  # users of whose list 0, 10, 20, …, 100 % were there, to the nearest


def summarise(rows: ds.Dataset) -> Summary:
    """The figures of a run's rows."""
    score, rating = pc.field(c.RETRIEVAL_SCORE), pc.field(c.PREDICTED_RATING)
    by_movie = _aggregate(
        rows, [c.MOVIE_ID, c.TITLE], [([], "hash_count_all", LISTS), (c.TITLE, "hash_one", c.TITLE)], by=c.MOVIE_ID
    )
    half_stars = {c.PREDICTED_RATING: pc.round(rating * 2.0)}
    by_stars = _aggregate(
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
        by_movie=by_movie.sort_by([(LISTS, "descending"), (c.MOVIE_ID, "ascending")]),
        stars={row[c.PREDICTED_RATING] / 2: row["rows"] for row in by_stars.sort_by(c.PREDICTED_RATING).to_pylist()},
        scores=_score_histogram(rows, score),
        by_rank=[_rank(row) for row in by_rank.sort_by(c.RANK).to_pylist()],
    )


def reject_reasons(rejects: ds.Dataset) -> list[dict[str, Any]]:
    """Why input rows were refused, the commonest first: file, column, reason, rows, and a value as an example."""
    keys = ["file", "column", "reason"]
    measures = [([], "hash_count_all", "rows"), ("value", "hash_one", "value")]
    counted = _aggregate(rejects, [*keys, "value"], measures, by=keys)
    return counted.sort_by([("rows", "descending"), *((key, "ascending") for key in keys)]).to_pylist()


def some_users(rows: ds.Dataset, by_model: int, by_popularity: int) -> dict[int, str]:
    """At most so many users of each source, with their source: scattered over all ids, the same ones in every run."""
    wanted = {c.SOURCE_MODEL: by_model, c.SOURCE_POPULARITY: by_popularity}
    chosen: dict[str, list[tuple[int, int]]] = {source: [] for source in wanted}
    first_rows = rows.to_batches(columns=[c.USER_ID, c.SOURCE], filter=pc.field(c.RANK) == 1)
    for batch in first_rows:
        for source, most in wanted.items():
            ids = batch.filter(pc.equal(batch.column(c.SOURCE), source)).column(c.USER_ID).to_numpy()
            mixed = ids.astype(np.uint64) * _MIX
            best = np.argsort(mixed, kind="stable")[:most]
            both = [*chosen[source], *zip(mixed[best].tolist(), ids[best].tolist(), strict=True)]
            chosen[source] = heapq.nsmallest(most, both)
    return {user_id: source for source, users in chosen.items() for _, user_id in users}


def overlap(rows: ds.Dataset, earlier: ds.Dataset) -> Overlap:
    """How much of the lists in `rows` was in `earlier` too: file by file, each beside the same users' earlier lists."""
    pair = [c.USER_ID, c.MOVIE_ID]
    by_tenth, total = np.zeros(11, np.int64), 0.0
    for fragment in rows.get_fragments():
        mine = fragment.to_table(columns=pair)
        if not mine.num_rows:
            continue
        ids = pc.min_max(mine.column(c.USER_ID)).as_py()
        user = pc.field(c.USER_ID)
        theirs = earlier.to_table(columns=pair, filter=(user >= ids["min"]) & (user <= ids["max"]))
        length = mine.group_by(c.USER_ID).aggregate([([], "count_all")])
        in_both = theirs.group_by(c.USER_ID).aggregate([])
        kept = mine.join(theirs, pair, join_type="inner").group_by(c.USER_ID).aggregate([([], "count_all")])
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
    (found,) = _aggregate(rows, [c.RETRIEVAL_SCORE], ends, where=_is_number(score)).to_pylist()
    if found["min"] is None:
        return []
    low, width = found["min"], (found["max"] - found["min"]) / SCORE_BINS or 1.0
    bin_of = pc.floor((score.cast(pa.float64()) - low) / width)
    counted = _aggregate(rows, {"bin": bin_of}, [([], "hash_count_all", "rows")], by="bin", where=_is_number(score))
    count = np.zeros(SCORE_BINS, np.int64)
    for row in counted.to_pylist():
        count[min(int(row["bin"]), SCORE_BINS - 1)] += row["rows"]  # the maximum belongs to the last bin
    return [{"low": low + i * width, "high": low + (i + 1) * width, "rows": int(n)} for i, n in enumerate(count)]


def _rank(row: dict[str, Any]) -> dict[str, Any]:
    low, median, high = (None if value != value else value for value in row["score"])
    rated = row[c.PREDICTED_RATING]
    return {c.RANK: row[c.RANK], "low": low, "median": median, "high": high, c.PREDICTED_RATING: rated}


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
    """A group-by that streams: its memory depends on the number of groups.

    Args:
        columns: what is read, or computed from what is read.
        measures: (column, Arrow's function, name in the result, options or nothing).
    """
    computed = columns if isinstance(columns, dict) else {name: pc.field(name) for name in columns}
    steps = [acero.Declaration("scan", acero.ScanNodeOptions(rows, columns=computed, filter=where))]
    if where is not None:  # the scan itself only skips what it can without looking at rows
        steps.append(acero.Declaration("filter", acero.FilterNodeOptions(where)))
    steps.append(acero.Declaration("project", acero.ProjectNodeOptions([*computed.values()], [*computed])))
    aggregates = [(column, how, options[0] if options else None, name) for column, how, name, *options in measures]
    keys = [by] if isinstance(by, str) else [*by]
    steps.append(acero.Declaration("aggregate", acero.AggregateNodeOptions(aggregates, keys=keys or None)))
    return acero.Declaration.from_sequence(steps).to_table()
