"""Histories: what each user has rated, against lists made one by one."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from recmodel import schemas as c
from recmodel.data import histories

USERS = st.integers(-3, 9)
RATED = st.dictionaries(
    st.tuples(USERS, st.integers(0, 5)), st.tuples(st.sampled_from([0.5, 3.0, 5.0]), st.integers(0, 4)), max_size=30
)  # ratings and times, some of them the same
DENIED = st.none() | st.sets(st.tuples(USERS, st.integers(0, 5)), max_size=8)


def rows(pairs, kind: pa.DataType, **columns) -> pa.Table:
    user, movie = zip(*pairs, strict=True) if pairs else ((), ())
    return pa.table({c.USER_ID: pa.array(user, kind), c.MOVIE: pa.array(movie, pa.int32()), **columns})


def as_lists(found: histories.Histories) -> list[tuple]:
    seen, denied = ([*map(int, lists.splits)] for lists in (found.seen, found.denied))
    return [
        (
            user,
            found.seen.movie[seen[i] : seen[i + 1]].tolist(),
            found.rating[seen[i] : seen[i + 1]].tolist(),
            found.age[seen[i] : seen[i + 1]].tolist(),
            found.denied.movie[denied[i] : denied[i + 1]].tolist(),
        )
        for i, user in enumerate(found.user_id.to_pylist())
    ]


def newer(rated, pair) -> int:
    """How many ratings of the same user are newer; of the same time, those of later movies are."""
    user, movie = pair
    return sum((time, other) > (rated[pair][1], movie) for (of, other), (_, time) in rated.items() if of == user)


@given(rated=RATED, denied=DENIED, asked=st.none() | st.sets(USERS), cut=st.integers(0, 13), text=st.booleans())
def test_each_user_asked_for_has_their_own_ratings_and_denials(rated, denied, asked, cut, text):
    label, kind = (lambda user: f"u{user + 3:02}", pa.string()) if text else (int, pa.int64())
    pairs = sorted(rated)
    ratings = rows([(label(user), movie) for user, movie in pairs], kind)
    rating, time = ([rated[pair][i] for pair in pairs] for i in (0, 1))
    ratings = ratings.append_column(c.RATING, pa.array(rating, pa.float32()))
    ratings = ratings.append_column(c.TIMESTAMP, pa.array(time, pa.int64()))
    users = sorted({user for user, _ in rated} if asked is None else asked)
    forbidden = None if denied is None else rows([(label(user), movie) for user, movie in denied], kind)
    found = histories.of_users(pa.array(map(label, users), kind), ratings, forbidden)
    expected = [
        (
            label(user),
            [movie for of, movie in pairs if of == user],
            [rated[pair][0] for pair in pairs if pair[0] == user],
            [newer(rated, pair) for pair in pairs if pair[0] == user],
            sorted(movie for of, movie in denied or () if of == user),
        )
        for user in users
    ]
    assert as_lists(found) == expected
    cut = min(cut, len(users))
    assert as_lists(found[:cut]) + as_lists(found[cut : len(users)]) == expected
    assert found.seen.user.tolist() == [i for i, (_, seen, *_) in enumerate(expected) for _ in seen]


@given(pairs=st.lists(st.tuples(USERS, st.integers(0, 5)), min_size=1), far=st.booleans(), text=st.booleans())
def test_rows_are_put_in_order_of_user_and_movie(pairs, far, text):
    """Users may be so far apart that a user and a movie fit no common number."""
    scale = 2**59 if far else 1
    label, kind = (lambda user: f"u{user + 3:02}", pa.string()) if text else (lambda user: user * scale, pa.int64())
    user_id = pa.array([label(user) for user, _ in pairs], kind)
    order = histories.in_order(user_id, np.array([movie for _, movie in pairs], np.int32))
    if order is None:
        assert pairs == sorted(set(pairs))
    else:
        assert [pairs[place] for place in order] == sorted(pairs)
