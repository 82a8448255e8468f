"""The scoring engine beside what people would reach for: one table, both sides measured in this run.

    ./submit.sh benchmark                        everything, about 15 minutes on two cores
    ./submit.sh benchmark --only kernel,policies
    ./submit.sh benchmark --users 200 --movies 700 --top 10 --repeat 1     a quick look; says nothing about speed

Each part runs in a process of its own, so that threads and memory are its own too. Every figure is the median of
`--repeat` measurements; contenders take turns. Both sides' lists are compared before they are timed.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import workload
from rich.console import Console
from rich.table import Table

from recmodel import schemas as c
from recmodel.scoring import recommender, topn
from recmodel.scoring import worker as scoring
from recmodel.scoring.request import Payload, TopNRequest

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

KERNEL_USERS = 4096
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@dataclass(frozen=True)
class Size:
    """What is scored, and how often each measurement is repeated."""

    folder: str
    data: str
    users: int
    movies: int
    top: int
    repeat: int


@dataclass(frozen=True)
class Row:
    """One line of the table. `ratio` is what the goal speaks of."""

    part: str
    compared: str
    theirs: float
    ours: float
    unit: str
    ratio: float
    goal: str  # such as ">= 20" or "<= 0.9"; empty where there is none

    @property
    def verdict(self) -> str:
        return workload.verdict(self.ratio, self.goal)


def medians(contenders: dict[str, Callable[[], Any]], repeat: int) -> dict[str, float]:
    """Seconds of each, in turns, after one turn that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeat + 1):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


# -- the kernel, one thread -------------------------------------------------------------------------------------------


def kernel(size: Size) -> Iterable[Row]:
    """Top N of given vectors in memory. Only ours leaves seen movies out."""
    import faiss

    faiss.omp_set_num_threads(1)
    source = workload.source(size.data, retrieval_dim=32, rating_dim=32)
    users = min(KERNEL_USERS, size.users)
    histories = source.histories(users, size.movies)
    folder = Path(size.folder) / "kernel"
    workload.write(folder, source.enlarged(size.movies), histories)
    model = recommender.Recommender(folder / "saved_model")
    frame = histories.to_pandas()
    trained = model.user_embedding(frame[c.USER_ID], list(frame[c.SEEN_MOVIE_IDS]), list(frame[c.SEEN_RATINGS]))
    random = np.random.default_rng(0)
    for vectors, (u, v) in {
        "trained vectors": (trained, model.movie_embedding(np.arange(size.movies))),
        "random vectors": (random.standard_normal(trained.shape, np.float32),
                           random.standard_normal((size.movies, trained.shape[1]), np.float32)),
    }.items():  # fmt: skip
        yield from _kernel_rows(vectors, u, v, frame[c.SEEN_MOVIE_IDS], size)


def _kernel_rows(vectors: str, users: np.ndarray, movies: np.ndarray, seen: pd.Series, size: Size) -> Iterable[Row]:
    import faiss
    import tensorflow as tf
    import tensorflow_recommenders as tfrs

    ours, flat = topn.Vectors(movies), faiss.IndexFlatIP(movies.shape[1])
    flat.add(movies)
    brute_force = tfrs.layers.factorized_top_k.BruteForce(k=size.top).index(movies)
    scores = np.empty((topn.USERS, topn.TILE), np.float32)
    blocks = [slice(start, start + topn.USERS) for start in range(0, len(users), topn.USERS)]
    seen_pairs = []
    for block in blocks:
        lists = list(seen[block])
        user = np.repeat(np.arange(len(lists)), [len(rows) for rows in lists])
        seen_pairs.append(topn.Pairs(user, np.concatenate(lists)))

    def product() -> None:
        for block in blocks:
            for start in range(0, len(movies), topn.TILE):
                tile = movies[start : start + topn.TILE]
                np.matmul(users[block], tile.T, out=scores[: len(users[block]), : len(tile)])

    def search(hidden: Iterable[topn.Pairs]) -> np.ndarray:
        lists = [ours.top(users[block], size.top, pairs).row for block, pairs in zip(blocks, hidden, strict=True)]
        return np.concatenate(lists)

    _assert_same(search([topn.NO_PAIRS] * len(blocks)), flat.search(users, size.top)[1], "FAISS")
    taken = medians(
        {
            "ours": lambda: search(seen_pairs),
            "product": product,
            "faiss": lambda: flat.search(users, size.top),
            "brute force": lambda: [brute_force(tf.constant(users[s : s + 64])) for s in range(0, len(users), 64)],
        },
        size.repeat,
    )  # fmt: skip
    part = f"kernel, {vectors}, {len(users):,} users, 1 thread"
    us = taken["ours"]
    yield Row(part, "FAISS IndexFlatIP", taken["faiss"], us, "s", us / taken["faiss"], "<= 0.9")
    yield Row(part, "TFRS BruteForce", taken["brute force"], us, "s", taken["brute force"] / us, ">= 4")
    yield Row(part, "the product alone", taken["product"], us, "s", us / taken["product"], "<= 1.5")


