"""The jobs as their users run them: real processes, real Spark, real engines on what was published."""

import json
import os
import re
import shutil
import subprocess
from types import SimpleNamespace

import duckdb
import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, make_ratings, submit, write_movielens
from prometheus_client.parser import text_string_to_metric_families

from recmodel import schemas as c
from recmodel import settings
from recmodel.data import movielens as data
from recmodel.models import versions
from recmodel.scoring import recommender

TABLE_COLUMNS = {
    "user_id": "BIGINT", "rank": "INTEGER", "movie_id": "BIGINT", "title": "VARCHAR", "retrieval_score": "FLOAT",
    "predicted_rating": "FLOAT", "source": "VARCHAR", "model_version": "VARCHAR",
    "scored_at": "TIMESTAMP WITH TIME ZONE",
    "because_movie_id": "BIGINT", "because_title": "VARCHAR", "run_date": "DATE",
}  # fmt: skip


def spark_submit(*arguments, environment=None):
    """Plain spark-submit, without submit.sh."""
    return subprocess.run(
        ["spark-submit", *map(str, arguments)],
        capture_output=True, text=True, timeout=600, check=False, cwd="/", env={**os.environ, **(environment or {})},
    )  # fmt: skip


def said(result) -> str:
    """All that a command printed, on one line: spark-submit sends both of a job's streams to its own stdout."""
    return re.sub(r"\s+", " ", result.stdout + result.stderr)


def published(output, run_date, table="recommendations"):
    rows = ds.dataset(output / table / f"run_date={run_date}", format="parquet").to_table()
    keys = [(c.USER_ID, "ascending"), (c.RANK if c.RANK in rows.schema.names else c.MOVIE_ID, "ascending")]
    return rows.sort_by(keys).to_pandas()


# -- the whole thing, once, on real ratings ------------------------------------------------------------------------


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
    refused = next(version for version in versions.versions(models) if "-joint-" in version)
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
    intake = data.Intake(chosen.input)
    rated = data.read_ratings(folder, data.read_catalogue(folder, intake), intake).to_pandas()
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


def test_predict_takes_ids_and_exact_titles(toy_models):
    answer = submit("predict", "1", "10", "Matrix, The (1999)", "--models", toy_models)
    assert answer.returncode == 0, answer.stderr
    assert "Amélie (2001)" in answer.stdout
    assert "Matrix, The (1999)" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["1", "Emma (1996)"], "2 movies are called 'Emma (1996)'; give the id of the one you mean: 3 or 4"),
        (["1", "the matrix"], "the catalogue has no movie 'the matrix'; near it: 'Matrix, The (1999)'"),
        (["1", "Qwertz (1900)"], "the catalogue has no movie 'Qwertz (1900)'; give an id or an exact title"),
        (["1", "999"], "the catalogue has no movie '999'; give an id or an exact title"),
        (["999", "1"], "does not know user 999"),
    ],
)
def test_predict_answers_an_unknown_name_with_a_sentence(toy_models, arguments, sentence):
    answer = submit("predict", *arguments, "--models", toy_models)
    assert answer.returncode == 2
    assert sentence in said(answer)
    assert "Traceback" not in answer.stderr


def test_predict_knows_a_user_by_their_ratings_not_by_training(toy_models, tmp_path):
    """The default model serves users who came after it, from the ratings that it is given."""
    default = next(v for v in versions.versions(toy_models) if "-default-" in v)
    later = write_movielens(tmp_path / "later", [(777, 1, 5.0, 1), (777, 3, 1.0, 2)])
    answer = submit("predict", "777", "10", "--models", toy_models, "--model-version", default, "--data", later)
    assert answer.returncode == 0, answer.stderr
    assert "Amélie (2001)" in answer.stdout
    answer = submit("predict", "778", "10", "--models", toy_models, "--model-version", default, "--data", later)
    assert answer.returncode == 2
    assert "does not know user 778" in said(answer)


