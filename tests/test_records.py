"""Records: what earlier versions wrote is read, and written again as it was."""

import json
from datetime import date, datetime, timezone
from pathlib import Path

import pytest

from recmodel.records import BIASES, Manifest, Metrics, RunRecord

FILES = Path(__file__).parent / "support/records"  # of real runs and models of each version
VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("kind", "record"), [("run", RunRecord), ("metrics", Metrics), ("manifest", Manifest)])
def test_a_record_of_any_version_is_read_and_says_the_same_again(kind, record, version):
    content = (FILES / f"{kind}-{version}.json").read_bytes()
    written = json.loads(content)
    again = json.loads(record.parse(content).to_bytes())
    assert _fields_of(again, written) == written


def _fields_of(record, written):
    """Those fields of a record that are in `written`, at any depth."""
    if not isinstance(written, dict):
        return record
    return {field: _fields_of(record[field], written[field]) for field in written}


@pytest.mark.parametrize("version", VERSIONS)
def test_fields_are_typed_and_those_of_later_versions_have_defaults(version):
    run = RunRecord.parse((FILES / f"run-{version}.json").read_bytes())
    assert run.run_date in (date(2026, 1, 31), date(2026, 2, 1))
    assert run.finished_at.tzinfo is not None
    assert (run.top_n, run.rank_by, run.all_users, run.active_rules) == (10, "retrieval", True, {})
    assert run.recommendations.users == run.users in (610, 611)
    assert (run.incremental, run.carried_from is not None) == ((True, True) if version == "0.3.1" else (False, False))
    assert run.ratings_superseded == (1 if version == "0.3.1" else 0)
    assert run.data_path.startswith("/")
    metrics = Metrics.parse((FILES / f"metrics-{version}.json").read_bytes())
    assert metrics.rmse == pytest.approx(0.83, abs=0.05)
    assert 0.3 < metrics.accuracy_at_100 < 0.5
    assert metrics.input_rows == metrics.train_rows + metrics.test_rows == 100_836
    assert (metrics.ratings_file, metrics.gate) == (None, None)
    if metrics.baselines is not None:
        assert metrics.baselines[BIASES].rmse > metrics.rmse
    manifest = Manifest.parse((FILES / f"manifest-{version}.json").read_bytes())
    assert (manifest.preset, manifest.tasks, manifest.format_version) == ("default", ("retrieval", "rating"), 2)
    assert manifest.created_at < datetime(2100, 1, 1, tzinfo=timezone.utc)


def test_what_a_later_version_adds_is_kept_and_fields_can_be_read_by_name():
    run = RunRecord.parse(b'{"run_date": "2026-01-31", "model_version": "v", "newer": {"a": 1}, "users": 3}')
    assert json.loads(run.to_bytes())["newer"] == {"a": 1}
    assert (run["users"], run["run_date"]) == (3, "2026-01-31")
    with pytest.raises(KeyError):
        run["nothing"]


def test_tasks_that_were_not_measured_are_left_out_of_the_file():
    assert "rmse" not in Metrics(top_k_accuracy_unseen={"100": 0.5}).to_json()
    assert Metrics().accuracy_at_100 is None


def test_runs_are_comparable_if_they_were_made_in_the_same_way():
    def run(rules: dict | None = None, **fields) -> RunRecord:
        settings = {"scoring": {"top_n": 10}, **({"rules": rules} if rules else {})}
        return RunRecord(run_date=date(2026, 1, 31), model_version="v", settings=settings, **fields)

    nothing = {"allow": {"genres": []}, "deny": {"genres": []}, "min_ratings": 0, "deny_pairs": ""}
    assert run(nothing).is_comparable_with(run())  # of an older version, which had no rules
    assert run(nothing | {"min_ratings": 3}).is_comparable_with(run({"min_ratings": 3}))
    assert not run({"min_ratings": 3}).is_comparable_with(run())
    assert not run(nothing | {"deny": {"genres": ["Horror"]}}).is_comparable_with(run(nothing))
    assert not run(rank_by="rating").is_comparable_with(run())
    assert not run(all_users=False).is_comparable_with(run())
