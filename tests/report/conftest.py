"""A published month, made by hand, for all tests of the report."""

import csv
import io
from datetime import timedelta
from types import SimpleNamespace

import pytest
from support.inputs import make_ratings, write_movielens
from support.report import DAY, HOSTILE, METRICS, make_version, publish, recommendations

from recmodel import schemas as c
from recmodel.records import Metrics


def hits_until(night: int) -> list[dict]:
    """Of a site whose lists get better, and are better than what is popular from the fourth night on."""
    return [
        {c.SCORED_ON: DAY - timedelta(2 * (13 - run)), c.MODEL_VERSION: "v", c.RANK_BY: "retrieval", c.SOURCE: "model",
         "segment": segment, "users_back": 20, "users_measured": users, "hits": 2 * run, "liked_hits": run,
         "recall_10": run / 100, "ndcg_10": run / 50, "popular_recall_10": 0.04, "popular_ndcg_10": 0.08}
        for run in range(night)
        for segment, users in (("1-4", 5), ("20-99", 15))
    ]  # fmt: skip


def movies(titles: list[str], new: int) -> list[dict]:
    """Of some genres, rated more and more; the last ones are new."""
    return [
        {c.MOVIE_ID: movie, c.TITLE: title, c.GENRES: ["Drama", "Film-Noir"][: movie % 3], c.ALLOWED: True,
         c.RATINGS_COUNT: movie**2 // 5, c.MEAN_RATING: 3.5,
         c.STATUS: c.STATUS_NEW if movie >= len(titles) - new else c.STATUS_KNOWN}
        for movie, title in enumerate(titles)
    ]  # fmt: skip


def models(versions: list[str], used: str) -> list[dict]:
    """Both versions; the newer one was compared with the older, and passed the gate."""
    better = {"measure": "rmse", "new": 0.8, "rival": 0.85, "low": -0.06, "high": -0.04, "allowed": 0.01}
    first, second = sorted(versions)  # those of one second are in no order
    return [
        {c.MODEL_VERSION: name, "used": name == used, "current": name == used, "preset": "default", "gate": "passed",
         "gate_reasons": [], "metrics": Metrics(**METRICS, compared=of).to_bytes().decode()}
        for name, of in ((first, None), (second, {first: [better]}))
    ]  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> SimpleNamespace:
    """A month of runs with two models, a catalogue of hostile titles, and the ratings that the runs were made from."""
    base = tmp_path_factory.mktemp("site")
    titles = [HOSTILE[movie] if movie < len(HOSTILE) else f"M{movie} (1999)" for movie in range(40)]
    text = io.StringIO()
    csv.writer(text).writerows([("movieId", "title", "genres"), *((i, name, "Drama") for i, name in enumerate(titles))])
    ratings = make_ratings(60, tuple(range(40)), each=(1, 30))
    folder = write_movielens(base / "data", ratings, text.getvalue())
    versions = [make_version(base / "models", METRICS | {"rmse": rmse}).name for rmse in (0.85, 0.8)]
    for number in range(14):
        frame = recommendations(range(1, 46 + number), 40, seed=number, popular={3, 4, 5}, titles=titles)
        used = versions[number > 9]
        tables = {
            c.HITS_TABLE: hits_until(number),
            c.MOVIES_TABLE: movies(titles, new=number // 4),
            c.MODELS_TABLE: models(versions, used),
        }
        publish(base / "output", frame, DAY - timedelta(2 * (13 - number)), used, tables=tables)
    return SimpleNamespace(output=base / "output", models=base / "models", version=versions[1], data=folder)
