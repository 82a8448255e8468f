"""Candidates: some users of a run, the same in every run, for people to look at.

Scoring publishes the ratings of these users with the run, and the report selects its sample users among them.
"""

from __future__ import annotations

import heapq

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds

from recmodel import schemas as c
from recmodel.arrays import hashes
from recmodel.schemas import Id

_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: its multiples are spread evenly (Fibonacci hashing)


def candidate_users(rows: ds.Dataset, of_model: int = 400, of_popularity: int = 40) -> dict[Id, str]:
    """Select users of each source of recommendations, scattered over all ids.

    Args:
        rows: `schemas.RECOMMENDATION`, of any size.
        of_model, of_popularity: how many users at most of each source.

    Returns:
        The source of each selected user's recommendations: the model or popularity, of late too.
    """
    limits = {c.SOURCE_MODEL: of_model, c.SOURCE_POPULARITY: of_popularity}
    smallest: dict[str, list[tuple[int, Id]]] = {source: [] for source in limits}  # (hash, user_id)
    first_rows = rows.to_batches(columns=[c.USER_ID, c.SOURCE], filter=pc.field(c.RANK) == 1)
    for batch in first_rows:
        for source, limit in limits.items():
            by_model = c.are_by_model(batch.column(c.SOURCE))  # new movies too
            of_source = by_model if source == c.SOURCE_MODEL else pc.invert(by_model)
            ids = batch.filter(of_source).column(c.USER_ID).to_numpy(zero_copy_only=False)
            hashed = hashes(ids) * _MIX
            first = np.argsort(hashed, kind="stable")[:limit]
            both = [*smallest[source], *zip(hashed[first].tolist(), ids[first].tolist(), strict=True)]
            smallest[source] = heapq.nsmallest(limit, both)
    return {user_id: source for source, users in smallest.items() for _, user_id in users}