def test_evaluate_compares_on_the_same_held_out_ratings(tmp_path):
    movies = "movieId,title,genres\n" + "".join(f"{movie},M{movie} (1999),Drama\n" for movie in range(20))
    busy = write_movielens(tmp_path / "data", make_ratings(30, tuple(range(20)), each=(13, 18)), movies)
    answer = submit(
        "evaluate", "--data", busy, "--preset", "default", "--preset", "joint", "--seeds", "2", "--cold-start",
        "--output", tmp_path,
    )  # fmt: skip
    assert answer.returncode == 0, said(answer)
    rows = json.loads((tmp_path / "evaluation.json").read_text())
    assert [row["method"] for row in rows] == [
        "default", "default", "joint", "joint", "popularity", "mean and biases", "ALS (Spark)", "EASE",
    ]  # fmt: skip
    assert pq.read_table(tmp_path / "evaluation.parquet").num_rows == len(rows)
    by_method = {row["method"]: row for row in rows}
    for method in ("default", "joint", "mean and biases", "ALS (Spark)"):
        assert 0 < by_method[method]["rmse"] < 5
    for method in ("default", "joint", "popularity", "ALS (Spark)", "EASE"):
        assert 0 <= by_method[method]["ndcg@10"] <= 1
    assert by_method["popularity"]["rmse"] is None
    cold = pq.read_table(tmp_path / "cold_users.parquet").to_pandas()
    assert cold["ratings given"].unique().tolist() == [0, 1, 3, 10]


