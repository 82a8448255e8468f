"""What Spark's workers do: blocks of users, with and without Spark."""

from collections import Counter
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.accumulators import Accumulator
from support.exact import oracle_top
from support.inputs import histories_of

from recmodel import schemas as c
from recmodel.data.histories import Histories, Lists
from recmodel.scoring import recommender
from recmodel.scoring import worker as scoring
from recmodel.scoring.popularity import popularity
from recmodel.scoring.request import Payload, TopNRequest
from recmodel.scoring.signatures import InTensorFlow
from recmodel.spark import tasks

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
        model_digest="",
        open_model=InTensorFlow,
        tasks=("retrieval", "rating"),
        movies=pa.table({c.MOVIE_ID: movies, c.TITLE: [f"Movie {movie}" for movie in movies]}),
        row=np.arange(60),
        popular=popular,
        popular_rating=popular_rating,
        scored_at=datetime(2026, 1, 31, tzinfo=timezone.utc),
    )


@pytest.fixture(scope="module")
def users_of(case):
    return partial(histories_of, case.weights.movie_ids)


@pytest.fixture(scope="module")
def seen(case):
    random = np.random.RandomState(5)
    return [np.sort(random.choice(case.weights.movie_ids, random.randint(1, 58), False)) for _ in range(20)]


@pytest.fixture(scope="module")
def everybody(case, seen, users_of):
    return users_of(case.weights.user_ids, seen)


def of_user(rows: pa.Table, user: int) -> dict[str, list]:
    return rows.filter(pc.field(c.USER_ID) == user).to_pydict()


def test_rows_of_a_block_are_the_oracles(case, payload, everybody, seen):
    for rank_by in ("retrieval", "rating", "two-stage", "blend"):
        rows = scoring.recommend_block(case.model, everybody, payload, replace(REQUEST, rank_by=rank_by))
        assert rows.schema.names == c.RECOMMENDATION.names
        assert {*rows.column(c.SOURCE).to_pylist()} == {c.SOURCE_MODEL}
        for row, (user, movies) in enumerate(zip(case.weights.user_ids, seen, strict=True)):
            mine = of_user(rows, user)
            assert mine[c.MOVIE_ID] == oracle_top(case.weights, row, movies, 5, rank_by, 10).tolist()
            assert mine[c.RANK] == list(range(1, len(mine[c.RANK]) + 1))
            assert mine[c.SCORE] == sorted(mine[c.SCORE], reverse=True)
            assert mine[c.TITLE] == [f"Movie {movie}" for movie in mine[c.MOVIE_ID]]


def test_the_size_of_blocks_changes_nothing(case, payload, everybody):
    whole = scoring.recommend_block(case.model, everybody, payload, REQUEST)
    for size in (1, 3, 7, 20):
        blocks = [everybody[start : start + size] for start in range(0, 20, size)]
        parts = [scoring.recommend_block(case.model, block, payload, REQUEST) for block in blocks]
        pd.testing.assert_frame_equal(pa.concat_tables(parts).to_pandas(), whole.to_pandas())


def test_blocks_follow_from_the_memory_they_need():
    """Hand-worked: 10 bytes a user and 1 a rating, histories of these lengths."""

    def with_lengths(*lengths: int) -> Histories:
        splits = np.append(0, np.cumsum(lengths))
        seen = Lists(splits, np.arange(splits[-1]))
        nothing = np.zeros(splits[-1])
        return Histories(pa.array(range(len(lengths))), seen, nothing, nothing, Lists(splits * 0, seen.movie[:0]))

    def sizes(users: Histories, budget: int) -> list[int]:
        return [len(block) for block in scoring.blocks(users, 10, 1, budget)]

    users = with_lengths(0, 5, 5, 100, 0, 0, 0)
    assert sizes(users, 40) == [3, 1, 3]  # 10 + 15 + 15, then 110 is too much but one user, then 30
    assert sizes(users, 39) == [2, 1, 1, 3]
    assert sizes(users, 1) == [1] * 7
    assert sizes(users, 10**9) == [7]
    assert sizes(with_lengths(*[0] * 1100), 10**9) == [512, 512, 76]


