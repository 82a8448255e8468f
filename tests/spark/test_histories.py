"""Histories of users, as Spark gathers and divides them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recmodel.spark.histories import equal_shares, histories, of_asked, partition_starts, ratings_by_user

from recmodel import schemas as c
from recmodel.data import movielens as data
from recmodel.scoring import worker as scoring


@pytest.fixture
def rated(spark, tmp_path):
    rows = [(2, 30, 4.0, 1), (2, 10, 3.0, 1), (2, 30, 1.0, 9), (2, 30, 2.0, 9), (7, 10, 5.0, 1), (9, 20, 0.5, 1)]
    batch = data.pa.RecordBatch.from_arrays([*zip(*rows, strict=True)], schema=c.RATINGS)
    data.stage_ratings([batch], tmp_path / "ratings.parquet", np.array([10, 20, 30]))
    return spark.read.parquet(str(tmp_path / "ratings.parquet"))


def as_lists(users: pd.DataFrame) -> list[tuple]:
    return [(row[0], *map(list, row[1:])) for row in users.itertuples(index=False)]


def collected(frame):
    """As a worker has them; users have to come sorted over all partitions."""
    rows = frame.toPandas()
    assert rows[c.USER_ID].is_monotonic_increasing
    return as_lists(scoring.by_user(rows))


def test_histories_are_the_latest_ratings_of_each_user(rated):
    expected = [(2, [10, 30], [3.0, 2.0]), (7, [10], [5.0]), (9, [20], [0.5])]
    for starts in ([], [7], [3, 9], [2, 3, 8, 9, 50]):
        frame = histories(rated, None, starts)
        assert collected(frame) == expected
        assert frame.rdd.getNumPartitions() == len(starts) + 1
        once = rated.where(f"{c.USER_ID} <> 2")  # who alone has rated a movie twice
        assert collected(histories(once, None, starts, may_repeat=False)) == expected[1:]


def test_histories_of_users_asked_for_include_those_without_any(spark, rated):
    asked = spark.createDataFrame([(9,), (100,), (1,)], f"{c.USER_ID} BIGINT")
    assert collected(histories(rated, asked, [9])) == [(1, [], []), (9, [20], [0.5]), (100, [], [])]
    by_user = ratings_by_user(rated)
    assert sorted(map(tuple, by_user.collect())) == [(2, 4, 2, None), (7, 1, 1, None), (9, 1, 1, None)]
    assert sorted(map(tuple, of_asked(by_user, asked).collect())) == [(1, 0, 0, 0), (9, 1, 1, 0), (100, 0, 0, 0)]


def test_histories_carry_what_is_denied(spark, rated):
    """User 2 is denied a movie they have rated, too; nobody becomes a user by being denied something."""
    denied = spark.createDataFrame([(2, 99), (2, 30), (500, 1)], f"{c.USER_ID} BIGINT, {c.MOVIE_ID} BIGINT")
    for may_repeat in (True, False):
        some = rated if may_repeat else rated.where(f"{c.TIMESTAMP} = 1")
        users = collected(histories(some, None, [7], (), denied, may_repeat=may_repeat))
        assert [user[:3] for user in users] == collected(histories(some, None, [7], may_repeat=may_repeat))
        assert [user[3] for user in users] == [[30, 99], [], []]


def test_partitions_are_of_equal_work(spark):
    """Users 1 to 10 have 2,000 ratings each, eleven times the work of the 200 users after them."""
    heavy = spark.createDataFrame(
        [(user, 2000 if user <= 10 else 0) for user in range(1, 211)], "user_id BIGINT, ratings INT"
    )
    assert partition_starts(heavy, 210, 2) == [56]  # 10 * 11 + 45 users make 155, half of the work
    assert partition_starts(heavy, 210, 1) == []


@given(work=st.lists(st.integers(1, 50), max_size=60), shares=st.integers(1, 20))
def test_no_share_is_larger_than_an_even_one_and_one_user(work, shares):
    user_id = np.arange(len(work)) * 7 - 3
    starts = equal_shares(user_id, np.cumsum(work), shares)
    assert len(starts) < shares
    share = np.searchsorted(starts, user_id, side="right")
    if work:
        assert np.bincount(share, weights=work).max() <= sum(work) / shares + max(work)


def test_histories_shuffle_once(rated):
    plan = histories(rated, None, [7])._jdf.queryExecution().executedPlan().toString()
    assert plan.count("Exchange ") == 1, plan


def test_a_fingerprint_is_another_when_any_rating_is_another(spark):
    rated = [(1, 10, 3.0, 5), (1, 20, 4.0, 6), (1, 20, 4.0, 6)]
    others = [
        rated[:2],  # one of two equal rows
        [*rated, rated[1], rated[1]],
        [rated[0], (1, 30, 4.0, 6), (1, 30, 4.0, 6)],  # both of two equal rows
        [(1, 11, 3.0, 5), *rated[1:]],
        [(1, 10, 3.5, 5), *rated[1:]],
        [(1, 10, 3.0, 7), *rated[1:]],
        [(1, 10, 4.0, 5), (1, 20, 3.0, 6), (1, 20, 4.0, 6)],  # exchanged
    ]
    users = [rated, rated[::-1], [rated[1], rated[0], rated[2]], *others]
    rows = [(user, *row[1:]) for user, of_user in enumerate(users) for row in of_user]
    schema = f"{c.USER_ID} BIGINT, {c.MOVIE_ID} BIGINT, {c.RATING} FLOAT, {c.TIMESTAMP} BIGINT"
    found = ratings_by_user(spark.createDataFrame(rows, schema).repartition(3), fingerprint=True).toPandas()
    prints = found.set_index(c.USER_ID)[c.FINGERPRINT].sort_index().tolist()
    assert prints[0] == prints[1] == prints[2]
    assert len({*prints}) == 1 + len(others)
