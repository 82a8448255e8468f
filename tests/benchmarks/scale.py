"""The product at the sizes of MovieLens-25M, Netflix and beyond: each argument measures some rows of the table.

    python tests/benchmarks/scale.py netflix     480,189 users x 17,770 movies, factors of rank 10
    python tests/benchmarks/scale.py slice       a twentieth of 3,290,000 users x 208,000 movies, scaled up
    python tests/benchmarks/scale.py beyond      all of them
    python tests/benchmarks/scale.py ml25m       162,541 users x 62,423 movies, 25 million ratings; and Spark's ALS
    python tests/benchmarks/scale.py train       one epoch of the default model on 25 million ratings
    python tests/benchmarks/scale.py intake      25 million ratings from Parquet and CSV, read and validated
    python tests/benchmarks/scale.py ids         MovieLens-25M with ids of 36 characters, compared with integers
    python tests/benchmarks/scale.py executors   two executors of a standalone cluster compared with one
    python tests/benchmarks/scale.py incremental a night on which a twentieth of the users have rated, compared with all
    python tests/benchmarks/scale.py memory      peak memory of all processes, at two numbers of users
    python tests/benchmarks/scale.py million     memory of the workers with a million movies
    python tests/benchmarks/scale.py forecasts   what `recmodel capacity` forecasts compared with runs of three sizes

Each runs the command itself (`recmodel score`, `recmodel train`), in processes of its own. Data come from `expand.py`,
models from `workload.py`: trained on the real ratings, their vectors copied with noise. `--folder` keeps both for the
next command; `--scale 0.05` is for a quick look, without goals; `--chart growth.svg` draws the growth that `forecasts`
measures. Seconds are those that run.json and metrics.json report, except those of a whole command.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import altair as alt
import click
import numpy as np
from harness import Row, in_own_process, medians, show
from pyspark.sql import SparkSession
from watched import NEXT_DAY, Scored, run, score
from workload import ML25M, Store, fit

from recmodel import schemas as c
from recmodel import settings, storage
from recmodel.cli import console
from recmodel.data import movielens
from recmodel.data.intake import Job
from recmodel.data.sample import SAMPLE
from recmodel.data.validation import Validation
from recmodel.models import versions
from recmodel.pipeline import capacity, taking
from recmodel.records import RunRecord
from recmodel.spark import launch, session, tasks

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.cluster import standalone

NETFLIX = {"users": 480_189, "movies": 17_770}
BEYOND = {"users": 3_290_000, "movies": 208_000}
SLICE = 20
ALS_USERS = 8192  # for whom Spark's ALS is measured, before its seconds are scaled up
SCORE_AND_WRITE = "score and write recommendations"
READ_TO_CHECKED = (
    "count the ratings",
    "divide the users",
    SCORE_AND_WRITE,
    "check what was written",
)


# -- rows -------------------------------------------------------------------------------------------------------------


def netflix(store: Store) -> Iterator[Row]:
    """Score with two tables of factors, as Spark's ALS has them, of a model that knows its users by id."""
    users = store.users(NETFLIX["users"])
    scored = _score_by_id(store, users, NETFLIX["movies"])
    part = f"{users:,} users x {NETFLIX['movies']:,} movies, rank 10, top 10: users read to Parquet written and checked"
    yield Row(part, _read_to_checked(scored), "s", "<= 45", "SPARK-20443, 120 cores", 45)
    yield from _details(scored)


def beyond(store: Store, share: float = 1) -> Iterator[Row]:
    """Score that share of the users. The fixed seconds are scaled up with those that grow with users."""
    users = store.users(round(BEYOND["users"] * share))
    scored = _score_by_id(store, users, BEYOND["movies"])
    part = f"{BEYOND['users']:,} users x {BEYOND['movies']:,} movies, rank 10, top 10, from {users:,} users"
    minutes = _read_to_checked(scored) * BEYOND["users"] / users / 60
    yield Row(part, minutes, "min", "<= 30", "SPARK-20443, 120 cores", 22.4)
    yield from _details(scored)


def ml25m(store: Store) -> Iterator[Row]:
    """Score with the default model at 32 dimensions on 25 million ratings, and with Spark's ALS of the same size."""
    scored = score(store.folder, store.ratings(), store.history_model())
    users = scored.record.users
    part = f"{users:,} users x {ML25M['movies']:,} movies, d = 32, top 10, seen masked, ratings attached"
    yield Row(f"{part}: users read to Parquet written and checked", _read_to_checked(scored), "s", "<= 90")
    als_users = min(users, ALS_USERS)
    theirs = in_own_process(_als_seconds, store) * users / als_users
    ours = scored.record.seconds[SCORE_AND_WRITE]
    compared = f"recommendForAllUsers, {als_users:,} users, scaled up"
    yield Row("the stage that scores and writes", ours, "s", ">= 20", compared, theirs, theirs / ours)
    yield from _details(scored)


