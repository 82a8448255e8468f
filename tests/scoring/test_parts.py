"""What Spark's tasks find in the staged ratings of their users, without Spark."""

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.inputs import table
from support.runs import DAY

from recmodel import schemas as c
from recmodel import storage
from recmodel.data import staged as staged_ratings
from recmodel.pipeline import staging
from recmodel.scoring import parts
from recmodel.tables.linked import LinkedOutput

MOVIES = [10, 20, 30, 40]
CATALOGUE = pa.table([pa.array(MOVIES), [f"M{movie}" for movie in MOVIES], *[pa.nulls(4)] * 3], c.CATALOGUE.names).cast(
    c.CATALOGUE
)
ROWS = st.lists(
    st.tuples(st.integers(1, 6), st.sampled_from(MOVIES), st.sampled_from([1.0, 2.5, 4.0]), st.integers(0, 3)),
    min_size=1,
    max_size=40,
)


def stage(folder, rows, *, add_up=False):
    run = LinkedOutput(folder).stage(DAY, "key")
    with storage.create(f"{run.scratch(staged_ratings.RATINGS)}/{staged_ratings.file(0)}") as sink:
        ratings = staged_ratings.write(table(rows).to_batches(), sink, np.array(MOVIES), rated=not add_up)
    staging.write_counts(run, ratings, CATALOGUE)
    run.remember(
        "input.json",
        {
            "started_at": "2026-01-31T00:00:00Z", "ratings_file": "ratings.csv", "input": [], "rows_in": {},
            "rows_used": {}, "rows_rejected": 0, "ratings_left_out": 0, "newest_rating": None, "users_asked": None,
        },
    )  # fmt: skip
    return staging.run_of(run, None)


def rows_of(location) -> list[tuple]:
    return [tuple(row.values()) for row in ds.dataset(location).to_table().to_pylist()]


@given(rows=ROWS, starts=st.sets(st.integers(2, 6), max_size=3), sort=st.booleans(), add_up=st.booleans())
def test_ratings_that_count_are_found_whatever_their_order(tmp_path_factory, rows, starts, sort, add_up):
    rows = sorted({row[:2]: row for row in rows}.values()) if sort else rows
    run = stage(tmp_path_factory.mktemp("output"), rows, add_up=add_up)
    counted, histories = [], {}
    for part in staged_ratings.parts(sorted(starts)):
        counted.append(parts.count(part, run, fingerprint=False, of_day=np.array([3.0])))
        users = run.input.users(part)
        of_users = run.input.histories(part, users.column(c.USER_ID).combine_chunks())
        for place, user in enumerate(of_users.user_id.to_pylist()):
            movies = of_users[place : place + 1]
            histories[user] = {MOVIES[row]: stars for row, stars in zip(movies.seen.movie, movies.rating, strict=True)}
    of_pair = defaultdict(list)
    for user, movie, stars, time in rows:
        of_pair[user, movie].append((time, stars))
    expected = defaultdict(dict)
    for (user, movie), rated in of_pair.items():
        expected[user][movie] = sum(stars for _, stars in rated) if add_up else max(rated)[1]
    assert histories == expected
    assert sorted(rows_of(run.tables[c.USERS_TABLE])) == sorted(
        (user, sum(row[0] == user for row in rows), len(movies), None) for user, movies in expected.items()
    )
    assert sum(part.users for part in counted) == len(expected)
    assert sum(part.duplicates for part in counted) == len(rows) - len(of_pair)
    trend = np.sum([part.trend for part in counted], axis=0)
    assert trend.tolist() == [3 * sum(of == movie for _, of in of_pair) for movie in MOVIES]
    others = [row for row in rows if row[3::-1][:2] != max(of_pair[row[:2]])]
    lost = [0.0] * len(MOVIES)
    for part in counted:
        if part.of_movies is not None:
            lost = [before + stars for before, stars in zip(lost, part.of_movies[1], strict=True)]
    for place, movie in enumerate(MOVIES):
        of_all = sum(row[2] for row in rows if row[1] == movie)
        counting = sum(max(rated)[1] for (_, of), rated in of_pair.items() if of == movie)
        assert lost[place] == pytest.approx(of_all - counting)
    assert not (others and run.input.in_order)


def test_ratings_that_do_not_count_are_rejected(tmp_path):
    run = stage(tmp_path, [(1, 20, 4.0, 9), (2, 30, 1.0, 1), (1, 20, 2.5, 5)])
    for part in staged_ratings.parts([2]):
        parts.count(part, run, fingerprint=False)
    assert [(row[0], row[3]) for row in rows_of(run.tables[c.REJECTS_TABLE])] == [
        ("ratings.csv", "user_id 1, movie_id 20, rating 2.5, timestamp 5")
    ]


def test_what_an_interrupted_run_counted_by_other_parts_is_cleared(tmp_path):
    run = stage(tmp_path, [(1, 20, 4.0, 9), (2, 30, 1.0, 1), (1, 20, 2.5, 5), (3, 10, 3.0, 1)])
    for starts in ([2, 3], []):
        run.clear()
        for part in staged_ratings.parts(starts):
            parts.count(part, run, fingerprint=False)
        assert sorted(row[0] for row in rows_of(run.tables[c.USERS_TABLE])) == [1, 2, 3]
        assert len(rows_of(run.tables[c.REJECTS_TABLE])) == 1


def test_a_fingerprint_is_another_when_any_rating_is_another(tmp_path):
    rated = [(1, 10, 3.0, 5), (1, 20, 4.0, 6), (1, 20, 4.0, 6)]
    others = [
        rated[:2],  # one of two equal rows
        [*rated, rated[1], rated[1]],
        [rated[0], (1, 30, 4.0, 6), (1, 30, 4.0, 6)],  # both of two equal rows
        [(1, 40, 3.0, 5), *rated[1:]],
        [(1, 10, 3.5, 5), *rated[1:]],
        [(1, 10, 3.0, 7), *rated[1:]],
        [(1, 10, 4.0, 5), (1, 20, 3.0, 6), (1, 20, 4.0, 6)],  # exchanged
    ]
    users = [rated, rated[::-1], [rated[1], rated[0], rated[2]], *others]
    run = stage(tmp_path, [(user, *row[1:]) for user, of_user in enumerate(users) for row in of_user])
    [part] = staged_ratings.parts([])
    parts.count(part, run, fingerprint=True)
    prints = [row[3] for row in sorted(rows_of(run.tables[c.USERS_TABLE]))]
    assert prints[0] == prints[1] == prints[2]
    assert len({*prints}) == 1 + len(others)
