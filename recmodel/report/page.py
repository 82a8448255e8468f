"""Report: a run as one HTML page that needs nothing else, not even a network.

Takes `facts.Facts`; gives HTML. The page carries its styles, its charts and the scripts that draw them, tells the
browser to load nothing and to run no script but its own, and says all its numbers in words and tables too.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any

import altair
import jinja2
import numpy as np
import vl_convert
from markupsafe import Markup

from recmodel import formatting
from recmodel import schemas as c
from recmodel.report import charts, findings, popularity_buckets
from recmodel.report.charts import Chart
from recmodel.report.facts import Facts
from recmodel.report.summary import LISTS
from recmodel.settings import Settings

_MOST_RECOMMENDED = 10  # movies in the table
_POINTS = 300  # movies in the chart


def render(facts: Facts, limits: Settings) -> str:
    """The page.

    Args:
        limits: what the settings allow, for the verdict.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("recmodel.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {
        name: getattr(formatting, name)
        for name in ("number", "percent", "plain", "signed", "day", "short_day", "seconds", "clipped", "stars")
    }
    found = findings.findings(facts, limits)
    sections = _charts(facts, limits)
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template("report.html").render(
        run=facts.run,
        finished_at=datetime.fromisoformat(facts.run["finished_at"]),
        made=facts.run["recommendations"],
        nights=facts.nights,
        model=None if isinstance(facts.model, str) else facts.model,
        model_is_missing=facts.model if isinstance(facts.model, str) else "",
        tastes=None if isinstance(facts.tastes, str) else facts.tastes,
        tastes_are_missing=facts.tastes if isinstance(facts.tastes, str) else "",
        people=facts.people,
        rejects=facts.rejects,
        findings=found,
        to_look_at=sum(finding.kind == "look" for finding in found),
        tail=_tail(facts),
        most_recommended=_movies(facts, _MOST_RECOMMENDED),
        c=c,
        sections=sections,
        specs={
            "config": charts.CONFIG,
            "charts": {chart.name: chart.spec for section in sections.values() for chart in section},
        },
        style=Markup(_template("report.css")),
        script=Markup(script),
        script_digest=digest,
    )
    return page.lstrip()


@cache
def _script() -> str:
    """Vega, Vega-Lite, Vega-Embed and the few lines that draw the charts, as one script of some 900 kB."""
    version = altair.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]
    script = vl_convert.javascript_bundle(_template("report.js"), vl_version=version)
    return script.replace("</script", r"<\/script").replace("<!--", r"<\!--").replace("\r", "")


def _template(name: str) -> str:
    return resources.files("recmodel.report").joinpath("templates", name).read_text(encoding="utf-8")


def _charts(facts: Facts, limits: Settings) -> dict[str, list[Chart]]:
    """By section of the page."""
    summary, night = facts.summary, facts.nights[-1]
    sections: dict[str, list[Chart]] = {name: [] for name in ("quality", "training", "drift", "ratings", "tail")}
    if not isinstance(facts.model, str):
        metrics = facts.model.metrics
        if "rmse" in metrics:
            sections["quality"].append(charts.rating_errors(metrics))
        if c.ACCURACY in metrics:
            sections["quality"].append(charts.hits(metrics))
        sections["training"] = charts.losses(metrics)
    if len(facts.nights) > 1:
        sections["drift"] = charts.drift(facts.nights, limits.checks)
        if night.overlap is not None and night.overlap.users:
            sections["drift"].append(charts.overlap(night.overlap))
    given = {} if isinstance(facts.tastes, str) else facts.tastes.stars
    if summary.stars:
        sections["ratings"].append(charts.stars(summary.stars, given))
    if summary.scores:
        sections["ratings"] += [charts.by_rank(summary), charts.scores(summary)]
    if isinstance(facts.tastes, str):
        sections["tail"] = [charts.concentration(_lists(facts), None)]
    else:
        lists = summary.lists_of(facts.tastes.movie_ids)
        sections["tail"] = [
            charts.bands(facts.tastes, lists),
            charts.concentration(lists, facts.tastes.ratings),
        ]
        if rated := [movie for movie in _movies(facts, _POINTS) if movie["ratings"]]:
            sections["tail"].append(charts.against_popularity(rated))
    return sections


def _lists(facts: Facts) -> np.ndarray:
    """In how many lists each movie of the catalogue is, in no order."""
    recommended = facts.summary.by_movie.column(LISTS).to_numpy()
    return np.pad(recommended, (0, max(0, facts.run["movies"] - len(recommended))))


def _tail(facts: Facts) -> dict[str, dict[str, float]]:
    """How unevenly recommendations, and ratings where they are known, are spread over the movies."""
    counts = {"recommendations": _lists(facts)}
    if not isinstance(facts.tastes, str):
        counts["ratings"] = facts.tastes.ratings
    return {
        name: {
            "gini": popularity_buckets.gini(mine),
            "half": popularity_buckets.effective_half(mine),
            "movies": int((mine > 0).sum()),
        }
        for name, mine in counts.items()
    }


def _movies(facts: Facts, most: int) -> list[dict[str, Any]]:
    """The most recommended movies: title, lists, and ratings (None where they are not known)."""
    top = facts.summary.by_movie.slice(0, most)
    ratings: dict[int, int] = {}
    if not isinstance(facts.tastes, str):
        ratings = dict(zip(facts.tastes.movie_ids.tolist(), facts.tastes.ratings.tolist(), strict=True))
    return [
        {c.TITLE: formatting.clipped(row[c.TITLE]), "lists": row[LISTS], "ratings": ratings.get(row[c.MOVIE_ID])}
        for row in top.to_pylist()
    ]
