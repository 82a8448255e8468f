"""The nightly job as its users run it, on real ratings; and real engines on what was published."""

import json
import re
from itertools import pairwise

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.processes import here, said, submit
from support.runs import DAY, published
from support.terminal import COLUMNS, LINES

from recmodel import schemas as c
from recmodel import settings
from recmodel.data import movielens as data
from recmodel.data.validation import Validation
from recmodel.models import versions
from recmodel.models.history.towers import read_weights
from recmodel.scoring import recommender
from recmodel.scoring.signatures import InTensorFlow

TABLE_COLUMNS = {
    "user_id": "BIGINT", "rank": "INTEGER", "movie_id": "BIGINT", "title": "VARCHAR", "retrieval_score": "FLOAT",
    "predicted_rating": "FLOAT", "source": "VARCHAR", "model_version": "VARCHAR",
    "scored_at": "TIMESTAMP WITH TIME ZONE",
    "because_movie_id": "BIGINT", "because_title": "VARCHAR", "score": "FLOAT", "run_date": "DATE",
}  # fmt: skip


def test_nightly_trains_scores_and_says_what_it_did(nightly):
    assert nightly.run["users"] == 671
    assert nightly.run["movies"] == 9066
    made = nightly.run["recommendations"]
    assert (made["rows"], made["users"], made["popular_users"]) == (6710, 671, 0)
    assert nightly.run["predicted_ratings"] == {"rows": 6710}
    assert nightly.run["rows_rejected"] == 0
    assert nightly.run["model_loads"] <= 2
    assert nightly.run["model_version"] == versions.current(nightly.models)
    printed = re.sub(r"\s+", " ", nightly.drawn)
    for words in ("held-out RMSE", "6,710 rows, ", "The first 3 for user 1", "✓ publish"):
        assert words in printed
    assert "Traceback" not in printed


def test_a_terminal_shows_how_far_training_and_scoring_are_and_ends_with_a_screenful(nightly):
    assert re.search(r"train preset default … ([\d,]+) of \1 ratings, [\d,]+ ratings/s, 0\.0\s+s\s+left", nightly.drawn)
    assert re.search(
        r"score and write recommendations … 671 of 671 users, [\d,]+ users/s, 0\.0\s+s\s+left", nightly.drawn
    )
    _, _, end = nightly.drawn.rpartition("✓ publish")
    end_of_scoring = re.split("^report ", end, flags=re.MULTILINE)[0].splitlines()
    assert len(end_of_scoring) < LINES
    assert max(map(len, end_of_scoring)) <= COLUMNS


def test_a_night_leaves_a_report(nightly):
    """On real ratings and a real model; what is on it is tested in tests/report."""
    page = (nightly.output / "reports/latest.html").read_text(encoding="utf-8")
    assert page == (nightly.output / "reports/2026-01-31.html").read_text(encoding="utf-8")
    for words in ("31\u00a0January\u00a02026", "671", nightly.run["model_version"], "lower than with mean and biases"):
        assert words in page


def test_a_night_leaves_metrics_for_monitoring(nightly):
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(nightly.metrics.read_text())
        for sample in family.samples
    }
    assert values["recmodel_last_exit_code"] == 0
    assert values["recmodel_users"] == 671
    assert values["recmodel_recommendation_rows"] == 6710
    assert values["recmodel_model_rmse"] == versions.open_version(nightly.models).metrics().rmse
    assert (values["recmodel_cold_share"], values["recmodel_findings"]) == (0, 0)
    assert 0 <= values["recmodel_last_run_timestamp_seconds"] - values["recmodel_last_published_timestamp_seconds"] < 60


def test_a_night_that_fails_tells_and_leaves_the_tables(nightly, tmp_path):
    """The input is gone: exit code 3, the hook is called, and monitoring knows the last good run."""
    before = published(nightly.output, DAY)
    result = submit(
        "nightly", "--data", tmp_path / "nowhere", "--models", nightly.models, "--output", nightly.output,
        environment={
            "RECMODEL_MONITORING__ON_FAILURE": f"echo $RECMODEL_EXIT_CODE > {tmp_path}/told",
            "RECMODEL_MONITORING__TEXTFILE": str(tmp_path / "recmodel.prom"),
        },
    )  # fmt: skip
    assert result.returncode == 3
    assert "nowhere is not a directory" in said(result)
    assert (tmp_path / "told").read_text() == "3\n"
    metrics = (tmp_path / "recmodel.prom").read_text()
    assert "recmodel_last_exit_code 3.0" in metrics
    assert "recmodel_users 671.0" in metrics
    assert published(nightly.output, DAY).equals(before)


def test_the_trained_model_is_better_than_the_classics(nightly):
    """Of each user's newest rating: a mean and two biases have an RMSE of 0.97, popularity an NDCG@10 of 0.02."""
    metrics = versions.open_version(nightly.models).metrics()
    assert metrics["rmse"] < 0.92 < metrics["baselines"]["mean and biases"]["rmse"]
    assert metrics["ndcg_at_10"] > 0.07 > 0.03 > metrics["baselines"]["popularity"]["ndcg_at_10"]
    assert metrics["refit_rows"] == metrics["train_rows"] + metrics["test_rows"] == 100_004
    accuracy = "top_k_accuracy_unseen"
    assert metrics[accuracy]["100"] > 0.36 > metrics["baselines"]["popularity"][accuracy]["100"]


