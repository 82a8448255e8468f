"""Several ratings of one movie by one user: the latest counts, and the others are kept where they can be seen."""

import numpy as np
import pytest
from recmodel.spark.histories import histories, ratings_by_user
from support.inputs import table

from recmodel import schemas as c
from recmodel.data import duplicates


@pytest.fixture(scope="module")
def rows():
    """2,000 ratings of 60 users and 10 movies in three seconds: later ones, higher ones at one time, and equal ones."""
    random = np.random.RandomState(1)
    columns = random.randint(1, 61, 2000), random.randint(1, 11, 2000), random.randint(1, 5, 2000) / 2
    once = [(user, 11, 3.0, 7) for user in range(50, 70)]
    return [*zip(*(column.tolist() for column in (*columns, random.randint(0, 3, 2000))), strict=True), *once]


@pytest.fixture(scope="module")
def ratings(spark, rows):
    schema = f"{c.USER_ID} BIGINT, {c.MOVIE_ID} BIGINT, {c.RATING} FLOAT, {c.TIMESTAMP} BIGINT"
    return spark.createDataFrame(rows, schema).repartition(3)


def counting(rows):
    """The ratings that count, by hand: of each user and movie the latest, the higher at one time."""
    latest = {}
    for user, movie, rating, timestamp in rows:
        latest[user, movie] = max(latest.get((user, movie), (0, 0)), (timestamp, rating))
    return [(user, movie, rating, timestamp) for (user, movie), (timestamp, rating) in latest.items()]


def test_those_that_do_not_count_are_all_but_those_that_do(ratings, rows):
    by_user = ratings_by_user(ratings)
    found = [tuple(row) for row in duplicates.find(ratings, by_user).collect()]
    assert sorted(found + counting(rows)) == sorted(rows)
    assert by_user.agg(duplicates.count()).first()[0] == len(found) > 1000
    in_histories = [tuple(row) for row in histories(ratings, None, []).collect()]
    assert sorted(in_histories) == sorted(row[:3] for row in counting(rows))
    in_numpy = duplicates.latest(table(rows))
    assert sorted(zip(*(values.tolist() for values in in_numpy.values()), strict=True)) == sorted(counting(rows))


def test_weights_add_up_in_spark_as_in_numpy(ratings, rows):
    added = duplicates.combined(table(rows), add_up=True)
    in_numpy = sorted(zip(*(added[name].tolist() for name in c.RATINGS.names[:3]), strict=True))
    assert sorted(tuple(row) for row in histories(ratings, None, [], add_up=True).collect()) == in_numpy


def test_they_are_counted_by_movie(ratings, rows):
    """What is left of all is what counts; movie 12 has no ratings, and 1 is not asked for."""
    movie_id = np.arange(2, 13)
    counts, sums = duplicates.by_movie(duplicates.find(ratings, ratings_by_user(ratings)), movie_id)
    for movie, count, total in zip(movie_id, counts, sums, strict=True):
        of_all, of_counting = ([row[2] for row in some if row[1] == movie] for some in (rows, counting(rows)))
        assert (count, total) == (len(of_all) - len(of_counting), sum(of_all) - sum(of_counting))


def test_none_are_found_where_there_are_none(spark, ratings, rows):
    once = spark.createDataFrame(counting(rows), ratings.schema)
    for may_repeat in (True, False):
        by_user = ratings_by_user(once, may_repeat=may_repeat)
        assert by_user.agg(duplicates.count()).first()[0] == 0
        assert duplicates.find(once, by_user).count() == 0
    assert ratings_by_user(once.limit(0)).agg(duplicates.count()).first()[0] == 0


def test_a_reject_says_which_rating_it_was(spark, ratings):
    one = spark.createDataFrame([(7, 2**40, 3.5, 1_000_000)], ratings.schema)
    assert duplicates.as_rejects(one, "ratings.csv").toArrow().cast(c.REJECTS).to_pylist() == [
        {
            "file": "ratings.csv", "row": None, "column": "(all)",
            "value": "user_id 7, movie_id 1099511627776, rating 3.5, timestamp 1000000",
            "reason": "is superseded: of several ratings of one movie by one user the latest counts",
        }
    ]  # fmt: skip


def test_of_several_ratings_of_a_movie_the_latest_counts():
    rows = [(1, 1, 2.0, 30), (1, 2, 5.0, 1), (1, 1, 4.0, 10), (2, 1, 1.0, 5), (2, 1, 3.0, 5)]
    latest = duplicates.latest(table(rows))
    assert list(zip(*(latest[name].tolist() for name in (c.USER_ID, c.MOVIE_ID, c.RATING)), strict=True)) == [
        (1, 1, 2.0), (1, 2, 5.0), (2, 1, 3.0),
    ]  # fmt: skip
