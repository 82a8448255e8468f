"""The report: figures against independent oracles, and the page as a real browser shows it."""

import csv
import html.parser
import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, make_ratings, write_movielens
from hypothesis import given
from hypothesis import strategies as st

from recmodel import schemas as c
from recmodel import settings
from recmodel.data import statistics
from recmodel.models import versions
from recmodel.report import drift, facts, findings, popularity_buckets, sample_users, summary
from recmodel.report import page as report
from recmodel.tables import linked as tables

DAY = date(2026, 1, 31)
HOSTILE = (
    "</script><script>window.pwned = 1</script> (1999)",
    '<img src=x onerror="window.pwned = 1"> (2000)',
    "\"Quoted\" & 'apostrophised' <b>bold</b>",
    "{{ 7 * 7 }} ${7 * 7} {% raw %}",
    "<!-- <script> -->",
    "🎬🍿 emoji, \u202eright to left",
    "long " + "x" * 10_000,
)
ROW = pa.schema(
    [
        (c.USER_ID, pa.int64()), (c.RANK, pa.int32()), (c.MOVIE_ID, pa.int64()), (c.TITLE, pa.string()),
        (c.RETRIEVAL_SCORE, pa.float32()), (c.PREDICTED_RATING, pa.float32()), (c.SOURCE, pa.string()),
        (c.BECAUSE_TITLE, pa.string()),
    ]
)  # fmt: skip


def rows(users, movies: int, n: int = 5, seed: int = 0, popular=(), titles=None) -> pd.DataFrame:
    """Recommendations for `users`, those in `popular` without scores: random, sorted as the published ones."""
    random = np.random.RandomState(seed)
    frames = []
    for user in users:
        chosen = random.choice(movies, n, replace=False)
        by_model = user not in popular
        frames.append(
            pd.DataFrame(
                {
                    c.USER_ID: user, c.RANK: np.arange(1, n + 1), c.MOVIE_ID: chosen,
                    c.TITLE: [titles[movie] if titles else f"M{movie} (1999)" for movie in chosen],
                    c.RETRIEVAL_SCORE: np.sort(random.rand(n))[::-1] if by_model else np.nan,
                    c.PREDICTED_RATING: random.uniform(3, 5, n),
                    c.SOURCE: c.SOURCE_MODEL if by_model else c.SOURCE_POPULARITY,
                    c.BECAUSE_TITLE: titles[0] if titles and by_model else None,
                }
            )
        )  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def write(frame: pd.DataFrame, folder: Path, files: int = 3) -> ds.Dataset:
    """As a run writes them: files of users that do not overlap."""
    folder.mkdir(parents=True)
    for number, users in enumerate(np.array_split(frame[c.USER_ID].unique(), files)):
        part = frame[frame[c.USER_ID].isin(users)]
        pq.write_table(pa.Table.from_pandas(part, ROW, preserve_index=False), folder / f"part-{number:05d}-x.parquet")
    return ds.dataset(folder, format="parquet")


# -- figures -------------------------------------------------------------------------------------------------------


def test_a_summary_is_what_pandas_says(tmp_path):
    frame = rows(range(1, 200), movies=60, popular={5, 17})
    found = summary.summarise(write(frame, tmp_path / "rows"))
    by_movie = frame.groupby([c.MOVIE_ID, c.TITLE]).size().reset_index(name="lists")
    by_movie = by_movie.sort_values(["lists", c.MOVIE_ID], ascending=[False, True])
    assert found.by_movie.select(list(by_movie)).to_pylist() == by_movie.to_dict("records")
    ids = np.array([3, 7, 59, 1000])
    assert found.lists_of(ids).tolist() == [(frame[c.MOVIE_ID] == movie).sum() for movie in ids]
    halves = np.round(frame[c.PREDICTED_RATING].astype("float32") * 2) / 2
    assert found.stars == halves.value_counts().to_dict()
    scores = frame[c.RETRIEVAL_SCORE].dropna().astype("float32").astype(float)
    counts, edges = np.histogram(scores, bins=summary.SCORE_BINS)
    assert [row["rows"] for row in found.scores] == counts.tolist()
    assert [row["low"] for row in found.scores] == pytest.approx(edges[:-1])
    for row in found.by_rank:
        mine = frame[frame[c.RANK] == row[c.RANK]]
        assert row["median"] == pytest.approx(mine[c.RETRIEVAL_SCORE].median(), abs=0.01)
        assert row["low"] <= row["median"] <= row["high"]
        assert row[c.PREDICTED_RATING] == pytest.approx(mine[c.PREDICTED_RATING].mean())
    assert [row[c.RANK] for row in found.by_rank] == [1, 2, 3, 4, 5]


