"""Forecasts of training: hand-worked lines, and rates of real runs."""

import pytest
from support.processes import commands_here, here, said

from recmodel.pipeline import training_capacity
from recmodel.pipeline.training_capacity import Run

RUNS = [
    Run(ratings=500, seconds=6.0, peak_mib=500, epoch_seconds=0.0),
    Run(ratings=1_000, seconds=10.0, peak_mib=500, epoch_seconds=1.0),
    Run(ratings=11_000, seconds=20.0, peak_mib=600, epoch_seconds=4.0),
]


def test_lines_go_through_two_runs_and_others_through_their_epochs():
    found = training_capacity.forecast(RUNS, 101_000, epochs=2)
    assert (found.seconds, found.epoch_seconds) == pytest.approx((10 + 100 + 2 * 31, 2 * 31))
    assert found.peak_mib == pytest.approx(500 + 1000)
    assert training_capacity.forecast(RUNS, 6_000, epochs=2).seconds == pytest.approx(15 + 2 * 2.5)
    assert training_capacity.forecast(RUNS, 750, epochs=2).seconds == pytest.approx(8 + 2 * 0.5)
    assert training_capacity.forecast(RUNS, 100, epochs=0).seconds == 6


def test_rates_are_those_of_runs(toy, tmp_path, monkeypatch):
    """Of a preset of one's own, with the command as it stands, but in this process."""
    monkeypatch.setattr(training_capacity, "RUNS", (500, 1_500))
    runs = commands_here(monkeypatch)
    (tmp_path / "own.yaml").write_text("ours:\n  extends: rating\n  embedding_dim: 4\n")
    ours = ("--preset", "ours", "--presets", tmp_path / "own.yaml")
    done = here("capacity", "--data", toy, "--models", tmp_path, "--ratings", "3000", *ours)
    assert done.returncode == 0, said(done)
    assert "to train on 3,000 ratings" in said(done)
    assert [run.args[1] for run in runs] == ["train"] * 2
