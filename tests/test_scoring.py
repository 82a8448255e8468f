"""Scoring: blocks of users, with and without Spark, and the histories that feed them."""

import io
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_recommend import oracle_top

from recmodel import schemas as c
from recmodel.data import movielens as data
from recmodel.scoring import recommender
from recmodel.scoring import worker as scoring
from recmodel.scoring.popularity import popularity
from recmodel.spark.histories import equal_shares, histories, of_asked, partition_starts, ratings_by_user

REQUEST = scoring.TopNRequest(
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
    return scoring.Payload(
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


def test_unpacking_a_model_cannot_leave_its_directory(case, tmp_path, monkeypatch):
    packed = io.BytesIO(recommender.pack(case.folder))
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("../../escaped", "")
        archive.writestr("/tmp/recmodel-escaped", "")
    inner = tmp_path / "outer/inner"
    inner.mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(inner))
    assert recommender.unpack(packed.getvalue()).predict([3], [int(case.weights.movie_ids[0])]).known_user.tolist() == [
        True
    ]
    assert [path.name for path in tmp_path.rglob("*")] == ["outer", "inner"]
    assert not Path("/tmp/recmodel-escaped").exists()


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


def test_popularity_is_a_damped_mean_and_a_count():
    order, rating = popularity(np.array([5, 6, 7, 8]), np.array([2.0, 0, 4, 2]), np.array([10.0, 0, 8, 2]))
    assert order.tolist() == [2, 0, 3, 1]
    overall = 20 / 8
    assert rating == pytest.approx([(10 + 5 * overall) / 7, overall, (8 + 5 * overall) / 9, (2 + 5 * overall) / 7])
    order, rating = popularity(np.array([5, 6]), np.zeros(2), np.zeros(2))
    assert order.tolist() == [0, 1]
    assert np.isnan(rating).all()


def test_a_task_without_training_leaves_its_column_empty(case, payload, everybody):
    request = replace(REQUEST, rank_by="rating")
    frame = scoring.recommend_block(case.model, everybody, replace(payload, tasks=("rating",)), request)
    assert frame[c.RETRIEVAL_SCORE].isna().all()
    assert frame[c.PREDICTED_RATING].notna().all()
    frame = scoring.recommend_block(case.model, everybody, replace(payload, tasks=("retrieval",)), REQUEST)
    assert frame[c.RETRIEVAL_SCORE].notna().all()
    assert frame[c.PREDICTED_RATING].isna().all()


# -- in Spark --------------------------------------------------------------------------------------------------------


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


def test_staged_ratings_are_counted_by_movie(tmp_path):
    batch = data.pa.RecordBatch.from_arrays([[1, 1, 2], [20, 99, 20], [4.0, 1.0, 2.5], [0, 0, 0]], schema=c.RATINGS)
    rated = data.stage_ratings([batch, batch], tmp_path / "r.parquet", np.array([10, 20]))
    assert (rated.counts.tolist(), rated.sums.tolist()) == ([0, 4], [0, 13.0])
    assert pq.read_table(tmp_path / "r.parquet").num_rows == 6


@settings(deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=12),
    ascending=st.booleans(),
    cut=st.integers(0, 12),
)
def test_only_ratings_that_ascend_cannot_repeat(pairs, ascending, cut):
    if ascending:
        pairs = sorted(set(pairs))
    user, movie = zip(*pairs, strict=True)
    whole = data.pa.RecordBatch.from_arrays([user, movie, [1.0] * len(user), [0] * len(user)], schema=c.RATINGS)
    rated = data.stage_ratings([whole[:cut], whole[cut:]], io.BytesIO(), np.array([1]))
    assert rated.may_repeat == (pairs != sorted(set(pairs)))


def test_sparks_pages_listen_on_loopback_only(spark):
    port = int(spark.sparkContext.uiWebUrl.rsplit(":", 1)[1])
    listening = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            address, local_port = line.split()[1].split(":")
            if int(local_port, 16) == port and line.split()[3] == "0A":  # LISTEN
                listening.add(address)
    assert listening <= {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1, and the same within IPv6
    assert listening
