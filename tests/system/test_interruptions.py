"""Runs that are killed or starved in the middle: the tables are right afterwards, or untouched."""

import re
import shutil
import subprocess

import pyarrow.compute as pc
import pytest
from support.processes import ROOT, Score, here, said
from support.runs import published, run_json, without_time

from recmodel import schemas as c

NIGHT = "2026-02-01"


def rows(output):
    return without_time(published(output, NIGHT))


def test_a_killed_run_goes_on_where_it_was_and_a_changed_one_starts_afresh(
    nightly, undisturbed, score_here, small_parts, tmp_path
):
    """And while it runs, nobody else writes to its output."""
    output, other = tmp_path / "output", tmp_path / "other"
    again = ("--data", "sample", "--models", nightly.models, "--run-date", NIGHT, "--output")
    run = Score([ROOT / "submit.sh", "score", "--master", "local[1]"], nightly.models, output, NIGHT)
    run.wait_for_parts(1)
    refused = here("score", *again, output)
    assert refused.returncode == 75
    assert "another run writes to" in said(refused)
    run.wait_for_parts(17)
    finished = run.kill()
    assert not list((output / "recommendations").glob("*"))
    shutil.copytree(output, other, symlinks=True)
    score_here(*again, output)
    assert run_json(output, NIGHT)["partitions"] == 34
    assert run_json(output, NIGHT)["partitions_resumed"] == finished >= 17  # what was finished is not done again
    assert rows(output) == undisturbed
    score_here(*again, other, "--top-n", "7")  # nothing of the first may be used
    assert run_json(other, NIGHT)["partitions_resumed"] == 0
    assert rows(other) == undisturbed.filter(pc.less_equal(undisturbed[c.RANK], 7))


def test_a_failure_in_a_worker_ends_with_5_in_one_line(spark, toy, toy_models, tmp_path, monkeypatch):
    """Workers on a Python without TensorFlow: the sentence names the module, the trace is in the log."""
    (tmp_path / "shim").mkdir()
    (tmp_path / "shim/sitecustomize.py").write_text("import sys\nsys.modules['tensorflow'] = None\n")
    monkeypatch.setitem(spark.sparkContext.environment, "PYTHONPATH", str(tmp_path / "shim"))
    monkeypatch.setenv("RECMODEL_PATHS__LOGS", str(tmp_path / "logs"))
    result = here("score", "--data", toy, "--models", toy_models, "--output", tmp_path / "output", "--run-date", NIGHT)
    assert result.returncode == 5
    assert "Error: scoring failed: ModuleNotFoundError" in said(result)
    assert "Traceback" not in said(result)
    assert not list((tmp_path / "output/recommendations").glob("*"))
    (log,) = (tmp_path / "logs").iterdir()
    assert "Traceback" in log.read_text()


# -- no room, no right ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_disk(toy, toy_models, score_here, tmp_path_factory):
    """The mount point of a file system of 2.5 MiB, in which the toy's tables are published; they fit."""
    mount = tmp_path_factory.mktemp("disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2560k", "tmpfs", mount], check=False).returncode:
        pytest.skip("mounting needs more rights")
    score_here("--data", toy, "--models", toy_models, "--output", mount, "--run-date", NIGHT)
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


def test_a_full_disk_leaves_the_last_run_and_nothing_staged(toy, toy_models, nightly, small_disk, score_here):
    """The sample's tables are refused before they are written; then its ratings do not fit; the toy's tables do."""
    before = rows(small_disk)
    run = ("--output", small_disk, "--run-date", NIGHT)
    large = ("--data", "sample", "--models", nightly.models, "--top-n", "200")
    refused = here("score", *large, *run)
    assert refused.returncode == 2, said(refused)
    assert re.search(f"the disk of {small_disk} has .*MiB free, and this run needs about 8.*MiB", said(refused))
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (shutil.disk_usage(small_disk).free - (128 << 10)))
    full = here("score", *large, *run)
    filler.unlink()
    assert full.returncode == 5, said(full)
    assert re.search(rf"no space left on device \({small_disk}: 0\.[01]", said(full))
    assert "what the run had staged was removed; make room" in said(full)
    assert "Traceback" not in said(full)
    assert not list((small_disk / ".store/staging").iterdir())
    assert rows(small_disk) == before
    score_here("--data", toy, "--models", toy_models, "--top-n", "3", *run)
    assert rows(small_disk).num_rows != before.num_rows


@pytest.fixture
def read_only(small_disk, tmp_path):
    """The same file system at another place, where nobody may write."""
    view = tmp_path / "view"
    view.mkdir()
    subprocess.run(["mount", "--bind", small_disk, view], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", view], check=True)
    yield view
    subprocess.run(["umount", "-l", view], check=True)


def test_an_output_that_is_read_only_is_named(toy, toy_models, read_only):
    before = rows(read_only)
    refused = here("score", "--data", toy, "--models", toy_models, "--output", read_only, "--run-date", NIGHT)
    assert refused.returncode == 2, said(refused)
    assert "is read-only" in said(refused)
    assert "choose another --output" in said(refused)
    assert rows(read_only) == before
