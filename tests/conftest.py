"""Shared pieces: one Spark session, small hand-made inputs, models with exact arithmetic, and one real run."""

import json
import logging
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings as hypothesis_settings
from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
from pyarrow import fs
from support.exact import exact_weights
from support.inputs import make_ratings, write_movielens
from support.processes import ROOT, here
from support.runs import SMALL_PARTS
from support.terminal import on_a_terminal
from werkzeug.serving import make_server
from xdist.scheduler import LoadScopeScheduling

import recmodel

# How long one example takes says nothing while several processes share the machine.
hypothesis_settings.register_profile("suite", deadline=None)
hypothesis_settings.register_profile("thorough", deadline=None, max_examples=10_000)  # --hypothesis-profile thorough
hypothesis_settings.load_profile("suite")

# -- who runs what ----------------------------------------------------------------------------------------------------

TAKE_LONG = ("test_output_contract.py", "test_reading.py", "test_text.py")


@cache
def _asks_for(path: Path, *fixtures: str) -> bool:
    """Whether a test, or a fixture, in that file has an argument of one of those names."""
    return re.search(rf"\b({'|'.join(fixtures)})[,)]", path.read_text(encoding="utf-8")) is not None


def _of_spark(path: Path) -> bool:
    return _asks_for(path, "spark", "score_here")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts first what takes long; of Spark's, last what runs in its Python workers, which end after an idle minute."""

    def order(item: pytest.Item) -> tuple[bool, int]:
        if _of_spark(item.path):
            return False, _asks_for(item.path, "toy_models", "score_here")
        if _asks_for(item.path, "nightly"):
            return True, 0  # made while Spark's do without it
        takes_long = item.nodeid.startswith(("tests/system/", "tests/models/"))
        return True, 1 if takes_long else 2 if item.path.name in TAKE_LONG else 3

    items.sort(key=order)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Each file is run by one process, and all that need a Spark session, or the same trainings, by the same."""

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            if _of_spark(config.rootpath / file):
                return "spark"
            return "models" if file.startswith("tests/models/") else file

    return ByFile(config, log)


# -- fixtures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def _environment_of_tests(tmp_path_factory):
    # Java's first compiler is enough for runs of seconds, and its second one would take longer than they do.
    os.environ.setdefault("SPARK_SUBMIT_OPTS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
    os.environ["RECMODEL_PATHS__LOGS"] = str(tmp_path_factory.mktemp("logs"))
    os.environ["RECMODEL_PATHS__BACKTEST"] = str(tmp_path_factory.mktemp("backtest"))  # which `forget` looks into
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
    """The one session of this process. A command that is run in it (`support.processes.here`) does not end it."""
    from recmodel.spark import session

    spark = session.start("tests")
    assert spark.sparkContext.master == "local[*]"
    for name, value in {
        "spark.sql.shuffle.partitions": 2,  # as small as what the tests shuffle
        # Java for each plan takes longer to compile than a few rows to interpret. Runs of tests/system that have
        # processes of their own have it, as users do; and so do the queries of conf/sql.
        "spark.sql.codegen.wholeStage": False, "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    }.items():  # fmt: skip
        spark.conf.set(name, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(spark), "stop", lambda self: None)
        yield spark
    spark.stop()


@pytest.fixture(scope="session")
def score_here(spark) -> Callable:
    """`recmodel score …`, in this process, as it goes well."""

    def score(*arguments: object) -> subprocess.CompletedProcess:
        result = here("score", *arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        return result

    return score


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """(Weights, Recommender) pairs by catalogue size, saved and loaded again."""
    from recmodel.models import saved_model
    from recmodel.models.embedding.towers import Towers
    from recmodel.scoring import recommender

    made = {}
    for movies in (1, 7, 60):
        weights = exact_weights(users=20, movies=movies, seed=movies)
        folder = tmp_path_factory.mktemp(f"exact-{movies}") / "saved_model"
        saved_model.save(Towers(weights), folder)
        made[movies] = SimpleNamespace(weights=weights, model=recommender.Recommender(folder), folder=folder)
    return made


@pytest.fixture(scope="session")
def toy_models(toy, made_once) -> Path:
    """A model directory with a version for each task and for both, trained on the toy data. For all to read.

    CURRENT is `joint`.
    """

    def make(models: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RECMODEL_TRAINING__REFIT", "false")  # as tests ask for no more than one fit
            for preset in ("rating", "retrieval", "default", "joint"):
                recmodel.train(toy, models, preset=preset, promote=True)

    return made_once("toy-models", make)


@pytest.fixture(scope="session")
def nightly(made_once) -> SimpleNamespace:
    """The real thing, once: `./submit.sh nightly` on real MovieLens ratings, from nothing to published tables.

    On a terminal; `drawn` is what it shows there. In small parts, as runs that are disturbed are compared with it.
    """

    def make(base: Path) -> None:
        code, drawn = on_a_terminal(
            ROOT / "submit.sh", "nightly", "--data", "sample", "--models", base / "models", "--output", base / "output",
            "--run-date", "2026-01-31", "--master", "local[2]",
            environment={"RECMODEL_MONITORING__TEXTFILE": str(base / "metrics/recmodel.prom"), **SMALL_PARTS},
        )  # fmt: skip
        assert code == 0, drawn
        (base / "drawn.txt").write_bytes(drawn.encode())

    base = made_once("nightly", make)
    output = base / "output"
    run = json.loads((output / "runs/run_date=2026-01-31/run.json").read_text())
    return SimpleNamespace(models=base / "models", output=output, run=run, metrics=base / "metrics/recmodel.prom",
                           drawn=(base / "drawn.txt").read_bytes().decode())  # fmt: skip


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server on loopback, with one bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, create_backend_app("s3"), threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def s3(s3_server) -> Iterator[str]:
    """The address of the bucket; who may use it is in the environment alone, for as long as a file's tests run."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": s3_server, "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "open-sesame", "AWS_REGION": "us-east-1",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        fs.S3FileSystem(endpoint_override=s3_server, allow_bucket_creation=True).create_dir("recmodel-test")
        yield "s3://recmodel-test"