def test_fewer_rows_where_fewer_movies_are_left(case, payload, users_of):
    movies, (first, second, third) = case.weights.movie_ids, case.weights.user_ids[:3]
    users = users_of([first, second, third], [movies, movies[2:], movies[:1]])
    rows = scoring.recommend_block(case.model, users, payload, replace(REQUEST, n=100))
    assert Counter(rows.column(c.USER_ID).to_pylist()) == {second: 2, third: 59}
    assert {*of_user(rows, second)[c.MOVIE_ID]} == {*movies[:2]}
    everything = scoring.recommend_block(case.model, users, payload, replace(REQUEST, n=100, include_seen=True))
    assert {*Counter(everything.column(c.USER_ID).to_pylist()).values()} == {60}


def test_users_without_a_model_get_what_is_popular(case, payload, users_of):
    """Hand-worked: ratings of movie row i number i % 7, so rows 6, 13, 20, … lead, ties by ascending id."""
    movies = case.weights.movie_ids
    newcomer, known, stranger = case.weights.user_ids[0], case.weights.user_ids[1], 10**12
    users = users_of([newcomer, known, stranger], [movies[:0], movies[:2], movies[[6, 20]]])
    rows = scoring.recommend_block(case.model, users, payload, replace(REQUEST, n=4))
    assert {*of_user(rows, known)[c.SOURCE]} == {c.SOURCE_MODEL}
    assert of_user(rows, stranger)[c.MOVIE_ID] == movies[[13, 27, 34, 41]].tolist()
    assert of_user(rows, newcomer)[c.MOVIE_ID] == movies[[6, 13, 20, 27]].tolist()
    for user in (stranger, newcomer):
        popular = of_user(rows, user)
        assert {*popular[c.SOURCE]} == {c.SOURCE_TRENDING}
        assert {*popular[c.RETRIEVAL_SCORE], *popular[c.SCORE], *popular[c.BECAUSE_MOVIE_ID]} == {None}
        assert popular[c.PREDICTED_RATING] == [3.0] * 4  # everybody always gave three stars
    assert {*scoring.predicted_of(rows).column(c.USER_ID).to_pylist()} == {known}
    without_times = replace(REQUEST, min_history=3, is_ordered=False)
    picky = scoring.recommend_block(case.model, users, payload, without_times)
    assert {*picky.column(c.SOURCE).to_pylist()} == {c.SOURCE_POPULARITY}


def test_a_task_without_training_leaves_its_column_empty(case, payload, everybody):
    request = replace(REQUEST, rank_by="rating")
    rows = scoring.recommend_block(case.model, everybody, replace(payload, tasks=("rating",)), request)
    assert rows.column(c.RETRIEVAL_SCORE).null_count == rows.num_rows
    assert rows.column(c.PREDICTED_RATING).null_count == 0
    rows = scoring.recommend_block(case.model, everybody, replace(payload, tasks=("retrieval",)), REQUEST)
    assert rows.column(c.RETRIEVAL_SCORE).null_count == 0
    assert rows.column(c.PREDICTED_RATING).null_count == rows.num_rows


def test_spark_gives_the_same_rows_and_loads_the_model_once_a_worker(spark, case, payload, everybody):
    """8 tasks, the last without users: no more loads than Spark has slots."""
    broadcast, model = spark.sparkContext.broadcast, recommender.pack(case.folder)
    tasks_of = [everybody[start : start + 3] for start in range(0, 22, 3)]

    def score(payload: Payload) -> tuple[pa.Table, Accumulator]:
        stats = spark.sparkContext.accumulator(scoring.WorkerStats(), scoring.MergeWorkerStats())
        job = scoring.Job(False, broadcast(model), broadcast(payload), REQUEST, stats)
        parts = tasks.each(spark, lambda users: [*scoring.recommend(users, job)], tasks_of)
        return pa.concat_tables([table for part in parts for table in part]), stats

    rows, stats = score(payload)
    pd.testing.assert_frame_equal(
        rows.to_pandas(), scoring.recommend_block(case.model, everybody, payload, REQUEST).to_pandas()
    )
    assert stats.value.users == 20
    assert 1 <= stats.value.model_loads <= spark.sparkContext.defaultParallelism
    assert stats.value.peak_bytes > 100 << 20
    _, stats = score(replace(payload, model_digest="with a new movie"))
    assert stats.value.model_loads, "the version is the same, the model is not"
    predicted = scoring.predict_block(case.model, everybody, payload)
    ratings, _ = case.model.rate_catalogue(case.weights.user_ids)
    assert (predicted.column(c.PREDICTED_RATING).to_numpy().reshape(20, 60) == ratings).all()
    assert predicted.slice(0, 60).column(c.MOVIE_ID).to_pylist() == case.weights.movie_ids.tolist()
