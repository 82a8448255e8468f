"""Capacity: what a nightly run takes for any number of users and cores, from rates measured on this machine.

The rates come from two whole runs of `recmodel score` on users like the real ones, few and more, each in processes of
its own. A stage of a run is a line:

    seconds = fixed + per_user × users × (1, or cores measured / cores, where Spark does the work)
    core hours = cores × the sum of all seconds / 3600
    cost = core hours × price
    memory = driver Python + driver JVM + a worker for each core + the JVM of each executor; see `resources`
    broadcast = the packed model, to each executor once
    Parquet = bytes measured per user × users

The cores are taken to be like those here, and to share the work evenly. A catalogue of another size is made of noisy
copies of the model's movies, which are as long and as clustered as training made them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recmodel import formatting
from recmodel import schemas as c
from recmodel.arrays import hashes
from recmodel.data import feedback as feedbacks
from recmodel.data import ids as identifiers
from recmodel.data import movielens
from recmodel.data.catalogue import with_delisted
from recmodel.data.ids import Labels
from recmodel.data.validation import Validation
from recmodel.errors import EXIT_CODES, ScoringFailed, UsageRejected
from recmodel.models import architectures, presets, versions
from recmodel.pipeline import preflight, registry, sources
from recmodel.records import EXPLICIT, Metrics, RunRecord
from recmodel.schemas import TEXT, IdKind
from recmodel.settings import Settings
from recmodel.spark import resources
from recmodel.tables.output import open_output

if TYPE_CHECKING:
    from recmodel.models.history.weights import HistoryWeights

# What the driver does alone; every other stage is Spark's.
DRIVER_STAGES = {
    "check the model",
    "read the catalogue",
    "read and check the input",
    "place new movies",
    "start Spark",
    "find similar movies",
    "hold the run before against new ratings",
    "publish",
}
RATINGS = 1_000_000  # about this many real ones are copied to make the users to measure with
FEW, MORE = 1_000, 80_000  # users of the two runs; far apart, as a line through both extends their noise
NOISE = 0.3  # of a copied vector, relative to its length
_DAY = "2000-01-01"


@dataclass(frozen=True)
class Rates:
    """What two runs measured of this machine, this model and these settings."""

    fixed: dict[str, float]  # seconds of each stage, however many users
    per_user: dict[str, float]  # seconds of each stage, on `cores` cores where Spark does the work
    cores: int
    movies: int
    ratings_per_user: float
    top_n: int
    rank_by: str
    model_bytes: int
    parquet_bytes_per_user: float
    driver_python_mib: int
    driver_jvm_mib: int
    worker_mib: int
    in_numpy: bool = False  # see `resources.needs`
    noun: str = "ratings"  # or interactions


@dataclass(frozen=True)
class Forecast:
    """What one run would take."""

    seconds: dict[str, float]  # by stage
    core_hours: float
    parquet_bytes: float
    broadcast_bytes: int
    memory_mib: dict[str, float]  # by kind of process, all of them together
    planned_worker_bytes: int  # what a Python worker is planned with; see `resources`
    driver_stages: frozenset[str] = frozenset(DRIVER_STAGES)

    @property
    def total_seconds(self) -> float:
        """The seconds of all stages."""
        return sum(self.seconds.values())


def forecast(rates: Rates, users: int, cores: int, cores_of_executor: int = 0, block_mib: int = 64) -> Forecast:
    """Return what a run for that many users takes on that many cores.

    Args:
        cores_of_executor: 0: one machine, whose driver is the only JVM.
        block_mib: see `scoring.block_mib` in the settings.
    """
    faster = rates.cores / cores
    seconds = {
        stage: rates.fixed[stage] + rate * users * (1 if stage in DRIVER_STAGES else faster)
        for stage, rate in rates.per_user.items()
    }
    executors = -(-cores // cores_of_executor) if cores_of_executor else 0
    return Forecast(
        seconds=seconds,
        core_hours=cores * sum(seconds.values()) / 3600,
        parquet_bytes=rates.parquet_bytes_per_user * users,
        broadcast_bytes=rates.model_bytes * max(1, executors),
        memory_mib={
            "driver Python": rates.driver_python_mib,
            "driver JVM": rates.driver_jvm_mib,  # here it did an executor's work too
            f"{cores} workers": cores * rates.worker_mib,
            **({f"{executors} executor JVMs": executors * rates.driver_jvm_mib} if executors else {}),
        },
        planned_worker_bytes=resources.needs(
            rates.model_bytes, rates.movies, block_mib << 20, in_numpy=rates.in_numpy
        ).worker,
    )


def lines(few: RunRecord, more: RunRecord) -> tuple[dict[str, float], dict[str, float]]:
    """Return the seconds of each stage, fixed and per user, as a line through two runs; neither is below 0."""
    fixed, per_user = {}, {}
    for stage, seconds in more.seconds.items():
        slope = max(0.0, (seconds - few.seconds[stage]) / (more.users - few.users))
        per_user[stage] = slope
        fixed[stage] = max(0.0, seconds - slope * more.users)
    return fixed, per_user


# -- measuring ---------------------------------------------------------------------------------------------------------


def measure(settings: Settings, model_version: str | None = None, movies: int | None = None) -> Rates:
    """Score a few users and then more of them, as `recmodel score` does, on all cores of this machine.

    Args:
        model_version: None: the current one.
        movies: of the catalogue to score; None: the model's own. Another number is for the architecture history only.

    Raises:
        UsageRejected: the model's catalogue cannot be made larger or smaller.
        ScoringFailed: a run failed.
    """
    preflight.check(settings, spark=True)
    version = versions.open_version(settings.paths.models, registry.find(settings, model_version).name)
    folder = sources.input_dir(settings.paths.data, settings.paths.sample, settings.input)
    validation = Validation(settings.input, identifiers.for_model(folder, settings.input, version.name, version.ids))
    known = version.catalogue()
    catalogue = with_delisted(movielens.read_catalogue(folder, validation), known)
    feedback = feedbacks.for_model(folder, settings.input, version.name, version.feedback)
    batches = movielens.stream_ratings(folder, catalogue, validation, feedback)
    ratings = some_users(batches, movielens.count_ratings(folder), RATINGS)
    of_model = identifiers.with_movie_numbers(known.select([c.MOVIE_ID]), catalogue)
    ratings = ratings.join(of_model, c.MOVIE_ID, join_type="left semi")
    ratings = identifiers.renumbered(ratings, catalogue, known)
    return measure_with(settings, ratings, version, movies or known.num_rows)


def measure_with(settings: Settings, ratings: pa.Table, version: versions.ModelVersion, movies: int) -> Rates:
    """Measure with copies of the users of `ratings` (`schemas.RATINGS`); see `measure`."""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="recmodel-capacity-") as scratch:
        folder = Path(scratch)
        ids = _prepare_model(folder / "models", version, movies, settings.training.presets)
        ratings, catalogue, _ = identifiers.number(ratings, version.catalogue())
        real_ids = catalogue.column(c.MOVIE_ID).to_numpy()
        value = c.RATING if version.feedback == EXPLICIT else settings.input.weight
        runs = []
        for users in (FEW, MORE):
            data = folder / f"{users}-users"
            copied = write_users(data, ratings, real_ids, ids, users, value, version.ids.user)
            runs.append(_run(folder, data, cores, settings.scoring.top_n))
        few, more = runs
        written = (folder / f"output-{MORE}-users").glob(f"[a-z]*/run_date={_DAY}/*.parquet")
        size = sum(path.stat().st_size for path in written)
        model = versions.open_version(str(folder / "models"))
        model_bytes = model.saved_model_bytes
        in_numpy = architectures.is_scored_in_numpy(model.architecture, model.saved_model)
    fixed, per_user = lines(few, more)
    peak = more.peak_mib
    return Rates(
        fixed=fixed, per_user=per_user, cores=cores, movies=movies, ratings_per_user=copied / MORE,
        top_n=settings.scoring.top_n, rank_by=more.rank_by, model_bytes=model_bytes,
        parquet_bytes_per_user=size / MORE, in_numpy=in_numpy,
        driver_python_mib=peak["driver_python"], driver_jvm_mib=peak["driver_jvm"], worker_mib=peak["largest_worker"],
        noun=more.noun,
    )  # fmt: skip


def some_users(batches: Iterable[pa.RecordBatch], rows: int, most: int) -> pa.Table:
    """Return all ratings of some users from all over the input (`schemas.RATINGS`), about `most` of `rows` ratings.

    The first users of a file may rate more, or less, than the others, so users are chosen by a hash of user_id
    (Fibonacci's: Knuth, "The Art of Computer Programming" 3, 6.4).
    """
    share = max(1, -(-rows // most))
    taken = []
    for batch in batches:
        user_id = batch.column(c.USER_ID).to_numpy(zero_copy_only=False)
        mixed = (hashes(user_id) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
        taken.append(batch.filter(pa.array(mixed % np.uint64(share) == 0)))
    return pa.Table.from_batches(taken)


def copies(vectors: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Return [count, d] noisy copies of the vectors, in turns."""
    of = np.arange(count) % len(vectors)
    noise = random.standard_normal((count, vectors.shape[1]), np.float32) / np.sqrt(vectors.shape[1])
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors[of] + NOISE * length[of] * noise).astype(np.float32)


