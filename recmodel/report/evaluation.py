"""Evaluation: what `evaluate` found, as one HTML file like the report of a run."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from recmodel.report import charts, page
from recmodel.report.charts import Chart

_HEADLINES = {"ndcg@10": "NDCG@10", "recall@100": "Recall@100", "rmse": "RMSE, in stars"}  # metrics with a chart


def render(title: str, about: str, metrics: pd.DataFrame, intervals: pd.DataFrame, segments: pd.DataFrame) -> str:
    """Return the page.

    Args:
        title, about: what was compared, and on which split.
        metrics, intervals, segments: see `pipeline.evaluate.Evaluation`.
    """
    sections = {
        "quality": [
            _with_intervals(metric, heading, rows)
            for metric, heading in _HEADLINES.items()
            if len(rows := intervals[intervals["metric"] == metric])
        ],
        "segments": [
            chart for kind, rows in segments.groupby("segment", sort=False) for chart in _by_segment(str(kind), rows)
        ],
    }
    means = metrics.drop(columns=["split", "seed"]).groupby("method", sort=False).mean()
    first, *others = intervals["method"].unique()
    compared = intervals[intervals["method"] != first]
    return page.from_template(
        "evaluation.html",
        sections,
        title=title,
        about=about,
        methods=[*means.index],
        metrics={name: [None if value != value else value for value in means[name]] for name in means},
        first=first,
        others=others,
        differences={
            metric: [_difference(rows[rows["method"] == method]) for method in others]
            for metric, rows in compared.groupby("metric", sort=False)
        },
    )


def _difference(rows: pd.DataFrame) -> dict[str, Any] | None:
    """Return a method's difference from the first one with its interval; None where the two cannot be compared."""
    if not len(rows) or rows["difference value"].isna().all():
        return None
    row = rows.iloc[0]
    low, high = row["difference low"], row["difference high"]
    return {"value": row["difference value"], "low": low, "high": high, "is_clear": low > 0 or high < 0}


def _with_intervals(metric: str, heading: str, rows: pd.DataFrame) -> Chart:
    values = _rows(rows[["method", "value", "low", "high"]])
    y = alt.Y("method:N", sort=None, title=None, axis=alt.Axis(labelLimit=200))
    x = alt.X("value:Q", title=None, scale=alt.Scale(zero=False))
    base = alt.Chart(charts.inline(values))
    tooltips = ["method:N", *(alt.Tooltip(f"{name}:Q", format=".4f") for name in ("value", "low", "high"))]
    chart = alt.layer(
        base.mark_rule(strokeWidth=2, color="var(--users)").encode(y=y, x=alt.X("low:Q"), x2="high:Q"),
        base.mark_point(color="var(--model)").encode(y=y, x=x, tooltip=tooltips),
    )
    best = min(values, key=lambda v: v["value"]) if metric == "rmse" else max(values, key=lambda v: v["value"])
    text = f"{heading} of {len(values)} methods with 95 % intervals; {best['method']} is best with {best['value']:.4f}."
    name = metric.replace("@", "-at-")
    return charts.figure(name, heading, "with 95 % intervals over users", text, chart, values, 30 * len(values) + 20)


def _by_segment(kind: str, rows: pd.DataFrame) -> list[Chart]:
    found = []
    for metric, heading in (("recall@10", "Recall@10"), ("rmse", "RMSE, in stars")):
        if metric not in rows or rows[metric].isna().all():
            continue
        measured = rows[rows[metric].notna()]
        values = _rows(measured[["of", "method", metric, "held out"]])
        of = [*measured["of"].unique()]
        chart = (
            alt.Chart(charts.inline(values))
            .mark_point()
            .encode(
                y=alt.Y("of:N", sort=of, title=None),
                x=alt.X(f"{metric}:Q", title=None, scale=alt.Scale(zero=False)),
                color=alt.Color("method:N", sort=None, legend=alt.Legend(columns=2)),
                shape=alt.Shape("method:N", sort=None),
                tooltip=["of:N", "method:N", alt.Tooltip(f"{metric}:Q", format=".4f"), "held out:Q"],
            )
        )
        name = f"{kind}-{metric}".replace(" ", "-").replace("@", "-at-")
        text = f"{heading} of {measured['method'].nunique()} methods by {kind}: {', '.join(of)}."
        found.append(charts.figure(name, f"{heading} by {kind}", "", text, chart, values, 24 * len(of) + 20))
    return found


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
