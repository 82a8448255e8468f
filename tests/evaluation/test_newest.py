"""What training holds out: one rating of each user, and what an earlier version has not seen of it."""

from datetime import datetime, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.evaluation import by_hand, pairs_of

from recmodel import schemas as c
from recmodel.arrays import take
from recmodel.data.ids import NO_LABELS
from recmodel.evaluation import newest, splits
from recmodel.records import HeldOut, Manifest


def held_out(ratings, most=10_000):
    rows, kind = newest.choose(ratings, NO_LABELS, most)
    return take(ratings, rows), kind


def test_the_newest_of_each_user_who_has_two_is_held_out():
    """Of equal times, that of the greater movie id is newer."""
    rows = [(1, 10, 4.0, 30), (1, 20, 4.0, 10), (2, 10, 4.0, 40), (2, 30, 4.0, 40), (3, 10, 4.0, 5), (4, 7, 1.0, 1),
            (4, 8, 2.0, 0)]  # fmt: skip
    found, kind = held_out(by_hand(*rows))
    assert pairs_of(found) == [(1, 10), (2, 30), (4, 7)]
    assert (kind.kind, kind.users_up_to) == ("newest", 1.0)
    assert pairs_of(held_out(by_hand((1, 10, 4.0, 3), (2, 10, 4.0, 4)))[0]) == []


def ratings_of(users, each=5, seed=0, times=True):
    random = np.random.RandomState(seed)
    user = np.repeat(np.arange(users), each)
    movie = np.concatenate([np.sort(random.choice(100, each, replace=False)) for _ in range(users)])
    time = random.permutation(len(user)) if times else np.zeros(len(user), int)
    return {c.USER_ID: user, c.MOVIE_ID: movie, c.RATING: np.ones(len(user), np.float32), c.TIMESTAMP: time}


def test_of_many_users_some_are_measured_and_they_stay_the_same_as_others_come():
    few, kind_of_few = held_out(ratings_of(300), most=50)
    many, kind_of_many = held_out(ratings_of(600), most=50)
    assert (len(few[c.USER_ID]), len(many[c.USER_ID])) == (50, 50)
    of_few, of_many = {*few[c.USER_ID].tolist()}, {*many[c.USER_ID].tolist()}
    assert {user for user in of_many if user < 300} < of_few  # others have taken some places
    assert kind_of_many.users_up_to < kind_of_few.users_up_to < 0.5


def test_without_times_some_rating_is_held_out_and_a_new_one_replaces_it_or_it_stays():
    ratings = ratings_of(200, each=6, times=False)
    before = ratings[c.MOVIE_ID] < 60
    fewer = take(ratings, np.flatnonzero(before))
    earlier, kind = held_out(fewer)
    assert kind.kind == "some"
    assert len(np.unique(earlier[c.USER_ID])) == len(earlier[c.USER_ID]) > 150
    new = {*pairs_of(take(ratings, np.flatnonzero(~before)))}
    of_two = [user for user in range(200) if (fewer[c.USER_ID] == user).sum() > 1]
    for pair in pairs_of(held_out(ratings)[0]):
        assert pair[0] not in of_two or pair in new or pair in pairs_of(earlier)


@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 99))
def test_what_is_taken_out_and_put_back_is_as_it_was(users, each, seed):
    ratings = ratings_of(users, each, seed)
    rows, _ = newest.choose(ratings, NO_LABELS)
    others, out = newest.take_out(dict(ratings), rows)
    assert len(out[c.USER_ID]) == (users if each > 1 else 0)
    assert not {*pairs_of(others)} & {*pairs_of(out)}
    again = newest.put_back(others, out, rows)
    for name, values in ratings.items():
        np.testing.assert_array_equal(again[name], values)


def time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def test_a_version_has_not_seen_what_it_held_out_too_and_what_came_later():
    ratings = ratings_of(300)
    then, kind_then = held_out(take(ratings, np.flatnonzero(ratings[c.TIMESTAMP] <= 1400)), most=50)
    tonight, kind = held_out(ratings)
    current = Manifest(format_version=2, files={}, newest_rating=time(1400), held_out=kind_then)
    unseen = newest.unseen(tonight, kind, current, time(1499), NO_LABELS)
    fair = {*pairs_of(take(tonight, unseen))}
    fitted_then = {*pairs_of(take(ratings, np.flatnonzero(ratings[c.TIMESTAMP] <= 1400)))} - {*pairs_of(then)}
    assert not fair & fitted_then
    assert fair == {*pairs_of(tonight)} - fitted_then
    as_of_earlier = newest.unseen(tonight, kind, current, time(1399), NO_LABELS)
    assert not as_of_earlier.any()  # it has seen what came after tonight's input
    of_other_kind = current.model_copy(update={"held_out": HeldOut(kind="some", users_up_to=1.0)})
    later = newest.unseen(tonight, kind, of_other_kind, time(1499), NO_LABELS)
    assert later.tolist() == (tonight[c.TIMESTAMP] > 1400).tolist()


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_versions_of_earlier_formats_have_not_seen_the_pairs_that_they_held_out(share):
    ratings = ratings_of(300)
    tonight, kind = held_out(ratings)
    settings = {"training": {"test_share": share, "seed": 42}}
    current = Manifest(format_version=2, files={}, settings=settings)
    unseen = newest.unseen(tonight, kind, current, None, NO_LABELS)
    _, pairs = splits.by_pair(ratings, share, 42)
    assert {*pairs_of(take(tonight, unseen))} == {*pairs_of(tonight)} & {*pairs_of(pairs)}
    silent = Manifest(format_version=2, files={})
    assert not newest.unseen(tonight, kind, silent, None, NO_LABELS).any()
