"""Views: what the commands print, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from rich.table import Table

from recmodel import schemas as c
from recmodel.cli.console import facts, stars, table
from recmodel.records import EXPLICIT, IMPLICIT, MEASURES, NEWEST

if TYPE_CHECKING:
    import pandas as pd

    from recmodel.pipeline import (
        backtest,
        capacity,
        evaluate,
        export,
        forget,
        importing,
        predict,
        score,
        search,
        train,
        training_capacity,
    )
    from recmodel.records import FeedbackKind, Metrics, RunRecord
    from recmodel.tables.served import Exported

NO_RATINGS = "there are no ratings, as the model was trained on implicit feedback"
PARTIAL = "; a partial run: full runs and `latest` stay as they are"
DRY_RUN = "this was --dry-run: nothing was written, except a log"
_MIB = 1 << 20


# -- score -----------------------------------------------------------------------------------------------------------


def run_summary(run: RunRecord, output: str) -> Table:
    """Return what a run did."""
    figures, peak = run.recommendations, run.peak_mib
    driver = peak["driver_python"] + peak["driver_jvm"]
    is_implicit = run.feedback == IMPLICIT
    replaced = f" ({run.ratings_superseded:,} of them replaced by a later rating)"
    carried = {}
    if run.carried_from:
        others = f"the others keep their lists of {run.carried_from.run_date}"
        carried["users scored again"] = f"{run.users_scored:,}; {others}"
    return facts(
        {
            "run date": f"{run.run_date}{_ratings_used(run)}",
            "model version": run.model_version,
            "ranked by": run.rank_by,
            "users": f"{run.users:,} ({figures.popular_users:,} of them served from popularity)",
            **(
                {"users who opted out": f"{run.users_opted_out:,}, served from popularity"}
                if run.users_opted_out
                else {}
            ),
            **({"users kept": f"{run.users_kept:,}, of earlier partial runs of this date"} if run.users_kept else {}),
            **carried,
            "movies in the catalogue": _movies(
                run.movies if run.movies_tonight is None else run.movies_tonight,
                run.movies_allowed,
                run.movies_new,
                run.movies_placed,
                run.movies_delisted,
            ),
            "recommendations": f"{figures.rows:,} rows, {figures.distinct_movies:,} different movies",
            "predicted ratings": NO_RATINGS if is_implicit else f"{run.predicted_ratings.rows:,} rows",
            "rows rejected": f"{run.rows_rejected:,}" + ("" if is_implicit else replaced),
            **({"interactions repeated": f"{run.interactions_repeated:,}, added up"} if is_implicit else {}),
            "peak memory": f"driver {driver:,} MiB, largest worker {peak['largest_worker']:,} MiB",
            "published in": output + ("" if run.all_users else PARTIAL),
        }
    )


def _ratings_used(run: RunRecord) -> str:
    if run.newest_rating is None:
        return ""
    newest = f", with {run.noun} up to {run.newest_rating:%Y-%m-%d %H:%M} UTC"
    if run.newest_rating.date() > run.run_date:
        newest += ", which is later"
    return newest + (f"; {run.ratings_left_out:,} later ones left out" if run.ratings_left_out else "")


def score_dry_run(plan: score.DryRun, run_date: date, output: str) -> Table:
    """Return what a run would do."""
    run, users = plan.run, plan.plan.users
    again = "it would be replaced" if run.users_file is None else "other users would keep their lists"
    return facts(
        {
            "run date": f"{run_date}, published already: {again}" if plan.replaces else run_date,
            "model version": run.version.name,
            "ranked by": run.rank_by,
            "users to score": f"{plan.plan.users_scored:,} of {users:,}",
            "movies in the catalogue": _movies(
                run.catalogues.tonight.num_rows,
                plan.counts.movies_allowed,
                run.catalogues.new,
                int(run.catalogues.placed.sum()),
                run.catalogues.delisted,
            ),
            "partitions": f"{plan.plan.partitions:,}",
            "recommendations": f"up to {users * run.settings.scoring.top_n:,} rows",
            **({"predicted ratings": NO_RATINGS} if run.feedback.is_implicit else {}),
            "rows rejected": f"{plan.counts.rows_rejected:,}",
            "interrupted run": "it would be continued" if plan.resumes else "none of this kind",
            "would be published in": output + ("" if run.users_file is None else PARTIAL),
        }
    )


def recommendations(title: str, rows: Sequence[dict[str, Any]], feedback: FeedbackKind = EXPLICIT) -> Table:
    """Return rows of the table recommendations; those of popularity and of older versions have no reasons.

    Args:
        feedback: of the run; implicit: there is no column of predicted ratings.
    """
    rated = feedback == EXPLICIT
    reasons = ["because you liked" if rated else "because of"] * any(row.get(c.BECAUSE_TITLE) for row in rows)
    ratings = ["predicted rating"] * rated
    view = table(title, ["rank", "title", *reasons, *ratings], ["score", "movie id"])
    if not rated:
        view.caption, view.caption_justify = NO_RATINGS, "left"
    for row in rows:
        score = row[c.RETRIEVAL_SCORE] if row.get(c.SCORE) is None else row[c.SCORE]
        view.add_row(
            str(row[c.RANK]),
            row[c.TITLE],
            *(row[c.BECAUSE_TITLE] or "–" for _ in reasons),
            *(stars(row[c.PREDICTED_RATING]) for _ in ratings),
            {c.SOURCE_POPULARITY: "popular", c.SOURCE_TRENDING: "trending"}.get(row[c.SOURCE], _number(score)),
            str(row[c.MOVIE_ID]),
        )
    return view


def similar_movies(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    """Return rows of the table similar_movies, with titles."""
    view = table(title, ["rank", "title"], ["score", "movie id"])
    for row in rows:
        view.add_row(str(row[c.RANK]), row[c.TITLE], _number(row[c.SCORE]), str(row[c.SIMILAR_MOVIE_ID]))
    return view


def predictions(title: str, rows: Sequence[predict.Prediction], feedback: FeedbackKind = EXPLICIT) -> Table:
    """Return predicted ratings and scores of single movies.

    Args:
        feedback: of the model; implicit: it predicts no ratings.
    """
    ratings = ["predicted rating"] * (feedback == EXPLICIT)
    view = table(title, ["title", *ratings], ["score", "movie id"])
    notes = [] if ratings else [NO_RATINGS]
    if ratings and all(row.predicted_rating is None for row in rows):
        notes.append("this model was not trained to predict ratings")
    if all(row.retrieval_score is None for row in rows):
        notes.append("this model was not trained for retrieval, so it gives no score")
    if new := sum(row.is_new for row in rows):
        are = "is" if new == 1 else "are"
        notes.append(f"{new} of the movies {are} new to the model, which places by genres and year")
    view.caption, view.caption_justify = "; ".join(notes) or None, "left"
    for row in rows:
        shown = [stars(row.predicted_rating) for _ in ratings]
        view.add_row(row.title + " (new)" * row.is_new, *shown, _number(row.retrieval_score), str(row.movie_id))
    return view


def _movies(catalogue: int, allowed: int | None, new: int, placed: int, delisted: int) -> str:
    parts = [f"{catalogue:,}"]
    if new:
        how = "places them by genres and year" if placed else "cannot score them yet"
        parts.append(f"{new:,} of them new to the model, which {how}")
    if allowed is not None and allowed != catalogue - new + placed:
        parts.append(f"{allowed:,} may be recommended")
    if delisted:
        parts.append(f"{delisted:,} that the model knows are delisted")
    return "; ".join(parts)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def published_runs(runs: Sequence[tuple[RunRecord, bool]]) -> Table:
    """Return published runs, each with whether it is the newest of its kind."""
    view = table(None, ["", "run date", "run", "model version", "finished"], ["users", "rows"])
    for run, is_newest in runs:
        newest = ("latest" if run.all_users else "newest") if is_newest else ""
        kind = "full" if run.all_users else "partial"
        users = f"{run.recommendations.users:,}" + (f" + {run.users_kept:,} kept" if run.users_kept else "")
        figures = users, f"{run.recommendations.rows:,}"
        view.add_row(newest, str(run.run_date), kind, run.model_version, f"{run.finished_at:%Y-%m-%d %H:%M}", *figures)
    return view


def erased(places: Sequence[tuple[forget.Erased, list[str]]], replayed: Sequence[str], named: int) -> Table:
    """Return what was removed where.

    Args:
        places: each with the names of the report pages that showed one of the users.
        replayed: presets of which a backtest keeps nothing any more.
        named: how many users were named.
    """
    view = table(None, ["of", "what", "run dates"], ["removed"])
    whom: set[Any] = set()
    for place, pages in places:
        where = "partial runs" if place.partial else "full runs"
        whom.update(*(run.users for run in place.found))
        for name in c.TABLES:
            rows = {run.run_date: run.rows[name] for run in place.found if name in run.rows}
            if rows:
                view.add_row(where, name, _days([*rows]), f"{sum(rows.values()):,} rows")
        histories = {run.run_date: run.histories for run in place.found if run.histories}
        if histories:
            view.add_row(
                where, "ratings kept for the report", _days([*histories]), f"{sum(histories.values()):,} users"
            )
        if pages:
            view.add_row(where, "report pages", ", ".join(pages), f"{len(pages):,} changed")
        if place.staged:
            dates_of_runs = ", ".join(name[:10] for name in place.staged)
            view.add_row(where, "interrupted runs", dates_of_runs, f"{len(place.staged):,} discarded")
    if replayed:
        view.add_row("backtest", "kept nights and models", ", ".join(replayed), f"{len(replayed):,} presets")
    view.title = f"{len(whom):,} of {named:,} users were in the tables"
    return view


def after_erasing(models: forget.Models, *, in_mlflow: bool = False) -> Iterable[str]:
    """Yield what cannot be undone by erasing rows, in sentences."""
    yield "the input is as it was: remove the users there, or the next run brings them back"
    yield "a database that was exported to has them until the next export: call it now"
    yield "other folders may hold them: remove the splits of evaluate --write-split, and .kept of other backtests"
    if in_mlflow:
        yield (
            "MLflow has the newest page of each version anew, and keeps versions with a vector for each user and pages "
            "of runs that are gone: delete these there"
        )
    if models.with_users:
        yield (
            f"models that have a vector for each user they were trained with: {', '.join(models.with_users)}; train "
            "again without these users, promote the new version, and remove the folders of the old ones"
        )
    if models.without_users:
        yield (
            f"models that were trained with ratings of many users and hold vectors of movies, but of no user: "
            f"{', '.join(models.without_users)}"
        )


def _days(days: list[date]) -> str:
    return str(days[0]) if len(days) == 1 else f"{days[0]} … {days[-1]} ({len(days):,})"


# -- export ----------------------------------------------------------------------------------------------------------


def exported(target: export.Target, done: Exported) -> str:
    """Return what an export did, in a sentence."""
    where = f"{target.kind} ({target.shown})"
    if done.already:
        return f"{where} has the run of {done.run_date} already: nothing was done"
    what = f"{done.rows:,} rows" + ("" if done.changed == done.rows else f", {done.changed:,} of them written")
    what += f", {done.removed:,} removed" if done.removed else ""
    return f"the run of {done.run_date} is in {where}: {done.users:,} users, {what}, in {done.seconds:,.1f} s"


# -- train -----------------------------------------------------------------------------------------------------------


def training_summary(training: train.Training) -> Table:
    """Return what a training run did, and how good its model is."""
    metrics, rows = training.version.metrics(), training.validation.rows
    summary = {
        "model version": training.version.name,
        **{f"rows of {file}": f"{count:,}" for file, count in rows.items()},
        "rows rejected": f"{training.validation.rejected().num_rows:,}",
        **_fitted(metrics, training.version.feedback),
        "examples per second": f"{metrics.examples_per_second:,}",
    }
    if metrics.refit_rows:
        summary["fitted again"] = f"{metrics.refit_rows:,} rows, held-out ones too, for the model that serves"
    if metrics.measured_users:
        newest = "the newest" if metrics.held_out == NEWEST else "some rating"
        summary["held out"] = f"{newest} of each of {metrics.measured_users:,} users"
    for name, measure in MEASURES.items():
        if (value := getattr(metrics, name)) is not None:
            low, high = (metrics.intervals or {}).get(name, (value, value))
            summary[f"held-out {measure}"] = f"{value:.4f} ({low:.4f} to {high:.4f}{_of_rivals(metrics, name)})"
    for k, share in (metrics.top_k_accuracy or {}).items():
        unseen = (metrics.top_k_accuracy_unseen or {})[k]
        summary[f"held-out top-{k} accuracy"] = f"{unseen:.4f} among unseen movies, {share:.4f} among all"
    return facts({**summary, **_replaced(training), "written to": training.version.path})


def _of_rivals(metrics: Metrics, measure: str) -> str:
    """Return what the baselines reach by a measure."""
    rivals = {name: getattr(rival, measure) for name, rival in (metrics.baselines or {}).items()}
    return "".join(f"; {name} {value:.4f}" for name, value in rivals.items() if value is not None)


def _replaced(training: train.Training) -> dict[str, str]:
    """Return which version a new one replaces, or why it doesn't, and how the two compare."""
    compared = training.comparison
    if compared is None:
        return {"replaces": "no version: it is the first"} if training.promoted else {"current version": "none"}
    outcome = {"replaces": compared.current} if training.promoted else {"current version stays": compared.current}
    if compared.differences is None:
        return {**outcome, "compared with it": f"not at all: {compared.why_not}"}
    figures = "; ".join(
        f"held-out {MEASURES[found.measure]} {found.new:.4f} against its {found.rival:.4f} "
        f"({found.low:+.4f} to {found.high:+.4f})"
        for found in compared.differences
    )
    if figures and compared.users < (training.version.metrics().measured_users or 0):
        figures += f"; by {compared.users:,} users, whose held-out ratings it was not fitted to either"
    return {**outcome, "compared with it": figures or "not at all: they were trained for different tasks"}