def test_a_summary_without_scores_or_ratings_has_none(tmp_path):
    frame = rows(range(1, 5), movies=9, popular=range(1, 5))
    frame[c.PREDICTED_RATING] = np.nan
    found = summary.summarise(write(frame, tmp_path / "rows"))
    assert (found.scores, found.stars) == ([], {})
    assert [row["median"] for row in found.by_rank] == [None] * 5


def test_overlap_is_that_of_the_users_of_both_runs(tmp_path):
    now, before = rows(range(1, 90), 12, seed=1), rows(range(30, 120), 12, seed=2)
    found = summary.overlap(write(now, tmp_path / "now"), write(before, tmp_path / "before", files=2))
    lists = [frame.groupby(c.USER_ID)[c.MOVIE_ID].agg(set) for frame in (now, before)]
    shares = [len(lists[0][user] & lists[1][user]) / 5 for user in range(30, 90)]
    assert found.users == 60
    assert found.mean == pytest.approx(np.mean(shares))
    tenths = Counter(round(share * 10) for share in shares)
    assert found.by_tenth == [tenths[tenth] for tenth in range(11)]


def test_overlap_without_a_common_user_is_none(tmp_path):
    found = summary.overlap(write(rows([1, 2, 3], 9), tmp_path / "a"), write(rows([7, 8, 9], 9), tmp_path / "b"))
    assert found.users == 0


def test_the_same_users_are_looked_at_in_every_run(tmp_path):
    popular = set(range(5, 600, 10))
    frame = rows(range(1, 600), movies=9, n=2, popular=popular)
    chosen = summary.some_users(write(frame, tmp_path / "a"), 20, 4)
    assert Counter(chosen.values()) == {c.SOURCE_MODEL: 20, c.SOURCE_POPULARITY: 4}
    assert {user for user, source in chosen.items() if source == c.SOURCE_POPULARITY} <= popular
    later = frame[frame[c.USER_ID] != next(iter(chosen))]
    again = summary.some_users(write(later, tmp_path / "b", files=7), 20, 4)
    assert len(set(chosen) & set(again)) == 23


def test_rejects_are_counted_by_reason(tmp_path):
    refused = [("r.csv", i, "rating", str(i), "is bad") for i in range(3)]
    refused += [("r.csv", 9, "userId", "x", "is not an integer")]
    pq.write_table(pa.table(list(zip(*refused, strict=True)), schema=c.REJECTS), tmp_path / "rejects.parquet")
    first, second = summary.reject_reasons(ds.dataset(tmp_path))
    assert (first["column"], first["reason"], first["rows"]) == ("rating", "is bad", 3)
    assert first["value"] in {"0", "1", "2"}
    assert (second["column"], second["rows"]) == ("userId", 1)


