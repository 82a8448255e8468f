"""What goes wrong, as users see it: exit codes, and one sentence."""

import shutil

from support.inputs import make_ratings, write_movielens
from support.processes import ROOT, said, spark_submit, submit

from recmodel.models import versions


def test_a_policy_needs_its_task(toy, toy_models, tmp_path):
    by_preset = {versions.open_version(toy_models, v).manifest.preset: v for v in versions.list_versions(toy_models)}
    for preset, rank_by, task in (("rating", "retrieval", "retrieval"), ("retrieval", "two-stage", "rating")):
        result = spark_submit(
            ROOT / "jobs/score_all.py", "--data", toy, "--models", toy_models, "--output", tmp_path,
            "--model-version", by_preset[preset], "--rank-by", rank_by,
        )  # fmt: skip
        assert result.returncode == 2
        assert f"was not trained for {task}" in said(result)


def test_input_that_is_refused_ends_with_3_and_leaves_the_last_run(toy, toy_models, tmp_path, toy_runs):
    output = tmp_path / "output"
    shutil.copytree(toy_runs["local"].output, output, symlinks=True)
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    broken = write_movielens(tmp_path / "broken", [*make_ratings(), (1, 1, 77, 1), (2, 1, 77, 1)])
    result = submit("score", "--data", broken, "--models", toy_models, "--output", output, "--run-date", "2026-01-31")
    assert result.returncode == 3
    assert f"ratings.csv, row {len(make_ratings()) + 2}, column rating: '77' is outside the rating scale" in said(
        result
    )
    assert "Traceback" not in said(result)
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before
    assert not list((output / ".store/staging").iterdir())
    assert submit("train", "--data", broken, "--models", tmp_path / "m").returncode == 3
    assert submit("train", "--data", tmp_path / "nowhere", "--models", tmp_path / "m").returncode == 3
    assert not (tmp_path / "m").exists()


def test_a_model_that_was_changed_ends_with_4(toy, toy_models, tmp_path):
    shutil.copytree(toy_models, tmp_path / "models")
    name = versions.current(tmp_path / "models")
    variables = tmp_path / "models" / name / "saved_model/variables/variables.data-00000-of-00001"
    content = bytearray(variables.read_bytes())
    content[100] ^= 1
    variables.write_bytes(content)
    result = submit("score", "--data", toy, "--models", tmp_path / "models", "--output", tmp_path / "output")
    assert result.returncode == 4
    assert "variables.data-00000-of-00001 was changed" in said(result)
    assert submit("score", "--data", toy, "--models", tmp_path / "none", "--output", tmp_path).returncode == 4


def test_a_failure_in_a_worker_ends_with_5_in_one_line(toy, toy_models, tmp_path):
    """Workers on a Python without TensorFlow: the sentence names the module, the trace is in the log."""
    shim = tmp_path / "shim"
    shim.mkdir()
    (shim / "sitecustomize.py").write_text("import sys\nsys.modules['tensorflow'] = None\n")
    result = submit(
        "score", "--data", toy, "--models", toy_models, "--output", tmp_path / "output", "--run-date", "2026-01-31",
        environment={"PYTHONPATH": str(shim), "RECMODEL_PATHS__LOGS": str(tmp_path / "logs")},
    )  # fmt: skip
    assert result.returncode == 5
    assert "Error: scoring failed: ModuleNotFoundError" in said(result)
    assert "Traceback" not in said(result)
    assert not list((tmp_path / "output/recommendations").glob("*"))
    (log,) = (tmp_path / "logs").iterdir()
    assert "Traceback" in log.read_text()