def enlarged(weights: HistoryWeights, movies: int, seed: int = 0) -> HistoryWeights:
    """Return the model with `movies` movies, noisy copies in turns, whose ids are 0, 1, 2, …"""
    random = np.random.default_rng(seed)
    successors = weights.successors
    if successors is not None:
        row = np.resize(successors.row, (movies, successors.row.shape[1]))
        row = (row + len(weights.movie_ids) * random.integers(0, 2**16, row.shape)) % movies  # of any of the copies
        strength = np.resize(successors.strength, row.shape)
        successors = successors._replace(row=row.astype(np.int32), strength=strength)
    another_day = weights.another_day
    if another_day is not None:
        another_day = another_day._replace(trend=np.resize(another_day.trend, movies))
    return replace(
        weights,
        successors=successors,
        another_day=another_day,
        movie_ids=np.arange(movies),
        seen_vectors=copies(weights.seen_vectors, movies, random),
        movie_vectors=copies(weights.movie_vectors, movies, random),
        traits=copies(weights.traits, movies, random),
        movie_bias=np.resize(weights.movie_bias, movies),
    )


def _prepare_model(models: Path, version: versions.ModelVersion, movies: int, own_presets: str) -> np.ndarray:
    """Make the version, or a copy with that many movies, CURRENT of `models`; return the ids of its movies.

    Args:
        own_presets: see `training.presets`.
    """
    own = version.catalogue()
    if movies == own.num_rows:
        models.mkdir()
        (models / version.name).symlink_to(version.path)
        (models / "CURRENT").write_text(f"{version.name}\n")
        return own.column(c.MOVIE_ID).to_numpy()
    from recmodel.models import saved_model
    from recmodel.models.history.towers import Towers, read_weights

    try:
        weights = enlarged(read_weights(version.saved_model), movies)
    except ValueError:
        raise UsageRejected(
            f"model {version.name} is of an architecture whose catalogue is fixed; leave out --movies"
        ) from None
    ids, labels = weights.movie_ids, Labels()
    if version.ids.movie == TEXT:
        labels = Labels(movies=pa.array([f"movie-{number:09}" for number in ids]))
        ids = labels.movie_ids(ids)
    catalogue = pa.table({
        c.MOVIE_ID: ids, c.TITLE: pa.array(np.resize(own.column(c.TITLE).to_numpy(), movies)),
        c.GENRES: [""] * movies, c.IMDB_ID: pa.nulls(movies), c.TMDB_ID: pa.nulls(movies),
    }).cast(c.with_ids(c.CATALOGUE, version.ids))  # fmt: skip
    name, feedback = version.manifest.preset, version.feedback
    with tempfile.TemporaryDirectory() as scratch:
        saved_model.save(Towers(weights), Path(scratch) / "saved_model", version.ids, labels)
        made = versions.write_version(
            str(models), Path(scratch) / "saved_model", catalogue=catalogue, metrics=Metrics(),
            preset_name=name, preset=presets.for_feedback(presets.load(name, own_presets), name, feedback),
            training={}, data_fingerprint="", feedback=feedback, ids=version.ids,
        )  # fmt: skip
    versions.promote(str(models), made.name)
    return ids