def test_tastes_by_hand(tmp_path):
    """User 1 has rated movie 1 twice; the ratings of others are counted, their histories not kept."""
    folder = write_movielens(
        tmp_path / "data", [(1, 1, 2.0, 100), (1, 1, 4.5, 300), (1, 3, 5.0, 200), (2, 3, 4.5, 50), (2, 10, 0.5, 60)]
    )
    found = statistics.read(folder, [1, 99], settings.load().input)
    assert found.stars == {0.5: 1, 2.0: 1, 4.5: 2, 5.0: 1}
    assert dict(zip(found.movie_ids.tolist(), found.ratings.tolist(), strict=True)) == {
        1: 2, 2: 0, 3: 2, 4: 0, 10: 1, 11: 0,
    }  # fmt: skip
    assert {user: [(row[c.TITLE], row[c.RATING]) for row in rated] for user, rated in found.histories.items()} == {
        1: [("Matrix, The (1999)", 4.5), ("Emma (1996)", 5.0)]
    }
    assert found.rows_in == {"movies.csv": 6, "ratings.csv": 5}


def test_the_long_tail_by_hand():
    assert popularity_buckets.gini(np.array([2, 2, 2])) == pytest.approx(0)
    assert popularity_buckets.gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
    assert np.isnan(popularity_buckets.gini(np.zeros(3)))
    assert popularity_buckets.effective_half(np.array([1, 4, 2, 1])) == 1
    assert popularity_buckets.effective_half(np.array([1, 1, 1, 1, 1])) == 3
    popularity, counts = np.arange(200), np.zeros(200, int)
    counts[[199, 198, 197, 0]] = 5, 3, 1, 1
    assert popularity_buckets.bands(popularity, counts) == pytest.approx([0.8, 0.1, 0, 0, 0, 0.1])
    assert popularity_buckets.concentration(np.array([1, 0, 3]))[0] == (1, 0.75)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=300).filter(sum))
def test_the_long_tail_of_anything(counts):
    """Gini is half the relative mean difference; bands share out everything; the curve rises to all of it."""
    counts = np.array(counts)
    differences = np.abs(counts[:, None] - counts[None, :]).mean()
    assert popularity_buckets.gini(counts) == pytest.approx(differences / (2 * counts.mean()))
    assert sum(popularity_buckets.bands(counts, counts)) == pytest.approx(1)
    curve = popularity_buckets.concentration(counts)
    assert curve[-1] == (len(counts), pytest.approx(1))
    assert [share for _, share in curve] == sorted(share for _, share in curve)


def test_a_dozen_users_have_few_average_and_many_ratings():
    sources = {user: c.SOURCE_POPULARITY if user > 100 else c.SOURCE_MODEL for user in range(1, 120)}
    histories = {user: [{}] * user for user in sources}
    chosen = sample_users.choose(sources, histories)
    assert Counter(chosen.values()) == {
        "few ratings": 3, "an average number of ratings": 3, "many ratings": 3, "served from popularity": 3,
    }  # fmt: skip
    assert max(user for user, kind in chosen.items() if kind == "few ratings") < 15
    assert min(user for user, kind in chosen.items() if kind == "many ratings") > 85
    only_model = sample_users.choose(dict.fromkeys(range(1, 101), c.SOURCE_MODEL), histories)
    assert len(only_model) == sample_users.A_DOZEN
    assert sample_users.choose({3: c.SOURCE_MODEL}, {}) == {3: ""}


# -- a published output, made by hand -------------------------------------------------------------------------------


METRICS = {
    "train_rows": 100, "epochs": {"rating_loss": [0.9, 0.7], "retrieval_loss": [7.0, 6.5]}, "start_seconds": 0.0,
    "epoch_seconds": [1.0, 0.5], "examples_per_second": 200, "test_rows": 25, "measured_users": 20,
    "rmse": 0.8, "mae": 0.6, "calibration_error": 0.05,
    "top_k_accuracy_unseen": {"1": 0.02, "5": 0.06, "10": 0.1, "50": 0.3, "100": 0.4},
    "baselines": {
        "mean and biases": {"rmse": 0.9, "mae": 0.7, "calibration_error": 0.04},
        "popularity": {"top_k_accuracy_unseen": {"1": 0.01, "5": 0.04, "10": 0.07, "50": 0.2, "100": 0.3}},
    },
}  # fmt: skip