def _fitted(metrics: Metrics, feedback: FeedbackKind) -> dict[str, str]:
    if metrics.opted_out_rows:
        left_out = {"of users who opted out": f"{metrics.opted_out_rows:,} rows, not trained with"}
        return left_out | _fitted(metrics.model_copy(update={"opted_out_rows": 0}), feedback)
    if metrics.left_out_rows:
        left_out = {"of users left out": f"{metrics.left_out_rows:,} rows (training.max_ratings)"}
        return left_out | _fitted(metrics.model_copy(update={"left_out_rows": 0}), feedback)
    fitted = f"{metrics.train_rows:,} / {metrics.test_rows:,}"
    if feedback == IMPLICIT:
        return {
            "ratings": "none: the input is implicit feedback, so no ratings are predicted",
            "interactions repeated": f"{metrics.superseded_rows:,}, added up",
            "interactions fitted / held out": fitted,
        }
    return {"ratings superseded": f"{metrics.superseded_rows:,}", "ratings fitted / held out": fitted}


def training_dry_run(plan: train.DryRun, preset: str, test_share: float, models: str) -> Table:
    """Return what a training run would do."""
    held_out = f"{plan.ratings:,}, {'one of each of up to 10,000 users' if test_share else 'none of them'} held out"
    return facts(
        {
            "preset": preset,
            "ratings" if plan.feedback == EXPLICIT else "interactions, which are implicit feedback": held_out,
            "movies": f"{plan.movies:,}",
            "rows rejected": f"{plan.validation.rejected().num_rows:,}",
            "current version": plan.current or "none",
            "would be written below": models,
        }
    )


