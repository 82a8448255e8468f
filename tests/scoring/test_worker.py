"""What Spark's workers do: blocks of users, with and without Spark."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.exact import oracle_top

from recmodel import schemas as c
from recmodel.scoring import recommender
from recmodel.scoring import worker as scoring
from recmodel.scoring.popularity import popularity
from recmodel.scoring.request import Payload, TopNRequest

REQUEST = TopNRequest(
    n=5,
    rank_by="retrieval",
    candidates=10,
    include_seen=False,
    min_history=1,
    liked_from=2.75,
    block_bytes=1 << 20,
    threads=1,
)


@pytest.fixture(scope="module")
def case(exported):
    return exported[60]


@pytest.fixture(scope="module")
def payload(case):
    movies = case.weights.movie_ids
    popular, popular_rating = popularity(movies, np.arange(60.0) % 7, (np.arange(60.0) % 7) * 3)
    return Payload(
        model_version="v1",
        saved_model=recommender.pack(case.folder),
        tasks=("retrieval", "rating"),
        movie_id=movies,
        popular=popular,
        popular_rating=popular_rating,
    )


HISTORY = f"{c.USER_ID} BIGINT, {c.MOVIE_ID} BIGINT, {c.RATING} FLOAT"


def users_frame(user_ids, seen) -> pd.DataFrame:
    return pd.DataFrame(
        {c.USER_ID: user_ids, c.SEEN_MOVIE_IDS: seen, c.SEEN_RATINGS: [np.full(len(ids), 3.0) for ids in seen]}
    )


@pytest.fixture(scope="module")
def everybody(case):
    random = np.random.RandomState(5)
    seen = [np.sort(random.choice(case.weights.movie_ids, random.randint(1, 58), False)) for _ in range(20)]
    return users_frame(case.weights.user_ids, seen)


def test_rows_of_a_block_are_the_oracles(case, payload, everybody):
    for rank_by in ("retrieval", "rating", "two-stage"):
        frame = scoring.recommend_block(case.model, everybody, payload, replace(REQUEST, rank_by=rank_by))
        assert frame[c.BY_MODEL].all()
        for row, (user, seen) in enumerate(zip(everybody[c.USER_ID], everybody[c.SEEN_MOVIE_IDS], strict=True)):
            mine = frame[frame[c.USER_ID] == user]
            assert mine[c.MOVIE_ID].tolist() == oracle_top(case.weights, row, seen, 5, rank_by, 10).tolist()
            assert mine[c.RANK].tolist() == list(range(1, len(mine) + 1))


def test_the_size_of_blocks_changes_nothing(case, payload, everybody):
    whole = scoring.recommend_block(case.model, everybody, payload, REQUEST)
    for size in (1, 3, 7, 20):
        blocks = [everybody.iloc[start : start + size] for start in range(0, 20, size)]
        parts = [scoring.recommend_block(case.model, block, payload, REQUEST) for block in blocks]
        pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)


def test_blocks_follow_from_the_memory_they_need():
    """Hand-worked: 10 bytes a user and 1 a rating, histories of these lengths."""
    users = users_frame(range(7), [range(n) for n in (0, 5, 5, 100, 0, 0, 0)])

    def sizes(budget: int) -> list[int]:
        return [len(block) for block in scoring.blocks(users, 10, 1, budget)]

    assert sizes(40) == [3, 1, 3]  # 10 + 15 + 15, then 110 is too much but one user, then 30
    assert sizes(39) == [2, 1, 1, 3]
    assert sizes(1) == [1] * 7
    assert sizes(10**9) == [7]
    many = users_frame(range(1100), [()] * 1100)
    assert [len(block) for block in scoring.blocks(many, 10, 1, 10**9)] == [512, 512, 76]


def test_fewer_rows_where_fewer_movies_are_left(case, payload):
    movies = case.weights.movie_ids
    users = users_frame(case.weights.user_ids[:3], [movies, movies[2:], movies[:1]])
    frame = scoring.recommend_block(case.model, users, payload, replace(REQUEST, n=100))
    assert frame.groupby(c.USER_ID).size().to_dict() == {
        case.weights.user_ids[1]: 2, case.weights.user_ids[2]: 59,
    }  # fmt: skip
    assert frame.loc[frame[c.USER_ID] == case.weights.user_ids[1], c.MOVIE_ID].isin(movies[:2]).all()
    everything = scoring.recommend_block(case.model, users, payload, replace(REQUEST, n=100, include_seen=True))
    assert (everything.groupby(c.USER_ID).size() == 60).all()


def test_users_without_a_model_get_what_is_popular(case, payload):
    """Hand-worked: ratings of movie row i number i % 7, so rows 6, 13, 20, … lead, ties by ascending id."""
    movies = case.weights.movie_ids
    known, stranger, newcomer = case.weights.user_ids[0], 10**12, case.weights.user_ids[1]
    users = users_frame([known, stranger, newcomer], [movies[:2], movies[[6, 20]], movies[:0]])
    frame = scoring.recommend_block(case.model, users, payload, replace(REQUEST, n=4))
    by_user = dict(iter(frame.groupby(c.USER_ID)))
    assert by_user[known][c.BY_MODEL].all()
    assert by_user[stranger][c.MOVIE_ID].tolist() == movies[[13, 27, 34, 41]].tolist()
    assert by_user[newcomer][c.MOVIE_ID].tolist() == movies[[6, 13, 20, 27]].tolist()
    for user in (stranger, newcomer):
        assert not by_user[user][c.BY_MODEL].any()
        assert by_user[user][c.RETRIEVAL_SCORE].isna().all()
        assert by_user[user][c.PREDICTED_RATING].tolist() == [3.0] * 4  # everybody always gave three stars
    picky = scoring.recommend_block(case.model, users, payload, replace(REQUEST, min_history=3))
    assert not picky[c.BY_MODEL].any()


def test_a_task_without_training_leaves_its_column_empty(case, payload, everybody):
    request = replace(REQUEST, rank_by="rating")
    frame = scoring.recommend_block(case.model, everybody, replace(payload, tasks=("rating",)), request)
    assert frame[c.RETRIEVAL_SCORE].isna().all()
    assert frame[c.PREDICTED_RATING].notna().all()
    frame = scoring.recommend_block(case.model, everybody, replace(payload, tasks=("retrieval",)), REQUEST)
    assert frame[c.RETRIEVAL_SCORE].notna().all()
    assert frame[c.PREDICTED_RATING].isna().all()


def test_spark_gives_the_same_rows_and_loads_the_model_once_a_worker(spark, case, payload, everybody):
    """12 partitions, 4 of them empty, Arrow batches of two ratings: still no more loads than Spark has slots."""
    stats = spark.sparkContext.accumulator(scoring.WorkerStats(), scoring.MergeWorkerStats())
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "2")
    rows = [(int(user), int(movie), 3.0) for user, seen in zip(everybody[c.USER_ID], everybody[c.SEEN_MOVIE_IDS],
                                                               strict=True) for movie in seen]  # fmt: skip
    users = spark.createDataFrame(rows, HISTORY).repartition(8, c.USER_ID).sortWithinPartitions(c.USER_ID).union(
        spark.createDataFrame([], HISTORY).repartition(4)
    )  # fmt: skip
    frame = scoring.recommend(users, spark.sparkContext.broadcast(payload), REQUEST, stats).toPandas()
    frame = frame.astype({c.BECAUSE_MOVIE_ID: "Int64"})  # which pandas has where there are nulls
    expected = scoring.recommend_block(case.model, everybody, payload, REQUEST)
    order = [c.USER_ID, c.RANK]
    pd.testing.assert_frame_equal(
        frame.sort_values(order, ignore_index=True), expected.sort_values(order, ignore_index=True)
    )
    assert 1 <= stats.value.model_loads <= spark.sparkContext.defaultParallelism
    assert stats.value.peak_bytes > 100 << 20
    predicted = scoring.predict_all(users, spark.sparkContext.broadcast(payload), REQUEST, stats).toPandas()
    ratings, _ = case.model.rate_catalogue(everybody[c.USER_ID])
    found = predicted.pivot_table(index=c.USER_ID, columns=c.MOVIE_ID, values=c.PREDICTED_RATING)
    assert (found.to_numpy() == ratings).all()
    assert 1 <= stats.value.model_loads <= spark.sparkContext.defaultParallelism


def test_workers_get_functions_by_reference():
    """Else each task would bring its own, empty cache of loaded models."""
    from pyspark import cloudpickle

    pickled = cloudpickle.dumps(partial(scoring._score_partition, score_block=scoring.recommend_block, request=REQUEST))
    assert len(pickled) < 1000
    assert b"recmodel.scoring.worker" in pickled


def as_lists(users: pd.DataFrame) -> list[tuple]:
    return [(row[0], *map(list, row[1:])) for row in users.itertuples(index=False)]


@given(
    rows=st.dictionaries(
        st.tuples(st.integers(1, 4), st.integers(1, 6), st.booleans()), st.sampled_from([0.5, 3.0]), max_size=20
    ),
    asked=st.sets(st.integers(1, 6)),
    cuts=st.lists(st.integers(0, 25), max_size=4),
)
def test_workers_gather_each_users_rows_however_they_are_cut(rows, asked, cuts):
    """Ratings, denials and users without either, in Arrow batches cut anywhere; users ascend, their movies do not."""
    made = [(user, movie, stars if rated else np.nan) for (user, movie, rated), stars in rows.items()]
    made += [(user, c.NO_MOVIE, np.nan) for user in asked]
    made.sort(key=lambda row: row[0])
    frame = pd.DataFrame(made, columns=[c.USER_ID, c.MOVIE_ID, c.RATING]).astype(
        {c.USER_ID: np.int64, c.MOVIE_ID: np.int64, c.RATING: np.float32}
    )
    ends = sorted({0, len(frame), *(cut for cut in cuts if cut < len(frame))})
    frames = [frame.iloc[start:end] for start, end in zip(ends, [*ends[1:], len(frame)], strict=True)]
    found = {}
    for whole in scoring.whole_users(frames):
        users = scoring.by_user(whole)
        for user, seen, stars, *denied in as_lists(users):
            assert user not in found
            found[user] = (seen, stars, denied[0] if denied else [])
    expected = {}
    for user in sorted(asked | {user for user, _, rated in rows if rated}):
        seen = sorted(movie for of, movie, rated in rows if of == user and rated)
        denied = sorted(movie for of, movie, rated in rows if of == user and not rated)
        expected[user] = (seen, [rows[user, movie, True] for movie in seen], denied)
    assert found == expected
    assert list(found) == sorted(found)


@given(sizes=st.lists(st.integers(0, 9), max_size=12), rows=st.integers(1, 20))
def test_rows_leave_a_worker_in_frames_that_are_not_small(sizes, rows):
    frames = [pd.DataFrame({"x": range(size)}) for size in sizes]
    found = list(scoring.gathered(iter(frames), rows))
    assert [x for frame in found for x in frame["x"]] == [x for size in sizes for x in range(size)]
    assert all(len(frame) >= rows for frame in found[:-1])
