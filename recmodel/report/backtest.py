"""Backtest: what came of replayed nights, as one HTML file like the report of a run."""

from __future__ import annotations

import json
from typing import Any

import altair as alt
import pandas as pd

from recmodel import schemas as c
from recmodel.evaluation import replayed
from recmodel.evaluation.replayed import NEW, RETURNING
from recmodel.records import POPULARITY
from recmodel.report import charts, page
from recmodel.report.charts import Chart

_GREY = {POPULARITY: "var(--users)", c.SOURCE_TRENDING: "var(--muted)"}  # what needs no model
_COLOURS = ("var(--model)", "var(--popularity)", "var(--biases)", "var(--good)", "var(--warning)", "var(--ink)")
_HEADINGS = {
    RETURNING: "Users who came back",
    NEW: "New users",
}


def render(title: str, about: str, nights: pd.DataFrame, methods: pd.DataFrame, notes: list[str]) -> str:
    """Return the page.

    Args:
        title, about: what was replayed.
        nights, methods, notes: see `pipeline.backtest.Backtest`.
    """
    present = [group for group in _HEADINGS if (methods["users"] == group).any()]
    first = methods["method"].iloc[0]
    nights, methods = (frame[replayed.are_told_apart(frame)] for frame in (nights, methods))
    return page.from_template(
        "backtest.html",
        {group: _charts(group, nights[nights["users"] == group]) for group in present},
        title=title,
        about=about,
        notes=notes,
        first=first,
        liked=bool(methods["liked_hits"].notna().any()),
        groups=[_group(group, methods[methods["users"] == group]) for group in present],
    )


def _group(name: str, methods: pd.DataFrame) -> dict[str, Any]:
    """Return what the page says of a group of users."""
    people, measured, ratings = (int(methods[column].max()) for column in ("people", "users_measured", "ratings"))
    about = (
        f"{people:,} users who had rated before a night rated something new after it, {measured:,} times in all; they "
        f"rated {ratings:,} movies that were new to them."
        if name == RETURNING
        else f"{people:,} users rated for the first time after a night, {ratings:,} movies. They had no list of their "
        "own, so whatever the model, they are measured by what is trending, as users without a history get it."
    )
    return {
        "name": name,
        "heading": _HEADINGS[name],
        "about": about,
        "rows": json.loads(methods.to_json(orient="records")),
    }


def _charts(group: str, nights: pd.DataFrame) -> list[Chart]:
    """Return a chart of each night by itself, and one of all nights so far, in which chance plays a lesser part."""
    so_far = nights.assign(total=nights["ndcg_10"] * nights["users_measured"])
    sums = so_far.groupby("method", sort=False)[["total", "users_measured"]].cumsum()
    so_far = so_far.assign(ndcg_10=sums["total"] / sums["users_measured"])
    if nights[c.SCORED_ON].nunique() == 1:
        return []  # the table says it
    return [
        _over_time(f"{group}-so-far", "NDCG@10, mean over all nights so far", so_far),
        _over_time(f"{group}-by-night", "NDCG@10 after each night", nights),
    ]


def _over_time(name: str, heading: str, nights: pd.DataFrame) -> Chart:
    """Draw NDCG@10 of each method over the nights."""
    methods = [*nights["method"].unique()]
    days = [*nights[c.SCORED_ON].astype(str).unique()]
    rows = [
        {"night": f"{row[c.SCORED_ON]}", "method": row["method"], "NDCG@10": row["ndcg_10"],
         "users": row["users_measured"], "hits": row["hits"]}
        for row in nights.to_dict("records")
    ]  # fmt: skip
    models = [method for method in methods if method not in _GREY]
    colours = [_GREY.get(method) or _COLOURS[models.index(method) % len(_COLOURS)] for method in methods]
    dashes = [[4, 3] if method == c.SOURCE_TRENDING else [1, 0] for method in methods]
    base = alt.Chart(charts.inline(rows)).encode(
        x=alt.X(
            "night:T",
            title=None,
            scale=alt.Scale(type="utc", domain=[days[0], days[-1]]),  # not the reader's zone
            axis=alt.Axis(format="%b %Y", tickCount=5, labelOverlap=True),
        ),
        y=alt.Y("NDCG@10:Q", axis=alt.Axis(format=".2~f")),
        color=alt.Color(
            "method:N",
            sort=None,
            scale=alt.Scale(domain=methods, range=colours),
            legend=alt.Legend(columns=2, symbolType="stroke"),
        ),
        strokeDash=alt.StrokeDash("method:N", sort=None, scale=alt.Scale(domain=methods, range=dashes)),
        tooltip=[
            alt.Tooltip("night:T", format="%-d %B %Y"),
            "method:N",
            alt.Tooltip("NDCG@10:Q", format=".4f"),
            alt.Tooltip("users:Q", format=","),
            alt.Tooltip("hits:Q", format=","),
        ],
    )
    last = {row["method"]: row["NDCG@10"] for row in rows}
    values = ", ".join(f"{method} {value:.4f}" for method, value in last.items())
    description = f"Line chart of {len(days)} nights from {days[0]} to {days[-1]}. At the end: {values}."
    return charts.figure(name, heading, "higher is better", description, base.mark_line(), _numbers(nights), 220)


def _numbers(nights: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row per night, with a column per method."""
    found = []
    for night, rows in nights.groupby(c.SCORED_ON, sort=False):
        values = dict(zip(rows["method"], rows["ndcg_10"], strict=True))
        found.append({"night": f"{night}", "users": int(rows["users_measured"].max()), **values})
    return found
