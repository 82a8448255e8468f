"""Page: the report of a run as one HTML file that needs nothing else, not even a network.

Takes `facts.Facts` and returns HTML. The page carries its styles, its charts and the scripts that draw them, forbids
the browser to load anything or to run any other script, and shows all numbers as text and tables too.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections import Counter
from functools import cache
from importlib import resources
from typing import Any

import altair
import jinja2
import numpy as np
import pyarrow as pa
import vl_convert
from markupsafe import Markup

from recmodel import formatting, records
from recmodel import schemas as c
from recmodel.evaluation import ranking
from recmodel.report import charts, findings, popularity_buckets, sample_users
from recmodel.report.charts import Chart
from recmodel.report.facts import Facts
from recmodel.report.sample_users import FewStars, SampleUser
from recmodel.report.summary import USERS
from recmodel.scoring import policies
from recmodel.settings import Settings
from recmodel.tables.erasing import Users

# Of pages as report.html renders them.
_SAMPLE_USER = re.compile(r'<article class="user">\s*<h3>User (.*?) <span>.*?</article>', re.DOTALL)
_REJECT = re.compile(
    r'<tr><th scope="row">[^<]*</th><td>(?P<column>[^<]*)</td><td>[^<]*</td>'
    r'<td class="wide"><bdi>(?P<value>[^<]*)</bdi></td>'
)
_SECTIONS = ("hits", "quality", "training", "drift", "movies", "ratings", "popularity")
_MOVIES_IN_TABLE, _MOVIES_IN_CHART = 10, 300  # the most recommended


def render(facts: Facts, limits: Settings) -> str:
    """Return the page.

    Args:
        limits: the settings whose limits the findings compare with.
    """
    return from_template(
        "report.html",
        _charts(facts, limits),
        **vars(facts) | {"sample_users": _one_of_each_kind_first(facts.sample_users)},
        findings=findings.findings(facts, limits),
        policy=policies.named(facts.run.rank_by),
        concentration=_concentration(facts),
        most_recommended=_most_recommended(facts, _MOVIES_IN_TABLE),
        few_stars=FewStars.of(facts.run),
        shown=sample_users.SHOWN,
        c=c,
        records=records,
    )


def from_template(name: str, sections: dict[str, list[Chart]], **values: Any) -> str:
    """Return the page of a template, with the styles and scripts of all pages.

    Args:
        sections: the charts by section of the page.
        values: what else the template shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("recmodel.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, finalize=_inert,
    )  # fmt: skip
    environment.filters |= {
        name: getattr(formatting, name)
        for name in ("number", "percent", "plain", "signed", "day", "short_day", "seconds", "clipped", "stars")
    }
    script = _script()
    page = environment.get_template(name).render(
        **values,
        sections=sections,
        specs={
            "config": charts.CONFIG,
            "charts": {chart.name: chart.spec for section in sections.values() for chart in section},
        },
        style=Markup(_template("report.css")),
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return page.lstrip()


def without_users(page: str, users: Users) -> tuple[str, int]:
    """Take users out of a page that was rendered before, and rejected values that name them.

    Returns:
        The page, and how many users and values were taken out.
    """
    taken = 0
    shown = {formatting.inert(str(user)) for user in users.ids}

    on_page = Users(tuple(shown), users.column)

    def sample_user(match: re.Match[str]) -> str:
        nonlocal taken
        if html.unescape(match[1]) not in shown:
            return match[0]
        taken += 1
        return '<article class="user"><p class="small about">A user who was shown here was erased.</p></article>'

    def reject(match: re.Match[str]) -> str:
        nonlocal taken
        column, value = (html.unescape(match[name]) for name in ("column", "value"))
        if not on_page.named_by(pa.table({"column": [column], "value": [value]}))[0].as_py():
            return match[0]
        taken += 1
        return match[0].replace(f"<bdi>{match['value']}</bdi>", "<bdi>(erased)</bdi>")

    page = _SAMPLE_USER.sub(sample_user, page)
    return _REJECT.sub(reject, page), taken


def _inert(value: object) -> object:
    """Show what a text would do to the order of the page as escapes; scripts and styles of our own stay as they are."""
    return formatting.inert(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _script() -> str:
    """Return Vega, Vega-Lite, Vega-Embed and the few lines that draw the charts, as one script of about 900 kB."""
    version = altair.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]
    script = vl_convert.javascript_bundle(_template("report.js"), vl_version=version)
    return script.replace("</script", r"<\/script").replace("<!--", r"<\!--").replace("\r", "")


def _template(name: str) -> str:
    return resources.files("recmodel.report").joinpath("templates", name).read_text(encoding="utf-8")


def _charts(facts: Facts, limits: Settings) -> dict[str, list[Chart]]:
    """Return the charts by section of the page."""
    summary, night, statistics = facts.summary, facts.nights[-1], facts.statistics
    sections: dict[str, list[Chart]] = {name: [] for name in _SECTIONS}
    if facts.hits.runs:
        sections["hits"].append(charts.hits(facts.hits.runs))
    if facts.model:
        metrics = facts.model.metrics
        if metrics.rmse is not None:
            sections["quality"].append(charts.rating_errors(metrics))
        if metrics.top_k_accuracy_unseen:
            sections["quality"].append(charts.hit_rates(metrics, facts.run.noun))
        sections["training"] = charts.losses(metrics)
    if len(facts.nights) > 1:
        sections["drift"] = charts.drift(facts.nights, limits.checks)
        if night.overlap is not None and night.overlap.users:
            sections["drift"].append(charts.overlap_histogram(night.overlap))
    if facts.mix:
        sections["movies"] = [charts.by_ratings(facts.mix, facts.mix_before, facts.run.noun)]
        if facts.mix.by_genre:
            sections["movies"].append(charts.by_genre(facts.mix, facts.run.noun))
    if summary.rating_counts:
        actual = statistics.stars if statistics else {}
        sections["ratings"].append(charts.rating_distribution(summary.rating_counts, actual))
    if summary.scores:
        sections["ratings"] += [charts.by_rank(summary), charts.scores(summary)]
    if statistics:
        sections["popularity"] = [
            charts.buckets(statistics, summary.users_per_movie(statistics.movie_ids), facts.run.noun)
        ]
        if rated := [movie for movie in _most_recommended(facts, _MOVIES_IN_CHART) if movie["ratings"]]:
            sections["popularity"].append(charts.against_popularity(rated, facts.run.noun))
    return sections


def _one_of_each_kind_first(users: list[SampleUser]) -> list[SampleUser]:
    """Put users in another order, as the page shows the first four at once: the first of each kind, then the second."""
    seen = Counter[str]()
    place = {}
    for user in users:
        place[user.user_id] = seen[user.kind]
        seen[user.kind] += 1
    return sorted(users, key=lambda user: place[user.user_id])


def _concentration(facts: Facts) -> dict[str, dict[str, float]]:
    """Measure how unevenly recommendations, and ratings if they are available, are spread over the movies."""
    recommended = facts.summary.by_movie.column(USERS).to_numpy()
    counts = {"recommendations": np.pad(recommended, (0, max(0, facts.run.movies - len(recommended))))}
    if facts.statistics:
        counts["ratings"] = facts.statistics.ratings
    return {
        name: {
            "gini": ranking.gini(per_movie),
            "half": popularity_buckets.movies_with_half(per_movie),
            "movies": int((per_movie > 0).sum()),
        }
        for name, per_movie in counts.items()
    }


def _most_recommended(facts: Facts, limit: int) -> list[dict[str, Any]]:
    """Return title, users, and ratings (None if they are not available) of the most recommended movies."""
    statistics = facts.statistics
    ratings: dict[c.Id, int] = {}
    if statistics:
        ratings = dict(zip(statistics.movie_ids.tolist(), statistics.ratings.tolist(), strict=True))
    return [
        {c.TITLE: formatting.clipped(row[c.TITLE]), USERS: row[USERS], "ratings": ratings.get(row[c.MOVIE_ID])}
        for row in facts.summary.by_movie.slice(0, limit).to_pylist()
    ]