def write_users(
    folder: Path, ratings: pa.Table, real_ids: np.ndarray, ids: np.ndarray, users: int, value: str, kind: IdKind
) -> int:
    """Write a MovieLens directory of copied users, each movie one of its copies; return the number of ratings.

    Args:
        real_ids: the int64 ids of the movies that are rated, ascending.
        ids: those of the movies to be rated.
        value: what the column of ratings, or of weights, is called; empty: there is none.
        kind: of the users' ids.
    """
    by_user = ratings.sort_by(c.USER_ID)
    real, first, count = np.unique(by_user.column(c.USER_ID).to_numpy(), return_index=True, return_counts=True)
    who = np.arange(users) % len(real)
    ends = np.cumsum(count[who])
    at = np.repeat(first[who] - (ends - count[who]), count[who]) + np.arange(ends[-1])
    row = np.searchsorted(real_ids, by_user.column(c.MOVIE_ID).to_numpy()[at]) % len(ids)
    copies_of_movie = (len(ids) - row - 1) // len(real_ids) + 1
    copy = np.random.default_rng(0).integers(0, copies_of_movie)
    user_ids = pa.array([f"user-{number:09}" for number in range(users)] if kind == TEXT else range(users))
    rated = pa.table({
        c.USER_ID: user_ids.take(pa.array(np.repeat(np.arange(users), count[who]))),
        c.MOVIE_ID: ids[row + copy * len(real_ids)],
        c.TIMESTAMP: by_user.column(c.TIMESTAMP).to_numpy()[at],
        **({value: by_user.column(c.RATING).to_numpy()[at]} if value else {}),
    })  # fmt: skip
    folder.mkdir()
    pq.write_table(rated, folder / "ratings.parquet")
    titles = pa.array(["A movie"] * len(ids))
    pq.write_table(pa.table({c.MOVIE_ID: ids, c.TITLE: titles, c.GENRES: titles}), folder / "movies.parquet")
    return len(at)


def _run(folder: Path, data: Path, cores: int, top_n: int) -> RunRecord:
    """Run `recmodel score` on a directory; return its run.json."""
    output = folder / f"output-{data.name}"
    command: Iterable[object] = (
        sys.executable, "-m", "recmodel", "score", "--master", f"local[{cores}]", "--data", data,
        "--models", folder / "models", "--output", output, "--run-date", _DAY, "--top-n", top_n,
    )  # fmt: skip
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False,
                          env=registry.switched_off(preflight.without_working_directory()))  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        how = last if last and done.returncode in EXIT_CODES else f"it {formatting.ending(done.returncode)}"
        raise ScoringFailed(f"a run to measure failed: {how}")
    return open_output(output).read_run(date.fromisoformat(_DAY))


def save(rates: Rates, path: Path) -> None:
    """Write the rates for `load`, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(rates), indent=2) + "\n")


def load(path: Path) -> Rates:
    """Return the rates that were saved.

    Raises:
        UsageRejected: the file holds none.
    """
    try:
        return Rates(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UsageRejected(f"{path} holds no rates ({error}); leave out --rates to measure them") from None
