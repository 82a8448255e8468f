"""The page: text stays text, and all numbers are there without charts."""

import html.parser
import json
from collections import Counter
from datetime import timedelta

import numpy as np
import pytest
from support.report import DAY, HOSTILE, METRICS, collect, make_version, publish, recommendations

from recmodel import formatting, settings
from recmodel import schemas as c
from recmodel.report import facts
from recmodel.report import page as report
from recmodel.tables.output import open_output


class Elements(html.parser.HTMLParser):
    """What an HTML parser finds: elements and their attributes, texts, and the content of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        inside = self.found[-1][0] if self.found else ""
        (self.scripts if inside == "script" else self.texts).append(data)


def test_titles_are_text_wherever_they_come_from(site):
    """From histories, recommendations, reasons and rejects, and within the charts' own JSON."""
    run = collect(site)
    run.sample_users[0].recommendations[0][c.TITLE] = HOSTILE[1]
    page = report.render(run, settings.load())
    parsed = Elements(page)
    tags = Counter(tag for tag, _ in parsed.found)
    assert (tags["script"], tags["img"], tags["b"] > 0) == (2, 0, True)
    assert not [attributes for _, attributes in parsed.found if any(name.startswith("on") for name in attributes)]
    shown = {" ".join(text.split()) for text in parsed.texts}
    for title in HOSTILE[:-1]:
        assert formatting.inert(" ".join(title.split())) in shown
    assert "long " + "x" * 84 + "…" in shown
    assert "x" * 100 not in page
    assert "<b>5.5</b>" in shown
    charts = json.loads(parsed.scripts[0])["charts"]
    points = charts["against-popularity"]["data"]["values"]
    assert HOSTILE[0] in {point["title"] for point in points}
    assert any("because you liked" in text for text in parsed.texts)


def test_the_page_allows_its_own_script_and_nothing_else(site):
    page = report.render(collect(site), settings.load())
    (policy,) = (attributes["content"] for tag, attributes in Elements(page).found if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    markup = page[: page.index('<script type="application/json"')]
    assert "://" not in markup
    assert "url(" not in markup


def test_numbers_are_there_without_charts(site):
    text = " ".join(" ".join(Elements(report.render(collect(site), settings.load())).texts).split())
    for words in (
        "✓ No warnings.", "58 +1 since 29 Jan", "0.800 biases: 0.900",
        "Hits in top 10 6.0 % of ratings since; popularity: 4.0 %; users back 260 times",
        "11.1 % lower than with mean and biases", "5.2 % 3 users served from popularity", "new model",
        "peak memory, driver python 300 MiB", "r.csv rating is bad",
        "NDCG@10 0.1200; in what was popular, 0.0800", "model 1-4 65 156 0.1200 0.0800 6.0 % 50.0 %",
        "Of tonight's 40 movies, 3 are new to the model, none of them placed", "In the run of 29 Jan, 3 were new",
        "the gate passed passed", "RMSE −0.0500 (−0.0600 to −0.0400): better",
    ):  # fmt: skip
        assert words in text


@pytest.mark.parametrize("task", ["rating", "retrieval"])
def test_a_model_of_one_task_has_a_page_without_the_other(site, tmp_path, task):
    rating_only = task == "rating"
    missing = "top_k_accuracy_unseen" if rating_only else ("rmse", "mae", "calibration_error")
    version = make_version(tmp_path / "models", {name: METRICS[name] for name in METRICS if name not in missing}).name
    frame = recommendations(range(1, 30), 40)
    frame[c.RETRIEVAL_SCORE if rating_only else c.PREDICTED_RATING] = np.nan
    for day in range(2):
        publish(tmp_path / "output", frame, DAY + timedelta(day), version)
    output = open_output(tmp_path / "output")
    run = facts.collect(output, DAY + timedelta(1), settings.load(), tmp_path / "models", str(site.data))
    page = Elements(report.render(run, settings.load()))
    drawn = {attributes.get("id", "").removeprefix("chart-") for _, attributes in page.found}
    rating, retrieval = (
        {"rating-errors", "rating-distribution", "drift-predicted-rating"},
        {"hit-rates", "scores", "by-rank"},
    )
    assert drawn & (rating | retrieval) == (rating if rating_only else retrieval)
    assert "nan" not in " ".join(page.texts).split()


def test_titles_do_not_change_the_order_of_what_is_shown(site):
    run = collect(site)
    run.sample_users[0].recommendations[0][c.TITLE] = "\u202egnp.exe"
    page = report.render(run, settings.load())
    assert r"\u202egnp.exe" in page[: page.index('<script type="application/json"')]
