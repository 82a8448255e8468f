"""The scoring benchmark, too small to show speed: every contender runs, and all agree on the lists."""

import json
import os
import subprocess
import sys

from support.processes import ROOT


def test_every_contender_agrees_on_the_lists_and_has_a_row(tmp_path):
    """The script itself compares the lists with those of FAISS and ALS, and fails where they differ."""
    result = subprocess.run(
        [sys.executable, ROOT / "tests/benchmarks/scoring.py", "--users", "70", "--movies", "9500", "--top", "12",
         "--repeat", "1", "--only", "kernel,policies,spark", "--json", tmp_path / "rows.json"],
        capture_output=True, text=True, timeout=550, check=False, env={**os.environ, "SPARK_LOCAL_IP": "127.0.0.1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert len(rows) == 3 + 3 + 2 + 5
    for row in rows:
        assert row["ours"] > 0
        assert row["theirs"] > 0
        assert row["verdict"] in ("met", "missed", "")
        assert row["compared"] in result.stdout
