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
        result += _training(facts.model, facts.nights[:-1])
    result += _registry(facts.run)
    result += _hits(facts.hits)
    result += _users(facts.run)
    if facts.run.all_users:  # a partial run is compared with none
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
    if not known.runs:
        return
    of_all = known.together
    times, runs = _counted(of_all.users, "time"), _counted(len(known.runs), "measured run")
    since = f"Users came back {times} after the last {runs}"
    if of_all.users < _USERS_TO_JUDGE:
        yield Finding("note", f"{since}, too few to say whether their lists were better than what was popular.")
        return
    yield _good_if(
        of_all.ndcg > of_all.popular_ndcg,
        f"{since}. What they rated next was in their lists with NDCG@10 {of_all.ndcg:.4f}; in what was popular, "
        f"{of_all.popular_ndcg:.4f}.",
    )


def _counted(count: int, noun: str) -> str:
    """Return such as 1 user, or 1,200 users."""
    return f"{formatting.number(count)} {noun}{'' if count == 1 else 's'}"


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
    ndcg, popular_ndcg = metrics.ndcg_at_10, metrics.baselines.get(POPULARITY, Measures()).ndcg_at_10
    if ndcg is not None and popular_ndcg is not None:
        yield _good_if(
            ndcg > popular_ndcg,
            f"On the held-out {noun}, NDCG@10 of the model's lists is {ndcg:.4f}; of what is popular, "
            f"{popular_ndcg:.4f}.",
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


def _training(model: Model, before: list[Night]) -> Iterator[Finding]:
    """Say whether the model is a new one, and what the gate said of it."""
    if model.is_imported:
        return
    trained = f"trained on {formatting.day(model.created_at)}"
    reasons = model.metrics.gate
    if reasons:
        yield Finding("warning", f"The gate refused the model, {trained}, which is used all the same: "
                      f"{'; '.join(reasons)}.")  # fmt: skip
    elif before and before[-1].model_version == model.name:
        yield Finding("note", f"The model is the one of the run before, {trained}.")
    else:
        since = f"is new since {formatting.day(before[-1].run_date)}, " if before else "was "
        asked = "the gate was not asked whether it may be used" if reasons is None else "it passed the gate"
        yield Finding("note" if reasons is None else "good", f"The model {since}{trained}; {asked}.")


def _users(run: RunRecord) -> Iterator[Finding]:
    """Say of which users the run has lists that were made tonight, and who wants or has none."""
    if not run.all_users:
        asked = "users" if run.users_asked is None else _counted(run.users_asked, "user")
        kept = f", and keeps the lists of {_counted(run.users_kept, 'other')}" if run.users_kept else ""
        yield Finding("note", f"This is a partial run: it scored only the {asked} asked for{kept}. It is compared "
                      "with no other run.")  # fmt: skip
    if run.carried_from:
        were = "some were" if run.users_scored is None else f"{formatting.number(run.users_scored)} were"
        day = formatting.day(run.carried_from.run_date)
        yield Finding(
            "note",
            f"The run is incremental: of {_counted(run.users, 'user')}, {were} scored; the others keep their lists of "
            f"{day}.",
        )
    if run.users_opted_out:
        yield Finding(
            "note", f"{_counted(run.users_opted_out, 'user')} opted out, for whom there is only what is popular."
        )
    if run.users_forgotten:
        yield Finding("note", f"Erased since the run was published, but still in its counts: "
                      f"{_counted(run.users_forgotten, 'user')}.")  # fmt: skip


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
        delisted = _counted(run.movies_delisted, "movie")
        verb, them, their = ("is", "it", "its") if run.movies_delisted == 1 else ("are", "them", "their")
        yield Finding(
            "note",
            f"{delisted} that the model knows {verb} not in the catalogue any more: nobody is recommended {them}, and "
            f"{their} {run.noun} still count as seen and as taste.",
        )
    if run.movies_new:
        is_one = run.movies_new == 1
        them = "it" if is_one else "them"
        if run.movies_placed:
            rows = run.recommendations.new_rows
            shown = f"{_counted(rows, 'recommendation')} {'is' if rows == 1 else 'are'} of {them}"
            known = "its genres and year" if is_one else "their genres and years"
            what = f"which knows {known} only; {shown if rows else f'nobody is recommended {them}'}."
        else:
            what = f"which can recommend {them} once it is trained again."
        yield Finding(
            "note", f"{_counted(run.movies_new, 'movie')} {'is' if is_one else 'are'} new to the model, {what}"
        )


def _input(run: RunRecord, rejects: list[dict[str, Any]], limits: Input) -> Iterator[Finding]:
    if run.feedback == IMPLICIT:
        yield Finding("note", "There are no ratings: the input is implicit feedback, so no ratings are predicted.")
    for file in run.input:
        if file.assumptions:
            yield Finding("note", f"How the input was read: {file.sentence()}.")
    if run.newest_rating is not None:
        newest = f"{formatting.day(run.newest_rating.date())}, {run.newest_rating:%H:%M} UTC"
        later = formatting.number(run.ratings_left_out) if run.ratings_left_out else "no"
        left_out = f"; {later} later ones were left out" if run.as_of else ""
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
