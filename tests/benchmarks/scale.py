"""The product at the sizes of MovieLens-25M, Netflix and beyond: one row of the table of goals a command.

    python tests/benchmarks/scale.py netflix     480,189 users x 17,770 movies, factors of rank 10
    python tests/benchmarks/scale.py slice       a twentieth of 3,290,000 users x 208,000 movies, scaled up
    python tests/benchmarks/scale.py beyond      all of them
    python tests/benchmarks/scale.py ml25m       162,541 users x 62,423 movies, 25 million ratings; and Spark's ALS
    python tests/benchmarks/scale.py train       one epoch of the default model on 25 million ratings
    python tests/benchmarks/scale.py csv         25 million ratings from CSV, read and validated
    python tests/benchmarks/scale.py executors   two executors of a standalone cluster beside one
    python tests/benchmarks/scale.py incremental a night on which a twentieth of the users have rated, beside all
    python tests/benchmarks/scale.py memory      peak memory of all processes, at two numbers of users
    python tests/benchmarks/scale.py forecasts   what `recmodel capacity` foretells beside runs of three sizes

Each runs the command itself (`recmodel score`, `recmodel train`), in processes of its own. Data come from `expand.py`,
models from `workload.py`: trained on the real ratings, their vectors copied with noise. `--folder` keeps both for the
next command; `--scale 0.05` is for a quick look; `--chart growth.svg` draws the growth that `forecasts` measures.
Seconds are those that a run tells of itself, in run.json or metrics.json, but those of a whole command.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import altair as alt
import click
import expand
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import workload
from rich.console import Console
from rich.table import Table

from recmodel import schemas as c
from recmodel import settings
from recmodel.cli import console
from recmodel.data import movielens as data
from recmodel.data.validation import Validation
from recmodel.models import presets, versions
from recmodel.models.embedding.weights import EmbeddingWeights
from recmodel.models.history.weights import HistoryWeights
from recmodel.pipeline import capacity
from recmodel.records import Metrics
from recmodel.scoring import recommender

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.cluster import standalone

DAY, NEXT_DAY = "2026-01-31", "2026-02-01"
ML25M = {"users": 162_541, "movies": 62_423, "ratings": 25_000_095}
NETFLIX = {"users": 480_189, "movies": 17_770}
SLICE, BEYOND = 20, {"users": 3_290_000, "movies": 208_000}
ALS_USERS = 8192  # that Spark's ALS recommends to, before its seconds are scaled up
SCORING = (
    "count the ratings",
    "divide the users",
    "score and write recommendations",
    "write predicted ratings",
    "check what was written",
)


@dataclass(frozen=True)
class Work:
    """Where data and models are kept, and how large all is."""

    folder: Path
    data: str
    scale: float
    random: bool
    chart: str | None = None  # an image of the growth, by `forecasts`

    def users(self, count: int) -> int:
        return max(1, round(count * self.scale))


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    work: str
    reference: str
    measured: float
    unit: str
    goal: str  # such as ">= 20" or "<= 45"; empty where there is none

    @property
    def verdict(self) -> str:
        return workload.verdict(self.measured, self.goal)


# -- rows -------------------------------------------------------------------------------------------------------------


def netflix(work: Work) -> Iterator[Row]:
    """Two tables of factors, as Spark's ALS has them, as a model that knows its users by id."""
    users = work.users(NETFLIX["users"])
    run = _score_factors(work, users, NETFLIX["movies"])
    what = f"{users:,} users x {NETFLIX['movies']:,} movies, rank 10, top 10"
    reference = "SPARK-20443: 45 s, 120 cores"
    yield Row(f"{what}: users read to Parquet written and checked", reference, run.scoring, "s", "<= 45")
    yield from _others(run)


