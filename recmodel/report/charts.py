"""Charts: facts as Vega-Lite specifications.

Takes the parts of `facts.Facts`; gives charts that fill the width they are given. Colours are the page's own CSS
variables, so that a chart is light or dark with the page: whoever draws it must draw SVG.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np

from recmodel import formatting
from recmodel import schemas as c
from recmodel.data.statistics import Tastes
from recmodel.report import popularity_buckets
from recmodel.report.drift import Night
from recmodel.report.summary import Overlap, Summary
from recmodel.settings import Checks

_COLOURS = {
    "model": "var(--model)",
    "recommendations": "var(--model)",
    "predicted": "var(--model)",
    c.POPULARITY: "var(--popularity)",
    c.BIASES: "var(--biases)",
    "ratings": "var(--people)",
    "given": "var(--people)",
}
_HEIGHT = 190  # pixels
_SHORT = "format(datum.value, '~s')"  # each label by itself: 0, 500, 1k
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"

# Of all charts: no frames, a quiet grid, words in the page's own colours.
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
    """A chart with its words: the heading above it, and for who cannot see it, what it shows."""

    name: str  # unique on a page
    heading: str
    unit: str  # of the vertical axis; empty where the heading says it
    description: str
    spec: dict[str, Any]
    numbers: list[dict[str, Any]]  # what is drawn; none where a table of the page has it


def _chart(
    name: str, heading: str, unit: str, description: str, drawn: Any, numbers: list[dict[str, Any]],
    height: int = _HEIGHT,
) -> Chart:  # fmt: skip
    spec = drawn.properties(width="container", height=height, description=description).to_dict()
    for unwanted in ("$schema", "config"):  # an address on the web, and the defaults that CONFIG replaces
        spec.pop(unwanted, None)
    return Chart(name, heading, unit, description, spec, numbers)


def _data(rows: list[dict[str, Any]]) -> alt.Data:
    return alt.Data(values=rows)  # type: ignore[no-untyped-call, unused-ignore]


def _series(names: list[str], legend: alt.Legend | None = None) -> alt.Color:
    """The colour of each series, the same on the whole page."""
    scale = alt.Scale(domain=names, range=[_COLOURS[name] for name in names])
    return alt.Color("series:N", scale=scale, legend=legend or alt.Legend())


def _around(values: list[float], room: float) -> alt.Scale:
    """All values and at least `room` on each side of the last, so that small changes look small."""
    return alt.Scale(zero=False, domain=[min(*values, values[-1] - room), max(*values, values[-1] + room)])


def _grouped_bars(rows: list[dict[str, Any]], names: list[str], x: alt.X, y: alt.Y, tooltips: list[Any]) -> alt.Chart:
    return (
        alt.Chart(_data(rows))
        .mark_bar()
        .encode(x=x, y=y, xOffset=alt.XOffset("series:N", sort=names), color=_series(names), tooltip=tooltips)
    )


def _names(rows: list[dict[str, Any]]) -> list[str]:
    """The series that are there, in order."""
    return list(dict.fromkeys(row["series"] for row in rows))


# -- quality -------------------------------------------------------------------------------------------------------


def _beside(metrics: dict[str, Any], baseline: str) -> dict[str, dict[str, Any]]:
    """The metrics of the model and of a baseline, by name."""
    return {"model": metrics, baseline: metrics.get(c.BASELINES, {}).get(baseline, {})}


def rating_errors(metrics: dict[str, Any]) -> Chart:
    """RMSE and its kin, of the model beside two biases."""
    measures = {"RMSE": "rmse", "MAE": "mae", "calibration error": "calibration_error"}
    methods = _beside(metrics, c.BIASES)
    rows = [
        {"measure": label, "series": name, "stars": theirs[key]}
        for label, key in measures.items()
        for name, theirs in methods.items()
        if key in theirs
    ]
    drawn = _grouped_bars(
        rows,
        _names(rows),
        alt.X("measure:N", sort=[*measures], title=None, axis=alt.Axis(labelAngle=0)),
        alt.Y("stars:Q"),
        ["series:N", "measure:N", alt.Tooltip("stars:Q", format=".4f")],
    )
    said = ", ".join(f"{row['measure']} of {row['series']} {row['stars']:.3f}" for row in rows)
    return _chart(
        "rating-errors",
        "How far predicted ratings are off",
        "stars; less is better",
        f"Bars, in stars: {said}.",
        drawn,
        [],
    )


def hits(metrics: dict[str, Any]) -> Chart:
    """The share of held-out ratings found among the first k, by the model and by popularity."""
    methods = _beside(metrics, c.POPULARITY)
    rows = [
        {"first": k, "series": name, "share": share}
        for name, theirs in methods.items()
        for k, share in theirs.get(c.ACCURACY, {}).items()
    ]
    drawn = _grouped_bars(
        rows,
        _names(rows),
        alt.X("first:N", sort=None, title="movies of the user's list", axis=alt.Axis(labelAngle=0)),
        alt.Y("share:Q", axis=alt.Axis(format=".0%")),
        ["series:N", "first:N", alt.Tooltip("share:Q", format=".2%")],
    )
    said = ", ".join(f"{row['series']}, first {row['first']}: {row['share']:.3f}" for row in rows)
    return _chart(
        "hits",
        "Held-out ratings found among the first …",
        "share; more is better",
        f"Bars, as shares: {said}.",
        drawn,
        [],
    )


def losses(metrics: dict[str, Any]) -> list[Chart]:
    """A training curve for each task."""
    made = []
    for name, values in metrics.get("epochs", {}).items():
        if values:
            rows = [{"epoch": i, "loss": loss} for i, loss in enumerate(values, start=1)]
            base = alt.Chart(_data(rows)).encode(
                x=alt.X("epoch:O", title="epoch", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
                y=alt.Y("loss:Q", scale=_around(values, 0.05 * abs(values[-1])), axis=alt.Axis(format=".3~f")),
                tooltip=["epoch:O", alt.Tooltip("loss:Q", format=".5f")],
            )
            drawn = base.mark_line(color="var(--model)") + base.mark_point(color="var(--model)")
            task = name.removesuffix("_loss")
            said = f"A line over {len(values)} epochs, from {values[0]:.4f} to {values[-1]:.4f}."
            made.append(_chart(f"loss-{task}", f"Training loss, {task}", "mean over an epoch", said, drawn, rows, 150))
    return made


# -- drift ---------------------------------------------------------------------------------------------------------


def drift(nights: list[Night], limits: Checks) -> list[Chart]:
    """A small chart a figure, over the nights. Its axis shows at least what would be worth a look."""
    now = nights[-1]
    room = {
        "users": now.users * limits.max_user_loss / 2,
        "coverage": now.coverage * limits.max_coverage_change / 2,
        "predicted-rating": limits.max_rating_shift / 2,
    }
    figures: list[tuple[str, str, str, list[float | None]]] = [
        ("users", "Users", ",.0f", [night.users for night in nights]),
        ("coverage", "Catalogue shown", ".1%", [night.coverage for night in nights]),
        ("predicted-rating", "Mean predicted rating", ".2f", [night.predicted_rating for night in nights]),
        ("kept", "Kept of a list", ".0%", [_kept(night.overlap) for night in nights]),
    ]
    changes = [
        {"day": f"{night.run_date}"}
        for before, night in itertools.pairwise(nights)
        if night.model_version != before.model_version
    ]
    made = []
    for name, heading, form, values in figures:
        known = [value for value in values if value is not None]
        if known:
            scale = _around(known, room[name]) if name in room else alt.Scale(domain=[0, 1])
            made.append(_over_time(f"drift-{name}", heading, form, nights, values, scale, changes))
    return made


def _over_time(
    name: str,
    heading: str,
    form: str,
    nights: list[Night],
    values: list[float | None],
    scale: alt.Scale,
    changes: list[dict[str, Any]],
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
        scale=alt.Scale(type="utc", domain=[f"{nights[0].run_date}", f"{nights[-1].run_date}"]),  # no clock's own day
        axis=alt.Axis(format="%-d %b", tickCount={"interval": "day", "step": max(1, days // 4)}),
    )
    base = alt.Chart(_data(rows)).encode(
        x=x,
        y=alt.Y("value:Q", scale=scale, axis=alt.Axis(format=form, tickCount=3)),
        tooltip=[
            alt.Tooltip("day:T", format="%-d %B %Y", title="run"),
            alt.Tooltip("value:Q", format=form, title=heading),
            alt.Tooltip("model:N"),
        ],
    )
    rule = alt.Chart(_data(changes)).mark_rule(color="var(--muted)", strokeDash=[3, 3]).encode(x=x)
    drawn = rule + base.mark_line(color="var(--model)") + base.mark_point(color="var(--model)")
    said = f"A line over {len(rows)} runs, from {rows[0]['value']:.4g} to {rows[-1]['value']:.4g}."
    return _chart(name, heading, "", said, drawn, [], 110)


def _kept(overlap: Overlap | None) -> float | None:
    return overlap.mean if overlap is not None and overlap.users else None


def overlap(found: Overlap) -> Chart:
    """How many users kept how much of their list."""
    rows = [{"share": i / 10, "users": users} for i, users in enumerate(found.by_tenth)]
    drawn = (
        alt.Chart(_data(rows))
        .mark_bar(color="var(--model)")
        .encode(
            x=alt.X(
                "share:O",
                title="share of the list that is the same",
                axis=alt.Axis(format=".0%", labelAngle=0, labelOverlap="parity", labelSeparation=6),
            ),
            y=alt.Y("users:Q", axis=alt.Axis(labelExpr=_SHORT)),
            tooltip=[alt.Tooltip("share:Q", format=".0%", title="the same"), alt.Tooltip("users:Q", format=",")],
        )
    )
    said = f"Bars of {found.users:,} users by how much of their list is the same; the mean is {found.mean:.0%}."
    return _chart("overlap", "Lists beside those of the run before", "users", said, drawn, rows)


# -- scores and ratings --------------------------------------------------------------------------------------------


def stars(predicted: dict[float, int], given: dict[float, int]) -> Chart:
    """Predicted ratings of what is recommended beside all ratings that people gave."""
    series = {"predicted": predicted, "given": given}
    steps = sorted({*predicted, *given})
    rows = [
        {"stars": step, "series": name, "share": counts.get(step, 0) / sum(counts.values())}
        for name, counts in series.items()
        if counts
        for step in steps
    ]
    drawn = _grouped_bars(
        rows,
        _names(rows),
        alt.X("stars:O", title="stars, to the nearest half", axis=alt.Axis(labelAngle=0)),
        alt.Y("share:Q", axis=alt.Axis(format=".0%")),
        ["series:N", "stars:O", alt.Tooltip("share:Q", format=".1%")],
    )
    said = f"Bars of shares by half star; the commonest is {_mode(predicted)} predicted and {_mode(given)} given."
    return _chart("stars", "Predicted ratings beside real ones", "share", said, drawn, rows)


def _mode(counts: dict[float, int]) -> str:
    return f"{max(counts, key=lambda step: counts[step]):g} stars" if counts else "nothing"


def scores(summary: Summary) -> Chart:
    """The distribution of retrieval scores."""
    rows: list[dict[str, Any]] = [dict(row) for row in summary.scores]
    drawn = (
        alt.Chart(_data(rows))
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
    ends = f"{summary.scores[0]['low']:.3g} to {summary.scores[-1]['high']:.3g}"
    return _chart("scores", "Retrieval scores", "recommendations", f"A histogram of scores from {ends}.", drawn, rows)


def by_rank(summary: Summary) -> Chart:
    """How the score falls along the list."""
    rows = [row for row in summary.by_rank if row["median"] is not None]
    x = alt.X("rank:Q", title="rank", scale=alt.Scale(nice=False), axis=alt.Axis(tickMinStep=1))
    base = alt.Chart(_data(rows)).encode(x=x)
    band = base.mark_area(color="var(--model)", opacity=0.18).encode(
        y=alt.Y("low:Q", axis=alt.Axis(format="~g")), y2="high:Q"
    )
    line = base.mark_line(color="var(--model)", point={"color": "var(--model)"} if len(rows) < 30 else False).encode(
        y="median:Q",
        tooltip=["rank:Q", *(alt.Tooltip(f"{part}:Q", format=".4f") for part in ("low", "median", "high"))],
    )
    said = f"The median falls from {rows[0]['median']:.3g} at rank 1 to {rows[-1]['median']:.3g} at rank {len(rows)}."
    return _chart(
        "by-rank", "Retrieval score along the list", "median, and the middle 80 % of users", said, band + line, rows
    )


# -- the long tail ---------------------------------------------------------------------------------------------------


def band_labels() -> list[str]:
    """What `longtail.BANDS` are called."""
    return [f"{a}–{b}" for a, b in itertools.pairwise(popularity_buckets.BANDS)]


def bands(tastes: Tastes, lists: np.ndarray) -> Chart:
    """Recommendations and ratings by how popular the movie is.

    Args:
        lists: [M] in how many lists each movie of `tastes` is.
    """
    series = {"ratings": tastes.ratings, "recommendations": lists}
    rows = [
        {"band": label, "series": name, "share": share}
        for name, counts in series.items()
        for label, share in zip(band_labels(), popularity_buckets.bands(tastes.ratings, counts), strict=True)
    ]
    drawn = _grouped_bars(
        rows,
        ["recommendations", "ratings"],
        alt.X("band:N", sort=band_labels(), title="% of all movies, the most rated first", axis=alt.Axis(labelAngle=0)),
        alt.Y("share:Q", axis=alt.Axis(format=".0%")),
        ["series:N", "band:N", alt.Tooltip("share:Q", format=".1%")],
    )
    said = ", ".join(f"{row['band']} % of the movies: {row['share']:.2f} of {row['series']}" for row in rows)
    return _chart(
        "bands",
        "Who gets recommended, by popularity",
        "share of all recommendations, of all ratings",
        f"Bars. {said}.",
        drawn,
        rows,
    )


def concentration(lists: np.ndarray, ratings: np.ndarray | None) -> Chart:
    """How few movies make up how much of all recommendations, and of all ratings."""
    series = {"recommendations": lists} | ({} if ratings is None else {"ratings": ratings})
    rows = [
        {"movies": movies, "share": share, "series": name}
        for name, counts in series.items()
        for movies, share in popularity_buckets.concentration(counts)
    ]
    drawn = (
        alt.Chart(_data(rows))
        .mark_line()
        .encode(
            x=alt.X(
                "movies:Q",
                title="movies, the commonest first",
                scale=alt.Scale(type="log", nice=False),
                axis=alt.Axis(labelExpr=_SHORT, values=[10**power for power in range(9)]),
            ),
            y=alt.Y("share:Q", axis=alt.Axis(format=".0%")),
            color=_series([*series], alt.Legend(symbolType="stroke", symbolStrokeWidth=3)),
            tooltip=["series:N", alt.Tooltip("movies:Q", format=","), alt.Tooltip("share:Q", format=".1%")],
        )
    )
    halves = " and ".join(
        f"half of all {name} are of {formatting.number(popularity_buckets.effective_half(counts))} movies"
        for name, counts in series.items()
    )
    return _chart(
        "concentration",
        "How few movies make up how much",
        "share of all recommendations, of all ratings",
        f"Rising curves: {halves}.",
        drawn,
        rows,
    )


def against_popularity(movies: list[dict[str, Any]]) -> Chart:
    """A point a movie: how often it is recommended, by how often it was rated.

    Args:
        movies: title, ratings (1 or more), lists.
    """
    scale = alt.Scale(type="log", nice=False, padding=6)
    axes = {
        name: alt.Axis(labelExpr=_SHORT, values=_log_ticks([row[name] for row in movies]))
        for name in ("ratings", "lists")
    }
    drawn = (
        alt.Chart(_data(movies))
        .mark_point(color="var(--model)", opacity=0.5, size=28)
        .encode(
            x=alt.X("ratings:Q", title="ratings", scale=scale, axis=axes["ratings"]),
            y=alt.Y("lists:Q", scale=scale, axis=axes["lists"]),
            tooltip=[
                "title:N", alt.Tooltip("ratings:Q", format=","), alt.Tooltip("lists:Q", format=",", title="users"),
            ],
        )
    )  # fmt: skip
    said = f"A point for each of the {len(movies)} most recommended movies."
    return _chart(
        "against-popularity",
        "Recommended beside rated, movie by movie",
        "users who are recommended it",
        said,
        drawn,
        [],
        330,
    )


def _log_ticks(values: list[int], most: int = 6) -> list[int]:
    """1, 2, 5, 10, …, or only powers of ten, within the values."""
    steps = [lead * 10**power for power in range(10) for lead in (1, 2, 5)]
    fine = [step for step in steps if min(values) <= step <= max(values)]
    return fine if len(fine) <= most else [step for step in fine if step in steps[::3]]
