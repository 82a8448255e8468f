"""What goes wrong, as users see it: exit codes, and one sentence."""

import shutil
import subprocess

import pytest
from support.inputs import make_ratings, write_movielens
from support.processes import here, said, submit
from support.runs import DAY, publish

from recmodel.models import versions
from recmodel.tables.output import open_output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["score", "--top-n", "0"], "scoring.top_n"),
        (["score", "--rank-by", "best"], "'best' is not one of 'retrieval', 'rating', 'two-stage'"),
        (["score", "--run-date", "yesterday"], "--run-date yesterday is not a date; give one such as 2026-01-31"),
        (["score", "--run-date", "2062-01-31"], "the run date 2062-01-31 is in the future"),
        (["nightly", "--run-date", "2026-01-31..2062-01-31"], "in the future"),
        (["nightly", "--run-date", "2026-03-10..2026-03-01"], "ends before it begins"),
        (["tables", "withdraw", "2026-02-30"], "DATE 2026-02-30 is not a date"),
        (["score", "--master"], "Option '--master' requires an argument"),
        (["nightly", "--run-date", "soon..later"], "is neither a date nor a range"),
        (["train", "--preset", "best"], "no preset is called 'best'"),
        (["train", "--nonsense"], "No such option"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["show"], "give a user, or a movie by --similar-to"),
        (["show", "42", "--similar-to", "1196"], "give a user, or a movie by --similar-to"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_sentence(arguments, sentence):
    result = here(*arguments)
    assert result.returncode == 2
    assert sentence in said(result)
    assert "Traceback" not in said(result)


def test_models_are_not_where_a_table_is_published(toy, tmp_path):
    """Otherwise the clean-up of a Delta table would remove their files."""
    result = here("score", "--data", toy, "--output", tmp_path, "--models", tmp_path / "models")
    assert (result.returncode, "where the table models is published; move it" in said(result)) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(["train", "--preset", "best"], "no preset is called 'best'"), (["frobnicate"], "there is no command frobnicate")],
)
def test_a_process_ends_with_the_code_of_its_command(arguments, sentence):
    result = submit(*arguments)
    assert (result.returncode, sentence in said(result)) == (2, True)


@pytest.mark.parametrize(
    ("command", "code"),
    [(["train", "--data", "sample"], 4), (["models", "rollback"], 4), (["predict", "1", "2"], 5)],
)
def test_what_nobody_foresaw_ends_with_the_code_of_its_step_in_one_line(tmp_path, command, code):
    (tmp_path / "CURRENT").write_bytes(b"\xff")  # no text
    result = here(*command, "--models", tmp_path)
    assert result.returncode == code
    assert result.stderr.count("\n") == 1
    assert "Unexpected error: UnicodeDecodeError" in result.stderr


def test_training_that_fills_the_disk_ends_with_4_and_leaves_nothing(toy, tmp_path):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", tmp_path], check=False).returncode:
        pytest.skip("mounting needs more rights")
    try:
        full = here("train", "--data", toy, "--models", tmp_path / "models", "--preset", "rating", "--epochs", "1")
        assert (full.returncode, full.stderr.count("\n")) == (4, 1)
        assert "Error: no space left on device" in full.stderr
        assert not list((tmp_path / "models").iterdir())
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


@pytest.mark.parametrize(
    ("preset", "rank_by", "task"), [("rating", "retrieval", "retrieval"), ("retrieval", "two-stage", "rating")]
)
def test_a_policy_needs_its_task(toy, toy_models, tmp_path, preset, rank_by, task):
    version = next(v for v in versions.list_versions(toy_models) if f"-{preset}-" in v)
    result = here(
        "score", "--data", toy, "--models", toy_models, "--output", tmp_path, "--model-version", version,
        "--rank-by", rank_by,
    )  # fmt: skip
    assert result.returncode == 2
    assert f"was not trained for {task}" in said(result)


def test_input_that_is_refused_ends_with_3_and_leaves_the_last_run(toy_models, tmp_path):
    output = tmp_path / "output"
    publish(open_output(output), "last")
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    broken = write_movielens(tmp_path / "broken", [*make_ratings(), (1, 1, 77, 1), (2, 1, 77, 1)])
    result = here("score", "--data", broken, "--models", toy_models, "--output", output, "--run-date", DAY)
    assert result.returncode == 3
    row = f"ratings.csv, row {len(make_ratings()) + 2}, column rating: '77' is outside the rating scale"
    assert row in said(result)
    assert "Traceback" not in said(result)
    lock = output / ".store/lock"
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file() and path != lock} == before
    assert not list((output / ".store/staging").iterdir())
    assert here("train", "--data", broken, "--models", tmp_path / "m").returncode == 3
    assert here("train", "--data", tmp_path / "nowhere", "--models", tmp_path / "m").returncode == 3
    assert not (tmp_path / "m").exists()


def test_a_model_that_was_changed_ends_with_4(toy, toy_models, tmp_path):
    shutil.copytree(toy_models, tmp_path / "models")
    name = versions.current(tmp_path / "models")
    variables = tmp_path / "models" / name / "saved_model/variables/variables.data-00000-of-00001"
    content = bytearray(variables.read_bytes())
    content[100] ^= 1
    variables.write_bytes(content)
    result = here("score", "--data", toy, "--models", tmp_path / "models", "--output", tmp_path / "output")
    assert result.returncode == 4
    assert "variables.data-00000-of-00001 was changed" in said(result)
    assert here("score", "--data", toy, "--models", tmp_path / "none", "--output", tmp_path).returncode == 4


def test_a_dry_run_fails_as_the_run_would(spark, toy, toy_models, tmp_path, s3):
    """Rejected input, somebody else at it, an address that cannot be written: found without writing."""

    def dry(*arguments: object) -> tuple[int, str]:
        answer = here("score", "--dry-run", "--models", toy_models, *arguments)
        assert len(answer.stderr.splitlines()) == 1
        return answer.returncode, answer.stderr

    broken = write_movielens(tmp_path / "broken", [(1, 1, 77, 1)])
    output = tmp_path / "output"
    left = tmp_path / ".dry-run-left"  # by one that was killed
    left.mkdir()
    assert dry("--data", broken, "--output", output)[0] == 3
    assert not output.exists()
    assert not left.exists()
    with open_output(output).locked():
        assert dry("--data", toy, "--output", output)[0] == 75
    code, sentence = dry("--data", toy, "--output", output, "--users", tmp_path / "nobody.csv")
    assert code == 3
    assert "nobody.csv does not exist; --users takes" in sentence
    code, sentence = dry("--data", toy, "--output", "s3://no-such-bucket/tables")
    assert code == 5
    assert "cannot write below s3://no-such-bucket/tables" in sentence