def slice_(work: Work) -> Iterator[Row]:
    """As many users as a twentieth; everything that grows with users is scaled up, and the rest with it."""
    yield from _beyond_netflix(work, BEYOND["users"] // SLICE)


def beyond(work: Work) -> Iterator[Row]:
    """All of them, in one run."""
    yield from _beyond_netflix(work, BEYOND["users"])


def _beyond_netflix(work: Work, users: int) -> Iterator[Row]:
    users = work.users(users)
    run = _score_factors(work, users, BEYOND["movies"])
    what = f"{BEYOND['users']:,} users x {BEYOND['movies']:,} movies, rank 10, top 10, from {users:,} users"
    minutes = run.scoring * BEYOND["users"] / users / 60
    yield Row(what, "SPARK-20443: 22.4 min, 120 cores", minutes, "min", "<= 30")
    yield from _others(run)


def ml25m(work: Work) -> Iterator[Row]:
    """The default model at 32 dimensions on 25 million ratings, and Spark's ALS of the same vectors."""
    models, folder = _history_models(work), _ratings(work, 1)
    run = _score(work, "--data", folder, "--models", models)
    users = run.json["users"]
    what = f"{users:,} users x {ML25M['movies']:,} movies, d = 32, top 10, seen masked, ratings attached"
    yield Row(f"{what}: users read to Parquet written and checked", "", run.scoring, "s", "<= 90")
    theirs = json.loads(_in_a_process("als_seconds", work)) * users / min(users, ALS_USERS)
    yield Row(
        f"the stage that scores and writes, beside recommendForAllUsers on {min(users, ALS_USERS):,} users, scaled up",
        f"{theirs:,.0f} s",
        theirs / run.stage("score and write recommendations"),
        "x",
        ">= 20",
    )
    yield from _others(run)


def train(work: Work) -> Iterator[Row]:
    """The default preset on all ratings, none held out: from the command typed to the version written."""
    models = work.folder / "models-trained"
    shutil.rmtree(models, ignore_errors=True)
    run = _run(work, "train", "--data", _ratings(work, 1), "--models", models, "--epochs", 1, "--test-share", 0)
    metrics = versions.open_version(str(models)).metrics()
    what = f"train `default` on {metrics.train_rows:,} ratings, one epoch, the whole command"
    yield Row(what, "the notebook: about 70 min at its speed", run.wall / 60, "min", "<= 4")
    yield Row("- closed form", "", metrics.start_seconds, "s", "")
    yield Row("- the epoch, TensorFlow's tracing included", "", sum(metrics.epoch_seconds), "s", "")
    yield Row("peak memory of it", "", run.peak_gib, "GiB", "<= 6")


def csv(work: Work) -> Iterator[Row]:
    """Reading, validating and staging, as the job does it before Spark starts."""
    folder = work.folder / f"csv-{work.scale:g}"
    if not folder.exists():
        _expand(work, folder, work.scale, as_csv=True)
    seconds, rows = json.loads(_in_a_process("csv_seconds", work, str(folder)))
    yield Row(f"{rows:,} ratings read from CSV, validated and staged", "", seconds, "s", "<= 60")


def executors(work: Work) -> Iterator[Row]:
    """One executor of one core, then two, on a standalone cluster, for half the users of MovieLens-25M and for all.

    Each keeps to a core of its own: the JVM and the Python of one executor work beside each other, and would use both.
    What two cores of this machine do beside one is measured in the same minutes: where it is a shared one, it is not 2.
    """
    models = _history_models(work)
    stage = "score and write recommendations"
    taken: dict[int, list[float]] = {1: [], 2: []}  # seconds, by the number of executors
    for share in (0.5, 1):
        folder = _ratings(work, share)
        with tempfile.TemporaryDirectory() as scratch, standalone(Path(scratch), memory="3g", pinned=True) as cluster:
            for count, seconds in taken.items():
                cores = ("--total-executor-cores", str(count), "--executor-memory", "2g")
                run = _score(work, "--data", folder, "--models", models, "--master", cluster["master"], *cores)
                seconds.append(run.stage(stage))
        what = f"two executors beside one, {run.json['users']:,} users: {stage}"
        yield Row(what, f"{taken[1][-1]:.1f} s", taken[1][-1] / taken[2][-1], "x", ">= 1.8")
        yield Row("- with two", "", taken[2][-1], "s", "")
        yield Row("- two processes that sort, beside one", "", _two_cores_beside_one(), "x", "")
    more = {count: after - before for count, (before, after) in taken.items()}
    yield Row("what the second half of the users adds", f"{more[1]:.1f} s", more[1] / more[2], "x", "")


def _two_cores_beside_one() -> float:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        (alone,) = pool.map(_sorts, [0], chunksize=1)
        return sum(pool.map(_sorts, [0, 1], chunksize=1)) / alone


def _sorts(core: int, seconds: float = 10) -> float:
    """How often a second one core sorts a million numbers."""
    os.sched_setaffinity(0, {core})
    numbers = np.random.default_rng(0).random(1_000_000, np.float32)
    done, ends = 0, time.perf_counter() + seconds
    while time.perf_counter() < ends:
        np.sort(numbers)
        done += 1
    return done / seconds


def incremental(work: Work) -> Iterator[Row]:
    """MovieLens-25M's size, the night after: one more rating of every twentieth user."""
    models, folder, later = _history_models(work), _ratings(work, 1), work.folder / f"ratings-later-{work.scale:g}"
    if not later.exists():
        _write_later(folder, later)
    _score(work, "--data", folder, "--models", models, "--incremental")
    run = _score(work, "--data", later, "--models", models, "--incremental", day=NEXT_DAY)
    full = _score(work, "--data", later, "--models", models, day=NEXT_DAY)
    what = (
        f"{run.json['users']:,} users, of whom {run.json['users_scored']:,} are scored anew, beside all: whole command"
    )
    yield Row(what, f"{full.wall:.1f} s", full.wall / run.wall, "x", "")
    for stage, seconds in run.json["seconds"].items():
        yield Row(f"- {stage}", f"{full.stage(stage):.3g} s", seconds, "s", "")


def memory(work: Work) -> Iterator[Row]:
    """The same catalogue for a quarter of the users and for all."""
    models = _history_models(work)
    peaks = []
    for share in (0.25, 1):
        run = _score(work, "--data", _ratings(work, share), "--models", models)
        peaks.append(run.peak_gib)
        what = f"peak memory of the whole job, all processes, {run.json['users']:,} users"
        yield Row(what, "", run.peak_gib, "GiB", "<= 8" if share == 1 else "")
        yield from _processes(run)
    yield Row("four times the users: memory", "", peaks[1] / peaks[0], "x", "<= 1.15")


def forecasts(work: Work) -> Iterator[Row]:
    """What `recmodel capacity` says beside runs of three sizes."""
    models = _history_models(work)
    chosen = settings.load(scoring={"top_n": 10})
    version = versions.open_version(str(models))
    rates = capacity.measure(chosen, _real(work), version, ML25M["movies"])
    runs = [_score(work, "--data", _ratings(work, share), "--models", models) for share in (0.25, 0.5, 1)]
    for run in runs:
        foretold = capacity.forecast(rates, run.json["users"], rates.cores).total_seconds
        taken = sum(run.json["seconds"].values())
        what = f"recmodel capacity for {run.json['users']:,} users: {foretold:,.0f} s; off by"
        yield Row(what, f"{taken:,.0f} s", 100 * abs(foretold / taken - 1), "%", "<= 20")
    if work.chart:
        _draw_growth(runs, rates, work.chart)


def _draw_growth(runs: list[Run], rates: capacity.Rates, path: str) -> None:
    """Seconds by stage and memory by process, as measured (points), beside the forecast (lines)."""
    measured, foretold = [], []
    for run in runs:
        users, memory = run.json["users"], run.json["peak_mib"]
        measured += [(users, "seconds", stage, seconds) for stage, seconds in run.json["seconds"].items()]
        measured += [(users, "GiB", name.replace("_", " "), mib / 1024) for name, mib in memory.items()]
    for users in np.linspace(0, measured[-1][0], 20):
        seconds = capacity.forecast(rates, int(users), rates.cores).seconds
        foretold += [(int(users), "seconds", stage, value) for stage, value in seconds.items()]
    panels = []
    for what in ("seconds", "GiB"):
        marks = []
        for values, mark in (
            (measured, alt.MarkDef(type="point", filled=True, size=60)),
            (foretold, alt.MarkDef("line")),
        ):
            rows = [{"users": u, what: value, "of": of} for u, panel, of, value in values if panel == what]
            chart = alt.Chart(alt.Data(values=rows), mark=mark, width=340, height=260)
            users = alt.X("users:Q").axis(format="~s", tickCount=5)
            marks.append(chart.encode(users, alt.Y(f"{what}:Q"), alt.Color("of:N", title=None)))
        panels.append(alt.layer(*marks))
    whole = alt.hconcat(*panels, padding={"left": 5, "top": 5, "bottom": 5, "right": 30})  # fonts differ in width
    whole.resolve_scale(color="independent").save(path)


def _others(run: Run) -> Iterator[Row]:
    """Where the time went."""
    yield Row("the whole command", "", run.wall, "s", "")
    yield Row("core seconds of all its processes", "", run.core_seconds, "s", "")
    for stage, seconds in run.json["seconds"].items():
        yield Row(f"- {stage}", "", seconds, "s", "")
    yield Row("peak memory of all its processes together", "", run.peak_gib, "GiB", "")
    yield from _processes(run)


def _processes(run: Run) -> Iterator[Row]:
    for process, mib in run.json["peak_mib"].items():
        yield Row(f"- {process.replace('_', ' ')}", "", mib / 1024, "GiB", "")


# -- runs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """One command, with all processes below it."""

    wall: float  # seconds
    peak_gib: float  # proportional set size of all its processes together
    core_seconds: float  # of all its processes


@dataclass(frozen=True)
class Run(Process):
    """One `recmodel score`."""

    json: dict[str, Any]

    def stage(self, name: str) -> float:
        return self.json["seconds"][name]

    @property
    def scoring(self) -> float:
        return sum(self.stage(name) for name in SCORING)


def _score(work: Work, *arguments: object, day: str = DAY) -> Run:
    """Another day than the first comes on top of what is published."""
    output = work.folder / "output"
    if day == DAY:
        shutil.rmtree(output, ignore_errors=True)
    process = _run(work, "score", "--output", output, "--run-date", day, *arguments)
    return Run(**vars(process), json=json.loads((output / f"runs/run_date={day}/run.json").read_text()))


def _run(work: Work, *arguments: object) -> Process:
    environment = {
        "RECMODEL_PATHS__LOGS": str(work.folder / "log"),
        "RECMODEL_SPARK_LOG": str(work.folder / "spark.log"),
    }
    command = [sys.executable, "-m", "recmodel", *map(str, arguments)]
    started = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    watch = _Watch(process.pid)
    while process.poll() is None:
        watch.look()
        time.sleep(0.5)
    wall = time.perf_counter() - started
    if process.returncode:
        said = f"recmodel {arguments[0]} ended with exit code {process.returncode}; see {work.folder}/log"
        raise click.ClickException(said)
    return Process(wall, watch.peak / 2**30, sum(watch.ticks.values()) / os.sysconf("SC_CLK_TCK"))


class _Watch:
    """What a process and all below it hold and use; each shared page is counted once."""

    def __init__(self, root: int) -> None:
        self.root, self.peak = root, 0
        self.ticks: dict[int, int] = {}  # of each process that was seen, when it was seen last

    def look(self) -> None:
        children: dict[int, list[int]] = {}
        ticks = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(folder.name))
                ticks[int(folder.name)] = int(fields[11]) + int(fields[12])
        found = [self.root]
        for pid in found:
            found += children.get(pid, [])
        self.ticks |= {pid: ticks[pid] for pid in found if pid in ticks}
        self.peak = max(self.peak, sum(map(_bytes, found)))


