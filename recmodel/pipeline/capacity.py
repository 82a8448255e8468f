"""Capacity: what a nightly run takes for so many users on so many cores, from rates measured on this machine.

Takes real ratings and a model version; gives `Rates`, and from those a `Forecast`. The rates come from two whole runs
of `recmodel score` on users like the real ones, few and more, each in processes of its own. A stage of a run is a line:

    seconds = fixed + per_user × users × (1, or cores measured / cores, where Spark does the work)
    core hours = cores × the sum of all seconds / 3600
    cost = core hours × price
    memory = driver Python + driver JVM + a worker for each core + the JVM of each executor; see `resources`
    broadcast = the packed model, to each executor once
    Parquet = bytes measured a user × users

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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recmodel import schemas as c
from recmodel import settings
from recmodel.errors import ScoringFailed, UsageRejected
from recmodel.models import versions

if TYPE_CHECKING:
    from recmodel.models.history.model import HistoryWeights

# What the driver does alone; every other stage is Spark's.
ALONE = {"check the model", "read and check the input", "start Spark", "publish"}
RATINGS = 1_000_000  # about so many real ones: of them the users to measure with are made
FEW, MORE = 1_000, 80_000  # users of the two runs: the line through them carries their noise as far as it is drawn
NOISE = 0.3  # of a copied vector, beside its length
_DAY = "2000-01-01"


@dataclass(frozen=True)
class Rates:
    """What two runs told of this machine, this model and these settings."""

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


@dataclass(frozen=True)
class Forecast:
    """Of one run."""

    seconds: dict[str, float]  # by stage
    core_hours: float
    parquet_bytes: float
    broadcast_bytes: int
    memory_mib: dict[str, float]  # by kind of process, all of them together

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())


def forecast(rates: Rates, users: int, cores: int, cores_of_executor: int = 0) -> Forecast:
    """What a run for so many users takes on so many cores.

    Args:
        cores_of_executor: 0: one machine, whose driver is the only JVM.
    """
    faster = rates.cores / cores
    seconds = {
        stage: rates.fixed[stage] + rate * users * (1 if stage in ALONE else faster)
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
    )


def lines(few: dict[str, Any], more: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """(fixed, per user) of each stage, through the `seconds` of two run.json; neither is below 0."""
    fixed, per_user = {}, {}
    for stage, seconds in more["seconds"].items():
        slope = max(0.0, (seconds - few["seconds"][stage]) / (more["users"] - few["users"]))
        per_user[stage] = slope
        fixed[stage] = max(0.0, seconds - slope * more["users"])
    return fixed, per_user


# -- measuring ---------------------------------------------------------------------------------------------------------


def measure(chosen: settings.Settings, ratings: pa.Table, version: versions.ModelVersion, movies: int) -> Rates:
    """Scores a few users and then more of them, as `recmodel score` does, on all cores of this machine.

    Args:
        ratings: `columns.RATINGS` of real users, who are repeated.
        movies: of the catalogue to score; a number other than the model's is for the default architecture only.

    Raises:
        UsageRejected: the model's catalogue cannot be made larger or smaller.
        ScoringFailed: a run failed.
    """
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="recmodel-capacity-") as scratch:
        folder = Path(scratch)
        ids = _prepare_model(folder / "models", version, movies)
        runs = []
        for users in (FEW, MORE):
            data = folder / f"{users}-users"
            rated = _write_users(data, ratings, version.catalogue().column(c.MOVIE_ID).to_numpy(), ids, users)
            runs.append(_run(folder, data, cores, chosen.scoring.top_n))
        few, more = runs
        written = (folder / f"output-{MORE}-users").glob(f"[a-z]*/run_date={_DAY}/*.parquet")
        size = sum(path.stat().st_size for path in written)
        packed = versions.open_version(str(folder / "models")).saved_model
        model = sum(path.stat().st_size for path in packed.rglob("*") if path.is_file())
    fixed, per_user = lines(few, more)
    peak = more["peak_mib"]
    return Rates(
        fixed=fixed, per_user=per_user, cores=cores, movies=movies, ratings_per_user=rated / MORE,
        top_n=chosen.scoring.top_n, rank_by=more["rank_by"], model_bytes=model, parquet_bytes_per_user=size / MORE,
        driver_python_mib=peak["driver_python"], driver_jvm_mib=peak["driver_jvm"], worker_mib=peak["largest_worker"],
    )  # fmt: skip


def some_users(batches: Iterable[pa.RecordBatch], rows: int, most: int) -> pa.Table:
    """All ratings of some users from all over the input (`columns.RATINGS`), about `most` of `rows` ratings.

    The first users of a file may rate more, or less, than the others. Who is taken follows from a hash of user_id
    (Fibonacci's: Knuth, "The Art of Computer Programming" 3, 6.4).
    """
    share = max(1, -(-rows // most))
    taken = []
    for batch in batches:
        mixed = (batch.column(c.USER_ID).to_numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
        taken.append(batch.filter(pa.array(mixed % np.uint64(share) == 0)))
    return pa.Table.from_batches(taken, schema=c.RATINGS)


def copies(vectors: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """[count, d] noisy copies of the vectors, in turns."""
    of = np.arange(count) % len(vectors)
    noise = random.standard_normal((count, vectors.shape[1]), np.float32) / np.sqrt(vectors.shape[1])
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors[of] + NOISE * length[of] * noise).astype(np.float32)


def enlarged(weights: HistoryWeights, movies: int, seed: int = 0) -> HistoryWeights:
    """The model with `movies` movies, noisy copies in turns, whose ids are 0, 1, 2, …"""
    random = np.random.default_rng(seed)
    return replace(
        weights,
        movie_ids=np.arange(movies),
        seen_vectors=copies(weights.seen_vectors, movies, random),
        movie_vectors=copies(weights.movie_vectors, movies, random),
        traits=copies(weights.traits, movies, random),
        movie_bias=np.resize(weights.movie_bias, movies),
    )


def _prepare_model(models: Path, version: versions.ModelVersion, movies: int) -> np.ndarray:
    """Makes the version, or one with so many movies, CURRENT of `models`; gives the ids of its movies."""
    own = version.catalogue()
    if movies == own.num_rows:
        models.mkdir()
        (models / version.name).symlink_to(version.path)
        (models / "CURRENT").write_text(f"{version.name}\n")
        return own.column(c.MOVIE_ID).to_numpy()
    from recmodel.models import saved_model

    weights = enlarged(_weights(version), movies)
    catalogue = pa.table({
        c.MOVIE_ID: weights.movie_ids, c.TITLE: pa.array(np.resize(own.column(c.TITLE).to_numpy(), movies)),
        c.GENRES: [""] * movies, c.IMDB_ID: pa.nulls(movies), c.TMDB_ID: pa.nulls(movies),
    }).cast(c.CATALOGUE)  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        saved_model.save(weights, Path(scratch) / "saved_model")
        made = versions.write_version(
            str(models), Path(scratch) / "saved_model", catalogue=catalogue, metrics={},
            preset_name=version.manifest["preset"], preset=settings.preset(version.manifest["preset"]), training={},
            data_fingerprint="",
        )  # fmt: skip
    versions.promote(str(models), made.name)
    return weights.movie_ids


def _weights(version: versions.ModelVersion) -> HistoryWeights:
    """The arrays in a SavedModel of the default architecture; what only shifts its numbers is made up.

    Raises:
        UsageRejected: it is of another architecture.
    """
    from recmodel.tf import tf

    stored = tf.train.load_checkpoint(str(version.saved_model / "variables" / "variables"))

    def array(name: str) -> np.ndarray:
        return stored.get_tensor(f"{name}/.ATTRIBUTES/VARIABLE_VALUE")

    if not stored.has_tensor("_towers/seen_vectors/.ATTRIBUTES/VARIABLE_VALUE"):
        raise UsageRejected(f"model {version.name} is of an architecture whose catalogue is fixed; leave out --movies")
    from recmodel.models.history.model import HistoryWeights

    return HistoryWeights(
        movie_ids=array("_movies/ids"), seen_vectors=array("_towers/seen_vectors"),
        average_seen=array("_towers/_prior"), movie_vectors=array("_towers/movie_vectors"),
        traits=array("_towers/_traits")[:-1], movie_bias=array("_towers/_movie_bias"),
        ridge=np.diag(array("_towers/_ridge")), mean_rating=3.5, liking=0.2, prior_weight=1.0, rating_range=(0.5, 5.0),
    )  # fmt: skip


def _write_users(folder: Path, ratings: pa.Table, real_ids: np.ndarray, ids: np.ndarray, users: int) -> int:
    """A MovieLens directory of so many users: real ones in turns, each movie one of its copies; how many ratings."""
    by_user = ratings.sort_by(c.USER_ID)
    real, first, count = np.unique(by_user.column(c.USER_ID).to_numpy(), return_index=True, return_counts=True)
    who = np.arange(users) % len(real)
    ends = np.cumsum(count[who])
    at = np.repeat(first[who] - (ends - count[who]), count[who]) + np.arange(ends[-1])
    row = np.searchsorted(real_ids, by_user.column(c.MOVIE_ID).to_numpy()[at]) % len(ids)
    of_them = (len(ids) - row - 1) // len(real_ids) + 1
    copy = np.random.default_rng(0).integers(0, of_them)
    rated = pa.table({
        c.USER_ID: np.repeat(np.arange(users), count[who]), c.MOVIE_ID: ids[row + copy * len(real_ids)],
        c.RATING: by_user.column(c.RATING).to_numpy()[at], c.TIMESTAMP: by_user.column(c.TIMESTAMP).to_numpy()[at],
    })  # fmt: skip
    folder.mkdir()
    pq.write_table(rated, folder / "ratings.parquet")
    titles = pa.array(["A movie"] * len(ids))
    pq.write_table(pa.table({c.MOVIE_ID: ids, c.TITLE: titles, c.GENRES: titles}), folder / "movies.parquet")
    return len(at)


def _run(folder: Path, data: Path, cores: int, top_n: int) -> dict[str, Any]:
    """Its run.json."""
    output = folder / f"output-{data.name}"
    command: Iterable[object] = (
        sys.executable, "-m", "recmodel", "score", "--master", f"local[{cores}]", "--data", data,
        "--models", folder / "models", "--output", output, "--run-date", _DAY, "--top-n", top_n,
    )  # fmt: skip
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ScoringFailed(f"a run to measure failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return json.loads((output / f"runs/run_date={_DAY}/run.json").read_text())


def save(rates: Rates, path: Path) -> None:
    """Writes the rates for `load`, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(rates), indent=2) + "\n")


def load(path: Path) -> Rates:
    """The rates that were saved.

    Raises:
        UsageRejected: it is no file of rates.
    """
    try:
        return Rates(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UsageRejected(f"{path} holds no rates ({error}); leave out --rates to measure them") from None
