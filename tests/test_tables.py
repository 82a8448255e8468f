"""Publishing: readers see a whole run or none of it."""

import json
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmodel import columns as c
from recmodel import tables
from recmodel.errors import ScoringFailed

DAY = date(2026, 1, 31)


def run(output, label: str, day: date = DAY):
    with tables.staging(output, day) as staged:
        for name in ("recommendations", "predicted_ratings", "rejects"):
            staged.table(name).mkdir()
            rows = pa.table({c.USER_ID: [2, 1], c.RANK: [1, 1], "label": [label, label]})
            pq.write_table(rows, staged.table(name) / f"{label}.parquet")
        assert tables.run_dates(output) in ([], [DAY])  # nothing new to see yet
        staged.publish({"label": label})


def visible(output) -> dict[str, list[str]]:
    return {
        name: sorted(path.name for path in (output / name).glob("run_date=2026-01-31/*"))
        for name in ("recommendations", "predicted_ratings", "rejects", "runs")
    }


def test_a_run_becomes_visible_in_all_its_tables(tmp_path):
    run(tmp_path, "a")
    one = ["a.parquet"]
    expected = {"recommendations": one, "predicted_ratings": one, "rejects": one, "runs": ["run.json"]}
    assert visible(tmp_path) == expected
    assert tables.run_dates(tmp_path) == [DAY]
    assert tables.read_run(tmp_path, DAY) == {"label": "a"}
    assert tables.recommendations_of(tmp_path, DAY, [1]).num_rows == 1
    assert tables.recommendations_of(tmp_path, DAY, [1, 2]).column(c.USER_ID).to_pylist() == [1, 2]
    assert tables.user_range(tmp_path, DAY) == (1, 2)
    assert list((tmp_path / "_staging").iterdir()) == []


def test_a_second_run_of_a_date_replaces_the_first(tmp_path):
    run(tmp_path, "a")
    run(tmp_path, "b")
    assert visible(tmp_path)["recommendations"] == ["b.parquet"]
    assert tables.read_run(tmp_path, DAY) == {"label": "b"}


def test_a_failure_before_publishing_leaves_the_last_run(tmp_path):
    run(tmp_path, "a")
    before = visible(tmp_path)
    with pytest.raises(RuntimeError), tables.staging(tmp_path, DAY) as staged:
        staged.table("recommendations").mkdir()
        raise RuntimeError
    assert visible(tmp_path) == before
    assert list((tmp_path / "_staging").iterdir()) == []


@pytest.mark.parametrize("failing", range(8))
def test_a_failure_while_publishing_brings_the_last_run_back(tmp_path, monkeypatch, failing):
    """Eight moves replace a run of four folders; whichever fails, the old run stands whole."""
    from pathlib import Path

    run(tmp_path, "a")
    before, record = visible(tmp_path), json.loads((tmp_path / "runs/run_date=2026-01-31/run.json").read_text())
    moves, rename = [], Path.rename

    def faulty(self, target):
        moves.append(target)
        if len(moves) == failing + 1:
            raise OSError("no space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", faulty)
    with pytest.raises(ScoringFailed, match="no space left on device.*the last one still stands"):
        run(tmp_path, "b")
    assert visible(tmp_path) == before
    assert tables.read_run(tmp_path, DAY) == record


def test_an_output_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ScoringFailed, match="cannot write below .*file.*choose another --output"),
        tables.staging(tmp_path / "file", DAY),
    ):
        pass