def make_version(models: Path, metrics: dict) -> versions.ModelVersion:
    saved_model = models.parent / "saved_model"
    saved_model.mkdir(parents=True, exist_ok=True)
    (saved_model / "content").write_text(f"{metrics}")
    return versions.write_version(
        models, saved_model, catalogue=c.CATALOGUE.empty_table(), metrics=metrics, preset_name="default",
        preset=settings.preset("default"), training={}, data_fingerprint="",
    )  # fmt: skip


def publish(output: Path, frame: pd.DataFrame, day: date, version: str, keep: int = 90, **changes) -> None:
    staged = tables.staged(output, day, "by hand")
    write(frame, Path(staged.table(c.RECOMMENDATIONS_TABLE)))
    Path(staged.table(c.PREDICTED_RATINGS_TABLE)).mkdir()
    Path(staged.table(c.REJECTS_TABLE)).mkdir()
    refused = pa.table([["r.csv"], [7], ["rating"], ["<b>5.5</b>"], ["is bad"]], schema=c.REJECTS)
    pq.write_table(refused, Path(staged.table(c.REJECTS_TABLE)) / "rejects.parquet")
    popular = frame[frame[c.SOURCE] == c.SOURCE_POPULARITY]
    mean = frame[c.PREDICTED_RATING].mean()
    run = {
        "run_id": "by hand", "run_date": day, "model_version": version,
        "finished_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "settings": settings.load().model_dump(), "rank_by": "retrieval", "all_users": True,
        "rows_in": {"movies.csv": 40, "ratings.csv": 400}, "rows_rejected": 1, "movies": 40,
        "users": frame[c.USER_ID].nunique(), "partitions": 3, "partitions_resumed": 0,
        "recommendations": {
            "rows": len(frame), "users": frame[c.USER_ID].nunique(), "distinct_movies": frame[c.MOVIE_ID].nunique(),
            "mean_predicted_rating": None if np.isnan(mean) else mean, "popular_rows": len(popular),
            "popular_users": popular[c.USER_ID].nunique(),
        },
        "predicted_ratings": {"rows": 0}, "peak_mib": {"driver_python": 300}, "seconds": {"start Spark": 4.0},
    }  # fmt: skip
    staged.publish(run | changes, keep)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> SimpleNamespace:
    """A month of runs, with two models, of a catalogue of the worst titles; the ratings they were made from."""
    base = tmp_path_factory.mktemp("site")
    titles = [HOSTILE[movie] if movie < len(HOSTILE) else f"M{movie} (1999)" for movie in range(40)]
    text = io.StringIO()
    csv.writer(text).writerows([("movieId", "title", "genres"), *((i, name, "Drama") for i, name in enumerate(titles))])
    rated = make_ratings(60, tuple(range(40)), each=(1, 30))
    folder = write_movielens(base / "data", rated, text.getvalue())
    versions = [make_version(base / "models", METRICS | {"rmse": rmse}).name for rmse in (0.85, 0.8)]
    for number in range(14):
        frame = rows(range(1, 46 + number), 40, seed=number, popular={3, 4, 5}, titles=titles)
        publish(base / "output", frame, DAY - timedelta(2 * (13 - number)), versions[number > 9])
    return SimpleNamespace(output=base / "output", models=base / "models", version=versions[1], data=folder)


def collect(site, output: Path | None = None, day: date = DAY) -> facts.Facts:
    return facts.collect(output or site.output, day, site.models, str(site.data), settings.load())


# -- drift and verdict -----------------------------------------------------------------------------------------------


