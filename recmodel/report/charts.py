"""Charts: facts as Vega-Lite specifications.

Takes the parts of `facts.Facts` and returns charts that fill the width of their place on the page. Colours are the
page's own CSS variables, so that charts are light or dark with the page. This works in SVG only, not on a canvas.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np

from recmodel import formatting
from recmodel import schemas as c
from recmodel.data.statistics import InteractionStatistics
from recmodel.records import BIASES, POPULARITY, Measures, Metrics
from recmodel.report import popularity_buckets
from recmodel.report.drift import Night
from recmodel.report.hits import RunHits
from recmodel.report.movies import Mix
from recmodel.report.summary import Overlap, Summary
from recmodel.settings import Checks

_COLOURS = {
    "model": "var(--model)",
    "recommendations": "var(--model)",
    "the run before": "var(--before)",
    "predicted": "var(--model)",
    POPULARITY: "var(--popularity)",
    BIASES: "var(--biases)",
    "ratings": "var(--users)",
    "interactions": "var(--users)",
    "actual": "var(--users)",
}
_HEIGHT = 190  # pixels
_SHORT = "format(datum.value, '~s')"  # formats each label on its own: 0, 500, 1k
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"

# The theme of all charts: no frames, a quiet grid, text in the page's own colours.
CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": _FONT,
    "padding": {"left": 0, "right": 6, "top": 4, "bottom": 5},
    "view": {"stroke": None},
    "axis": {
        "domain": False, "ticks": False, "gridColor": "var(--line)", "labelColor": "var(--muted)", "labelFontSize": 12,
        "labelPadding": 6, "titleColor": "var(--muted)", "titleFontSize": 12, "titleFontWeight": "normal",
        "titlePadding": 8,
    },
    "axisX": {"grid": False, "domain": True, "domainColor": "var(--line)"},
    "axisY": {"title": None, "tickCount": 4},
    "legend": {
        "labelColor": "var(--ink)", "labelFontSize": 12, "orient": "top", "symbolType": "square", "symbolSize": 90,
        "title": None, "offset": 10, "columnPadding": 14, "labelLimit": 240,
    },
    "line": {"strokeWidth": 2},
    "point": {"filled": True, "size": 36, "opacity": 1},
    "bar": {"cornerRadiusEnd": 2},
    "text": {"fill": "var(--ink)", "fontSize": 12},
}  # fmt: skip


@dataclass(frozen=True)
class Chart:
    """A chart, its heading, and a description for readers who cannot see it."""

    name: str  # unique on the page
    heading: str
    unit: str  # of the vertical axis; empty where the heading names it
    description: str
    spec: dict[str, Any]
    numbers: list[dict[str, Any]]  # the data as a table; empty where the page has such a table already


def figure(
    name: str, heading: str, unit: str, description: str, chart: Any, numbers: list[dict[str, Any]],
    height: int = _HEIGHT,
) -> Chart:  # fmt: skip
    """Return a chart of Altair's as a chart of a page; see `Chart`."""
    spec = chart.properties(width="container", height=height, description=description).to_dict()
    for unwanted in ("$schema", "config"):  # a web address, and defaults that CONFIG replaces
        spec.pop(unwanted, None)
    return Chart(name, heading, unit, description, spec, numbers)


def inline(rows: list[dict[str, Any]]) -> alt.Data:
    """Return rows as data that a chart carries with it."""
    return alt.Data(values=rows)  # type: ignore[no-untyped-call, unused-ignore]


def _series(names: list[str], legend: alt.Legend | None = None) -> alt.Color:
    """Give each series its colour, the same on the whole page."""
    scale = alt.Scale(domain=names, range=[_COLOURS[name] for name in names])
    return alt.Color("series:N", scale=scale, legend=legend or alt.Legend())


def _around(values: list[float], room: float) -> alt.Scale:
    """Show all values and at least `room` on each side of the last one, so that small changes look small."""
    return alt.Scale(zero=False, domain=[min(*values, values[-1] - room), max(*values, values[-1] + room)])


def _grouped_bars(rows: list[dict[str, Any]], names: list[str], x: alt.X, y: alt.Y, tooltips: list[Any]) -> alt.Chart:
    return (
        alt.Chart(inline(rows))
        .mark_bar()
        .encode(x=x, y=y, xOffset=alt.XOffset("series:N", sort=names), color=_series(names), tooltip=tooltips)
    )