def train(store: Store) -> Iterator[Row]:
    """Train the default preset on all ratings, none held out: from the command typed to the version written."""
    models = store.folder / "models-trained"
    shutil.rmtree(models, ignore_errors=True)
    words = ("--data", store.ratings(), "--models", models, "--epochs", 1, "--test-share", 0)
    usage = run(store.folder, "train", *words)
    metrics = versions.open_version(str(models)).metrics()
    part = f"train `default` on {metrics.train_rows:,} ratings, one epoch, the whole command"
    yield Row(part, usage.seconds / 60, "min", "<= 4", "the notebook, at its speed", 70)
    yield Row("- closed form", metrics.start_seconds, "s")
    yield Row("- the epoch, TensorFlow's tracing included", sum(metrics.epoch_seconds), "s")
    yield Row("peak memory of the command", usage.peak_gib, "GiB", "<= 6")


def intake(store: Store) -> Iterator[Row]:
    """Read, validate and stage ratings: in one process, as the job does without Spark, and by one executor and two."""
    for name, as_csv, goal in (("Parquet", False, "<= 12"), ("CSV", True, "<= 20")):
        folder = store.ratings(as_csv=as_csv)
        seconds, ratings = in_own_process(_intake_seconds, folder, store.folder / "staged")
        yield Row(f"{ratings:,} ratings read from {name}, validated and staged: core seconds", seconds, "s", goal)
        with tempfile.TemporaryDirectory() as scratch, standalone(Path(scratch), memory="3g", pinned=True) as cluster:
            one, two = (
                in_own_process(_intake_seconds, folder, store.folder / "staged", cluster["master"], executors)[0]
                for executors in (1, 2)
            )
        yield Row("the same by two executors: seconds", two, "s", ">= 1.8", "one executor", one, one / two)


def ids(store: Store) -> Iterator[Row]:
    """Score with ids that are text and keep the order of the integers, and with these."""
    integers = score(store.folder, store.ratings(), store.history_model()).usage
    texts = score(store.folder, store.ratings(text_ids=True), store.history_model(text_ids=True)).usage
    part = "`score` with ids of 36 characters, the whole command"
    yield Row(part, texts.seconds, "s", "<= 1.3", "integers", integers.seconds, texts.seconds / integers.seconds)
    yield Row("- core seconds", texts.core_seconds, "s", "", "integers", integers.core_seconds)


def executors(store: Store) -> Iterator[Row]:
    """Score with one executor of one core, then two, for half the users of MovieLens-25M and for all.

    Each keeps to a core of its own: the JVM and the Python of one executor work at the same time, and would use both.
    What two cores of this machine do, compared with one, is measured in the same minutes: where others share the
    machine, it is not 2.
    """
    seconds: dict[int, list[float]] = {1: [], 2: []}  # by the number of executors
    stages: dict[int, dict[str, float]] = {}
    for share in (0.5, 1):
        data = store.ratings(share)
        with tempfile.TemporaryDirectory() as scratch, standalone(Path(scratch), memory="3g", pinned=True) as cluster:
            for count in seconds:
                flags = ("--master", cluster["master"], "--total-executor-cores", count, "--executor-memory", "2g")
                scored = score(store.folder, data, store.history_model(), *flags)
                seconds[count].append(_read_to_checked(scored))
                stages[count] = scored.record.seconds
        one, two = seconds[1][-1], seconds[2][-1]
        part = f"two executors, {scored.record.users:,} users: all that tasks do"
        yield Row(part, two, "s", ">= 1.8", "one executor", one, one / two)
        for stage in READ_TO_CHECKED:
            yield Row(f"- {stage}", stages[2][stage], "s", "", "one executor", stages[1][stage])
        yield Row("- two processes that sort", _two_cores_compared_with_one(), "x", compared="one process")
    one, two = (all_users - half for half, all_users in seconds.values())
    yield Row("what the second half of the users adds", two, "s", "", "one executor", one, one / two)


def _two_cores_compared_with_one() -> float:
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        alone = pool.submit(_sorts_per_second, 0).result()
        return sum(pool.map(_sorts_per_second, [0, 1])) / alone


def _sorts_per_second(core: int, seconds: float = 10) -> float:
    """Return how often per second one core sorts a million numbers."""
    os.sched_setaffinity(0, {core})
    numbers = np.random.default_rng(0).random(1_000_000, np.float32)
    sorts, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        np.sort(numbers)
        sorts += 1
    return sorts / seconds