def test_a_run_is_compared_with_the_earlier_ones_made_in_the_same_way(tmp_path):
    for number, changes in enumerate(({}, {}, {"rank_by": "rating"}, {"all_users": False}, {}, {})):
        publish(tmp_path, rows(range(1, 20 + number), 12, seed=number), DAY + timedelta(number), "v", **changes)
    nights = drift.nights(tmp_path, DAY + timedelta(4), most=9)
    assert [night.run_date.day for night in nights] == [31, 1, 4]
    assert [night.users for night in nights] == [19, 20, 23]
    assert [night.overlap and night.overlap.users for night in nights] == [None, 19, 20]
    assert nights[-1].coverage == 12 / 40
    assert len(drift.nights(tmp_path, DAY + timedelta(5), most=2)) == 2
    assert len(drift.nights(tmp_path, DAY + timedelta(3), most=9)) == 1  # only some users: compared with none


def kinds(known: facts.Facts, **changes) -> Counter:
    found = findings.findings(SimpleNamespace(**{**vars(known), **changes}), settings.load())
    assert [finding.kind for finding in found] == sorted(
        (finding.kind for finding in found), key=["look", "fine", "note"].index
    )
    return Counter(finding.kind for finding in found)


def test_a_verdict_tells_what_is_worth_a_look(site):
    known = collect(site)
    assert kinds(known)["look"] == 0

    def model(**changes):
        return facts.Model(**{**vars(known.model), **changes})

    def night(**changes):
        return [*known.nights[:-1], drift.Night(**{**vars(known.nights[-1]), **changes})]

    now = known.nights[-1]
    for changes in (
        {"model": model(metrics=METRICS | {"rmse": 0.95})},
        {"model": model(metrics=METRICS | {"top_k_accuracy_unseen": {"100": 0.2}})},
        {"model": model(metrics={"test_rows": 0, "train_rows": 1})},
        {"model": model(metrics={name: METRICS[name] for name in METRICS if name != "baselines"})},
        {"model": model(created_at=now_utc() - timedelta(days=8))},
        {"model": model(refused={"newer": ["held-out RMSE is high"]})},
        {"model": "the model is gone"},
        {"nights": night(users=round(known.nights[-2].users * 0.85))},
        {"nights": night(coverage=known.nights[-2].coverage * 0.7)},
        {"nights": night(predicted_rating=now.predicted_rating + 0.3)},
        {"rejects": [known.rejects[0] | {"file": "ratings.csv", "rows": 3}]},
    ):
        assert kinds(known, **changes)["look"] == 1, changes
    assert kinds(known, nights=night(users=round(known.nights[-2].users * 0.95)))["look"] == 0


def now_utc() -> datetime:
    return datetime.now(timezone.utc)


# -- the page --------------------------------------------------------------------------------------------------------


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
    known = collect(site)
    known.people[0].offered[0][c.TITLE] = HOSTILE[1]
    page = report.render(known, settings.load())
    parsed = Elements(page)
    tags = Counter(tag for tag, _ in parsed.found)
    assert (tags["script"], tags["img"], tags["b"] > 0) == (2, 0, True)
    assert not [attributes for _, attributes in parsed.found if any(name.startswith("on") for name in attributes)]
    shown = {" ".join(text.split()) for text in parsed.texts}
    for title in HOSTILE[:-1]:
        assert " ".join(title.split()) in shown
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
        "✓ Nothing needs a look.", "58 +1 since 29 Jan", "0.800 biases 0.900", "40.0 % popularity 30.0 %",
        "11.1 % less than with mean and biases", "5.2 % 3 cold-start users", "new model",
        "peak memory, driver python 300 MiB", "r.csv rating is bad",
    ):  # fmt: skip
        assert words in text


