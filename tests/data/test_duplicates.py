"""Several ratings of one movie by one user: the latest counts, and the others are kept where they can be seen."""

from collections import Counter

import numpy as np
import pytest
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


def counting(rows):
    """The ratings that count, by hand: of each user and movie the latest, the higher at one time."""
    latest = {}
    for user, movie, rating, timestamp in rows:
        latest[user, movie] = max(latest.get((user, movie), (0, 0)), (timestamp, rating))
    return [(user, movie, rating, timestamp) for (user, movie), (timestamp, rating) in latest.items()]


def test_those_that_count_are_found_in_any_order(rows):
    in_numpy = duplicates.latest(table(rows))
    assert sorted(zip(*(values.tolist() for values in in_numpy.values()), strict=True)) == sorted(counting(rows))


def test_weights_add_up(rows):
    added = duplicates.combined(table(rows), add_up=True)
    expected = Counter()
    for user, movie, weight, _ in rows:
        expected[user, movie] += weight
    found = zip(*(added[name].tolist() for name in c.RATINGS.names[:3]), strict=True)
    assert {(user, movie): weight for user, movie, weight in found} == expected


def test_a_reject_says_which_rating_it_was():
    one = table([(7, 2**40, 3.5, 1_000_000)])
    assert duplicates.as_rejects(one, "ratings.csv").cast(c.REJECTS).to_pylist() == [
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
