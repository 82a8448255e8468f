"""Every command's help and completion."""

import re
import subprocess
import sys

import pytest
from support.processes import ROOT, here


@pytest.mark.parametrize(
    "command",
    ["", "train", "score", "nightly", "models", "models list", "models promote", "models rollback", "tables",
     "tables list", "tables withdraw", "forget", "report", "show", "predict", "evaluate", "backtest", "capacity",
     "settings"],
)  # fmt: skip
def test_help_has_an_example_and_fits_a_terminal(command):
    from click.testing import CliRunner

    from recmodel.__main__ import jobs

    shown = CliRunner().invoke(jobs, [*command.split(), "--help"], terminal_width=80).output
    assert "Example" in shown
    assert max(map(len, shown.splitlines())) <= 80
    several = r"(MOVIE|\[USER\]|\[ARGS\])\.\.\."
    assert "..." not in re.sub(several, "", shown)  # no description is cut


def test_help_of_every_job_teaches_without_loading_tensorflow_or_spark():
    """Each as the script that it is."""
    script = (
        "import runpy, sys\n"
        "for job in sys.argv[1:]:\n"
        "    sys.argv = [job, '--help']\n"
        "    try: runpy.run_path(job, run_name='__main__')\n"
        "    except SystemExit as end: assert not end.code, job\n"
        "    print('loaded', sorted({'tensorflow', 'pyspark'} & set(sys.modules)))"
    )
    jobs = [path for path in sorted((ROOT / "jobs").glob("*.py")) if path.stem != "__init__"]
    result = subprocess.run([sys.executable, "-c", script, *jobs], capture_output=True, text=True, check=True)
    assert result.stdout.count("Example") >= len(jobs) > 9
    assert result.stdout.count("loaded []") == len(jobs)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["sc"], {"score"}),
        (["score", "--rank-by", "t"], {"two-stage"}),
        (["score", "--ma"], {"--master"}),
        (["models", "pro"], {"promote"}),
    ],
)
def test_the_shell_completes(monkeypatch, words, offered):
    """What bash asks."""
    monkeypatch.setenv("_RECMODEL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", " ".join(["recmodel", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    assert {line.split(",")[1] for line in here().stdout.splitlines()} == offered
