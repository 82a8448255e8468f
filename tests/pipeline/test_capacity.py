"""Forecasts: hand-worked lines, and rates from real runs of a model whose catalogue was made larger."""

import json

import numpy as np
import pyarrow as pa
import pytest
from support.inputs import make_ratings
from support.processes import commands_here, here
from support.runs import record

from recmodel import schemas as c
from recmodel import settings
from recmodel.errors import UsageRejected
from recmodel.models import versions
from recmodel.pipeline import capacity

RATES = capacity.Rates(
    fixed={"read and check the input": 1.0, "score": 5.0}, per_user={"read and check the input": 1e-4, "score": 1e-3},
    cores=2, movies=1000, ratings_per_user=100, top_n=10, rank_by="retrieval", model_bytes=1 << 20,
    parquet_bytes_per_user=200, driver_python_mib=300, driver_jvm_mib=1000, worker_mib=700,
)  # fmt: skip


def test_a_line_goes_through_both_runs():
    few = record(users=100, seconds={"score": 2.0, "start Spark": 4.0})
    more = record(users=1100, seconds={"score": 12.0, "start Spark": 3.0})
    fixed, per_user = capacity.lines(few, more)
    assert per_user == pytest.approx({"score": 0.01, "start Spark": 0.0})  # no stage gets faster by users
    assert fixed == pytest.approx({"score": 1.0, "start Spark": 3.0})


def test_only_what_spark_does_goes_faster_with_cores():
    found = capacity.forecast(RATES, users=1_000_000, cores=20)
    assert found.seconds == pytest.approx({"read and check the input": 101.0, "score": 5 + 1000 / 10})
    assert found.core_hours == pytest.approx(20 * 206 / 3600)
    assert found.parquet_bytes == 200_000_000
    assert found.broadcast_bytes == 1 << 20
    assert sum(found.memory_mib.values()) == 300 + 1000 + 20 * 700


def test_each_executor_gets_the_model_and_has_a_jvm_and_users_cost_no_memory():
    small, large = (capacity.forecast(RATES, users, cores=20, cores_of_executor=8) for users in (10**5, 10**8))
    assert small.broadcast_bytes == 3 << 20
    assert sum(small.memory_mib.values()) == 300 + 1000 + 20 * 700 + 3 * 1000
    assert small.memory_mib == large.memory_mib


def test_rates_are_those_of_two_runs_with_a_catalogue_of_another_size(spark, toy, toy_models, tmp_path, monkeypatch):
    """Both runs with the command as it stands, but in this process."""
    monkeypatch.setattr(capacity, "FEW", 45)
    monkeypatch.setattr(capacity, "MORE", 100)
    runs = commands_here(monkeypatch)
    chosen = settings.load(paths={"data": str(toy), "models": str(toy_models)}, scoring={"top_n": 4})
    (default,) = (name for name in versions.list_versions(toy_models) if "-default-" in name)
    rates = capacity.measure(chosen, default, movies=50)
    assert [run.args[1] for run in runs] == ["score"] * 2
    assert (rates.movies, rates.top_n, rates.rank_by) == (50, 4, "blend")
    assert rates.ratings_per_user == pytest.approx(len(make_ratings()) / 40, rel=0.1)  # 40 users, two and a half times
    assert rates.fixed["score and write recommendations"] + rates.per_user["score and write recommendations"] > 0
    assert min(rates.model_bytes, rates.parquet_bytes_per_user, rates.worker_mib) > 0


def test_saved_rates_are_read_again_and_priced(tmp_path):
    capacity.save(RATES, tmp_path / "rates.json")
    assert capacity.load(tmp_path / "rates.json") == RATES
    printed = here(
        "capacity", "--users", "1000000", "--cores", "8", "--rates", tmp_path / "rates.json",
        "--price-per-core-hour", "0.5",
    )  # fmt: skip
    assert printed.returncode == 0, printed.stderr
    assert f"{capacity.forecast(RATES, 1_000_000, 8).core_hours * 0.5:,.2f}" in printed.stdout


def test_the_users_to_measure_with_are_from_all_over_and_whole():
    user = np.repeat(np.arange(1, 10_001), 10)
    columns = [user, np.tile(np.arange(10), 10_000), np.ones(len(user)), np.zeros(len(user), np.int64)]
    whole = pa.RecordBatch.from_arrays([pa.array(column) for column in columns[:2]] + [
        pa.array(columns[2], pa.float32()), pa.array(columns[3])], schema=c.RATINGS)  # fmt: skip
    assert capacity.some_users([whole], whole.num_rows, 100_000).num_rows == whole.num_rows
    some = capacity.some_users([whole[:33_333], whole[33_333:]], whole.num_rows, 10_000)
    taken, ratings = np.unique(some.column(c.USER_ID), return_counts=True)
    assert (ratings == 10).all()
    assert 900 < len(taken) < 1100
    assert np.histogram(taken, bins=4, range=(1, 10_000))[0].min() > 200


def test_a_model_of_ids_keeps_its_catalogue(toy_models, toy):
    chosen = settings.load(paths={"data": str(toy), "models": str(toy_models)})  # joint
    with pytest.raises(UsageRejected, match="leave out --movies"):
        capacity.measure(chosen, movies=50)


def test_a_file_that_holds_no_rates_is_refused(tmp_path):
    (tmp_path / "rates.json").write_text(json.dumps({"cores": 2}))
    with pytest.raises(UsageRejected, match="leave out --rates"):
        capacity.load(tmp_path / "rates.json")