def model_versions(metrics: dict[str, Metrics], current: str | None) -> Table:
    """Return model versions, how good they were, and why the gate refused one."""
    view = table(None, ["", "version", "refused because"], ["RMSE", "NDCG@10", "top-100 accuracy"])
    for name, measured in metrics.items():
        figures = (_number(measured.rmse), _number(measured.ndcg_at_10), _number(measured.accuracy_at_100))
        view.add_row("CURRENT" if name == current else "", name, "; ".join(measured.gate or []), *figures)
    return view


def imported(done: importing.Import) -> Table:
    """Return what was taken over of a model that was trained elsewhere."""
    compared = f"{done.pairs_compared:,} pairs" + (f" and {done.lists_compared} lists" if done.lists_compared else "")
    return facts({
        "model version": done.version.name,
        "what it is": done.form,
        "trained for": " and ".join(done.version.tasks),
        "users": f"{done.users:,}",
        "movies": f"{done.movies:,}, known by {done.movies_by}; {done.unknown_movies:,} of the catalogue unknown to it",
        "compared with the original": f"{compared}, all alike",
        "current version": "this one" if done.promoted else "unchanged; models promote makes it this one",
        "written to": done.version.path,
    })  # fmt: skip


# -- evaluate --------------------------------------------------------------------------------------------------------