def _bytes(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


# -- data and models --------------------------------------------------------------------------------------------------


def _ratings(work: Work, share: float) -> Path:
    """The ratings of that share of MovieLens-25M's users, with all its movies."""
    folder = work.folder / f"ratings-{share * work.scale:g}"
    if not folder.exists():
        _expand(work, folder, share * work.scale)
    return folder


def _write_later(folder: Path, later: Path) -> None:
    """The same ratings, and one of the first movie by every twentieth user."""
    shutil.copytree(folder, later)
    ratings = pq.read_table(folder / "ratings.parquet")
    users = np.unique(ratings.column("userId"))[::20]
    fields = {"userId": users, "movieId": np.ones_like(users), "rating": np.full(len(users), 4.0)}
    fields["timestamp"] = np.full(len(users), 1_700_000_000)
    new = pa.table({name: fields[name] for name in ratings.column_names}).cast(ratings.schema)
    pq.write_table(pa.concat_tables([ratings, new]), later / "ratings.parquet")


def _expand(work: Work, folder: Path, share: float, *, as_csv: bool = False) -> None:
    sizes = {name: ML25M[name] if name == "movies" else round(ML25M[name] * share) for name in ML25M}
    expand.write(expand.read(work.data), folder, **sizes, seed=0, as_csv=as_csv)


def _real(work: Work) -> pa.Table:
    """Some real users of `_ratings`, as the command takes them."""
    file = pq.ParquetFile(_ratings(work, 1) / "ratings.parquet")
    batches = (pa.RecordBatch.from_arrays(batch.columns, schema=c.RATINGS) for batch in file.iter_batches())
    return capacity.some_users(batches, file.metadata.num_rows, capacity.RATINGS)


def _history_models(work: Work) -> Path:
    """A version of the default architecture at 32 dimensions, for the movies of `_ratings`."""
    models = work.folder / "models-32"
    if not models.exists():
        weights = workload.source(work.data, retrieval_dim=32, rating_dim=32).enlarged(ML25M["movies"])
        _write_model(models, replace(weights, movie_ids=weights.movie_ids + 1), "default")
    return models


def _score_factors(work: Work, users: int, movies: int) -> Run:
    kind = "random" if work.random else "trained"
    models, folder = work.folder / f"models-{users}-{movies}-{kind}", work.folder / f"users-{users}-{movies}"
    if not models.exists():
        _write_model(models, _factors(work, users, movies), "retrieval")
    if not folder.exists():
        real = expand.read(work.data)
        expand.write(real, folder, users=real.users, movies=movies, ratings=len(real.user), seed=0)
        pq.write_table(pa.table({"userId": np.arange(1, users + 1)}), folder / "asked.parquet")
    # Nobody needs a history here: the model knows its users by id, as ALS does.
    return _score(work, "--data", folder, "--models", models, "--users", folder / "asked.parquet", "--min-history", 0)


def _factors(work: Work, users: int, movies: int) -> EmbeddingWeights:
    """Two tables of rank 10: vectors trained on the real ratings, copied with noise, or Gaussian ones."""
    random = np.random.default_rng(0)
    if work.random:
        u, v = (random.standard_normal((count, 10), np.float32) for count in (users, movies))
    else:
        source = workload.source(work.data, retrieval_dim=10, rating_dim=10)
        weights = source.enlarged(movies)
        with tempfile.TemporaryDirectory() as scratch:
            workload.save(weights, Path(scratch))
            model = recommender.Recommender(scratch)
            few = source.histories(len(np.unique(source.ratings[c.USER_ID])), movies).to_pandas()
            real = model.user_embedding(few[c.USER_ID], list(few[c.SEEN_MOVIE_IDS]), list(few[c.SEEN_RATINGS]))
        u, v = capacity.copies(real, users, random), weights.movie_vectors
    kernel = np.zeros((20, 1), np.float32), np.zeros(1, np.float32)  # there is no rating task
    return EmbeddingWeights(np.arange(1, users + 1), u, np.arange(1, movies + 1), v, [kernel], (0.5, 5.0))


def _write_model(models: Path, weights: HistoryWeights | EmbeddingWeights, preset: str) -> None:
    movies = len(weights.movie_ids)
    catalogue = pa.table({
        c.MOVIE_ID: weights.movie_ids,
        c.TITLE: [f"A movie of the catalogue ({i})" for i in range(movies)],
        c.GENRES: [""] * movies, c.IMDB_ID: pa.nulls(movies), c.TMDB_ID: pa.nulls(movies),
    }).cast(c.CATALOGUE)  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        workload.save(weights, Path(scratch) / "saved_model")
        version = versions.write_version(
            str(models), Path(scratch) / "saved_model", catalogue=catalogue, metrics=Metrics(), preset_name=preset,
            preset=presets.load(preset), training={}, data_fingerprint="",
        )  # fmt: skip
    versions.promote(str(models), version.name)


# -- in processes of their own ----------------------------------------------------------------------------------------


def als_seconds(work: Work) -> float:
    """`recommendForAllUsers` to Parquet for a few users, at its better block size, when it is warm."""
    import scoring as peers

    source = workload.source(work.data, retrieval_dim=32, rating_dim=32)
    users, movies = min(ALS_USERS, work.users(ML25M["users"])), ML25M["movies"]
    random = np.random.default_rng(0)
    spark = peers.start_spark()
    factors = [capacity.copies(source.weights.movie_vectors, count, random) for count in (users, movies)]
    als = peers.als_model(spark, *factors)

    def recommend(block_size: int) -> None:
        als._java_obj.setBlockSize(block_size)
        peers.write_parquet(als.recommendForAllUsers(10), work.folder / "als")

    return min(peers.medians({str(size): lambda s=size: recommend(s) for size in (1024, 4096)}, 1).values())


def csv_seconds(work: Work, folder: str) -> tuple[float, int]:
    """Seconds, and rows accepted."""
    limits = settings.load().input
    started = time.perf_counter()
    validation = Validation(limits)
    catalogue = data.read_catalogue(Path(folder), validation)
    batches = data.stream_ratings(Path(folder), catalogue, validation)
    rated = data.stage_ratings(batches, work.folder / "staged.parquet", catalogue.column(c.MOVIE_ID).to_numpy())
    return time.perf_counter() - started, int(rated.counts.sum())


def _in_a_process(function: str, work: Work, *arguments: str) -> str:
    result = work.folder / "result.json"
    given = json.dumps({**asdict(work), "folder": str(work.folder)})
    subprocess.run([sys.executable, __file__, "--in-a-process", function, given, str(result), *arguments], check=True)
    return result.read_text()


def _serve(function: str, given: str, result: str, *arguments: str) -> None:
    fields = json.loads(given)
    work = Work(**{**fields, "folder": Path(fields["folder"])})
    Path(result).write_text(json.dumps(globals()[function](work, *arguments)))


# -- the table --------------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[Work], Iterator[Row]]] = {
    "netflix": netflix, "slice": slice_, "beyond": beyond, "ml25m": ml25m, "train": train, "csv": csv,
    "executors": executors, "incremental": incremental, "memory": memory, "forecasts": forecasts,
}  # fmt: skip


