"""Replayed: what came of the lists of replayed nights, user by user, becomes figures by night and by method.

A user who came back after several nights counts for each of them. Intervals draw users with all of their nights, as
what a user does after one night is like what they do after another.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from recmodel import schemas as c
from recmodel.evaluation import intervals
from recmodel.records import POPULARITY

RETURNING, NEW = "returning", "new"  # groups of users: who had rated by that night, and who had not
BASELINES = (c.SOURCE_TRENDING, POPULARITY)  # methods without a model
METHOD, GROUP, USER = "method", "users", "user"
_MEASURES = ("ndcg_10", "recall_10")


def by_night(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Return a row per night, method and group of users, in the order in which they come.

    Args:
        outcomes: a row per night, method and user: `schemas.SCORED_ON`, method, users (the group), user, ratings, hits,
            liked_hits, recall_10 and ndcg_10.
    """
    grouped = outcomes.groupby([c.SCORED_ON, METHOD, GROUP], sort=False)
    return grouped.agg(
        users_measured=(USER, "size"),
        ratings=(c.RATINGS_COUNT, "sum"),
        hits=("hits", "sum"),
        liked_hits=("liked_hits", lambda values: values.sum(min_count=1)),
        recall_10=("recall_10", "mean"),
        ndcg_10=("ndcg_10", "mean"),
    ).reset_index()


def by_method(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Return a row per group of users and method, over all nights, with 95 % intervals.

    Args:
        outcomes: see `by_night`.

    Returns:
        users, method, nights, users_measured (once for each night), people, ratings, hits, liked_hits, share_liked of
        the hits; for each measure its value, low and high; and the same of the difference of NDCG@10 from that of the
        first method for the same users and nights, under names that begin with difference.
    """
    rows, first = [], outcomes[METHOD].iloc[0]
    for (group, method), of_method in outcomes.groupby([GROUP, METHOD], sort=False):
        rival = outcomes[(outcomes[GROUP] == group) & (outcomes[METHOD] == first)]
        liked, hits = of_method["liked_hits"].sum(min_count=1), of_method["hits"].sum()
        row = {
            GROUP: group,
            METHOD: method,
            "nights": of_method[c.SCORED_ON].nunique(),
            "users_measured": len(of_method),
            "people": of_method[USER].nunique(),
            c.RATINGS_COUNT: of_method[c.RATINGS_COUNT].sum(),
            "hits": hits,
            "liked_hits": liked,
            "share_liked": liked / hits if hits else np.nan,
        }
        for measure in _MEASURES:
            row |= _interval(measure, of_method[[USER, measure]], lambda mean: mean[:, 1] / mean[:, 0])
        if method != first:
            both = of_method.merge(rival, on=[c.SCORED_ON, USER], suffixes=("", "_of_first"))
            columns = [USER, "ndcg_10", "ndcg_10_of_first"]
            row |= _interval("difference", both[columns], lambda mean: (mean[:, 1] - mean[:, 2]) / mean[:, 0])
        rows.append(row)
    return pd.DataFrame(rows)


def are_told_apart(rows: pd.DataFrame) -> pd.Series:
    """Return which rows by night or by method say more than that of what is trending, as each model's new users get it.

    Args:
        rows: of `by_night` or `by_method`.
    """
    return (rows[GROUP] != NEW) | rows[METHOD].isin(BASELINES)


def _interval(name: str, values: pd.DataFrame, statistic: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
    """Return a statistic and its interval.

    Args:
        values: the user, and what is measured of them, a row per night.
        statistic: of [R, 1 + k] means over users of the number of their nights and of the sums of their values.
    """
    by_user = values.groupby(USER)
    sums = np.column_stack([by_user.size(), by_user.sum()]).astype(np.float64)
    low, high = intervals.bootstrap(sums, statistic)
    return {name: float(statistic(sums.mean(axis=0, keepdims=True))[0]), f"{name}_low": low, f"{name}_high": high}