def incremental(store: Store) -> Iterator[Row]:
    """Score the night after, at the size of MovieLens-25M: every twentieth user has rated one more movie."""
    models, later = store.history_model(), store.ratings_of_next_day()
    score(store.folder, store.ratings(), models, "--incremental")
    some = score(store.folder, later, models, "--incremental", run_date=NEXT_DAY)
    full = score(store.folder, later, models, run_date=NEXT_DAY)
    part = f"{some.record.users_scored:,} of {some.record.users:,} users scored again: whole command"
    ours, theirs = some.usage.seconds, full.usage.seconds
    yield Row(part, ours, "s", "", "all users", theirs, theirs / ours)
    for stage, seconds in some.record.seconds.items():
        yield Row(f"- {stage}", seconds, "s", "", "all users", full.record.seconds[stage])


def memory(store: Store) -> Iterator[Row]:
    """Score the same catalogue for a quarter of the users and for all."""
    quarter, full = (score(store.folder, store.ratings(share), store.history_model()) for share in (0.25, 1))
    part = "peak memory of the whole job, all processes, {:,} users"
    few, many = quarter.usage.peak_gib, full.usage.peak_gib
    yield Row(part.format(quarter.record.users), few, "GiB")
    yield from _peaks(quarter.record)
    yield Row(part.format(full.record.users), many, "GiB", "<= 8")
    yield from _peaks(full.record)
    yield Row("four times the users", many, "GiB", "<= 1.15", "a quarter of them", few, many / few)


def million(store: Store) -> Iterator[Row]:
    """Score a few users against a million movies, in the dimensions of the preset `default`."""
    movies = store.users(1_000_000)
    scored = score(store.folder, store.ratings_of(16_000, movies), store.default_model(movies))
    part = f"largest worker, {movies:,} movies, 128 and 64 dimensions"
    yield Row(part, scored.record.peak_mib["largest_worker"] / 1024, "GiB", "<= 2.5")
    yield from _details(scored)


def forecasts(store: Store, chart: str | None = None) -> Iterator[Row]:
    """Compare what `recmodel capacity` forecasts with runs of three sizes.

    Args:
        chart: an image file, into which the growth is drawn.
    """
    models = store.history_model()
    paths = {"data": str(store.ratings()), "models": str(models)}
    rates = capacity.measure(settings.load(paths=paths, scoring={"top_n": 10}))
    records = [score(store.folder, store.ratings(share), models).record for share in (0.25, 0.5, 1)]
    for record in records:
        forecast = capacity.forecast(rates, record.users, rates.cores).total_seconds
        seconds = sum(record.seconds.values())
        error = abs(forecast / seconds - 1)
        yield Row(f"{record.users:,} users", seconds, "s", "<= 0.2", "recmodel capacity: its error", forecast, error)
    if chart:
        _draw_growth(records, rates, chart)


def _draw_growth(records: list[RunRecord], rates: capacity.Rates, path: str) -> None:
    """Draw seconds by stage and memory by process, as measured (points) and as forecast (lines)."""
    measured: dict[str, list[dict]] = {"seconds": [], "GiB": []}
    forecast: dict[str, list[dict]] = {"seconds": [], "GiB": []}
    for record in records:
        memory = {process.replace("_", " "): mib / 1024 for process, mib in record.peak_mib.items()}
        measured["seconds"] += _points(record.users, record.seconds)
        measured["GiB"] += _points(record.users, memory)
    for users in np.linspace(0, records[-1].users, 20, dtype=int).tolist():
        forecast["seconds"] += _points(users, capacity.forecast(rates, users, rates.cores).seconds)
    panels = []
    for unit in measured:
        layers = [
            alt.Chart(alt.Data(values=values[unit]), mark=mark, width=340, height=260).encode(
                alt.X("users:Q").axis(format="~s", tickCount=5),
                alt.Y("value:Q", title=unit),
                alt.Color("of:N", title=None),
            )
            for values, mark in (
                (measured, alt.MarkDef("point", filled=True, size=60)),
                (forecast, alt.MarkDef("line")),
            )
        ]
        panels.append(alt.layer(*layers))
    whole = alt.hconcat(*panels, padding={"left": 5, "top": 5, "bottom": 5, "right": 30})  # fonts differ in width
    whole.resolve_scale(color="independent").save(path)


def _points(users: int, values: dict[str, float]) -> list[dict]:
    return [{"users": users, "of": name, "value": value} for name, value in values.items()]