@click.command(help=__doc__)
@click.argument("parts", nargs=-1, required=True, type=click.Choice([*PARTS]))
@click.option("--data", default=settings.SAMPLE, show_default=True, help="Real ratings to start from.")
@click.option("--folder", type=click.Path(path_type=Path), help="Keep data and models here; else they are removed.")
@click.option("--scale", default=1.0, show_default=True, help="Of the number of users and ratings.")
@click.option("--random", is_flag=True, help="Of factors: Gaussian ones, the worst case for an early stop.")
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
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="recmodel-scale-") as scratch:
        work = Work((folder or Path(scratch)).absolute(), data, scale, random, chart)
        work.folder.mkdir(parents=True, exist_ok=True)
        for part in parts:
            rows += PARTS[part](work)
    table = Table(title=f"{os.cpu_count()} cores" + f", {scale:g} of the users" * (scale != 1))
    for heading in ("work", "reference", "measured", "goal", ""):
        table.add_column(heading)
    for row in rows:
        verdict = row.verdict if scale == 1 else ""  # what is fixed weighs too much in a quick look
        table.add_row(row.work, row.reference, f"{row.measured:,.3g} {row.unit}", row.goal, verdict)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    if as_json:
        as_json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--in-a-process"]:
        _serve(*sys.argv[2:])
    else:
        console.run(main)