def _assert_same(ours: np.ndarray, theirs: np.ndarray, whose: str) -> None:
    """Rounding may swap neighbours and exchange the last; more than that is a wrong list."""
    common = np.mean([len(np.intersect1d(a, b)) / len(a) for a, b in zip(ours, theirs, strict=True)])
    if common < 0.999:
        raise AssertionError(f"only {common:.4f} of the movies are those of {whose}")


# -- policies, one thread ---------------------------------------------------------------------------------------------


def policies(size: Size) -> Iterable[Row]:
    """Whole recommendations (user towers, top N, predicted ratings) of models as they are trained by default."""
    users = min(1024, size.users)
    source = workload.source(size.data)
    histories = source.histories(users, size.movies)
    folder = Path(size.folder) / "policies"
    workload.write(folder / "default", source.enlarged(size.movies), histories)
    default = recommender.Recommender(folder / "default" / "saved_model")
    frame = histories.to_pandas()

    def recommend(model: recommender.Recommender, rank_by: str) -> None:
        for start in range(0, users, topn.USERS):
            block = frame.iloc[start : start + topn.USERS]
            model.recommend(
                block[c.USER_ID], list(block[c.SEEN_MOVIE_IDS]), list(block[c.SEEN_RATINGS]),
                n=size.top, rank_by=rank_by,
            )  # fmt: skip

    taken = medians(
        {rank_by: lambda r=rank_by: recommend(default, r) for rank_by in ("retrieval", "rating")}, size.repeat
    )
    rate = {rank_by: users * size.movies / seconds / 1e6 for rank_by, seconds in taken.items()}
    yield Row(
        f"default, {users:,} users, 1 thread", "rating beside retrieval", rate["retrieval"], rate["rating"],
        "M pairs/s", rate["rating"] / rate["retrieval"], ">= 0.8",
    )  # fmt: skip

    few = 32
    random = np.random.default_rng(0)
    vectors = [random.standard_normal((count, 32), np.float32) for count in (few, size.movies)]
    workload.write(folder / "mlp", workload.mlp(*vectors), histories.slice(0, few))
    model = recommender.Recommender(folder / "mlp" / "saved_model")
    tile, kernel = (random.standard_normal(shape, np.float32) for shape in ((512, 256), (256, 128)))
    out = np.empty((512, 128), np.float32)
    tiles = few * -(-size.movies // 512)
    no_seen = [np.empty(0, np.int64)] * few
    taken = medians(
        {
            "ours": lambda: model.recommend(np.arange(1, few + 1), no_seen, no_seen, n=size.top, rank_by="rating"),
            "product": lambda: [np.matmul(tile, kernel, out=out) for _ in range(tiles)],
        },
        size.repeat,
    )
    limit, ours = tiles * 512 / taken["product"] / 1e6, few * size.movies / taken["ours"] / 1e6
    yield Row(
        "rating by MLP 256-128-1, 1 thread",
        "its product 256 x 128 alone",
        limit,
        ours,
        "M pairs/s",
        ours / limit,
        ">= 0.9",
    )


# -- Spark jobs -------------------------------------------------------------------------------------------------------


def spark_jobs(size: Size) -> Iterable[Row]:
    """From Parquet to Parquet on all cores, in one session whose workers are warm on both sides."""
    from pyspark.sql import functions as f

    source = workload.source(size.data, retrieval_dim=32, rating_dim=32)
    folder = Path(size.folder) / "spark"
    histories = source.histories(size.users, size.movies)
    workload.write(folder, source.enlarged(size.movies), histories)
    spark = start_spark()
    model = recommender.Recommender(folder / "saved_model")
    frame = histories.to_pandas()
    factors = model.user_embedding(frame[c.USER_ID], list(frame[c.SEEN_MOVIE_IDS]), list(frame[c.SEEN_RATINGS]))
    cores = spark.sparkContext.defaultParallelism
    users = _histories(spark, folder, cores)
    score = _Scorer(spark, folder, size)
    als = als_model(spark, factors, model.movie_embedding(np.arange(size.movies)))

    def by_als(block_size: int) -> DataFrame:
        als._java_obj.setBlockSize(block_size)
        return als.recommendForAllUsers(size.top)

    part = f"Spark job, {size.users:,} users, {cores} cores"
    started = time.perf_counter()
    write_parquet(score(users), folder / "out-cold")
    cold = time.perf_counter() - started
    _assert_same_as_als(folder / "out-cold", by_als(1024), frame, size.top)
    taken = medians(
        {
            "ours": lambda: write_parquet(score(users), folder / "out-ours"),
            **{str(n): (lambda n=n: write_parquet(by_als(n), folder / "out-als")) for n in (1024, 4096)},
        },
        size.repeat,
    )
    best = min("1024", "4096", key=lambda n: taken[n])
    yield Row(part, f"ALSModel.recommendForAllUsers, blockSize {best}", taken[best], taken["ours"], "s",
              taken[best] / taken["ours"], ">= 20")  # fmt: skip
    yield Row(part, "the same, our workers cold", taken[best], cold, "s", taken[best] / cold, "")
    load = score.stats.value.load_seconds
    yield Row(part, "limit: TensorFlow and model in a worker, once", 6.0, load, "s", load, "<= 6")

    pairs = size.users * size.movies / taken["ours"] / 1e6
    few = _lists(spark, folder).where(f.col(c.USER_ID) <= min(256, size.users)).repartition(cores).cache()
    few_count = few.count()
    loop = _loop(folder, size)
    vectors = model.movie_embedding(np.arange(size.movies))
    workload.write(folder / "mlp", workload.mlp(factors, vectors), histories.slice(0, 1))
    fewer = min(16, size.users)
    cross = _cross_join(spark, folder / "mlp" / "saved_model", fewer, size.movies)
    taken = medians(
        {
            "loop": lambda: write_parquet(loop(few), folder / "out-loop"),
            "udf": lambda: write_parquet(cross, folder / "out-udf"),
        },
        min(size.repeat, 2),
    )
    for contender, count, goal, compared in (
        ("loop", few_count, "", f"a loop over users calling the SavedModel ({few_count} users)"),
        ("udf", fewer, ">= 100", f"predict_batch_udf over a cross join ({fewer} users)"),
    ):
        theirs = count * size.movies / taken[contender] / 1e6
        yield Row(part, compared, theirs, pairs, "M pairs/s", pairs / theirs, goal)
    spark.stop()


def start_spark() -> SparkSession:
    from recmodel.spark import session

    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    return session.start("benchmark")


def _lists(spark: SparkSession, folder: Path) -> DataFrame:
    """One row a user."""
    return spark.read.parquet(str(folder / "histories.parquet"))


def _histories(spark: SparkSession, folder: Path, partitions: int) -> DataFrame:
    """The histories as the job has them, in memory, in ranges of as many users."""
    from pyspark.sql import functions as f

    users = _lists(spark, folder)
    rated = f.explode(f.arrays_zip(f.col(c.SEEN_MOVIE_IDS).alias("movie"), f.col(c.SEEN_RATINGS).alias("stars")))
    rows = users.select(c.USER_ID, rated.alias("rated"))
    rows = rows.select(c.USER_ID, f.col("rated.movie").alias(c.MOVIE_ID), f.col("rated.stars").alias(c.RATING))
    part = f.floor((f.col(c.USER_ID) - 1) * partitions / users.count()).cast("int")
    rows = rows.repartitionById(partitions, part).sortWithinPartitions(c.USER_ID).cache()
    rows.count()
    return rows


def write_parquet(frame: DataFrame, path: Path) -> None:
    frame.write.mode("overwrite").parquet(str(path))


class _Scorer:
    """The job's own scoring stage, from histories to rows; keeps its counters."""

    def __init__(self, spark: SparkSession, folder: Path, size: Size) -> None:
        ids = np.arange(size.movies)
        payload = Payload(
            model_version=str(folder),
            saved_model=recommender.pack(folder / "saved_model"),
            tasks=("retrieval", "rating"),
            movie_id=ids,
            popular=ids,
            popular_rating=np.full(size.movies, 3.5, np.float32),
        )
        self.request = TopNRequest(
            n=size.top, rank_by="retrieval", candidates=200, include_seen=False, min_history=1, liked_from=2.75,
            block_bytes=64 << 20, threads=1,
        )  # fmt: skip
        self.broadcast = spark.sparkContext.broadcast(payload)
        self.stats = spark.sparkContext.accumulator(scoring.WorkerStats(), scoring.MergeWorkerStats())

        titles = [f"A movie of the catalogue ({i})" for i in ids]
        self.titles = spark.createDataFrame(pd.DataFrame({c.MOVIE_ID: ids, c.TITLE: titles})).cache()

    def __call__(self, users: DataFrame, **otherwise: Any) -> DataFrame:
        scored = scoring.recommend(users, self.broadcast, replace(self.request, **otherwise), self.stats)
        return scoring.publishable(scored, self.titles, "benchmark", datetime.now(timezone.utc))


def als_model(spark: SparkSession, users: np.ndarray, movies: np.ndarray) -> Any:
    """Spark's own model of two factor tables: users 1, 2, …, movies 0, 1, …"""

    from pyspark.ml.recommendation import ALSModel

    def factors(vectors: np.ndarray, first: int) -> DataFrame:
        frame = pd.DataFrame({"id": np.arange(first, first + len(vectors), dtype=np.int32), "features": list(vectors)})
        made = spark.createDataFrame(frame, "id INT, features ARRAY<FLOAT>").repartition(
            spark.sparkContext.defaultParallelism
        )
        made.cache().count()
        return made

    user_factors, movie_factors = factors(users, 1), factors(movies, 0)
    jvm = spark.sparkContext._jvm
    model = jvm.org.apache.spark.ml.recommendation.ALSModel(
        "als", users.shape[1], user_factors._jdf, movie_factors._jdf
    )
    model.setUserCol(c.USER_ID)
    model.setItemCol(c.MOVIE_ID)
    return ALSModel(model)


def _assert_same_as_als(written: Path, theirs: DataFrame, users: pd.DataFrame, top: int) -> None:
    """Its lists, without what the users have seen, are how ours begin."""
    few = users[c.USER_ID].head(50)
    rows = (
        pq.read_table(written, filters=[(c.USER_ID, "in", few.tolist())]).to_pandas().sort_values([c.USER_ID, c.RANK])
    )
    ours = rows.groupby(c.USER_ID)[c.MOVIE_ID].apply(list)
    seen = users.set_index(c.USER_ID)[c.SEEN_MOVIE_IDS]
    for row in theirs.where(theirs[c.USER_ID].isin(few.tolist())).collect():
        unseen = [movie for movie, _ in row["recommendations"] if movie not in set(seen[row[c.USER_ID]])]
        mine = ours[row[c.USER_ID]][: len(unseen)]
        if len(set(mine) & set(unseen)) < len(unseen) - 1:  # rounding may exchange the last
            raise AssertionError(f"user {row[c.USER_ID]}: {mine} are not {unseen} of ALS")


def _loop(folder: Path, size: Size) -> Callable[[DataFrame], DataFrame]:
    """What one writes first: load the SavedModel in the worker, ask it for one user after the other."""
    path, top = str(folder / "saved_model"), size.top

    def one_by_one(frames: Iterable[pd.DataFrame]) -> Iterable[pd.DataFrame]:
        import tensorflow as tf

        recommend = tf.saved_model.load(path).signatures["recommend"]
        for frame in frames:
            for user_id, seen, ratings in frame.itertuples(index=False):
                found = recommend(
                    user_id=tf.constant([user_id], tf.int64), seen_movie_id=tf.constant(seen, tf.int64),
                    seen_rating=tf.constant(ratings, tf.float32), seen_row_splits=tf.constant([0, len(seen)], tf.int64),
                    n=tf.constant(top), rank_by=tf.constant("retrieval"), candidates=tf.constant(200),
                    include_seen=tf.constant(False),
                )  # fmt: skip
                yield pd.DataFrame({
                    c.USER_ID: user_id, c.MOVIE_ID: found[c.MOVIE_ID].numpy()[0],
                    c.PREDICTED_RATING: found[c.PREDICTED_RATING].numpy()[0],
                })  # fmt: skip

    schema = f"{c.USER_ID} BIGINT, {c.MOVIE_ID} BIGINT, {c.PREDICTED_RATING} FLOAT"
    return lambda users: users.mapInPandas(one_by_one, schema)


def _cross_join(spark: SparkSession, saved_model: Path, users: int, movies: int) -> DataFrame:
    """The documented way to score pairs, for the signature `predict` of a model that knows users by id."""
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql.types import FloatType

    path = str(saved_model)

    def make_predict_fn() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        import tensorflow as tf

        predict = tf.saved_model.load(path).signatures["predict"]

        def predicted(user_id: np.ndarray, movie_id: np.ndarray) -> np.ndarray:
            pairs = predict(user_id=tf.constant(user_id, tf.int64), movie_id=tf.constant(movie_id, tf.int64))
            return pairs[c.PREDICTED_RATING].numpy()

        return predicted

    rate = predict_batch_udf(make_predict_fn, return_type=FloatType(), batch_size=8192)
    pairs = spark.range(1, users + 1).toDF(c.USER_ID).crossJoin(spark.range(movies).toDF(c.MOVIE_ID))
    return pairs.repartition(spark.sparkContext.defaultParallelism).withColumn(
        c.PREDICTED_RATING, rate(c.USER_ID, c.MOVIE_ID)
    )


# -- reasons ----------------------------------------------------------------------------------------------------------


def reasons(size: Size) -> Iterable[Row]:
    """What "because you liked" costs the same job, of the vectors above and of those that `default` is trained to."""
    for name, dims in {"32 dimensions": {"retrieval_dim": 32, "rating_dim": 32}, "default": {}}.items():
        source = workload.source(size.data, **dims)
        folder = Path(size.folder) / "reasons" / name.split()[0]
        workload.write(folder, source.enlarged(size.movies), source.histories(size.users, size.movies))
        spark = start_spark()
        users, score = _histories(spark, folder, spark.sparkContext.defaultParallelism), _Scorer(spark, folder, size)
        taken = medians(
            {
                "without": lambda: write_parquet(score(users, liked_from=None), folder / "out-without"),  # noqa: B023
                "with": lambda: write_parquet(score(users), folder / "out-with"),  # noqa: B023
            },
            size.repeat,
        )
        spark.stop()
        yield Row(f"Spark job, {size.users:,} users, {name}", "the same without reasons", taken["without"],
                  taken["with"], "s", taken["with"] / taken["without"], "<= 1.1")  # fmt: skip


# -- growth -----------------------------------------------------------------------------------------------------------


def growth(size: Size) -> Iterable[Row]:
    """Seconds and workers' memory as users, then movies, become many; each size in a process and workers of its own."""
    users = [max(1, size.users // 8), size.users, size.users * 12]
    movies = [max(1, size.movies // 6), size.movies, size.movies * 8]
    found = {}
    for u, m in dict.fromkeys([*((u, size.movies) for u in users), *((size.users, m) for m in movies)]):
        found[u, m] = _measured("_growth_at", Size(f"{size.folder}/{u}-{m}", size.data, u, m, size.top, size.repeat))
    middle = found[size.users, size.movies]
    for u in (users[0], users[2]):
        per_user = found[u, size.movies]["seconds"] / u * 1e6
        base = middle["seconds"] / size.users * 1e6
        yield Row(f"growth, {size.movies:,} movies", f"{u:,} users beside {size.users:,}", base, per_user, "µs a user",
                  per_user / base, "<= 1.15" if u > size.users else "")  # fmt: skip
    for m in (movies[0], movies[2]):
        per_pair = found[size.users, m]["seconds"] / size.users / m * 1e9
        base = middle["seconds"] / size.users / size.movies * 1e9
        yield Row(f"growth, {size.users:,} users", f"{m:,} movies beside {size.movies:,}", base, per_pair, "ns a pair",
                  per_pair / base, "<= 1.15" if m > size.movies else "")  # fmt: skip
    for u, m in [(users[0], size.movies), (users[2], size.movies), (size.users, movies[2])]:
        peak = found[u, m]["peak_gib"]
        limit = 1.2 if m == size.movies else 2.5
        yield Row("largest worker", f"limit for {m:,} movies; {u:,} users", limit, peak, "GiB", peak, f"<= {limit}")


def _growth_at(size: Size) -> dict[str, float]:
    source = workload.source(size.data, retrieval_dim=32, rating_dim=32)
    folder = Path(size.folder)
    workload.write(folder, source.enlarged(size.movies), source.histories(size.users, size.movies))
    spark = start_spark()
    users = _histories(spark, folder, max(spark.sparkContext.defaultParallelism, size.users // 8192))
    score = _Scorer(spark, folder, size)
    seconds = medians({"ours": lambda: write_parquet(score(users), folder / "out")}, min(size.repeat, 3))["ours"]
    found = {"seconds": seconds, "peak_gib": score.stats.value.peak_bytes / 2**30}
    spark.stop()
    shutil.rmtree(folder)
    return found


# -- the table --------------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[Size], Any]] = {
    "kernel": kernel,
    "policies": policies,
    "spark": spark_jobs,
    "reasons": reasons,
    "growth": growth,
}


def _measured(part: str, size: Size) -> Any:
    """What a function of this file returns, run in a process of its own with one thread for NumPy and TensorFlow."""
    result = Path(tempfile.mkstemp(dir=size.folder if Path(size.folder).is_dir() else None)[1])
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    call = [sys.executable, __file__, "--run-part", part, json.dumps(asdict(size)), str(result)]
    subprocess.run(call, check=True, env=environment)
    return json.loads(result.read_text())


def _run_part(part: str, size: str, result: str) -> None:
    found = globals()[part](Size(**json.loads(size)))
    rows = found if isinstance(found, dict) else [asdict(row) for row in found]
    Path(result).write_text(json.dumps(rows))


@click.command(help=__doc__)
@click.option("--data", default="sample", show_default=True, help="Real ratings to start from: a MovieLens folder.")
@click.option("--users", default=8192, show_default=True)
@click.option("--movies", default=62_423, show_default=True)
@click.option("--top", default=100, show_default=True)
@click.option("--repeat", default=3, show_default=True, help="Measurements, of which the median counts.")
@click.option("--only", default=",".join(PARTS), show_default=True)
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Also write the rows here.")
def main(data: str, users: int, movies: int, top: int, repeat: int, only: str, as_json: Path | None) -> None:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="recmodel-benchmark-") as folder:
        size = Size(folder, data, users, movies, top, repeat)
        for part in only.split(","):
            rows += [Row(**row) for row in _measured(PARTS[part].__name__, size)]
    versions = ", ".join(
        f"{name} {metadata.version(name)}"
        for name in ("numpy", "tensorflow", "pyspark", "faiss-cpu", "tensorflow-recommenders")
    )
    table = Table(
        title=f"{users:,} users x {movies:,} movies, top {top}, median of {repeat}", caption=f"{_machine()}; {versions}"
    )
    for heading in ("", "compared with", "theirs", "ours", "", "ratio", "goal", ""):
        table.add_column(heading)
    for row in rows:
        numbers = (f"{row.theirs:.3g}", f"{row.ours:.3g}", row.unit, f"{row.ratio:.2f}", row.goal, row.verdict)
        table.add_row(row.part, row.compared, *numbers)
    Console(width=None if sys.stdout.isatty() else 180).print(table)
    if as_json:
        as_json.write_text(json.dumps([{**asdict(row), "verdict": row.verdict} for row in rows], indent=2) + "\n")


def _machine() -> str:
    names = [
        line.partition(": ")[2]
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}, Python {platform.python_version()}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run-part"]:
        _run_part(*sys.argv[2:])
    else:
        main()
