"""Model versions on the page: the two newest next to each other, from the table `models` of a run.

Takes rows of the table and returns texts, one for each cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from recmodel import formatting
from recmodel import schemas as c
from recmodel.records import BIASES, MEASURES, POPULARITY, Difference, Measures, Metrics
from recmodel.tables.base import Output

_DIGITS = 4
_COMPARED_VERSIONS = 2  # the newest
# Why a measure does not apply to a version.
_NO_RATINGS, _OTHER_KIND = "predicts no ratings", "not measured for this kind of model"
_UNREADABLE = "not known: metrics.json could not be read"


@dataclass(frozen=True)
class Comparison:
    """Versions next to each other."""

    names: list[str]  # of the versions, oldest first, a column for each
    roles: list[str]  # what each of them is for this run; may be empty
    rows: list[tuple[str, list[str]]]  # what is compared, and a cell for each version; without what applies to none
    refused: dict[str, list[str]]  # why the gate refused those that it did, by version
    rival: str  # the version that the newest was compared with on the same held-out ratings; empty without one
    differences: list[str]  # of these two, a sentence for each measure
    why_not: str  # why there are none


def of_run(output: Output, run_date: date, noun: str) -> Comparison | None:
    """Compare the versions that there were when a run was published; None for runs of versions before 0.3.2.

    Args:
        noun: what models are fitted to: ratings or interactions.
    """
    if not output.files(c.MODELS_TABLE, run_date):
        return None
    rows = output.dataset(c.MODELS_TABLE, run_date).to_table()  # without the columns that came after that run
    return compare(rows.to_pylist(), noun)


def compare(rows: list[dict[str, Any]], noun: str = "ratings") -> Comparison | None:
    """Compare the two newest versions and, if it is neither of them, the one that made the run; None without any.

    Args:
        rows: of `schemas.MODEL_ROW`, in any order.
    """
    if not rows:
        return None
    rows = sorted(rows, key=lambda row: row[c.MODEL_VERSION])
    shown = [row for i, row in enumerate(rows) if row["used"] or i >= len(rows) - _COMPARED_VERSIONS]
    metrics = [None if row["metrics"] is None else Metrics.parse(row["metrics"]) for row in shown]
    names = [row[c.MODEL_VERSION] for row in shown]
    measures = {measure: [_measure(of, measure) for of in metrics] for measure in MEASURES}
    baselines = {
        (name, measure): [_baseline(of, name, measure) for of in metrics]
        for name, measure in ((POPULARITY, "ndcg_at_10"), (BIASES, "rmse"))
    }
    apply = [measure for measure, cells in measures.items() if not {_NO_RATINGS, _OTHER_KIND} >= {*cells}]
    compared = (metrics[-1] and metrics[-1].compared) or {}
    rival = next((name for name in reversed(names[:-1]) if name in compared), "")
    return Comparison(
        names=names,
        roles=[_role(row) for row in shown],
        rows=[
            ("trained", [_trained(row) for row in shown]),
            ("fitted to", [_fitted(of, noun) for of in metrics]),
            *((MEASURES[measure], measures[measure]) for measure in apply),
            *((f"{MEASURES[of]} of {name}", cells) for (name, of), cells in baselines.items() if of in apply),
            ("the gate", [row["gate"] or "was not asked" for row in shown]),
        ],
        refused={row[c.MODEL_VERSION]: row["gate_reasons"] for row in shown if row["gate_reasons"]},
        rival=rival,
        differences=[_difference(found) for found in compared.get(rival, [])],
        why_not="" if rival else _why_not(shown, metrics[-1]),
    )


def _role(row: dict[str, Any]) -> str:
    if row["used"]:
        return "made this run" if row["current"] else "made this run, was not current"
    return "was current" if row["current"] else ""


def _trained(row: dict[str, Any]) -> str:
    created = row["created_at"]
    when = "date not known" if created is None else formatting.day(created).replace(formatting.NBSP, " ")
    return f"{when}, {row['preset']}" if row["preset"] else when


def _fitted(metrics: Metrics | None, noun: str) -> str:
    if metrics is None:
        return _UNREADABLE
    rows = metrics.refit_rows or metrics.train_rows
    return f"{formatting.number(rows)} {noun}" if rows else "not known"


def _measure(metrics: Metrics | None, measure: str) -> str:
    """Return a measure of a version with its 95 % interval, or why there is none."""
    value = None if metrics is None else getattr(metrics, measure)
    if metrics is None or value is None:
        return _why_no_measure(metrics, measure)
    low, high = (metrics.intervals or {}).get(measure, (None, None))
    interval = "" if low is None else f" ({low:.{_DIGITS}f} to {high:.{_DIGITS}f})"
    return f"{value:.{_DIGITS}f}{interval}"


def _why_no_measure(metrics: Metrics | None, measure: str) -> str:
    if metrics is None:
        return _UNREADABLE
    if not metrics.test_rows:
        return "not measured"
    if measure == "rmse":
        return _NO_RATINGS
    if metrics.held_out is None:
        return "not measured: trained before 0.3.2"
    return _OTHER_KIND


def _baseline(metrics: Metrics | None, name: str, measure: str) -> str:
    value = None if metrics is None else getattr((metrics.baselines or {}).get(name, Measures()), measure)
    return "not measured" if value is None else f"{value:.{_DIGITS}f}"


def _difference(found: Difference) -> str:
    """Say how the newest version differs from its rival by a measure, and whether that may be chance."""
    change = found.new - found.rival
    if found.low <= 0 <= found.high:
        verdict = "which may be chance"
    else:
        verdict = "better" if (change < 0) == (found.measure == "rmse") else "worse"
        verdict += ", more than is allowed" if found.is_worse else ""
    ends = " to ".join(formatting.signed(end, _DIGITS) for end in (found.low, found.high))
    return f"{MEASURES[found.measure]} {formatting.signed(change, _DIGITS)} ({ends}): {verdict}"


def _why_not(shown: Sequence[dict[str, Any]], newest: Metrics | None) -> str:
    if len(shown) < _COMPARED_VERSIONS:
        return "There is no other version to compare it with."
    if newest is None or not newest.test_rows:
        return "The newest version was not measured, so it was compared with no other."
    if newest.compared is None:
        return "The newest version was not compared with others in training."
    return "The newest version was compared with neither of the others on the same ratings."