def _names(rows: list[dict[str, Any]]) -> list[str]:
    """Return the names of the series, in order."""
    return list(dict.fromkeys(row["series"] for row in rows))


# -- hits ----------------------------------------------------------------------------------------------------------


def hits(runs: list[RunHits]) -> Chart:
    """Draw NDCG@10 of each run's lists, and of what was popular then, by the ratings that came since."""
    rows = [
        {"run": f"{run.run_date}", "series": series, "NDCG@10": value, "users": run.of_all.users}
        for run in runs
        for series, value in (("recommendations", run.of_all.ndcg), (POPULARITY, run.of_all.popular_ndcg))
    ]
    ends = [f"{runs[0].run_date}", f"{runs[-1].run_date}"]
    days = (runs[-1].run_date - runs[0].run_date).days
    base = alt.Chart(inline(rows)).encode(
        x=alt.X(
            "run:T",
            title=None,
            scale=alt.Scale(type="utc", domain=ends) if days else alt.Scale(type="utc"),  # not the reader's zone
            axis=_axis_of_days(days),
        ),
        y=alt.Y("NDCG@10:Q", axis=alt.Axis(format=".3~f")),
        color=_series(["recommendations", POPULARITY]),
        tooltip=[
            alt.Tooltip("run:T", format="%-d %B %Y"),
            "series:N",
            alt.Tooltip("NDCG@10:Q", format=".4f"),
            alt.Tooltip("users:Q", format=",", title="users who came back"),
        ],
    )
    last = runs[-1].of_all
    description = (
        f"Line chart of {len(runs)} runs; the last one: {last.ndcg:.4f}, of what was popular {last.popular_ndcg:.4f}."
    )
    numbers = [
        {
            "run": f"{run.run_date}",
            "users who came back": run.of_all.users,
            "hits": run.of_all.hits,
            "NDCG@10": run.of_all.ndcg,
            "of what was popular": run.of_all.popular_ndcg,
        }
        for run in runs
    ]
    heading = "What users have rated since, in their lists"
    return figure(
        "hits", heading, "NDCG@10; higher is better", description, base.mark_line() + base.mark_point(), numbers
    )


# -- quality -------------------------------------------------------------------------------------------------------


def _with_baseline(metrics: Metrics, baseline: str) -> dict[str, Measures]:
    """Return the measures of the model and of a baseline, by name."""
    return {"model": metrics, baseline: (metrics.baselines or {}).get(baseline, Measures())}


def rating_errors(metrics: Metrics) -> Chart:
    """Compare RMSE, MAE and calibration error of the model with those of mean and biases."""
    measures = {"RMSE": "rmse", "MAE": "mae", "calibration error": "calibration_error"}
    methods = _with_baseline(metrics, BIASES)
    rows = [
        {"measure": label, "series": name, "stars": stars}
        for label, attribute in measures.items()
        for name, method in methods.items()
        if (stars := getattr(method, attribute)) is not None
    ]
    chart = _grouped_bars(
        rows,
        _names(rows),
        alt.X("measure:N", sort=[*measures], title=None, axis=alt.Axis(labelAngle=0)),
        alt.Y("stars:Q"),
        ["series:N", "measure:N", alt.Tooltip("stars:Q", format=".4f")],
    )
    values = ", ".join(f"{row['measure']} of {row['series']} {row['stars']:.3f}" for row in rows)
    return figure(
        "rating-errors",
        "Error of predicted ratings",
        "stars; lower is better",
        f"Bar chart, in stars: {values}.",
        chart,
        [],
    )


def hit_rates(metrics: Metrics, noun: str = "ratings") -> Chart:
    """Compare the share of held-out ratings (or interactions) among the first k with that of popularity."""
    methods = _with_baseline(metrics, POPULARITY)
    rows = [
        {"k": k, "series": name, "share": share}
        for name, method in methods.items()
        for k, share in (method.top_k_accuracy_unseen or {}).items()
    ]
    chart = _grouped_bars(
        rows,
        _names(rows),
        alt.X("k:N", sort=None, title="k", axis=alt.Axis(labelAngle=0)),
        alt.Y("share:Q", axis=alt.Axis(format=".0%")),
        ["series:N", "k:N", alt.Tooltip("share:Q", format=".2%")],
    )
    values = ", ".join(f"{row['series']}, top {row['k']}: {row['share']:.3f}" for row in rows)
    return figure(
        "hit-rates",
        f"Held-out {noun} in the user's top k",
        "share; higher is better",
        f"Bar chart of shares: {values}.",
        chart,
        [],
    )


