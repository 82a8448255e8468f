"""Figures of replayed nights, of outcomes that are made by hand."""

from datetime import date

import pandas as pd
import pytest

from recmodel import schemas as c
from recmodel.evaluation import replayed

FIRST, SECOND = date(2025, 3, 1), date(2025, 4, 1)


def outcomes(*rows: tuple) -> pd.DataFrame:
    """Of (night, method, group, user, ratings, hits, liked hits, recall, NDCG)."""
    names = [c.SCORED_ON, "method", "users", "user", c.RATINGS_COUNT, "hits", "liked_hits", "recall_10", "ndcg_10"]
    return pd.DataFrame(rows, columns=names)


ALL = outcomes(
    *[(FIRST, "mine", "returning", user, 4, 1, 1.0, 0.25, 0.5) for user in range(8)],
    *[(SECOND, "mine", "returning", user, 2, 1, 0.0, 0.5, 1.0) for user in range(4)],
    (SECOND, "mine", "new", 9, 1, 0, 0.0, 0.0, 0.0),
    *[(FIRST, "popularity", "returning", user, 4, 0, 0.0, 0.0, 0.1) for user in range(8)],
    *[(SECOND, "popularity", "returning", user, 2, 0, 0.0, 0.0, 0.6) for user in range(4)],
    (SECOND, "popularity", "new", 9, 1, 1, 1.0, 1.0, 1.0),
)


def test_a_night_is_the_mean_over_its_users():
    rows = replayed.by_night(ALL).set_index([c.SCORED_ON, "method", "users"])
    assert len(rows) == 6
    assert rows.loc[FIRST, "mine", "returning"].tolist() == [8, 32, 8, 8.0, 0.25, 0.5]
    assert rows.loc[SECOND, "popularity", "new"].tolist() == [1, 1, 1, 1.0, 1.0, 1.0]


def test_a_method_is_the_mean_over_users_and_nights_compared_with_the_first_for_the_same():
    rows = replayed.by_method(ALL).set_index(["users", "method"])
    mine, popular = rows.loc["returning", "mine"], rows.loc["returning", "popularity"]
    assert (mine["nights"], mine["users_measured"], mine["people"], mine["hits"]) == (2, 12, 8, 12)
    assert mine["share_liked"] == pytest.approx(8 / 12)
    assert mine["ndcg_10"] == pytest.approx((8 * 0.5 + 4 * 1.0) / 12)
    assert 0.5 <= mine["ndcg_10_low"] < mine["ndcg_10"] < mine["ndcg_10_high"] < 0.75
    assert pd.isna(mine["difference"])
    for end in ("difference", "difference_low", "difference_high"):  # the same for each user on each night
        assert popular[end] == pytest.approx(-0.4)
    assert rows.loc["new", "popularity"]["difference"] == 1


def test_what_nobody_can_like_has_no_share_that_is_liked():
    rows = replayed.by_method(ALL.assign(liked_hits=float("nan")))
    assert rows["liked_hits"].isna().all()
    assert rows["share_liked"].isna().all()
    assert replayed.by_night(ALL.assign(liked_hits=float("nan")))["liked_hits"].isna().all()
