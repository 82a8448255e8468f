"""Every command's help and completion."""

import re
import subprocess
import sys

import pytest
from support.processes import ROOT, here
from support.runs import DAY, publish

from recmodel.tables.output import open_output


@pytest.mark.parametrize(
    "command",
    ["", "train", "score", "nightly", "models", "models list", "models promote", "models rollback", "models import",
     "tables", "tables list", "tables withdraw", "export", "forget", "report", "show", "predict", "evaluate",
     "backtest", "capacity", "settings", "init"],
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


def complete(monkeypatch, *words: object) -> set[str]:
    """What bash is offered for the last word."""
    monkeypatch.setenv("_RECMODEL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", " ".join(["recmodel", *map(str, words)]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    return {line.split(",")[1] for line in here().stdout.splitlines() if line}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["sc"], {"score"}),
        (["score", "--rank-by", "t"], {"two-stage"}),
        (["score", "--ma"], {"--master"}),
        (["models", "pro"], {"promote"}),
        (["nightly", "--pre"], {"--preset", "--predicted-ratings"}),  # flags of score, too
        (["train", "--preset", "r"], {"rating", "retrieval", "ranking"}),
        (["train", "--presets", "/dev/null/nothing", "--preset", "r"], set()),  # no traceback in somebody's prompt
    ],
)
def test_the_shell_completes(monkeypatch, words, offered):
    assert complete(monkeypatch, *words) == offered


def test_the_shell_completes_versions_and_dates(monkeypatch, tmp_path):
    versions = {"20260101T030000Z-joint-1", "20260102T030000Z-joint-2"}
    for name in versions:
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "manifest.json").touch()
    publish(open_output(str(tmp_path / "output")), "v", DAY)
    monkeypatch.setenv("RECMODEL_PATHS__OUTPUT", str(tmp_path / "output"))
    assert complete(monkeypatch, "models", "promote", "--models", tmp_path / "models", "2") == versions
    monkeypatch.setenv("RECMODEL_PATHS__MODELS", str(tmp_path / "models"))
    assert complete(monkeypatch, "nightly", "--model-version", "20260102") == {"20260102T030000Z-joint-2"}
    for words in (("tables", "withdraw", "2026-"), ("show", "--run-date", ""), ("nightly", "--run-date", "")):
        assert complete(monkeypatch, *words) == {str(DAY)}


def test_help_of_nightly_lists_the_flags_of_score_once():
    shown = here("nightly", "--help").stdout
    assert re.search(r"Flags of score.*--top-n .*--rank-by .*--master ", shown, re.DOTALL)
    assert [shown.count(f"\n  {flag} ") for flag in ("--data", "--as-of", "--dry-run", "--read-until")] == [1, 1, 1, 0]
