"""Every command's help, usage errors and completion."""

import subprocess

import pytest
from support.processes import ROOT, said, submit


@pytest.mark.parametrize(
    "command",
    ["", "train", "score", "nightly", "models", "models list", "models promote", "models rollback", "report", "show",
     "predict", "evaluate", "capacity", "settings"],
)  # fmt: skip
def test_help_has_an_example_and_fits_a_terminal(command):
    from click.testing import CliRunner

    from recmodel.__main__ import jobs

    shown = CliRunner().invoke(jobs, [*command.split(), "--help"], terminal_width=80).output
    assert "Example" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "..." not in shown.replace("MOVIE...", "").replace("[ARGS]...", "")  # no description is cut


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["score", "--top-n", "0"], "scoring.top_n"),
        (["score", "--rank-by", "best"], "'best' is not one of 'retrieval', 'rating', 'two-stage'"),
        (["score", "--run-date", "yesterday"], "does not match the format"),
        (["score", "--master"], "Option '--master' requires an argument"),
        (["nightly", "--run-date", "soon..later"], "is neither a date nor a range"),
        (["train", "--preset", "best"], "no preset is called 'best'"),
        (["train", "--nonsense"], "No such option"),
        (["frobnicate"], "there is no command frobnicate"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_sentence(arguments, sentence):
    result = submit(*arguments)
    assert result.returncode == 2
    assert sentence in said(result)
    assert "Traceback" not in said(result)


@pytest.mark.parametrize("job", ["train", "score_all", "nightly", "show", "predict", "evaluate", "models"])
def test_help_teaches_without_loading_tensorflow_or_spark(job):
    script = (
        "import runpy, sys; sys.argv = [sys.argv[1], '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print(sorted({'tensorflow', 'pyspark'} & set(sys.modules)))"
    )
    result = subprocess.run(
        ["python", "-c", script, ROOT / f"jobs/{job}.py"], capture_output=True, text=True, check=True
    )
    assert "Example" in result.stdout
    assert result.stdout.rstrip().endswith("[]")