# -- plain spark-submit, policies, clusters --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy_runs(toy, toy_models, tmp_path_factory):
    """The toy data scored by one local JVM with two threads, and by two executors in processes of their own."""
    base = tmp_path_factory.mktemp("toy-runs")
    users = base / "users.csv"
    users.write_text("userId\n5\n3\n12345\n5\n")
    made = {}
    for name, master in (("local", "local[2]"), ("cluster", "local-cluster[2,1,1536]")):
        made[name] = SimpleNamespace(output=base / name)
        result = spark_submit(
            "--master", master, "--conf", "spark.executor.memory=1g",
            ROOT / "jobs/score_all.py", "--data", toy, "--models", toy_models, "--output", base / name,
            "--run-date", "2026-01-31", "--rank-by", "two-stage", "--candidates", "3", "--top-n", "2",
            "--predicted-ratings", "all", "--users", users,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
    return made


def test_executors_in_other_processes_give_the_same_rows(toy_runs):
    """recmodel reaches them with the job; ids are identical and scores equal to float32's rounding."""
    for table in ("recommendations", "predicted_ratings"):
        one, other = (published(toy_runs[name].output, "2026-01-31", table) for name in ("local", "cluster"))
        assert len(one) == len(other) > 0
        for column in one.columns.drop(c.SCORED_AT, errors="ignore"):
            if one[column].dtype == np.float32:
                assert one[column].to_numpy() == pytest.approx(other[column].to_numpy(), abs=1e-6, nan_ok=True)
            else:
                assert one[column].equals(other[column])  # nulls where nulls are


def test_only_the_users_asked_for_are_scored_and_new_ones_get_what_is_popular(toy_runs, toy):
    rows = published(toy_runs["local"].output, "2026-01-31")
    assert rows[c.USER_ID].tolist() == [3, 3, 5, 5, 12345, 12345]
    assert rows[c.SOURCE].tolist() == ["model"] * 4 + ["popularity"] * 2
    rated = [row[1] for row in make_ratings()]
    most = sorted(set(rated), key=lambda movie: (-rated.count(movie), movie))[:2]
    assert rows.query("user_id == 12345")[c.MOVIE_ID].tolist() == most
    predicted = published(toy_runs["local"].output, "2026-01-31", "predicted_ratings")
    assert predicted.groupby(c.USER_ID)[c.MOVIE_ID].apply(list).to_dict() == {
        user: [1, 2, 3, 4, 10, 11] for user in (3, 5)
    }  # fmt: skip


def test_a_policy_needs_its_task(toy, toy_models, tmp_path):
    by_preset = {versions.open_version(toy_models, v).manifest["preset"]: v for v in versions.versions(toy_models)}
    for preset, rank_by, task in (("rating", "retrieval", "retrieval"), ("retrieval", "two-stage", "rating")):
        result = spark_submit(
            ROOT / "jobs/score_all.py", "--data", toy, "--models", toy_models, "--output", tmp_path,
            "--model-version", by_preset[preset], "--rank-by", rank_by,
        )  # fmt: skip
        assert result.returncode == 2
        assert f"was not trained for {task}" in said(result)


# -- what goes wrong --------------------------------------------------------------------------------------------------


def test_input_that_is_refused_ends_with_3_and_leaves_the_last_run(toy, toy_models, tmp_path, toy_runs):
    output = tmp_path / "output"
    shutil.copytree(toy_runs["local"].output, output, symlinks=True)
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    broken = write_movielens(tmp_path / "broken", [*make_ratings(), (1, 1, 77, 1), (2, 1, 77, 1)])
    result = submit("score", "--data", broken, "--models", toy_models, "--output", output, "--run-date", "2026-01-31")
    assert result.returncode == 3
    assert f"ratings.csv, row {len(make_ratings()) + 2}, column rating: '77' is outside the rating scale" in said(
        result
    )
    assert "Traceback" not in said(result)
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before
    assert not list((output / ".store/staging").iterdir())
    assert submit("train", "--data", broken, "--models", tmp_path / "m").returncode == 3
    assert submit("train", "--data", tmp_path / "nowhere", "--models", tmp_path / "m").returncode == 3
    assert not (tmp_path / "m").exists()


def test_a_model_that_was_changed_ends_with_4(toy, toy_models, tmp_path):
    shutil.copytree(toy_models, tmp_path / "models")
    name = versions.current(tmp_path / "models")
    variables = tmp_path / "models" / name / "saved_model/variables/variables.data-00000-of-00001"
    content = bytearray(variables.read_bytes())
    content[100] ^= 1
    variables.write_bytes(content)
    result = submit("score", "--data", toy, "--models", tmp_path / "models", "--output", tmp_path / "output")
    assert result.returncode == 4
    assert "variables.data-00000-of-00001 was changed" in said(result)
    assert submit("score", "--data", toy, "--models", tmp_path / "none", "--output", tmp_path).returncode == 4


def test_a_failure_in_a_worker_ends_with_5_in_one_line(toy, toy_models, tmp_path):
    """Workers on a Python without TensorFlow: the sentence names the module, the trace is in the log."""
    shim = tmp_path / "shim"
    shim.mkdir()
    (shim / "sitecustomize.py").write_text("import sys\nsys.modules['tensorflow'] = None\n")
    result = submit(
        "score", "--data", toy, "--models", toy_models, "--output", tmp_path / "output", "--run-date", "2026-01-31",
        environment={"PYTHONPATH": str(shim), "RECMODEL_PATHS__LOGS": str(tmp_path / "logs")},
    )  # fmt: skip
    assert result.returncode == 5
    assert "Error: scoring failed: ModuleNotFoundError" in said(result)
    assert "Traceback" not in said(result)
    assert not list((tmp_path / "output/recommendations").glob("*"))
    (log,) = (tmp_path / "logs").iterdir()
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["score", "--top-n", "0"], "scoring.top_n"),
        (["score", "--rank-by", "best"], "'best' is not one of 'retrieval', 'rating', 'two-stage'"),
        (["score", "--run-date", "yesterday"], "does not match the format"),
        (["score", "--master"], "Option '--master' requires an argument"),
        (["nightly", "--run-date", "soon..later"], "is neither a date nor a range"),
        (["train", "--preset", "best"], "no preset is called 'best'"),
        (["train", "--nonsense"], "No such option"),
        (["frobnicate"], "there is no command frobnicate"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_sentence(arguments, sentence):
    result = submit(*arguments)
    assert result.returncode == 2
    assert sentence in said(result)
    assert "Traceback" not in said(result)


@pytest.mark.parametrize("job", ["train", "score_all", "nightly", "show", "predict", "evaluate", "models"])
def test_help_teaches_without_loading_tensorflow_or_spark(job):
    script = (
        "import runpy, sys; sys.argv = [sys.argv[1], '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print(sorted({'tensorflow', 'pyspark'} & set(sys.modules)))"
    )
    result = subprocess.run(
        ["python", "-c", script, ROOT / f"jobs/{job}.py"], capture_output=True, text=True, check=True
    )
    assert "Example" in result.stdout
    assert result.stdout.rstrip().endswith("[]")


def test_settings_of_a_run_are_on_record(nightly):
    run = json.loads((nightly.output / "runs/run_date=2026-01-31/run.json").read_text())
    assert run["settings"]["scoring"]["top_n"] == 10
    assert set(run["seconds"]) >= {"read and check the input", "start Spark", "score and write recommendations"}
    assert 50 < run["peak_mib"]["driver_python"] < 2000
    assert 100 < run["peak_mib"]["driver_jvm"] < 4000
    assert 200 < run["peak_mib"]["largest_worker"] < 2000
