"""The scoring engine compared with other libraries: one table, both sides measured in this run.

    ./submit.sh benchmark                        everything, about 15 minutes on two cores
    ./submit.sh benchmark --only kernel,policies
    ./submit.sh benchmark --users 200 --movies 700 --top 10 --repeat 1     a quick look; says nothing about speed

Each part runs in a process of its own, so that threads and memory are its own too. Every figure is the median of
`--repeat` measurements; contenders take turns. Both sides' lists are compared before they are timed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from harness import Row, in_own_process, medians, show
from workload import SEEN, STARS, Workload, fit, title, towers_by_id

from recmodel import schemas as c
from recmodel.data import staged
from recmodel.data.sample import SAMPLE
from recmodel.models import saved_model
from recmodel.models.history.served import open_model
from recmodel.schemas import INTEGER_IDS
from recmodel.scoring import parts, recommender, topn, worker
from recmodel.scoring.request import Payload, TopNRequest
from recmodel.scoring.run import Run
from recmodel.spark import tasks

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

KERNEL_USERS = 4096
DIMS = 32
MLP = (256, 128, 1)  # units of the rating task's layers in the notebook
ALS_BLOCKS = (1024, 4096)  # Spark's default, and one that is often better
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1"
)


@dataclass(frozen=True)
class Size:
    """What is scored, and how often each measurement is repeated."""

    folder: Path
    data: str
    users: int
    movies: int
    top: int
    repeat: int


# -- the kernel, one thread -------------------------------------------------------------------------------------------


def kernel(size: Size) -> Iterator[Row]:
    """Search the top N of vectors in memory. Only ours leaves seen movies out."""
    work = fit(size.data, DIMS).write(size.folder / "kernel", min(KERNEL_USERS, size.users), size.movies)
    users, movies, seen = work.user_vectors(), work.movie_vectors(), work.histories[SEEN]
    yield from _kernel_rows("trained vectors", users, movies, seen, size)
    random = np.random.default_rng(0)
    users, movies = (random.standard_normal(vectors.shape, np.float32) for vectors in (users, movies))
    yield from _kernel_rows("random vectors", users, movies, seen, size)


def _kernel_rows(name: str, users: np.ndarray, movies: np.ndarray, seen: pd.Series, size: Size) -> Iterator[Row]:
    import faiss
    import tensorflow as tf
    import tensorflow_recommenders as tfrs

    faiss.omp_set_num_threads(1)
    vectors, flat = topn.Vectors(movies), faiss.IndexFlatIP(movies.shape[1])
    flat.add(movies)
    brute_force = tfrs.layers.factorized_top_k.BruteForce(k=size.top).index(movies)
    scores = np.empty((topn.USERS, topn.TILE), np.float32)
    blocks = [slice(start, start + topn.USERS) for start in range(0, len(users), topn.USERS)]
    seen_pairs = [
        topn.paired(rows := np.concatenate(some), rows >= 0, some) for some in (list(seen[b]) for b in blocks)
    ]

    def search(hidden: list[topn.Pairs]) -> np.ndarray:
        lists = [vectors.top(users[block], size.top, pairs).row for block, pairs in zip(blocks, hidden, strict=True)]
        return np.concatenate(lists)

    def product() -> None:
        for block in blocks:
            for start in range(0, len(movies), topn.TILE):
                tile = movies[start : start + topn.TILE]
                np.matmul(users[block], tile.T, out=scores[: len(users[block]), : len(tile)])

    _assert_same(search([topn.NO_PAIRS] * len(blocks)), flat.search(users, size.top)[1], "FAISS")
    seconds = medians(
        {
            "ours": lambda: search(seen_pairs),
            "product": product,
            "faiss": lambda: flat.search(users, size.top),
            "brute force": lambda: [brute_force(tf.constant(users[s : s + 64])) for s in range(0, len(users), 64)],
        },
        size.repeat,
    )
    part = f"kernel, {name}, {len(users):,} users, 1 thread"
    ours, flat_index, all_scores = seconds["ours"], seconds["faiss"], seconds["brute force"]
    yield Row(part, ours, "s", "<= 0.9", "FAISS IndexFlatIP", flat_index, ours / flat_index)
    yield Row(part, ours, "s", ">= 4", "TFRS BruteForce", all_scores, all_scores / ours)
    yield Row(part, ours, "s", "<= 1.5", "the product alone", seconds["product"], ours / seconds["product"])


def _assert_same(ours: np.ndarray, theirs: np.ndarray, library: str) -> None:
    """Compare lists. Rounding may swap neighbours and exchange the last; more than that is a wrong list."""
    common = np.mean([len(np.intersect1d(a, b)) / len(a) for a, b in zip(ours, theirs, strict=True)])
    if common < 0.999:
        raise AssertionError(f"only {common:.4f} of the movies are those of {library}")


# -- policies, one thread ---------------------------------------------------------------------------------------------


def policies(size: Size) -> Iterator[Row]:
    """Make whole recommendations (user towers, top N, predicted ratings) with models as they are trained by default."""
    work = fit(size.data).write(size.folder / "policies", min(1024, size.users), size.movies)
    users = len(work.histories)

    def recommend(rank_by: str) -> None:
        for start in range(0, users, topn.USERS):
            block = work.histories.iloc[start : start + topn.USERS]
            seen, ratings = list(block[SEEN]), list(block[STARS])
            work.model.recommend(block[c.USER_ID], seen, ratings, n=size.top, rank_by=rank_by)

    seconds = medians({rank_by: partial(recommend, rank_by) for rank_by in ("retrieval", "rating")}, size.repeat)
    theirs, ours = (users * size.movies / seconds[rank_by] / 1e6 for rank_by in ("retrieval", "rating"))
    part = f"default by rating, {users:,} users, 1 thread"
    yield Row(part, ours, "M pairs/s", ">= 0.8", "default by retrieval", theirs, ours / theirs)

    few, rows = 32, 512
    random = np.random.default_rng(0)
    vectors = [random.standard_normal((count, DIMS), np.float32) for count in (few, size.movies)]
    saved_model.save(towers_by_id(*vectors, *MLP), size.folder / "policies" / "mlp")
    model = recommender.Recommender(size.folder / "policies" / "mlp")
    tile, layer = (random.standard_normal(shape, np.float32) for shape in ((rows, MLP[0]), MLP[:2]))
    out = np.empty((rows, MLP[1]), np.float32)
    tiles = few * -(-size.movies // rows)
    no_seen = [np.empty(0, np.int64)] * few
    seconds = medians(
        {
            "ours": lambda: model.recommend(np.arange(1, few + 1), no_seen, no_seen, n=size.top, rank_by="rating"),
            "product": lambda: [np.matmul(tile, layer, out=out) for _ in range(tiles)],
        },
        size.repeat,
    )
    limit, ours = tiles * rows / seconds["product"] / 1e6, few * size.movies / seconds["ours"] / 1e6
    part = "rating by MLP 256-128-1, 1 thread"
    yield Row(part, ours, "M pairs/s", ">= 0.9", "its product 256 x 128 alone", limit, ours / limit)


# -- Spark jobs -------------------------------------------------------------------------------------------------------


def spark_jobs(size: Size) -> Iterator[Row]:
    """Score from Parquet to Parquet on all cores, in one session whose workers are warm on both sides."""
    folder = size.folder / "spark"
    work = fit(size.data, DIMS).write(folder, size.users, size.movies)
    user_vectors, movie_vectors = work.user_vectors(), work.movie_vectors()
    spark = start_spark()
    cores = spark.sparkContext.defaultParallelism
    score = _Scorer(spark, work, size, cores)
    als = als_recommender(spark, user_vectors, movie_vectors, size.top)

    started = time.perf_counter()
    score.write(folder / "out-cold")
    cold = time.perf_counter() - started
    _assert_same_as_als(folder / "out-cold" / c.RECOMMENDATIONS_TABLE, als(ALS_BLOCKS[0]), work.histories, size.top)
    by_als = {str(n): lambda n=n: write_parquet(als(n), folder / "out-als") for n in ALS_BLOCKS}
    seconds = medians({"ours": lambda: score.write(folder / "out-ours"), **by_als}, size.repeat)
    best, ours = min(by_als, key=lambda n: seconds[n]), seconds["ours"]
    theirs = seconds[best]
    part = f"Spark job, {size.users:,} users, {cores} cores"
    yield Row(part, ours, "s", ">= 20", f"ALSModel.recommendForAllUsers, blockSize {best}", theirs, theirs / ours)
    yield Row(part, cold, "s", "", "the same, our workers cold", theirs, theirs / cold)
    load = score.stats.value.load_seconds
    yield Row(part, load, "s", "<= 6", "limit: the model in a worker, once", 6)

    rate = size.users * size.movies / ours / 1e6
    loop_users, join_users = min(256, size.users), min(16, size.users)
    asked = _read_histories(spark, work).where(f"{c.USER_ID} <= {loop_users}").repartition(cores).cache()
    asked.count()
    loop = _loop(asked, work, size)
    saved_model.save(towers_by_id(user_vectors, movie_vectors, *MLP), folder / "mlp")
    cross_join = _cross_join(spark, folder / "mlp", join_users, size.movies)
    seconds = medians(
        {
            "loop": lambda: write_parquet(loop, folder / "out-loop"),
            "join": lambda: write_parquet(cross_join, folder / "out-join"),
        },
        min(size.repeat, 2),
    )
    theirs = loop_users * size.movies / seconds["loop"] / 1e6
    compared = f"a loop over users calling the SavedModel ({loop_users} users)"
    yield Row(part, rate, "M pairs/s", "", compared, theirs, rate / theirs)
    theirs = join_users * size.movies / seconds["join"] / 1e6
    compared = f"predict_batch_udf over a cross join ({join_users} users)"
    yield Row(part, rate, "M pairs/s", ">= 100", compared, theirs, rate / theirs)
    spark.stop()


def start_spark() -> SparkSession:
    """Start the session that the jobs use."""
    from recmodel.spark import session

    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    return session.start("benchmark")


def _read_histories(spark: SparkSession, work: Workload) -> DataFrame:
    """Read the histories, one row per user."""
    return spark.read.parquet(str(work.histories_file))


def write_parquet(frame: DataFrame, path: Path) -> None:
    """Compute the rows, and write them over what is there."""
    frame.write.mode("overwrite").parquet(str(path))


class _Scorer:
    """The job's own scoring stage, from staged ratings to tables; keeps its counters."""

    def __init__(
        self,
        spark: SparkSession,
        work: Workload,
        size: Size,
        count: int,
        tasks: tuple[str, ...] = ("retrieval", "rating"),
    ) -> None:
        ids = np.arange(size.movies)
        self._spark, self._input = spark, work.stage()
        packed = recommender.pack(work.saved_model)
        starts = [1 + size.users * part // count for part in range(1, count)]
        self._parts = staged.parts(sorted({*starts} - {1}))
        payload = Payload(
            model_version=str(work.folder),
            model_digest=hashlib.sha256(packed).hexdigest(),
            open_model=open_model,
            tasks=tasks,
            movies=pa.table({c.MOVIE_ID: ids, c.TITLE: list(map(title, ids))}),
            row=ids,
            popular=ids,
            popular_rating=np.full(size.movies, 3.5, np.float32),
            scored_at=datetime.now(timezone.utc),
        )
        request = TopNRequest(
            n=size.top, rank_by="retrieval", candidates=200, include_seen=False, min_history=1, liked_from=2.75,
            block_bytes=64 << 20, threads=1,
        )  # fmt: skip
        self.stats = spark.sparkContext.accumulator(worker.WorkerStats(), worker.MergeWorkerStats())
        context = spark.sparkContext
        model = context.broadcast(packed)
        self._job = worker.Job(False, model, context.broadcast(payload), request, self.stats)

    def write(self, folder: Path, **changes: Any) -> None:
        """Write the tables that tasks write below a folder."""
        names = (c.RECOMMENDATIONS_TABLE, c.PREDICTED_RATINGS_TABLE, c.LISTS_TABLE)
        tables = {name: str(folder / name) for name in names}
        run = Run(self._input, INTEGER_IDS, "", tables, str(folder / "finished"), None)
        job = replace(self._job, request=replace(self._job.request, **changes))
        tasks.each(self._spark, partial(parts.score, run=run, job=job), self._parts)


def als_recommender(spark: SparkSession, users: np.ndarray, movies: np.ndarray, top: int) -> Callable[[int], DataFrame]:
    """Return Spark's own `recommendForAllUsers`, by block size, of the factors of users 1, 2, … and movies 0, 1, …"""
    from pyspark.ml.recommendation import ALSModel

    def factors(vectors: np.ndarray, first: int) -> DataFrame:
        rows = pd.DataFrame({"id": np.arange(first, first + len(vectors), dtype=np.int32), "features": list(vectors)})
        frame = spark.createDataFrame(rows, "id INT, features ARRAY<FLOAT>")
        frame = frame.repartition(spark.sparkContext.defaultParallelism).cache()
        frame.count()
        return frame

    tables = factors(users, 1)._jdf, factors(movies, 0)._jdf
    java = spark.sparkContext._jvm.org.apache.spark.ml.recommendation.ALSModel("als", users.shape[1], *tables)
    java.setUserCol(c.USER_ID)
    java.setItemCol(c.MOVIE_ID)
    model = ALSModel(java)

    def recommend(block_size: int) -> DataFrame:
        java.setBlockSize(block_size)
        return model.recommendForAllUsers(top)

    return recommend


def _assert_same_as_als(written: Path, theirs: DataFrame, users: pd.DataFrame, top: int) -> None:
    """Compare with ALS: its lists, without what the users have seen, are how ours begin."""
    few = users[c.USER_ID].head(50).tolist()
    rows = pq.read_table(written, filters=[(c.USER_ID, "in", few)]).to_pandas().sort_values([c.USER_ID, c.RANK])
    lists = rows.groupby(c.USER_ID)[c.MOVIE_ID].apply(list)
    seen = users.set_index(c.USER_ID)[SEEN]
    for user_id, recommendations in theirs.where(theirs[c.USER_ID].isin(few)).collect():
        unseen = [movie for movie, _ in recommendations if movie not in set(seen[user_id])]
        ours = lists[user_id][: len(unseen)]
        if len(set(ours) & set(unseen)) < len(unseen) - 1:  # rounding may exchange the last
            raise AssertionError(f"user {user_id}: {ours} are not {unseen} of ALS")


def _loop(users: DataFrame, work: Workload, size: Size) -> DataFrame:
    """Score as one writes it first: load the SavedModel in the worker, and ask it for one user after the other."""
    path, top = str(work.saved_model), size.top

    def one_by_one(frames: Iterable[pd.DataFrame]) -> Iterable[pd.DataFrame]:
        import tensorflow as tf

        recommend = tf.saved_model.load(path).signatures["recommend"]
        for frame in frames:
            for user_id, seen, ratings in frame.itertuples(index=False):
                top_n = recommend(
                    user_id=tf.constant([user_id], tf.int64), seen_movie_id=tf.constant(seen, tf.int64),
                    seen_rating=tf.constant(ratings, tf.float32), seen_row_splits=tf.constant([0, len(seen)], tf.int64),
                    n=tf.constant(top), rank_by=tf.constant("retrieval"), candidates=tf.constant(200),
                    include_seen=tf.constant(False),
                )  # fmt: skip
                columns = {name: top_n[name].numpy()[0] for name in (c.MOVIE_ID, c.PREDICTED_RATING)}
                yield pd.DataFrame({c.USER_ID: user_id, **columns})

    return users.mapInPandas(one_by_one, f"{c.USER_ID} BIGINT, {c.MOVIE_ID} BIGINT, {c.PREDICTED_RATING} FLOAT")


def _cross_join(spark: SparkSession, path: Path, users: int, movies: int) -> DataFrame:
    """Score pairs in the documented way, by the signature `predict` of a model that knows users by id."""
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql.types import FloatType

    directory = str(path)

    def make_predict_fn() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        import tensorflow as tf

        predict = tf.saved_model.load(directory).signatures["predict"]

        def predicted(user_id: np.ndarray, movie_id: np.ndarray) -> np.ndarray:
            pairs = predict(user_id=tf.constant(user_id, tf.int64), movie_id=tf.constant(movie_id, tf.int64))
            return pairs[c.PREDICTED_RATING].numpy()

        return predicted

    rate = predict_batch_udf(make_predict_fn, return_type=FloatType(), batch_size=8192)
    pairs = spark.range(1, users + 1).toDF(c.USER_ID).crossJoin(spark.range(movies).toDF(c.MOVIE_ID))
    pairs = pairs.repartition(spark.sparkContext.defaultParallelism)
    return pairs.withColumn(c.PREDICTED_RATING, rate(c.USER_ID, c.MOVIE_ID))


# -- one more user ----------------------------------------------------------------------------------------------------


def one_more_user(size: Size) -> Iterator[Row]:
    """Measure what each further user costs when all is warm: only the ten best movies, seen ones too, no ratings."""
    spark, seconds = start_spark(), dict[str, dict[int, float]]()
    counts = size.users, 4 * size.users
    for users in counts:
        of_users = replace(size, users=users, top=10)
        work = fit(size.data, DIMS).write(size.folder / "users" / str(users), users, size.movies)
        score = _Scorer(
            spark, work, of_users, max(spark.sparkContext.defaultParallelism, users // 8192), ("retrieval",)
        )
        als = als_recommender(spark, work.user_vectors(), work.movie_vectors(), of_users.top)
        write = partial(score.write, work.folder / "out", include_seen=True, liked_from=None)
        contenders = {"ours": write, "ALS": lambda: write_parquet(als(ALS_BLOCKS[0]), work.folder / "als")}  # noqa: B023
        for name, median in medians(contenders, size.repeat).items():
            seconds.setdefault(name, {})[users] = median
    spark.stop()
    few, many = counts
    ours, theirs = ((seconds[name][many] - seconds[name][few]) / (many - few) * 1e6 for name in ("ours", "ALS"))
    part = f"one more user, {few:,} to {many:,} users, top 10, warm"
    yield Row(part, ours, "µs", ">= 10", "ALSModel.recommendForAllUsers", theirs, theirs / ours)


# -- reasons ----------------------------------------------------------------------------------------------------------


def reasons(size: Size) -> Iterator[Row]:
    """Measure what "because you liked" costs the same job, with the vectors above and with those of `default`."""
    for name, dims in (("32 dimensions", DIMS), ("default", None)):
        work = fit(size.data, dims).write(size.folder / "reasons" / name.split()[0], size.users, size.movies)
        spark = start_spark()
        score = _Scorer(spark, work, size, spark.sparkContext.defaultParallelism)
        path = work.folder / "out"
        seconds = medians(
            {
                "without": lambda: score.write(path, liked_from=None),  # noqa: B023
                "with": lambda: score.write(path),  # noqa: B023
            },
            size.repeat,
        )
        spark.stop()
        part, theirs, ours = f"Spark job, {size.users:,} users, {name}", seconds["without"], seconds["with"]
        yield Row(part, ours, "s", "<= 1.1", "the same without reasons", theirs, ours / theirs)


# -- growth -----------------------------------------------------------------------------------------------------------


def growth(size: Size) -> Iterator[Row]:
    """Measure how seconds and workers' memory grow with users, then movies; each size in a process of its own."""
    middle = (size.users, size.movies)
    more_users, more_movies = (size.users * 12, size.movies), (size.users, size.movies * 8)
    fewer_users, fewer_movies = (max(1, size.users // 8), size.movies), (size.users, max(1, size.movies // 6))
    measured = {
        (users, movies): in_own_process(
            _growth_at, replace(size, folder=size.folder / f"{users}-{movies}", users=users, movies=movies)
        )
        for users, movies in {middle, more_users, more_movies, fewer_users, fewer_movies}
    }
    seconds = {counts: figures[0] for counts, figures in measured.items()}
    for counts, goal in ((fewer_users, ""), (more_users, "<= 1.15")):
        theirs, ours = (seconds[users, movies] / users * 1e6 for users, movies in (middle, counts))
        part, compared = f"growth, {size.movies:,} movies: {counts[0]:,} users", f"{size.users:,} users"
        yield Row(part, ours, "µs per user", goal, compared, theirs, ours / theirs)
    for counts, goal in ((fewer_movies, ""), (more_movies, "<= 1.15")):
        theirs, ours = (seconds[users, movies] / users / movies * 1e9 for users, movies in (middle, counts))
        part, compared = f"growth, {size.users:,} users: {counts[1]:,} movies", f"{size.movies:,} movies"
        yield Row(part, ours, "ns per pair", goal, compared, theirs, ours / theirs)
    for counts, limit in ((fewer_users, 1.2), (more_users, 1.2), (more_movies, 2.5)):
        part = "largest worker, {:,} users x {:,} movies".format(*counts)
        yield Row(part, measured[counts][1], "GiB", f"<= {limit}")


def _growth_at(size: Size) -> tuple[float, float]:
    """Return the seconds of a job, and the memory of its largest worker in GiB."""
    work = fit(size.data, DIMS).write(size.folder, size.users, size.movies)
    spark = start_spark()
    score = _Scorer(spark, work, size, max(spark.sparkContext.defaultParallelism, size.users // 8192))
    seconds = medians({"ours": lambda: score.write(size.folder / "out")}, min(size.repeat, 3))["ours"]
    spark.stop()
    shutil.rmtree(size.folder)
    return seconds, score.stats.value.peak_bytes / 2**30


# -- the table --------------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[Size], Iterator[Row]]] = {
    "kernel": kernel,
    "policies": policies,
    "spark": spark_jobs,
    "user": one_more_user,
    "reasons": reasons,
    "growth": growth,
}


def _rows(part: str, size: Size) -> list[Row]:
    return list(PARTS[part](size))


@click.command(help=__doc__)
@click.option("--data", default=SAMPLE, show_default=True, help="Real ratings to start from: a MovieLens folder.")
@click.option("--users", default=8192, show_default=True)
@click.option("--movies", default=62_423, show_default=True)
@click.option("--top", default=100, show_default=True)
@click.option("--repeat", default=3, show_default=True, help="Measurements, of which the median counts.")
@click.option("--only", default=",".join(PARTS), show_default=True)
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Also write the rows here.")
def main(data: str, users: int, movies: int, top: int, repeat: int, only: str, as_json: Path | None) -> None:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="recmodel-benchmark-") as folder:
        size = Size(Path(folder), data, users, movies, top, repeat)
        for part in only.split(","):
            rows += in_own_process(_rows, part, size, **ONE_THREAD)
    show(rows, f"{users:,} users x {movies:,} movies, top {top}, median of {repeat}", as_json)


if __name__ == "__main__":
    main()