def _details(scored: Scored) -> Iterator[Row]:
    """Show where time and memory went."""
    yield Row("the whole command", scored.usage.seconds, "s")
    yield Row("core seconds of all its processes", scored.usage.core_seconds, "s")
    for stage, seconds in scored.record.seconds.items():
        yield Row(f"- {stage}", seconds, "s")
    yield Row("peak memory of all its processes together", scored.usage.peak_gib, "GiB")
    yield Row("- each further worker, private", scored.usage.further_worker_gib, "GiB")
    yield from _peaks(scored.record)


def _peaks(record: RunRecord) -> Iterator[Row]:
    for process, mib in record.peak_mib.items():
        yield Row(f"- {process.replace('_', ' ')}", mib / 1024, "GiB")


def _read_to_checked(scored: Scored) -> float:
    return sum(scored.record.seconds[stage] for stage in READ_TO_CHECKED)


def _score_by_id(store: Store, users: int, movies: int) -> Scored:
    data = store.users_by_id(users, movies)
    flags = ("--users", data / "asked.parquet", "--min-history", 0)
    return score(store.folder, data, store.factors(users, movies), *flags)


# -- in processes of their own ----------------------------------------------------------------------------------------


def _als_seconds(store: Store) -> float:
    """Measure `recommendForAllUsers` to Parquet for a few users, at its better block size, when it is warm."""
    import scoring

    source = fit(store.data, 32)
    random = np.random.default_rng(0)
    users, movies = min(ALS_USERS, store.users(ML25M["users"])), ML25M["movies"]
    factors = [capacity.copies(source.weights.movie_vectors, count, random) for count in (users, movies)]
    recommend = scoring.als_recommender(scoring.start_spark(), *factors, top=10)

    def write(block_size: int) -> None:
        scoring.write_parquet(recommend(block_size), store.folder / "als")

    return min(medians({str(size): partial(write, size) for size in scoring.ALS_BLOCKS}, 1).values())


def _intake_seconds(folder: Path, target: Path, master: str = "", executors: int = 0) -> tuple[float, int]:
    """Return the core seconds, or the seconds on executors that are started before; and the ratings accepted."""
    validation = Validation(settings.load().input)
    catalogue = movielens.read_catalogue(folder, validation)
    request = movielens.ratings_request(folder, catalogue, validation)
    movies = catalogue.column(c.MOVIE_ID).to_numpy()
    job = Job(request.contract, str(target), str(target / "r"), movies, validation.ids, rated=True)
    clock, starting = time.process_time, None
    if executors:
        cores = ("--total-executor-cores", str(executors))
        launch.prepare(["--master", master, *cores, "--executor-memory", "2g"])
        clock, starting = time.perf_counter, Future[SparkSession]()
        starting.set_result(session.start("intake", ship_package=True))
        tasks.each(starting.result(), storage.name, [""] * 8)  # so that Python has started everywhere
    started = clock()
    counted, _ = taking.stage(request, validation, job, starting)
    return clock() - started, int(counted.counts.sum())


# -- the table --------------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[Store], Iterator[Row]]] = {
    "netflix": netflix, "slice": partial(beyond, share=1 / SLICE), "beyond": beyond, "ml25m": ml25m, "train": train,
    "intake": intake, "ids": ids, "executors": executors, "incremental": incremental, "memory": memory,
    "million": million, "forecasts": forecasts,
}  # fmt: skip


@click.command(help=__doc__)
@click.argument("parts", nargs=-1, required=True, type=click.Choice([*PARTS]))
@click.option("--data", default=SAMPLE, show_default=True, help="Real ratings to start from.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Keep data and models here; otherwise they are removed."
)
@click.option("--scale", default=1.0, show_default=True, help="Of the number of users and ratings.")
@click.option("--random", is_flag=True, help="Of factors: Gaussian ones, the worst case for stopping early.")
@click.option("--chart", type=click.Path(), help="forecasts: draw the growth into this file (.svg, .png).")
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Also write the rows here.")
def main(
    parts: tuple[str, ...],
    data: str,
    folder: Path | None,
    scale: float,
    random: bool,
    chart: str | None,
    as_json: Path | None,
) -> None:
    measure = {**PARTS, "forecasts": partial(forecasts, chart=chart)}
    with tempfile.TemporaryDirectory(prefix="recmodel-scale-") as scratch:
        store = Store((folder or Path(scratch)).absolute(), data, scale, random)
        store.folder.mkdir(parents=True, exist_ok=True)
        rows = [row for part in parts for row in measure[part](store)]
    if scale != 1:  # what is fixed weighs too much in a quick look
        rows = [replace(row, goal="") for row in rows]
    show(rows, "Large sizes" if scale == 1 else f"Large sizes, with {scale:g} of the users", as_json)


if __name__ == "__main__":
    console.run(main)
