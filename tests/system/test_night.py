"""The nightly job as its users run it, on real ratings; and real engines on what was published."""

import json
import re
import shutil

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.inputs import make_ratings, write_movielens
from support.processes import said, submit
from support.report import DAY
from support.runs import published

from recmodel import schemas as c
from recmodel import settings
from recmodel.data import movielens as data
from recmodel.data.validation import Validation
from recmodel.models import versions
from recmodel.scoring import recommender
from recmodel.tables import delta as delta_tables
from recmodel.tables import linked as tables

TABLE_COLUMNS = {
    "user_id": "BIGINT", "rank": "INTEGER", "movie_id": "BIGINT", "title": "VARCHAR", "retrieval_score": "FLOAT",
    "predicted_rating": "FLOAT", "source": "VARCHAR", "model_version": "VARCHAR",
    "scored_at": "TIMESTAMP WITH TIME ZONE",
    "because_movie_id": "BIGINT", "because_title": "VARCHAR", "run_date": "DATE",
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
    for words in ("held-out RMSE", "6,710 rows, ", "The first 3 for user 1", "✓ publish"):
        assert words in said(nightly)
    assert "Traceback" not in said(nightly)


def test_a_night_leaves_a_report(nightly):
    """On real ratings and a real model; what is on it is tested in test_report.py."""
    page = (nightly.output / "reports/latest.html").read_text(encoding="utf-8")
    assert page == (nightly.output / "reports/2026-01-31.html").read_text(encoding="utf-8")
    for words in ("31\u00a0January\u00a02026", "671", nightly.run["model_version"], "less than with mean and biases"):
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
    assert 0 <= values["recmodel_last_run_timestamp_seconds"] - values["recmodel_last_published_timestamp_seconds"] < 60


def test_a_night_that_fails_tells_and_leaves_the_tables(nightly, tmp_path):
    """The input is gone: exit code 3, the hook is called, and monitoring knows the last good run."""
    before = published(nightly.output, "2026-01-31")
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
    assert published(nightly.output, "2026-01-31").equals(before)


def test_a_model_that_does_not_pass_the_gate_stays_on_disk(nightly, tmp_path):
    """The notebook's model is worse than two biases; the night goes on with the version before.

    Nor does a report that cannot be written stop it.
    """
    models = tmp_path / "models"
    (tmp_path / "output").mkdir()
    (tmp_path / "output/reports").write_text("in the way")
    shutil.copytree(nightly.models, models)
    current = versions.current(models)
    result = submit(
        "nightly", "--data", "sample", "--models", models, "--output", tmp_path / "output", "--preset", "joint",
        "--run-date", "2026-01-30..2026-01-30", environment={"RECMODEL_TRAINING__MAX_AGE_DAYS": "0"},
    )  # fmt: skip
    assert result.returncode == 0, said(result)
    assert "training is due: the current version is 0 days old" in said(result)
    assert "does not become the current version: held-out RMSE" in said(result)
    assert "the night goes on with the current version" in said(result)
    assert "there is no report of 2026-01-30; what was published stands" in said(result)
    assert versions.current(models) == current
    run = json.loads((tmp_path / "output/runs/run_date=2026-01-30/run.json").read_text())
    assert run["model_version"] == current
    listed = submit("models", "list", "--models", models)
    assert "CURRENT" in listed.stdout
    assert "held-out" in said(listed)
    refused = next(version for version in versions.list_versions(models) if "-joint-" in version)
    assert submit("models", "promote", refused, "--models", models).returncode == 0
    assert versions.current(models) == refused
    assert submit("models", "rollback", "--models", models).returncode == 0
    assert versions.current(models) == current


def test_the_trained_model_is_better_than_the_classics(nightly):
    """On this sample a mean and two biases get an RMSE of 0.89, popularity a top-100 accuracy of 0.23."""
    metrics = versions.open_version(nightly.models).metrics()
    assert metrics["rmse"] < 0.86 < metrics["baselines"]["mean and biases"]["rmse"]
    accuracy = "top_k_accuracy_unseen"
    assert metrics[accuracy]["100"] > 0.33 > metrics["baselines"]["popularity"][accuracy]["100"]


def test_rows_are_what_the_saved_model_says(nightly):
    """All users, against a brute-force argsort of the SavedModel's own embeddings."""
    version = versions.open_version(nightly.models)
    model = recommender.Recommender(version.saved_model)
    movies = version.catalogue().column(c.MOVIE_ID).to_numpy()
    rows = published(nightly.output, "2026-01-31")
    chosen = settings.load()
    folder = data.data_dir("sample", chosen.paths.sample)
    validation = Validation(chosen.input)
    rated = data.read_ratings(folder, data.read_catalogue(folder, validation), validation).to_pandas()
    by_user = rated.groupby(c.USER_ID)
    users = np.array(sorted(by_user.groups))
    seen = [by_user.get_group(user)[c.MOVIE_ID].to_numpy() for user in users]
    given = [by_user.get_group(user)[c.RATING].to_numpy() for user in users]
    user_vectors = model.user_embedding(users, seen, given).astype(np.float64)
    scores = user_vectors @ model.movie_embedding(movies).astype(np.float64).T
    for row, ids in enumerate(seen):
        scores[row, np.searchsorted(movies, ids)] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    assert rows[c.USER_ID].tolist() == np.repeat(users, 10).tolist()
    found = np.searchsorted(movies, rows[c.MOVIE_ID].to_numpy().reshape(-1, 10))
    by_found = np.take_along_axis(scores, found, axis=1)
    assert np.abs(by_found - np.take_along_axis(scores, best, axis=1)).max() < 1e-5  # the same but for near ties
    assert (found == best).mean() > 0.999
    assert rows[c.RETRIEVAL_SCORE].to_numpy() == pytest.approx(by_found.ravel(), abs=1e-5)
    ratings, _ = model.rate_catalogue(users, seen, given)
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


def test_spark_sql_reads_the_tables(spark, nightly):
    spark.read.parquet(str(nightly.output / "recommendations")).createOrReplaceTempView("recommendations")
    types = {field.name: field.dataType.simpleString() for field in spark.table("recommendations").schema}
    assert types == {
        "user_id": "bigint", "rank": "int", "movie_id": "bigint", "title": "string", "retrieval_score": "float",
        "predicted_rating": "float", "source": "string", "model_version": "string", "scored_at": "timestamp",
        "because_movie_id": "bigint", "because_title": "string", "run_date": "date",
    }  # fmt: skip
    top = spark.sql(
        "select user_id, count(*) as n from recommendations where run_date = '2026-01-31' and rank <= 3 "
        "group by user_id order by user_id limit 2"
    ).collect()
    assert [(row.user_id, row.n) for row in top] == [(1, 3), (2, 3)]


def test_files_are_sorted_and_cover_ranges_of_users_that_do_not_overlap(nightly):
    ranges = []
    for path in sorted((nightly.output / "recommendations/run_date=2026-01-31").glob("*.parquet")):
        rows = pq.read_table(path, columns=[c.USER_ID, c.RANK])
        assert rows == rows.sort_by([(c.USER_ID, "ascending"), (c.RANK, "ascending")])
        ranges.append((rows.column(c.USER_ID)[0].as_py(), rows.column(c.USER_ID)[-1].as_py()))
    assert len(ranges) == 2
    assert ranges == sorted(ranges)
    assert ranges[0][1] < ranges[1][0]


def test_show_prints_one_users_recommendations(nightly):
    shown = submit("show", "2", "--output", nightly.output)
    assert shown.returncode == 0, shown.stderr
    rows = published(nightly.output, "2026-01-31").query("user_id == 2")
    for movie_id in rows[c.MOVIE_ID]:
        assert str(movie_id) in shown.stdout
    assert "★" in shown.stdout
    missing = submit("show", "4242", "--output", nightly.output)
    assert missing.returncode == 2
    assert "user 4242 has no recommendations in the run of 2026-01-31; its users go from 1 to 671" in said(missing)
    other = submit("show", "2", "--output", nightly.output, "--run-date", "2026-01-01")
    assert "the nearest is that of 2026-01-31" in said(other)


def test_settings_of_a_run_are_on_record(nightly):
    run = json.loads((nightly.output / "runs/run_date=2026-01-31/run.json").read_text())
    assert run["settings"]["scoring"]["top_n"] == 10
    assert set(run["seconds"]) >= {"read and check the input", "start Spark", "score and write recommendations"}
    assert 50 < run["peak_mib"]["driver_python"] < 2000
    assert 100 < run["peak_mib"]["driver_jvm"] < 4000
    assert 200 < run["peak_mib"]["largest_worker"] < 2000


def test_a_night_by_addresses(s3, tmp_path):
    """Models on S3, input and tables by file://, where Spark reads and writes; `show` finds it."""
    toy = write_movielens(tmp_path / "data", make_ratings())
    paths = ("--models", f"{s3}/night/models", "--output", f"file://{tmp_path}/tables")
    night = submit("nightly", *paths, "--data", f"file://{toy}", "--run-date", "2026-01-31", "--preset", "joint")
    assert night.returncode in (0, 4), night.stderr  # so few ratings need not pass the gate
    if night.returncode:
        versions.promote(f"{s3}/night/models", versions.list_versions(f"{s3}/night/models")[0])
        night = submit("nightly", *paths, "--data", f"file://{toy}", "--run-date", "2026-01-31")
    assert night.returncode == 0, night.stderr
    output = f"file://{tmp_path}/tables"
    rows = delta_tables.dataset(output, "recommendations", DAY).to_table().to_pandas()
    run = tables.read_run(output, DAY)
    assert rows[c.USER_ID].nunique() == run["users"] == 40
    assert (rows.groupby(c.USER_ID)[c.RANK].max() <= 10).all()
    assert list(rows.columns) == [*c.RECOMMENDATION.names, c.RUN_DATE]
    assert "Matrix, The (1999)" in (tmp_path / "tables/reports/latest.html").read_text()
    shown = submit("show", "1", "--output", output)
    assert (shown.returncode, "User 1, run of 2026-01-31" in shown.stdout) == (0, True)
    logs = "".join(path.read_text() for path in (tmp_path / "logs").glob("*")) + night.stdout + night.stderr
    assert "open-sesame" not in logs


def tree(folder) -> dict[str, object]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_a_dry_night_says_why_it_would_train_and_what_it_would_score_and_leaves_nothing(
    recmodel_command, toy, toy_models, tmp_path
):
    before = tree(toy) | tree(toy_models)
    answer = recmodel_command(
        "nightly", "--dry-run", "--data", f"file://{toy}", "--models", f"file://{toy_models}",
        "--output", f"file://{tmp_path}/tables", "--run-date", "2026-01-31", "--master", "local[2]", "--top-n", "3",
        RECMODEL_TRAINING__MAX_AGE_DAYS="0",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
    said = re.sub(r"\s+", " ", answer.stdout)
    for words in (
        "training is due: the current version is 0 days old", "dates to score: 2026-01-31", "preset default",
        f"model version {versions.current(toy_models)}", "users to score 40", "up to 120 rows",
    ):  # fmt: skip
        assert words in said
    assert not (tmp_path / "tables").exists()
    assert tree(toy) | tree(toy_models) == before
