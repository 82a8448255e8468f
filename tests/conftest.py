"""Shared pieces: one Spark session, small hand-made inputs, models with exact arithmetic, and one real run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent

MOVIES_CSV = """movieId,title,genres
1,"Matrix, The (1999)",Action|Sci-Fi
2,"Say ""Hi"" (2001)",Comedy
3,Emma (1996),Drama
4,Emma (1996),Drama|Romance
10,Amélie (2001),Comedy|Romance
11,Never Rated (1990),(no genres listed)
"""


def make_ratings(
    users: int = 40, movies: tuple[int, ...] = (1, 2, 3, 4, 10), seed: int = 0, each: tuple[int, int] = (2, 4)
) -> list[tuple]:
    """(user, movie, rating, timestamp): everybody has rated two or three movies, or as many as `each` says."""
    random = np.random.RandomState(seed)
    rows = []
    for user in range(1, users + 1):
        for movie in sorted(random.choice(movies, size=random.randint(*each), replace=False)):
            rows.append((user, int(movie), random.randint(1, 11) / 2, 1_000_000 + len(rows)))
    return rows


def write_movielens(folder: Path, ratings: list[tuple], movies_csv: str = MOVIES_CSV) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "movies.csv").write_text(movies_csv, encoding="utf-8")
    lines = ["userId,movieId,rating,timestamp", *(",".join(str(value) for value in row) for row in ratings)]
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def submit(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """./submit.sh, as its users call it."""
    return subprocess.run(
        [str(ROOT / "submit.sh"), *map(str, arguments)],
        capture_output=True, text=True, timeout=600, check=False, env={**os.environ, **(environment or {})},
    )  # fmt: skip


@contextmanager
def another_process(script: str, *arguments: object) -> Iterator[subprocess.Popen]:
    """A Python process that has come to the end of `script`, and stays there until it is left or killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{script}; print('there', flush=True); sys.stdin.read()", *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "there\n"
        yield process
    finally:
        process.communicate()


@pytest.fixture(scope="session", autouse=True)
def _environment_of_tests(tmp_path_factory):
    # Java's first compiler is enough for runs of seconds, and its second one would take longer than they do.
    os.environ.setdefault("SPARK_SUBMIT_OPTS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
    os.environ["RECMODEL_PATHS__LOGS"] = str(tmp_path_factory.mktemp("logs"))
    os.environ["RECMODEL_SPARK_LOG"] = str(tmp_path_factory.mktemp("spark-log") / "spark.log")


@pytest.fixture(scope="session")
def made_once(tmp_path_factory, worker_id) -> Callable[[str, Callable[[Path], None]], Path]:
    """Folders, by name, that are made by the first process of the tests that needs them, and read by all."""
    own = tmp_path_factory.getbasetemp()
    base = own if worker_id == "master" else own.parent

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder, done = base / name, base / f"{name}.done"
        with FileLock(base / f"{name}.lock"):
            if not done.exists():
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def toy(tmp_path_factory) -> Path:
    """A MovieLens directory of 40 users and 6 movies, two of them with one title, one without ratings."""
    return write_movielens(tmp_path_factory.mktemp("toy") / "data", make_ratings())


@pytest.fixture(scope="session")
def spark():
    from recmodel.spark import session

    spark = session.start("tests")
    assert spark.sparkContext.master == "local[*]"
    yield spark
    spark.stop()


@pytest.fixture
def score_here(spark, monkeypatch) -> Callable:
    """jobs/score_all.py as a function: in this process, and in the tests' Spark session, which it may not end."""
    from recmodel.jobs import score_all

    monkeypatch.setattr(type(spark), "stop", lambda self: None)

    def score(*arguments: object) -> None:
        score_all.score([str(argument) for argument in arguments], standalone_mode=False)

    return score


def exact_weights(users: int, movies: int, dim: int = 3, seed: int = 0):
    """Weights that are small multiples of 1/2, so that float32 computes them without rounding and ties are real."""
    from recmodel.models.embedding.model import EmbeddingWeights

    random = np.random.RandomState(seed)

    def halves(*shape: int) -> np.ndarray:
        return (random.randint(-3, 4, size=shape) / 2).astype(np.float32)

    return EmbeddingWeights(
        user_ids=np.arange(1, users + 1, dtype=np.int64) * 3,
        user_vectors=halves(users, dim),
        movie_ids=np.sort(random.choice(10 * movies, size=movies, replace=False)).astype(np.int64) + 1,
        movie_vectors=halves(movies, dim),
        rating_layers=[(halves(2 * dim, 5), halves(5)), (halves(5, 4), halves(4)), (halves(4, 1), halves(1))],
        rating_range=(0.5, 5.0),
    )


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """(Weights, Recommender) pairs by catalogue size, saved and loaded again."""
    from recmodel.models import saved_model
    from recmodel.scoring import recommender

    made = {}
    for movies in (1, 7, 60):
        weights = exact_weights(users=20, movies=movies, seed=movies)
        folder = tmp_path_factory.mktemp(f"exact-{movies}") / "saved_model"
        saved_model.save(weights, folder)
        made[movies] = SimpleNamespace(weights=weights, model=recommender.Recommender(folder), folder=folder)
    return made


@pytest.fixture(scope="session")
def toy_models(toy, made_once) -> Path:
    """A model directory with a version of each preset, trained on the toy data; CURRENT is `joint`. For all to read."""

    def make(models: Path) -> None:
        for preset in ("rating", "retrieval", "ranking", "default", "joint"):
            result = subprocess.run(
                [sys.executable, ROOT / "jobs/train.py", "--data", toy, "--models", models, "--preset", preset],
                capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            assert result.returncode == 0, result.stderr

    return made_once("toy-models", make)


@pytest.fixture(scope="session")
def nightly(made_once) -> SimpleNamespace:
    """The real thing, once: `./submit.sh nightly` on real MovieLens ratings, from nothing to published tables."""

    def make(base: Path) -> None:
        result = submit(
            "nightly", "--data", "sample", "--models", base / "models", "--output", base / "output",
            "--run-date", "2026-01-31", "--master", "local[2]",
            environment={"RECMODEL_MONITORING__TEXTFILE": str(base / "metrics/recmodel.prom")},
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        (base / "said.json").write_text(json.dumps([result.stdout, result.stderr]))

    base = made_once("nightly", make)
    stdout, stderr = json.loads((base / "said.json").read_text())
    output = base / "output"
    run = json.loads((output / "runs/run_date=2026-01-31/run.json").read_text())
    return SimpleNamespace(models=base / "models", output=output, run=run, stdout=stdout, stderr=stderr,
                           metrics=base / "metrics/recmodel.prom")  # fmt: skip
