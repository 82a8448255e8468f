"""Model versions next to each other."""

from datetime import datetime, timezone

import pyarrow as pa
from support.runs import DAY, record, write_part

from recmodel import schemas as c
from recmodel.records import Difference, Metrics
from recmodel.report import model_versions
from recmodel.tables.output import open_output

BASELINES = {"popularity": {"ndcg_at_10": 0.02}, "mean and biases": {"rmse": 0.95}}
MEASURED = {
    "train_rows": 900, "test_rows": 100, "held_out": "newest", "rmse": 0.9, "ndcg_at_10": 0.08,
    "ndcg_at_10_liked": 0.09, "intervals": {"ndcg_at_10": (0.07, 0.1)}, "baselines": BASELINES, "gate": [],
}  # fmt: skip


def row(name: str, metrics: dict | None = None, *, used=False, current=False, gate=None, reasons=()) -> dict:
    """A row of the table `models`."""
    content = None if metrics is None else Metrics(**metrics).to_bytes().decode()
    known = {"created_at": datetime(2026, 1, 31, tzinfo=timezone.utc), "preset": "default"}
    return {c.MODEL_VERSION: name, "used": used, "current": current, "metrics": content, "gate": gate,
            "gate_reasons": [*reasons], **known}  # fmt: skip


def cells(result: model_versions.Comparison, label: str) -> list[str]:
    return dict(result.rows)[label]


def difference(measure: str, new: float, rival: float, low: float, high: float, allowed: float = 0.0) -> Difference:
    return Difference(measure=measure, new=new, rival=rival, low=low, high=high, allowed=allowed)


def test_a_run_from_before_the_newest_columns_is_read(tmp_path):
    rows = pa.Table.from_pylist([row(name, MEASURED) for name in "ab"], c.MODEL_ROW)
    staged = open_output(tmp_path).stage(DAY, "key")
    for table, schema in c.TABLES.items():
        older = rows.drop_columns(["ndcg_10", "ndcg_10_liked"])
        write_part(staged, table, 0, older if table == c.MODELS_TABLE else schema.empty_table())
    staged.publish(record(), 90)
    assert model_versions.of_run(open_output(tmp_path), DAY, "ratings").names == ["a", "b"]


def test_the_two_newest_and_the_one_in_use_stand_next_to_each_other():
    rows = [row(name, MEASURED, used=name == "a", current=name == "c", gate="passed") for name in "dbca"]
    result = model_versions.compare(rows)
    assert result.names == ["a", "c", "d"]
    assert result.roles == ["made this run, was not current", "was current", ""]
    assert cells(result, "NDCG@10") == ["0.0800 (0.0700 to 0.1000)"] * 3
    assert cells(result, "RMSE") == ["0.9000"] * 3
    assert cells(result, "NDCG@10 of popularity") == ["0.0200"] * 3
    assert cells(result, "the gate") == ["passed"] * 3
    assert model_versions.compare([]) is None


def test_a_cell_says_why_there_is_no_figure():
    rows = [
        row("a", {"train_rows": 9, "test_rows": 3, "rmse": 0.9, "baselines": {}}),
        row("b", {}),
        row("c", None, used=True, gate="refused", reasons=["RMSE is worse"]),
    ]
    result = model_versions.compare(rows[1:])
    assert cells(result, "NDCG@10") == ["not measured", "not known: metrics.json could not be read"]
    assert cells(result, "the gate") == ["was not asked", "refused"]
    assert result.refused == {"c": ["RMSE is worse"]}
    assert result.why_not == "The newest version was not measured, so it was compared with no other."
    old, imported = (cells(model_versions.compare(rows[:2]), label) for label in ("NDCG@10 of liked movies", "RMSE"))
    assert old == ["not measured: trained before 0.3.2", "not measured"]
    assert imported == ["0.9000", "not measured"]
    without_ratings = {"train_rows": 9, "test_rows": 3, "held_out": "newest", "ndcg_at_10": 0.1}
    both = model_versions.compare([row("a", MEASURED), row("b", without_ratings)])
    assert cells(both, "RMSE") == ["0.9000", "predicts no ratings"]


def test_what_applies_to_no_version_is_left_out():
    """Such as errors of ratings where the input is implicit."""
    implicit = {"train_rows": 9, "test_rows": 3, "held_out": "newest", "ndcg_at_10": 0.1}
    result = model_versions.compare([row("a", implicit), row("b", implicit)], "interactions")
    labels = ["trained", "fitted to", "NDCG@10", "NDCG@10 of popularity", "the gate"]
    assert [label for label, _ in result.rows] == labels
    assert cells(result, "fitted to") == ["9 interactions"] * 2


def test_a_difference_that_may_be_chance_is_neither_better_nor_worse():
    found = [
        difference("ndcg_at_10", 0.09, 0.08, -0.01, 0.03),
        difference("ndcg_at_10_liked", 0.05, 0.08, -0.04, -0.02, allowed=0.001),
        difference("rmse", 0.85, 0.9, -0.06, -0.04),
    ]
    newest = MEASURED | {"compared": {"a": found, "popularity": []}}
    result = model_versions.compare([row("a", MEASURED), row("b", newest)])
    assert result.rival == "a"
    assert result.differences == [
        "NDCG@10 +0.0100 (−0.0100 to +0.0300): which may be chance",
        "NDCG@10 of liked movies −0.0300 (−0.0400 to −0.0200): worse, more than is allowed",
        "RMSE −0.0500 (−0.0600 to −0.0400): better",
    ]
    only = model_versions.compare([row("b", newest)])
    assert (only.rival, only.differences) == ("", [])
    assert only.why_not == "There is no other version to compare it with."
