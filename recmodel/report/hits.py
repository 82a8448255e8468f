"""Hits on the page: how earlier runs did once the ratings since came in, from the table `hits` of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel.evaluation.hits import SEGMENTS
from recmodel.tables.base import Output


@dataclass(frozen=True)
class Hits:
    """How some users were served, each a mean over those who came back and were measured."""

    users: int  # measured
    hits: int
    liked_hits: int | None  # None where nobody says what they like
    recall: float
    ndcg: float
    popular_recall: float  # of what was popular
    popular_ndcg: float

    @property
    def share_liked(self) -> float | None:
        """The share of hits that users liked; None without any."""
        return None if self.liked_hits is None or not self.hits else self.liked_hits / self.hits


@dataclass(frozen=True)
class RunHits:
    """How a run did."""

    run_date: date
    model_version: str
    rank_by: str
    of_all: Hits


@dataclass(frozen=True)
class AllHits:
    """How the runs so far did."""

    runs: list[RunHits]  # ascending; the newest `limit`
    groups: dict[tuple[str, str], Hits]  # by source and segment, over these runs

    @property
    def together(self) -> Hits:
        """All of these runs in one; there must be one."""
        return _joined(list(self.groups.values()))


def of_runs(output: Output, run_date: date, limit: int) -> AllHits:
    """Return what the newest measured runs are known to have done when the run of a date was published."""
    if not output.files(c.HITS_TABLE, run_date):  # a version before 0.3.2
        return AllHits([], {})
    rows = output.dataset(c.HITS_TABLE, run_date).to_table(columns=c.HITS.names)
    days = sorted(pc.unique(rows.column(c.SCORED_ON)).to_pylist())[-limit:]
    by_run: dict[tuple[date, str, str], list[Hits]] = {}
    by_group: dict[tuple[str, str], list[Hits]] = {}
    for row in rows.to_pylist():
        if row[c.SCORED_ON] in days:
            by_run.setdefault((row[c.SCORED_ON], row[c.MODEL_VERSION], row[c.RANK_BY]), []).append(_of_row(row))
            by_group.setdefault((row[c.SOURCE], row["segment"]), []).append(_of_row(row))
    runs = [
        RunHits(day, version, rank_by, _joined(by_run[day, version, rank_by]))
        for day, version, rank_by in sorted(by_run)
    ]
    fewest = dict(SEGMENTS)
    groups = sorted(by_group, key=lambda group: (group[0], fewest.get(group[1], 0)))
    return AllHits(runs, {group: _joined(by_group[group]) for group in groups})


def _of_row(row: dict[str, Any]) -> Hits:
    return Hits(
        users=row["users_measured"],
        hits=row["hits"],
        liked_hits=row["liked_hits"],
        recall=row["recall_10"],
        ndcg=row["ndcg_10"],
        popular_recall=row["popular_recall_10"],
        popular_ndcg=row["popular_ndcg_10"],
    )


def _joined(parts: Sequence[Hits]) -> Hits:
    users = sum(part.users for part in parts)

    def mean(values: Sequence[float]) -> float:
        return sum(value * part.users for value, part in zip(values, parts, strict=True)) / users

    liked = [part.liked_hits for part in parts if part.liked_hits is not None]
    return Hits(
        users=users,
        hits=sum(part.hits for part in parts),
        liked_hits=sum(liked) if liked else None,
        recall=mean([part.recall for part in parts]),
        ndcg=mean([part.ndcg for part in parts]),
        popular_recall=mean([part.popular_recall for part in parts]),
        popular_ndcg=mean([part.popular_ndcg for part in parts]),
    )