def evaluated(found: evaluate.Evaluation) -> tuple[str, str, list[str]]:
    """Return what the evaluation counted, in a sentence, a heading for cold users, and what to know of its figures."""
    noun = "ratings" if found.feedback == EXPLICIT else "interactions"
    kind = "" if found.feedback == EXPLICIT else ", which are implicit feedback,"
    sizes = f"{found.fitted:,} {noun}{kind} fitted, {found.held_out:,} held out"
    cold = f"A fifth of the users unknown in training, by how many of their {noun} are shown"
    notes = []
    if found.misjudged:
        names, go = " and ".join(found.misjudged), "goes" if len(found.misjudged) == 1 else "go"
        notes.append(
            f"{names} {go} by the order of {noun}, to find what users watch next, but this split holds out {noun} of "
            "any time. For what is watched next use --split last-out; for any time, the preset any-order"
        )
    if found.new_movies:
        notes.append(
            f"{found.new_movies:,} movies have no fitted {noun[:-1]}, so they are new to what is measured; "
            f"{found.held_out_of_new:,} of the held-out {noun} are of them"
        )
    return sizes, cold, notes


_METHODS_IN_TABLE = 5  # next to each other


def metrics_by_method(frame: pd.DataFrame, title: str) -> Iterable[Table]:
    """Yield tables of some methods each: the mean over splits and seeds, if several with ± the standard deviation."""
    grouped = frame.drop(columns=["split", "seed"]).groupby("method", sort=False)
    mean, spread, runs = grouped.mean(), grouped.std(ddof=0), grouped.size()
    for start in range(0, len(mean), _METHODS_IN_TABLE):
        methods = mean.index[start : start + _METHODS_IN_TABLE]
        view = table("" if start else title, ["metric"], [str(method) for method in methods])
        for metric in mean.columns:
            cells = []
            for method in methods:
                value, digits = mean.loc[method, metric], 0 if metric == "examples/s" else 4
                plus = f" ±{spread.loc[method, metric]:,.{digits}f}" if runs[method] > 1 else ""
                cells.append(f"{value:,.{digits}f}{plus}" if value == value else "–")
            view.add_row(metric, *cells)
        yield view