def losses(metrics: Metrics) -> list[Chart]:
    """Draw a training curve per task."""
    charts = []
    for name, values in metrics.epochs.items():
        if values:
            rows = [{"epoch": i, "loss": loss} for i, loss in enumerate(values, start=1)]
            base = alt.Chart(inline(rows)).encode(
                x=alt.X("epoch:O", title="epoch", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
                y=alt.Y("loss:Q", scale=_around(values, 0.05 * abs(values[-1])), axis=alt.Axis(format=".3~f")),
                tooltip=["epoch:O", alt.Tooltip("loss:Q", format=".5f")],
            )
            chart = base.mark_line(color="var(--model)") + base.mark_point(color="var(--model)")
            task = name.removesuffix("_loss")
            description = f"Line chart of {len(values)} epochs, from {values[0]:.4f} to {values[-1]:.4f}."
            charts.append(
                figure(f"loss-{task}", f"Training loss, {task}", "mean per epoch", description, chart, rows, 150)
            )
    return charts


# -- drift ---------------------------------------------------------------------------------------------------------


def drift(nights: list[Night], limits: Checks) -> list[Chart]:
    """Draw a small chart per figure over the nights. Its axis shows at least the changes that would be a warning."""
    now = nights[-1]
    room = {
        "users": now.users * limits.max_user_loss / 2,
        "coverage": now.coverage * limits.max_coverage_change / 2,
        "predicted-rating": limits.max_rating_shift / 2,
    }
    figures: list[tuple[str, str, str, list[float | None]]] = [
        ("users", "Users", ",.0f", [night.users for night in nights]),
        ("coverage", "Catalogue coverage", ".1%", [night.coverage for night in nights]),
        ("predicted-rating", "Mean predicted rating", ".2f", [night.predicted_rating for night in nights]),
        ("overlap", "List overlap", ".0%", [_mean_overlap(night.overlap) for night in nights]),
    ]
    model_changes = [
        {"day": f"{night.run_date}"}
        for before, night in itertools.pairwise(nights)
        if night.model_version != before.model_version
    ]
    charts = []
    for name, heading, number_format, values in figures:
        present = [value for value in values if value is not None]
        if present:
            scale = _around(present, room[name]) if name in room else alt.Scale(domain=[0, 1])
            charts.append(_over_time(f"drift-{name}", heading, number_format, nights, values, scale, model_changes))
    return charts


def _over_time(
    name: str,
    heading: str,
    number_format: str,
    nights: list[Night],
    values: list[float | None],
    scale: alt.Scale,
    model_changes: list[dict[str, Any]],
) -> Chart:
    rows = [
        {"day": f"{night.run_date}", "value": value, "model": night.model_version}
        for night, value in zip(nights, values, strict=True)
        if value is not None
    ]
    days = (nights[-1].run_date - nights[0].run_date).days
    x = alt.X(
        "day:T",
        title=None,
        scale=alt.Scale(
            type="utc", domain=[f"{nights[0].run_date}", f"{nights[-1].run_date}"]
        ),  # not the reader's zone
        axis=_axis_of_days(days),
    )
    base = alt.Chart(inline(rows)).encode(
        x=x,
        y=alt.Y("value:Q", scale=scale, axis=alt.Axis(format=number_format, tickCount=3)),
        tooltip=[
            alt.Tooltip("day:T", format="%-d %B %Y", title="run"),
            alt.Tooltip("value:Q", format=number_format, title=heading),
            alt.Tooltip("model:N"),
        ],
    )
    rule = alt.Chart(inline(model_changes)).mark_rule(color="var(--muted)", strokeDash=[3, 3]).encode(x=x)
    chart = rule + base.mark_line(color="var(--model)") + base.mark_point(color="var(--model)")
    description = f"Line chart of {len(rows)} runs, from {rows[0]['value']:.4g} to {rows[-1]['value']:.4g}."
    return figure(name, heading, "", description, chart, [], 110)


def _axis_of_days(days: int) -> alt.Axis:
    """Return an axis of dates; steps begin anew with each month, so the 31st and the 1st would run into each other."""
    step = {"interval": "day", "step": max(1, days // 4)}
    return alt.Axis(format="%-d %b", tickCount=step, labelOverlap="greedy", labelSeparation=8)


def _mean_overlap(overlap: Overlap | None) -> float | None:
    return overlap.mean if overlap is not None and overlap.users else None


def overlap_histogram(overlap: Overlap) -> Chart:
    """Draw how many users kept how much of their list."""
    rows = [{"share": i / 10, "users": users} for i, users in enumerate(overlap.by_tenth)]
    chart = (
        alt.Chart(inline(rows))
        .mark_bar(color="var(--model)")
        .encode(
            x=alt.X(
                "share:O",
                title="share of the list that was in the previous one",
                axis=alt.Axis(format=".0%", labelAngle=0, labelOverlap="parity", labelSeparation=6),
            ),
            y=alt.Y("users:Q", axis=alt.Axis(labelExpr=_SHORT)),
            tooltip=[alt.Tooltip("share:Q", format=".0%", title="overlap"), alt.Tooltip("users:Q", format=",")],
        )
    )
    description = (
        f"Bar chart of {overlap.users:,} users by the share of their list that was in the previous one; the mean is "
        f"{overlap.mean:.0%}."
    )
    return figure("overlap", "Overlap with the lists of the previous run", "users", description, chart, rows)


# -- movies --------------------------------------------------------------------------------------------------------


def by_ratings(mix: Mix, before: Mix | None, noun: str = "ratings") -> Chart:
    """Compare what is recommended with what was rated, by how often movies were rated; and with the run before."""
    series = {"recommendations": [group.recommended for group in mix.by_ratings]}
    if before is not None:
        series["the run before"] = [group.recommended for group in before.by_ratings]
    series[noun] = [group.rated for group in mix.by_ratings]
    labels = [group.name for group in mix.by_ratings]
    rows = [
        {"rated": label, "series": name, "share": share}
        for name, shares in series.items()
        for label, share in zip(labels, shares, strict=True)
    ]
    chart = _grouped_bars(
        rows,
        [*series],
        alt.X("rated:N", sort=labels, title=f"{noun} of the movie", axis=alt.Axis(labelAngle=0)),
        alt.Y("share:Q", axis=alt.Axis(format=".0%")),
        ["series:N", alt.Tooltip("rated:N", title=noun), alt.Tooltip("share:Q", format=".1%")],
    )
    numbers = [
        {noun: group.name, "movies": group.movies}
        | {name: formatting.percent(shares[i]) for name, shares in series.items()}
        for i, group in enumerate(mix.by_ratings)
    ]
    values = "; ".join(
        f"{label}: {', '.join(f'{share[i]:.1%} of {name}' for name, share in series.items())}"
        for i, label in enumerate(labels)
    )
    return figure(
        "by-ratings",
        "Recommendations by how often a movie was rated" if noun == "ratings" else "Recommendations by interactions",
        "share of all",
        f"Bar chart by {noun} of the movie. {values}.",
        chart,
        numbers,
        240,
    )


def by_genre(mix: Mix, noun: str = "ratings", limit: int = 12) -> Chart:
    """Draw the share of each genre in recommendations next to its share of ratings, and write its predicted rating.

    Args:
        limit: so many genres are drawn; all are in the numbers.
    """
    drawn = mix.by_genre[:limit]
    names = [group.name for group in drawn]
    rows: list[dict[str, Any]] = [
        {"genre": group.name, "series": series, "share": share}
        for group in drawn
        for series, share in (("recommendations", group.recommended), (noun, group.rated))
    ]
    y = alt.Y("genre:N", sort=names, title=None, axis=alt.Axis(labelLimit=110))
    widest = max((row["share"] for row in rows), default=0) or 1
    scale = alt.Scale(domain=[0, 1.2 * widest])  # with room for the stars
    x = alt.X("share:Q", title=None, scale=scale, axis=alt.Axis(format=".0%", tickCount=4))
    base = alt.Chart(inline(rows)).encode(y=y)
    line = base.mark_line(color="var(--line)", strokeWidth=2).encode(x=x, detail="genre:N")
    points = base.mark_point(size=64).encode(
        x=x,
        color=_series(["recommendations", noun]),
        tooltip=["genre:N", "series:N", alt.Tooltip("share:Q", format=".1%")],
    )
    chart, unit = line + points, f"share of recommendations and of {noun}"
    stars = [
        {"genre": group.name, "stars": formatting.stars(group.predicted_rating)}
        for group in drawn
        if group.predicted_rating is not None
    ]
    if stars:
        text = alt.Chart(inline(stars)).mark_text(align="right", fill="var(--muted)")
        chart += text.encode(y=y, x=alt.value("width"), text="stars:N")
        unit += "; on the right, the mean predicted rating of what is recommended"
    numbers = [
        {
            "genre": group.name,
            "movies": group.movies,
            "recommendations": formatting.percent(group.recommended),
            noun: formatting.percent(group.rated),
        }
        | ({"predicted": formatting.stars(group.predicted_rating), "rated": formatting.stars(group.mean_rating)}
           if stars else {})
        for group in mix.by_genre
    ]  # fmt: skip
    values = "; ".join(
        f"{group.name}: {group.recommended:.1%} of recommendations, {group.rated:.1%} of {noun}" for group in drawn
    )
    description = f"Chart of two points for each genre. {values}."
    return figure("by-genre", "Recommendations by genre", unit, description, chart, numbers, 22 * len(drawn))


# -- scores and ratings --------------------------------------------------------------------------------------------


def rating_distribution(predicted: dict[float, int], actual: dict[float, int]) -> Chart:
    """Compare the predicted ratings of what is recommended with all ratings that users gave.

    Args:
        predicted, actual: numbers of ratings by half star; `actual` may be empty.
    """
    series = {"predicted": predicted, "actual": actual}
    steps = sorted({*predicted, *actual})
    rows = [
        {"stars": step, "series": name, "share": counts.get(step, 0) / sum(counts.values())}
        for name, counts in series.items()
        if counts
        for step in steps
    ]
    chart = _grouped_bars(
        rows,
        _names(rows),
        alt.X("stars:O", title="stars, to the nearest half", axis=alt.Axis(labelAngle=0)),
        alt.Y("share:Q", axis=alt.Axis(format=".0%")),
        ["series:N", "stars:O", alt.Tooltip("share:Q", format=".1%")],
    )
    modes = [
        f"{max(counts, key=lambda step: counts[step]):g} stars ({name})" for name, counts in series.items() if counts
    ]
    description = f"Bar chart of shares by half star. Most frequent: {', '.join(modes)}."
    return figure("rating-distribution", "Predicted and actual ratings", "share", description, chart, rows)


def scores(summary: Summary) -> Chart:
    """Draw the distribution of retrieval scores."""
    rows: list[dict[str, Any]] = [dict(row) for row in summary.scores]
    chart = (
        alt.Chart(inline(rows))
        .mark_rect(color="var(--model)", stroke="var(--paper)")
        .encode(
            x=alt.X(
                "low:Q", title="score", scale=alt.Scale(nice=False, zero=False), axis=alt.Axis(tickCount=5, format="~g")
            ),
            x2="high:Q",
            y=alt.Y("rows:Q", axis=alt.Axis(labelExpr=_SHORT)),
            y2=alt.datum(0),
            tooltip=[
                *(alt.Tooltip(f"{end}:Q", format=".4f") for end in ("low", "high")),
                alt.Tooltip("rows:Q", format=","),
            ],
        )
    )
    description = f"Histogram of scores from {summary.scores[0]['low']:.3g} to {summary.scores[-1]['high']:.3g}."
    return figure("scores", "Retrieval scores", "recommendations", description, chart, rows)


def by_rank(summary: Summary) -> Chart:
    """Draw how the score falls along the list."""
    rows = [row for row in summary.by_rank if row["median"] is not None]
    if all(row[c.PREDICTED_RATING] is None for row in rows):  # as of implicit feedback
        rows = [{name: value for name, value in row.items() if name != c.PREDICTED_RATING} for row in rows]
    x = alt.X("rank:Q", title="rank", scale=alt.Scale(nice=False), axis=alt.Axis(tickMinStep=1))
    base = alt.Chart(inline(rows)).encode(x=x)
    band = base.mark_area(color="var(--model)", opacity=0.18).encode(
        y=alt.Y("low:Q", axis=alt.Axis(format="~g")), y2="high:Q"
    )
    line = base.mark_line(color="var(--model)", point={"color": "var(--model)"} if len(rows) < 30 else False).encode(
        y="median:Q",
        tooltip=["rank:Q", *(alt.Tooltip(f"{part}:Q", format=".4f") for part in ("low", "median", "high"))],
    )
    ends = f"{rows[0]['median']:.3g} at rank 1 to {rows[-1]['median']:.3g} at rank {len(rows)}"
    description = f"Line chart; the median falls from {ends}."
    return figure(
        "by-rank", "Retrieval score by rank", "median and middle 80 % of users", description, band + line, rows
    )


# -- popularity ------------------------------------------------------------------------------------------------------


def buckets(statistics: InteractionStatistics, users: np.ndarray, noun: str = "ratings") -> Chart:
    """Draw the shares of recommendations and of ratings by how popular the movie is.

    Args:
        users: [M] to how many users each movie of `statistics` is recommended.
        noun: what is counted: ratings or interactions.
    """
    most = "rated" if noun == "ratings" else "popular"
    series = {"recommendations": users, noun: statistics.ratings}
    rows = [
        {"bucket": label, "series": name, "share": share}
        for name, counts in series.items()
        for label, share in zip(
            popularity_buckets.LABELS, popularity_buckets.bucket_shares(statistics.ratings, counts), strict=True
        )
    ]
    chart = _grouped_bars(
        rows,
        [*series],
        alt.X(
            "bucket:N",
            sort=[*popularity_buckets.LABELS],
            title=f"% of all movies, the most {most} first",
            axis=alt.Axis(labelAngle=0),
        ),
        alt.Y("share:Q", axis=alt.Axis(format=".0%")),
        ["series:N", "bucket:N", alt.Tooltip("share:Q", format=".1%")],
    )
    values = ", ".join(f"{row['bucket']} % of the movies: {row['share']:.2f} of {row['series']}" for row in rows)
    return figure(
        "popularity-buckets",
        "Recommendations by popularity",
        f"share of all recommendations and of all {noun}",
        f"Bar chart. {values}.",
        chart,
        rows,
    )


def against_popularity(movies: list[dict[str, Any]], noun: str = "ratings") -> Chart:
    """Draw a point per movie: to how many users it is recommended, by how often it was rated.

    Args:
        movies: title, ratings (at least 1), users.
        noun: what is counted: ratings or interactions.
    """
    scale = alt.Scale(type="log", nice=False, padding=6)
    axes = {
        name: alt.Axis(labelExpr=_SHORT, values=_log_ticks([row[name] for row in movies]))
        for name in ("ratings", "users")
    }
    chart = (
        alt.Chart(inline(movies))
        .mark_point(color="var(--model)", opacity=0.5, size=28)
        .encode(
            x=alt.X("ratings:Q", title=f"{noun} of the movie", scale=scale, axis=axes["ratings"]),
            y=alt.Y("users:Q", scale=scale, axis=axes["users"]),
            tooltip=["title:N", alt.Tooltip("ratings:Q", title=noun, format=","), alt.Tooltip("users:Q", format=",")],
        )
    )
    return figure(
        "against-popularity",
        f"Recommendations and {noun}, movie by movie",
        "users who are recommended the movie",
        f"Scatter plot with a point for each of the {len(movies)} most recommended movies.",
        chart,
        [],
    )


def _log_ticks(values: list[int], limit: int = 6) -> list[int]:
    """Return 1, 2, 5, 10, … within the range of the values, or only powers of ten where those are too many."""
    steps = [lead * 10**power for power in range(10) for lead in (1, 2, 5)]
    ticks = [step for step in steps if min(values) <= step <= max(values)]
    return ticks if len(ticks) <= limit else [step for step in ticks if step in steps[::3]]
