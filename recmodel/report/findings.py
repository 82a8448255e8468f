"""Verdict: what a reader should know first.

Takes the facts of a run and the limits of the settings; gives sentences, each marked as fine, as worth a look, or as
neither. What the settings would stop a run for is worth a look from half of that on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from recmodel import formatting
from recmodel import schemas as c
from recmodel.report.drift import Night
from recmodel.report.facts import Facts, Model
from recmodel.settings import Checks, Input, Settings


@dataclass(frozen=True)
class Finding:
    """A sentence and how to take it."""

    kind: Literal["fine", "look", "note"]
    sentence: str


def findings(facts: Facts, limits: Settings) -> list[Finding]:
    """What to know of the run, what needs a look first."""
    found: list[Finding] = []
    if isinstance(facts.model, str):
        found.append(Finding("look", f"How good the model was cannot be said any more: {facts.model}."))
    else:
        found += _quality(facts.model.metrics)
        found += _currency(facts.model, facts.run, limits.training.max_age_days)
    found += _drift(facts.nights, limits.checks)
    found += _input(facts.run, facts.rejects, limits.input)
    if facts.run["partitions_resumed"]:
        found.append(
            Finding("note", f"The run was interrupted, and went on with {facts.run['partitions_resumed']} of "
                    f"{facts.run['partitions']} partitions done.")
        )  # fmt: skip
    return sorted(found, key=lambda finding: ("look", "fine", "note").index(finding.kind))


def _judged(fine: bool, sentence: str) -> Finding:
    return Finding("fine" if fine else "look", sentence)


def _quality(metrics: dict[str, Any]) -> Iterator[Finding]:
    if not metrics.get("test_rows"):
        yield Finding("look", "No ratings were held out in training, so how good the model is was not measured.")
        return
    if c.BASELINES not in metrics:
        yield Finding("look", "The model was trained before baselines were measured with it; train again to see more.")
        return
    baselines = metrics[c.BASELINES]
    ours, theirs = metrics.get("rmse"), baselines[c.BIASES]["rmse"]
    if ours is not None:
        change = f"{formatting.percent(abs(1 - ours / theirs))} {'less' if ours < theirs else 'more'}"
        yield _judged(
            ours < theirs,
            f"Predicted ratings are off by {ours:.3f} stars (RMSE), {change} than with mean and biases ({theirs:.3f}).",
        )
    if c.ACCURACY in metrics:
        ours, theirs = metrics[c.ACCURACY]["100"], baselines[c.POPULARITY][c.ACCURACY]["100"]
        yield _judged(
            ours > theirs,
            f"Of the ratings held back from training, {formatting.percent(ours)} are of a movie among the first 100 "
            f"that the model offers that user; popularity finds {formatting.percent(theirs)}.",
        )


def _currency(model: Model, run: dict[str, Any], max_age_days: float) -> Iterator[Finding]:
    days = (datetime.fromisoformat(run["finished_at"]) - model.created_at).total_seconds() / 86_400
    if days > max_age_days:
        yield Finding("look", f"The model was {days:.0f} days old; training is due after {max_age_days:g}.")
    for name, reasons in model.refused.items():
        told = "; ".join(reasons).replace(model.name, "the one in use")
        yield Finding("look", f"A newer model, {name}, was not let in: {told}.")


def _drift(nights: list[Night], limits: Checks) -> Iterator[Finding]:
    if len(nights) < 2:
        yield Finding("note", "There is no earlier run made in the same way to compare this one with.")
        return
    before, now = nights[-2:]
    since = f"on {formatting.day(before.run_date)}"
    more_users = now.users - before.users
    yield _judged(
        -more_users <= limits.max_user_loss / 2 * before.users,
        f"{formatting.number(now.users)} users have recommendations, {_compared(more_users)} {since}.",
    )
    yield _judged(
        abs(now.coverage - before.coverage) <= limits.max_coverage_change / 2 * before.coverage,
        f"{formatting.percent(now.coverage)} of the catalogue is recommended to somebody; {since} it was "
        f"{formatting.percent(before.coverage)}.",
    )
    if now.predicted_rating is not None and before.predicted_rating is not None:
        yield _judged(
            abs(now.predicted_rating - before.predicted_rating) <= limits.max_rating_shift / 2,
            f"The mean predicted rating is {now.predicted_rating:.2f} stars; {since} it was "
            f"{before.predicted_rating:.2f}.",
        )
    if now.overlap is not None and now.overlap.users:
        why = "" if now.model_version == before.model_version else "; that one was made with another model"
        kept = f"{formatting.percent(now.overlap.mean, 0)} of a user's list was already in that of"
        yield Finding("note", f"On average {kept} {formatting.day(before.run_date)}{why}.")


def _compared(change: int) -> str:
    if not change:
        return "as many as"
    return f"{formatting.number(abs(change))} {'more' if change > 0 else 'fewer'} than"


def _input(run: dict[str, Any], rejects: list[dict[str, Any]], limits: Input) -> Iterator[Finding]:
    rows = sum(run["rows_in"].values())
    refused = run["rows_rejected"]
    if not refused:
        yield Finding("fine", f"All {formatting.number(rows)} input rows could be used.")
        return
    share = max(
        sum(row["rows"] for row in rejects if row["file"] == file) / max(1, count)
        for file, count in run["rows_in"].items()
    )
    commonest = rejects[0]
    what = "a row" if commonest["column"] == "(all)" else commonest["column"]
    yield _judged(
        share <= limits.max_rejected_share / 2,
        f"{formatting.number(refused)} of {formatting.number(rows)} input rows were refused; the commonest reason is "
        f"that {what} {commonest['reason']}.",
    )