def differences(intervals: pd.DataFrame) -> Table:
    """Return how far each method is from the first one, with 95 % intervals over users; no rows if it is alone."""
    first = intervals["method"].iloc[0]
    metrics = [metric for metric in ("ndcg@10", "recall@100", "rmse") if (intervals["metric"] == metric).any()]
    compared = intervals[intervals["method"] != first].set_index(["method", "metric"])
    view = table(f"\nDifferences from {first}, with 95 % intervals over users", ["method"], metrics)
    for method in compared.index.unique("method"):
        cells = []
        for metric in metrics:
            found = compared.loc[(method, metric)] if (method, metric) in compared.index else {}
            value = found.get("difference value", float("nan"))
            interval = f" ({found['difference low']:+.4f}, {found['difference high']:+.4f})" if value == value else ""
            cells.append(f"{value:+.4f}{interval}" if interval else "–")
        view.add_row(str(method), *cells)
    return view


# -- backtest --------------------------------------------------------------------------------------------------------


def trainings(by_preset: dict[str, int]) -> str:
    """Return how often models were trained, in words."""
    return ", ".join(f"{name} was trained {'once' if n == 1 else f'{n} times'}" for name, n in by_preset.items())


def replayed_methods(found: backtest.Backtest) -> Iterable[Table]:
    """Yield a table per group of users: each method over all nights, with 95 % intervals over users."""
    from recmodel.evaluation import replayed  # pandas, which quick commands need not wait for

    first = found.methods["method"].iloc[0]
    for group, rows in found.methods[replayed.are_told_apart(found.methods)].groupby("users", sort=False):
        nights, ratings = rows["nights"].max(), rows["ratings"].max()
        people = f"{rows['people'].max():,} {group} users after {nights} night{'s' * (nights > 1)}"
        view = table(
            f"\n{people}: {rows['users_measured'].max():,} in all nights, {ratings:,} movies that were new to them",
            ["method"], ["hits", "liked", "recall@10", "NDCG@10", "95 % interval", f"NDCG@10 less that of {first}"],
        )  # fmt: skip
        for row in rows.to_dict("records"):
            difference = "–"
            if row["method"] != first:
                low, high = row["difference_low"], row["difference_high"]
                difference = f"{row['difference']:+.4f} ({low:+.4f}, {high:+.4f})"
            liked = f"{row['share_liked']:.0%}" if row["share_liked"] == row["share_liked"] else "–"
            interval = f"{row['ndcg_10_low']:.4f} to {row['ndcg_10_high']:.4f}"
            view.add_row(
                row["method"], f"{row['hits']:,}", liked, f"{row['recall_10']:.4f}", f"{row['ndcg_10']:.4f}", interval,
                difference,
            )  # fmt: skip
        yield view