@pytest.mark.parametrize("task", ["rating", "retrieval"])
def test_a_model_of_one_task_has_a_page_without_the_other(site, tmp_path, task):
    rating_only = task == "rating"
    missing = "top_k_accuracy_unseen" if rating_only else ("rmse", "mae", "calibration_error")
    version = make_version(tmp_path / "models", {name: METRICS[name] for name in METRICS if name not in missing}).name
    frame = rows(range(1, 30), 40)
    frame[c.RETRIEVAL_SCORE if rating_only else c.PREDICTED_RATING] = np.nan
    for day in range(2):
        publish(tmp_path / "output", frame, DAY + timedelta(day), version)
    known = facts.collect(tmp_path / "output", DAY + timedelta(1), tmp_path / "models", str(site.data), settings.load())
    page = Elements(report.render(known, settings.load()))
    drawn = {attributes.get("id", "").removeprefix("chart-") for _, attributes in page.found}
    rating, retrieval = {"rating-errors", "stars", "drift-predicted-rating"}, {"hits", "scores", "by-rank"}
    assert drawn & (rating | retrieval) == (rating if rating_only else retrieval)
    assert "nan" not in " ".join(page.texts).split()


def report_job(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, ROOT / "jobs/report.py", *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_job_keeps_pages_as_long_as_their_runs(site, tmp_path):
    """And where the model and the ratings are gone, the page says so in their place."""
    output = tmp_path / "output"
    for number in range(2):
        publish(output, rows(range(1, 9), 12), DAY + timedelta(number), "v", keep=1)
        made = report_job("--output", output, "--models", tmp_path / "no-models", "--data", tmp_path / "no-data")
        assert made.returncode == 0, made.stderr
    assert sorted(path.name for path in (output / "reports").iterdir()) == ["2026-02-01.html", "latest.html"]
    page = (output / "reports/latest.html").read_text(encoding="utf-8")
    assert page == (output / "reports/2026-02-01.html").read_text(encoding="utf-8")
    assert "Recommendations of 1\u00a0February\u00a02026" in page
    assert "no-models has no version" in page
    assert page.count("no-data is not a directory") == 3
    gone = report_job("--output", output, "--run-date", DAY)
    assert gone.returncode == 2
    assert "there is no run of 2026-01-31" in gone.stderr


def test_the_job_uses_what_the_run_was_made_with(site, tmp_path):
    """Where --data and --models do not say otherwise; and writes to another file when told so."""
    known = settings.load(paths={"models": str(site.models), "data": str(site.data)}).model_dump()
    publish(tmp_path / "output", rows(range(1, 9), 12), DAY, site.version, settings=known)
    assert report_job("--output", tmp_path / "output", "--to", tmp_path / "page.html").returncode == 0
    assert not (tmp_path / "output/reports").exists()
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Rated highest" in page
    assert "11.1\u00a0% less than with mean and biases" in page


# -- in a browser ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("there is no Chromium, which CI must have; ./submit.sh test installs it where apt can")
        pytest.skip(f"there is no Chromium ({', '.join(names)}); install one to have the report looked at")
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
    """Opens the page, and at the end has seen no request, no message and no error."""
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
    "rating-errors", "hits", "drift-users", "drift-coverage", "drift-predicted-rating", "drift-kept", "overlap",
    "stars", "by-rank", "scores", "bands", "concentration", "against-popularity", "loss-rating", "loss-retrieval",
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
    """And text stands out from what it is on, as WCAG AA asks: 4.5 to 1."""
    looks = """() => [
        ['body', 'color'], ['.tile span:last-child', 'color'], ['.verdict', 'color'], ['.about', 'color'],
        ['#chart-hits text', 'fill'], ['#chart-hits .mark-rect path', 'fill'],
    ].map(([selector, property]) => [
        getComputedStyle(document.querySelector(selector))[property], getComputedStyle(document.body).backgroundColor,
    ])"""
    found = {scheme: opened(scheme=scheme).evaluate(looks) for scheme in ("light", "dark")}
    for light, dark in zip(found["light"], found["dark"], strict=True):
        assert light[0] != dark[0]
    for scheme, pairs in found.items():
        *texts, mark = [contrast(*pair) for pair in pairs]
        assert min(texts) >= 4.5, (scheme, texts)
        assert mark >= 3


def contrast(first: str, second: str) -> float:
    """Of two CSS colours such as rgb(1, 2, 3). Source: WCAG 2.2, relative luminance."""

    def luminance(colour: str) -> float:
        parts = [float(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
