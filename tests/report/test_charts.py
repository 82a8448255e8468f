"""The page as a real browser shows it."""

import os
import shutil
from pathlib import Path

import pytest
from support.report import collect

from recmodel import settings
from recmodel.report import page as report


@pytest.fixture(scope="module")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("there is no Chromium, which CI must have; ./submit.sh test installs it where apt can")
        pytest.skip(f"there is no Chromium ({', '.join(names)}); install one to test the report in it")
    from playwright.sync_api import sync_playwright

    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=quiet)
        yield running
        running.close()


@pytest.fixture(scope="module")
def page_file(site, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(report.render(collect(site), settings.load()), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser, page_file):
    """Open the page; at the end, check that there was no request, message or error."""
    seen = []

    def opened(width=1280, scheme="light"):
        page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme=scheme, timezone_id="America/Los_Angeles"
        )
        page.on("request", lambda request: seen.append(request.url))
        page.on("console", lambda message: seen.append(message.text))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.goto(page_file.as_uri())
        page.wait_for_function(
            "document.querySelectorAll('.plot svg').length == document.querySelectorAll('.plot').length"
        )
        return page

    yield opened
    assert set(seen) == {page_file.as_uri()}


CHARTS = (
    "hits", "rating-errors", "hit-rates", "drift-users", "drift-coverage", "drift-predicted-rating", "drift-overlap",
    "overlap", "by-ratings", "by-genre", "rating-distribution", "by-rank", "scores", "popularity-buckets",
    "against-popularity", "loss-rating", "loss-retrieval",
)  # fmt: skip
DRAWN = """plots => plots.map(plot => [plot.id, plot.getAttribute('aria-label').length > 20,
    [...plot.querySelectorAll('.mark-rect path, .mark-line path, .mark-symbol path')]
        .filter(mark => mark.getBBox().width > 1).length])"""
COLLISIONS = """charts => charts.flatMap(chart => {
    const texts = [...chart.querySelectorAll('text')].filter(text => getComputedStyle(text).opacity > 0)
    const boxes = texts.map(text => text.getBoundingClientRect())
    return texts.flatMap((text, i) => boxes.slice(i + 1)
        .filter(other => Math.min(boxes[i].right, other.right) - Math.max(boxes[i].left, other.left) > 1
            && Math.min(boxes[i].bottom, other.bottom) - Math.max(boxes[i].top, other.top) > 2)
        .map(() => `${chart.closest('.plot').id}: ${text.textContent}`))
})"""


@pytest.mark.parametrize("width", [1280, 390])
def test_every_chart_is_drawn_and_fits(opened, width):
    page = opened(width)
    drawn = page.eval_on_selector_all(".plot", DRAWN)
    assert {name.removeprefix("chart-") for name, _, _ in drawn} == set(CHARTS)
    assert not [name for name, described, marks in drawn if not described or not marks]
    assert page.eval_on_selector_all(".plot svg", COLLISIONS) == []
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert page.evaluate("window.pwned") is None
    height = "document.getElementById('sample-users').offsetHeight / document.body.scrollHeight"
    assert 0 < page.evaluate(height) <= 0.25
    days = page.locator("#chart-drift-users text").all_text_contents()
    assert {"25 Jan", "31 Jan"} <= set(days)  # of the run, whatever the reader's time zone


def test_a_tooltip_shows_a_title_as_text(opened):
    page = opened()
    points = page.locator("#chart-against-popularity .mark-symbol path")
    labels = points.evaluate_all("marks => marks.map(mark => mark.getAttribute('aria-label'))")
    points.nth(next(i for i, label in enumerate(labels) if "<img" in label)).hover(force=True)
    tooltip = page.locator("#vg-tooltip-element.visible")
    assert '<img src=x onerror="window.pwned = 1">' in tooltip.inner_text()
    assert tooltip.locator("img").count() == 0


def test_dark_is_dark_in_the_charts_too(opened):
    """And text has the contrast with its background that WCAG AA asks for: 4.5 to 1."""
    colours_script = """() => [
        ['body', 'color'], ['.tile span:last-child', 'color'], ['.status', 'color'], ['.about', 'color'],
        ['#chart-hit-rates text', 'fill'], ['#chart-hit-rates .mark-rect path', 'fill'],
    ].map(([selector, property]) => [
        getComputedStyle(document.querySelector(selector))[property], getComputedStyle(document.body).backgroundColor,
    ])"""
    colours = {scheme: opened(scheme=scheme).evaluate(colours_script) for scheme in ("light", "dark")}
    for light, dark in zip(colours["light"], colours["dark"], strict=True):
        assert light[0] != dark[0]
    for scheme, pairs in colours.items():
        *texts, mark = [contrast(*pair) for pair in pairs]
        assert min(texts) >= 4.5, (scheme, texts)
        assert mark >= 3


def contrast(first: str, second: str) -> float:
    """Return the contrast of two CSS colours such as rgb(1, 2, 3). Source: WCAG 2.2, relative luminance."""

    def luminance(colour: str) -> float:
        parts = [float(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