def replayed_nights(found: backtest.Backtest) -> Table:
    """Return NDCG@10 of each method after each night, of the users who had rated before, if any came back."""
    group = found.nights["users"].max()  # returning, if there are any
    rows = found.nights[found.nights["users"] == group]
    methods = [*rows["method"].unique()]
    view = table(f"\nNDCG@10 of {group} users by night", ["night"], ["users", *methods])
    for night, of_night in rows.groupby(c.SCORED_ON, sort=False):
        values = dict(zip(of_night["method"], of_night["ndcg_10"], strict=True))
        cells = [f"{values[method]:.4f}" if method in values else "–" for method in methods]
        view.add_row(f"{night}", f"{of_night['users_measured'].max():,}", *cells)
    return view


def trial(number: int, found: search.Trial) -> str:
    """Return a trial as one line."""
    values = "the preset as it is" if found.is_preset else _values(found.values)
    return f"trial {number}: {found.measure:.4f}, {values}"


def trials(found: Sequence[search.Trial], objective: str) -> Table:
    """Return trials, the best first."""
    view = table(f"\nBest by {objective} on validation ratings", ["values"], [objective])
    for one in found:
        view.add_row(_values(one.values) + " (the preset as it is)" * one.is_preset, f"{one.measure:.4f}")
    return view


def _values(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
    )


def frame_rows(frame: pd.DataFrame, title: str) -> Table:
    """Return a frame as it is: text and counts to the left, numbers to the right."""
    names = [name for name in ("ratings given", "interactions given", "method") if name in frame]
    numbers = [str(name) for name in frame if name not in names]
    view = table(title, names, numbers)
    for row in frame.to_dict("records"):
        cells = [f"{row[number]:.4f}" if row[number] == row[number] else "–" for number in numbers]
        view.add_row(*(str(row[name]) for name in names), *cells)
    return view


# -- capacity --------------------------------------------------------------------------------------------------------


def training_forecast(forecast: training_capacity.Forecast, ratings: int) -> Table:
    """Return what training would take."""
    return facts(
        {
            "to train on": f"{ratings:,} ratings",
            "time": f"{forecast.seconds:,.0f} s on this machine, {forecast.epoch_seconds:,.0f} s of it the epochs",
            "memory": f"{forecast.peak_mib / 1024:,.1f} GiB",
        }
    )


def capacity_forecast(
    forecast: capacity.Forecast, rates: capacity.Rates, users: int, cores: int, price: float | None
) -> Iterable[Table]:
    """Return what a night would take, and in which stages."""
    hours = forecast.total_seconds / 3600
    ratings = f"{users * rates.ratings_per_user:,.0f} {rates.noun}"
    yield facts(
        {
            "to score": f"{users:,} users x {rates.movies:,} movies, top {rates.top_n} by {rates.rank_by}, {ratings}",
            "time": f"{forecast.total_seconds:,.0f} s" if hours < 1 else f"{hours:,.1f} h",
            "core hours": f"{forecast.core_hours:,.2f} on {cores:,} cores",
            **({"cost": f"{forecast.core_hours * price:,.2f}"} if price is not None else {}),
            "tables": f"{forecast.parquet_bytes / _MIB:,.0f} MiB of Parquet per night",
            "broadcast": f"{forecast.broadcast_bytes / _MIB:,.0f} MiB, {rates.model_bytes / _MIB:,.0f} MiB each time",
            "memory": f"{sum(forecast.memory_mib.values()) / 1024:,.1f} GiB in all, the same for any number of users",
            **{f"  {name}": f"{mib:,.0f} MiB" for name, mib in forecast.memory_mib.items()},
            "a worker is planned with": f"{forecast.planned_worker_bytes / _MIB:,.0f} MiB",
            "rates": f"measured on {rates.cores} cores",
        }
    )
    view = table("\nWhere the time goes", ["stage", "done by"], ["seconds"])
    for stage, seconds in sorted(forecast.seconds.items(), key=lambda item: -item[1]):
        view.add_row(stage, "the driver alone" if stage in forecast.driver_stages else "all cores", f"{seconds:,.1f}")
    yield view
