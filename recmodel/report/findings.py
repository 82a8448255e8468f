"""Findings: what a reader of the report should know first.

Takes the facts of a run and the limits of the settings, and returns sentences. A change is a warning from half of the
limit on that would stop a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from recmodel import formatting
from recmodel.data.limits import Input
from recmodel.records import BIASES, IMPLICIT, POPULARITY, Measures, RunRecord
from recmodel.report.drift import Night
from recmodel.report.facts import Facts, Model
from recmodel.report.hits import AllHits
from recmodel.settings import Checks, Settings

_USERS_TO_JUDGE = 100  # who came back: with fewer, a few hits decide

Kind = Literal["warning", "good", "note"]


@dataclass(frozen=True)
class Finding:
    """A sentence and how to take it."""

    kind: Kind
    sentence: str


def findings(facts: Facts, limits: Settings) -> list[Finding]:
    """Return what to know of a run, warnings first."""
    result: list[Finding] = []
    if facts.model is None:
        result.append(Finding("warning", f"The quality of the model is not known: {facts.model_missing}."))
    else:
        result += _quality(facts.model, facts.run.noun)
        result += _age(facts.model, facts.run, limits.training.max_age_days)
    result += _registry(facts.run)
    result += _hits(facts.hits)
    result += _drift(facts.nights, limits.checks)
    result += _catalogue(facts.run)
    result += _input(facts.run, facts.rejects, limits.input)
    if facts.run.partitions_resumed:
        result.append(
            Finding("note", f"The run was interrupted and then resumed, with {facts.run.partitions_resumed} of its "
                    f"{facts.run.partitions} partitions already done.")
        )  # fmt: skip
    return sorted(result, key=lambda finding: get_args(Kind).index(finding.kind))


def _registry(run: RunRecord) -> Iterator[Finding]:
    if run.model_address_failure:
        yield Finding(
            "warning", f"The model is what {run.model_address} was last time, as MLflow failed: "
            f"{run.model_address_failure}."
        )  # fmt: skip


def _hits(known: AllHits) -> Iterator[Finding]:
    """Compare the lists of the runs so far with what was popular, if enough users came back to say so."""
    if known.runs and known.together.users >= _USERS_TO_JUDGE:
        of_all = known.together
        yield _good_if(
            of_all.ndcg >= of_all.popular_ndcg,
            f"Users came back {of_all.users:,} times after the last {len(known.runs)} measured runs. What they rated "
            f"next was in their lists with NDCG@10 {of_all.ndcg:.4f}; in what was popular, {of_all.popular_ndcg:.4f}.",
        )


def _good_if(good: bool, sentence: str) -> Finding:
    return Finding("good" if good else "warning", sentence)


def _quality(model: Model, noun: str) -> Iterator[Finding]:
    metrics = model.metrics
    if model.is_imported:
        yield Finding("note", "The model was trained elsewhere and imported, so its quality was not measured.")
        return
    if not metrics.test_rows:
        yield Finding("warning", f"Training held out no {noun}, so the quality of the model was not measured.")
        return
    if not metrics.baselines:
        yield Finding("warning", "The model was not compared with baselines in training; train again to compare it.")
        return
    rmse, biases = metrics.rmse, metrics.baselines.get(BIASES, Measures()).rmse
    if rmse is not None and biases is not None:
        change = f"{formatting.percent(abs(1 - rmse / biases))} {'lower' if rmse < biases else 'higher'}"
        yield _good_if(
            rmse < biases,
            f"The error of predicted ratings (RMSE) is {rmse:.3f} stars, {change} than with mean and biases "
            f"({biases:.3f}).",
        )
    hits, popular_hits = metrics.accuracy_at_100, metrics.baselines.get(POPULARITY, Measures()).accuracy_at_100
    if hits is not None and popular_hits is not None:
        yield _good_if(
            hits > popular_hits,
            f"{formatting.percent(hits)} of the held-out {noun} are of a movie that the model ranks among the first "
            f"100 for that user; ranking by popularity reaches {formatting.percent(popular_hits)}.",
        )


def _age(model: Model, run: RunRecord, max_age_days: float) -> Iterator[Finding]:
    days = (run.finished_at - model.created_at).total_seconds() / 86_400
    if days > max_age_days and not model.is_imported:
        yield Finding("warning", f"The model was {days:.0f} days old; training is due after {max_age_days:g} days.")
    if model.failed_training and model.failed_training[0] <= run.finished_at:
        when, sentence = model.failed_training
        yield Finding(
            "warning", f"Training failed on {formatting.day(when)}, so the model is an older one: {sentence}."
        )
    if run.as_of and model.newest_rating and model.newest_rating > run.as_of:
        seen, end = (f"{formatting.day(time.date())}, {time:%H:%M} UTC" for time in (model.newest_rating, run.as_of))
        yield Finding("warning", f"The model has seen {run.noun} up to {seen}; this run is as of {end}.")
    for name, reasons in model.not_promoted.items():
        why = "; ".join(reasons).replace(model.name, "the one in use")
        yield Finding("warning", f"The newer model {name} was not promoted: {why}.")


def _drift(nights: list[Night], limits: Checks) -> Iterator[Finding]:
    if len(nights) < 2:
        yield Finding("note", "There is no earlier run with the same settings to compare this run with.")
        return
    before, now = nights[-2:]
    day = formatting.day(before.run_date)
    more_users = now.users - before.users
    yield _good_if(
        -more_users <= limits.max_user_loss / 2 * before.users,
        f"{formatting.number(now.users)} users have recommendations, {_difference(more_users)} on {day}.",
    )
    yield _good_if(
        abs(now.coverage - before.coverage) <= limits.max_coverage_change / 2 * before.coverage,
        f"{formatting.percent(now.coverage)} of the catalogue is recommended to at least one user; on {day} it was "
        f"{formatting.percent(before.coverage)}.",
    )
    if now.predicted_rating is not None and before.predicted_rating is not None:
        yield _good_if(
            abs(now.predicted_rating - before.predicted_rating) <= limits.max_rating_shift / 2,
            f"The mean predicted rating is {now.predicted_rating:.2f} stars; on {day} it was "
            f"{before.predicted_rating:.2f}.",
        )
    if now.overlap is not None and now.overlap.users:
        other_model = "" if now.model_version == before.model_version else ", which was made with another model"
        share = formatting.percent(now.overlap.mean, 0)
        yield Finding("note", f"On average, {share} of a user's list was already in the list of {day}{other_model}.")


def _difference(change: int) -> str:
    if not change:
        return "as many as"
    return f"{formatting.number(abs(change))} {'more' if change > 0 else 'fewer'} than"


def _catalogue(run: RunRecord) -> Iterator[Finding]:
    if run.movies_delisted:
        count = formatting.number(run.movies_delisted)
        yield Finding(
            "note",
            f"{count} movies that the model knows are not in the catalogue any more: nobody is recommended them, and "
            f"their {run.noun} still count as seen and as taste.",
        )
    if run.movies_new:
        count = formatting.number(run.movies_new)
        if run.movies_placed:
            rows = formatting.number(run.recommendations.new_rows)
            what = f"which knows their genres and years only; {rows} recommendations are of them."
        else:
            what = "which can recommend them once it is trained again."
        yield Finding("note", f"{count} movies are new to the model, {what}")


def _input(run: RunRecord, rejects: list[dict[str, Any]], limits: Input) -> Iterator[Finding]:
    if run.feedback == IMPLICIT:
        yield Finding("note", "There are no ratings: the input is implicit feedback, so no ratings are predicted.")
    for file in run.input:
        if file.assumptions:
            yield Finding("note", f"How the input was read: {file.sentence()}.")
    if run.newest_rating is not None:
        newest = f"{formatting.day(run.newest_rating.date())}, {run.newest_rating:%H:%M} UTC"
        left_out = f"; {formatting.number(run.ratings_left_out)} later ones were left out" if run.as_of else ""
        yield Finding("note", f"The newest of the {run.noun} that were used is of {newest}{left_out}.")
    rows = formatting.number(sum(run.rows_in.values()))
    if not run.rows_rejected:
        yield Finding("good", f"All {rows} input rows could be used.")
        return
    share = max(
        sum(row["rows"] for row in rejects if row["file"] == file) / max(1, count)
        for file, count in run.rows_in.items()
    )
    most_frequent = rejects[0]
    what = "a row" if most_frequent["column"] == "(all)" else most_frequent["column"]
    yield _good_if(
        share <= limits.max_rejected_share / 2,
        f"{formatting.number(run.rows_rejected)} of {rows} input rows {'was' if run.rows_rejected == 1 else 'were'} "
        f"rejected, most often because {what} {most_frequent['reason']}.",
    )
