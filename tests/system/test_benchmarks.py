"""The scoring benchmark, too small to show speed: every contender runs, and all agree on the lists."""

import json
import os
import sys

from click.testing import CliRunner
from support.processes import ROOT

sys.path.insert(0, str(ROOT / "tests/benchmarks"))
import harness
import scoring


def test_every_contender_agrees_on_the_lists_and_has_a_row(spark, tmp_path, monkeypatch):
    """The script itself compares the lists with those of FAISS and ALS, and fails where they differ. All parts here."""
    monkeypatch.setattr(scoring, "in_own_process", lambda function, *arguments, **_: function(*arguments))
    result = CliRunner().invoke(
        scoring.main,
        ["--users", "70", "--movies", "9500", "--top", "12", "--repeat", "1", "--only", "kernel,policies,spark",
         "--json", str(tmp_path / "rows.json")], catch_exceptions=False,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert len(rows) == 3 + 3 + 2 + 5
    for row in rows:
        assert row["ours"] > 0
        assert row["theirs"] > 0
        assert row["verdict"] in ("met", "missed", "")
        assert row["compared"] in result.output


def test_a_part_is_measured_in_a_process_of_its_own():
    assert harness.in_own_process(os.getpid) != os.getpid()
    assert harness.in_own_process(os.getenv, "OMP_NUM_THREADS", OMP_NUM_THREADS="1") == "1"