def test_rows_are_what_the_saved_model_says(nightly):
    """All users, against a brute-force argsort of the SavedModel's own vectors, in TensorFlow and for another day."""
    version = versions.open_version(nightly.models)
    signatures, model = InTensorFlow(version.saved_model), recommender.Recommender(version.saved_model)
    movies = version.catalogue().column(c.MOVIE_ID).to_numpy()
    rows = published(nightly.output, DAY).to_pandas()
    chosen = settings.load()
    folder = data.data_dir("sample", chosen.paths.sample)
    validation = Validation(chosen.input)
    rated = data.read_ratings(folder, data.read_catalogue(folder, validation), validation).to_pandas()
    by_user = rated.sort_values([c.TIMESTAMP, c.MOVIE_ID]).groupby(c.USER_ID)
    users = np.array(sorted(by_user.groups))
    seen = [by_user.get_group(user)[c.MOVIE_ID].to_numpy() for user in users]
    given = [by_user.get_group(user)[c.RATING].to_numpy() for user in users]
    weights = read_weights(version.saved_model)
    lengths = [len(ids) for ids in seen]
    age = np.concatenate([np.arange(length)[::-1] for length in lengths]) + weights.another_day.pause
    vectors = signatures("user_vectors", {
        c.USER_ID: users, "seen_movie_id": np.concatenate(seen), "seen_age": age.astype(np.int32),
        "seen_rating": np.concatenate(given).astype(np.float32), "seen_row_splits": np.cumsum([0, *lengths]),
    })  # fmt: skip
    assert not vectors["seen_boost"].any()  # after such a pause
    scores = vectors["retrieval"].astype(np.float64) @ weights.movie_vectors.T.astype(np.float64)
    scores *= weights.another_day.trend
    for row, ids in enumerate(seen):
        scores[row, np.searchsorted(movies, ids)] = -np.inf
    ratings, _ = model.rate_catalogue(users, seen, given)
    blended = np.where(scores > 0, scores * ratings.astype(np.float64) ** weights.blend_power, scores)
    best = np.argsort(-blended, axis=1, kind="stable")[:, :10]
    assert rows[c.USER_ID].tolist() == np.repeat(users, 10).tolist()
    found = np.searchsorted(movies, rows[c.MOVIE_ID].to_numpy().reshape(-1, 10))
    by_found = np.take_along_axis(scores, found, axis=1)
    score = np.take_along_axis(blended, found, axis=1)
    assert score == pytest.approx(np.take_along_axis(blended, best, axis=1), rel=1e-4)  # the same but for near ties
    assert (found == best).mean() > 0.999
    assert rows[c.RETRIEVAL_SCORE].to_numpy() == pytest.approx(by_found.ravel(), abs=1e-5)
    assert rows[c.SCORE].to_numpy() == pytest.approx(score.ravel(), rel=1e-4)
    expected = np.take_along_axis(ratings, found, axis=1)
    assert rows[c.PREDICTED_RATING].to_numpy() == pytest.approx(expected.ravel(), abs=1e-5)
    assert rows[c.PREDICTED_RATING].between(0.5, 5).all()


def test_duckdb_reads_the_tables(nightly):
    sql = f"from read_parquet('{nightly.output}/recommendations/*/*.parquet', hive_partitioning = true)"
    described = {name: kind for name, kind, *_ in duckdb.sql(f"describe select * {sql}").fetchall()}
    assert described == TABLE_COLUMNS
    assert duckdb.sql(f"select count(*), count(distinct user_id), max(rank) {sql}").fetchall() == [(6710, 671, 10)]
    assert duckdb.sql(f"select count(*) {sql} where scored_at > now() or title is null").fetchall() == [(0,)]
    both = f"""
        select count(*) {sql} r
        join read_parquet('{nightly.output}/predicted_ratings/*/*.parquet', hive_partitioning = true) p
        using (run_date, user_id, movie_id, model_version) where p.predicted_rating = r.predicted_rating
    """
    assert duckdb.sql(both).fetchall() == [(6710,)]
    rejects = f"from read_parquet('{nightly.output}/rejects/*/*.parquet')"
    assert duckdb.sql(f"select count(*) {rejects}").fetchall() == [(0,)]


def test_files_are_sorted_and_cover_ranges_of_users_that_do_not_overlap(nightly):
    ranges = []
    for path in sorted((nightly.output / "recommendations/run_date=2026-01-31").glob("*.parquet")):
        rows = pq.read_table(path, columns=[c.USER_ID, c.RANK])
        assert rows == rows.sort_by([(c.USER_ID, "ascending"), (c.RANK, "ascending")])
        ranges.append((rows.column(c.USER_ID)[0].as_py(), rows.column(c.USER_ID)[-1].as_py()))
    assert len(ranges) == 34
    assert all(last < first for (_, last), (first, _) in pairwise(ranges))


def test_show_prints_one_users_recommendations(nightly):
    shown = here("show", "2", "--output", nightly.output)
    assert shown.returncode == 0, shown.stderr
    rows = published(nightly.output, DAY).to_pandas().query("user_id == 2")
    for movie_id in rows[c.MOVIE_ID]:
        assert str(movie_id) in shown.stdout
    assert "★" in shown.stdout
    missing = here("show", "4242", "--output", nightly.output)
    assert missing.returncode == 2
    assert "user 4242 has no recommendations in the run of 2026-01-31; its users go from 1 to 671" in said(missing)
    other = here("show", "2", "--output", nightly.output, "--run-date", "2026-01-01")
    assert other.returncode == 2
    assert "the nearest is that of 2026-01-31" in said(other)


def test_settings_of_a_run_are_on_record(nightly):
    run = json.loads((nightly.output / "runs/run_date=2026-01-31/run.json").read_text())
    assert run["settings"]["scoring"]["top_n"] == 10
    assert set(run["seconds"]) >= {"read and check the input", "start Spark", "score and write recommendations"}
    assert 50 < run["peak_mib"]["driver_python"] < 2000
    assert 100 < run["peak_mib"]["driver_jvm"] < 4000
    assert 200 < run["peak_mib"]["largest_worker"] < 2000
