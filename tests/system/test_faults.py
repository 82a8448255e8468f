"""Runs that are killed or starved in the middle, on real Spark: the tables are right afterwards, or untouched."""

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from support.cluster import standalone
from support.processes import ROOT

from recmodel import schemas as c

DAY = "2026-02-01"
SMALL_PARTS = {"RECMODEL_SCORING__USERS_PER_TASK": "20"}  # 671 users in 34 partitions


class Score:
    """`./submit.sh score` on the sample, in a process group of its own."""

    def __init__(self, models: Path, output: Path, *arguments: str, **environment: str) -> None:
        self.output = output
        self.process = subprocess.Popen(
            [ROOT / "submit.sh", "score", "--data", "sample", "--models", models, "--output", output,
             "--run-date", DAY, *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env={**os.environ, **SMALL_PARTS, **environment},
        )  # fmt: skip

    def parts(self) -> int:
        return len(list(self.output.glob(f".store/staging/{DAY}-*/recommendations/part-*.parquet")))

    def wait_for_parts(self, count: int) -> None:
        """Until so many partitions are finished."""
        deadline = time.monotonic() + 240
        while self.parts() < count:
            assert self.process.poll() is None, self.process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def kill(self) -> int:
        """SIGKILL to the driver and all it started; how many partitions were finished then."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        return self.parts()

    def end(self) -> tuple[int, str]:
        said, _ = self.process.communicate(timeout=400)
        return self.process.returncode, said

    def run_json(self) -> dict:
        return json.loads((self.output / f"runs/run_date={DAY}/run.json").read_text())


def rows(output: Path):
    """All rows but for the time they were made at."""
    table = ds.dataset(output / f"recommendations/run_date={DAY}", format="parquet").to_table()
    return table.drop_columns([c.SCORED_AT]).sort_by([(c.USER_ID, "ascending"), (c.RANK, "ascending")])


@pytest.fixture(scope="module")
def undisturbed(nightly, tmp_path_factory):
    run = Score(nightly.models, tmp_path_factory.mktemp("undisturbed"))
    code, said = run.end()
    assert code == 0, said
    assert run.run_json()["partitions"] == 34
    return rows(run.output)


def test_a_killed_run_goes_on_where_it_was_and_a_changed_one_starts_afresh(nightly, undisturbed, tmp_path):
    first = Score(nightly.models, tmp_path, "--top-n", "7")
    first.wait_for_parts(8)
    assert first.kill() >= 8
    second = Score(nightly.models, tmp_path)  # another top-n: nothing of the first may be used
    second.wait_for_parts(17)
    finished = second.kill()
    assert rows_are_absent(tmp_path)
    third = Score(nightly.models, tmp_path)
    code, said = third.end()
    assert code == 0, said
    assert third.run_json()["partitions_resumed"] == finished >= 17  # what was finished is not done again
    assert rows(tmp_path) == undisturbed


def rows_are_absent(output: Path) -> bool:
    return not list((output / "recommendations").glob("*"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with standalone(tmp_path_factory.mktemp("cluster")) as found:
        yield found


def processes_of(word: str, ancestor: int) -> list[int]:
    """The processes whose command line has that word, below another one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if word in (folder / "cmdline").read_text() and (
                ancestor is None or ancestor in ancestors(int(folder.name))
            ):
                found.append(int(folder.name))
    return found


def ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found


def test_parts_of_the_cluster_die_and_the_rows_are_the_same(cluster, nightly, undisturbed, tmp_path):
    """In one run: a Python worker, an executor, then a worker of the cluster with all it had started."""
    run = Score(
        nightly.models, tmp_path, "--master", cluster["master"], "--executor-memory", "1g", SPARK_LOCAL_IP="127.0.0.1"
    )
    worker = cluster["workers"][-1]

    def doomed(victim: str) -> list[int]:
        executors = processes_of("CoarseGrainedExecutorBackend", worker)
        if victim == "python worker":
            return processes_of("pyspark.daemon", executors[0])[-1:]
        return executors if victim == "executor" else [*executors, worker]

    for parts, victim in ((4, "python worker"), (9, "executor"), (16, "worker")):
        run.wait_for_parts(parts)
        pids = doomed(victim)
        assert pids
        assert run.parts() < 34
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    code, said = run.end()
    assert code == 0, said
    assert rows(tmp_path) == undisturbed


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1.5 MiB; gives the mount point."""
    mount = tmp_path / "disk"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", mount], check=False).returncode:
        pytest.skip("mounting needs more rights")
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


def test_a_full_disk_leaves_the_last_run(toy, toy_models, nightly, small_disk):
    """The toy's tables fit, the sample's do not; after that, in a run of its own kind, there is room for the toy's."""
    toy_run = Score(toy_models, small_disk, "--data", str(toy))
    code, said = toy_run.end()
    assert code == 0, said
    before = rows(small_disk)
    code, said = Score(nightly.models, small_disk, "--top-n", "200").end()
    assert code == 5, said
    assert "Error: " in said
    assert "No space left on device" in said
    assert "Traceback" not in said
    assert rows(small_disk) == before
    code, said = Score(toy_models, small_disk, "--data", str(toy), "--top-n", "3").end()
    assert code == 0, said
    assert rows(small_disk).num_rows != before.num_rows


def test_an_output_that_is_read_only_is_named(toy, toy_models, small_disk):
    code, said = Score(toy_models, small_disk, "--data", str(toy)).end()
    assert code == 0, said
    before = rows(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    code, said = Score(toy_models, small_disk, "--data", str(toy)).end()
    assert code == 5, said
    assert "Read-only file system" in said
    assert "choose another --output" in said
    assert rows(small_disk) == before


def test_a_second_run_on_one_output_ends_with_75(nightly, tmp_path):
    first = Score(nightly.models, tmp_path)
    first.wait_for_parts(1)
    code, said = Score(nightly.models, tmp_path).end()
    assert code == 75
    assert "another run writes to" in said
    code, said = first.end()
    assert code == 0, said
