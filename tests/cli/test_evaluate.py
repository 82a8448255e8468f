"""The command `evaluate`."""

import json

import pyarrow.parquet as pq
import pytest
from pyspark.ml import recommendation
from support.inputs import make_ratings, table, write_movielens
from support.processes import here, said

_MOVIES = "movieId,title,genres\n" + "".join(f"{movie},M{movie} (1999),Drama\n" for movie in range(20))


def test_evaluate_compares_on_the_same_held_out_ratings(spark, tmp_path, monkeypatch):
    """Ratings that are a table of Spark's, as every command takes them."""
    als, blocks = recommendation.ALS, spark.sparkContext.defaultParallelism

    def small_als(**options):
        """In few blocks, of which it makes ten of either kind however few the rows, and converging no further."""
        return als(**{**options, "numUserBlocks": blocks, "numItemBlocks": blocks, "maxIter": 2})

    monkeypatch.setattr(recommendation, "ALS", small_als)
    busy = write_movielens(tmp_path / "data", [], _MOVIES)
    ratings = table(make_ratings(30, tuple(range(20)), each=(13, 18)))
    spark.createDataFrame(ratings.to_pandas()).createOrReplaceTempView("busy")
    monkeypatch.setenv("RECMODEL_INPUT__RATINGS", "table:busy")
    answer = here(
        "evaluate", "--data", busy, "--split", "random", "--preset", "default", "--preset", "joint", "--seeds", "2",
        "--cold-start", "--peers", "--relevant", "3", "--output", tmp_path,
    )  # fmt: skip
    assert answer.returncode == 0, said(answer)
    assert "default goes by the order of ratings" in said(answer)  # unlike joint, and what is held out is of any time
    rows = json.loads((tmp_path / "evaluation.json").read_text())
    assert [row["method"] for row in rows] == [
        "default", "default", "joint", "joint", "popularity", "mean and biases", "ALS (Spark)", "EASE", "EASE, recent",
        "EASE, liked", "iALS (implicit)", "Bayesian FM (myfm)",
    ]  # fmt: skip
    assert pq.read_table(tmp_path / "evaluation.parquet").num_rows == len(rows)
    by_method = {row["method"]: row for row in rows}
    for method in ("default", "joint", "mean and biases", "ALS (Spark)", "Bayesian FM (myfm)"):
        assert 0 < by_method[method]["rmse"] < 5
    for method in ("default", "joint", "popularity", "ALS (Spark)", "EASE", "iALS (implicit)"):
        assert 0 <= by_method[method]["ndcg@10"] <= 1
    assert by_method["popularity"]["rmse"] is None
    cold = pq.read_table(tmp_path / "cold_users.parquet").to_pandas()
    assert cold["ratings given"].unique().tolist() == [0, 1, 3, 10]
    found = {(row["method"], row["metric"]): row for row in pq.read_table(tmp_path / "intervals.parquet").to_pylist()}
    for (method, metric), row in found.items():
        assert row["low"] <= row["value"] <= row["high"]
        assert row["value"] == pytest.approx(next(r[metric] for r in rows if r["method"] == method), nan_ok=True)
        if method != "default":
            difference = row["value"] - found.get(("default", metric), row)["value"]
            assert row["difference value"] == pytest.approx(difference, nan_ok=True)
    assert pq.read_table(tmp_path / "segments.parquet").num_rows
    page = (tmp_path / "evaluation.html").read_text()
    assert "default goes by the order of ratings" in page
    assert all(f'<th scope="col" class="n">{method}</th>' in page for method in ("joint", "EASE, liked"))


def test_a_split_can_be_fitted_elsewhere_and_its_lists_measured(tmp_path):
    """Users who are held out, and lists that hold what is to be found."""
    data = write_movielens(tmp_path / "data", make_ratings(30, tuple(range(20)), each=(13, 18)), _MOVIES)
    flags = ["evaluate", "--data", data, "--split", "users", "--no-baselines", "--output", tmp_path]
    answer = here(*flags, "--write-split", tmp_path / "split", "--splits", "2", "--vary", "variety=0.3")
    assert answer.returncode == 0, said(answer)
    rows = json.loads((tmp_path / "evaluation.json").read_text())
    assert [(row["method"], row["split"]) for row in rows] == [
        ("default", 0), ("default, variety 0.3", 0), ("default", 1), ("default, variety 0.3", 1)
    ]  # fmt: skip
    held_out = pq.read_table(tmp_path / "split/held_out.parquet").to_pandas()
    shown = pq.read_table(tmp_path / "split/shown.parquet").to_pandas()
    assert set(held_out["user_id"]) == set(shown["user_id"])
    held_out["rank"] = held_out.groupby("user_id").cumcount() + 1
    held_out.to_parquet(tmp_path / "oracle.parquet")
    answer = here(*flags, "--lists", tmp_path / "oracle.parquet")
    assert answer.returncode == 0, said(answer)
    rows = {row["method"]: row for row in json.loads((tmp_path / "evaluation.json").read_text())}
    assert rows["oracle"]["recall@10"] == rows["oracle"]["ndcg@10"] == 1
    assert 0 < rows["default"]["ndcg@10"] < 1


def test_a_split_that_the_input_or_another_flag_contradicts_is_refused(tmp_path):
    ratings = [(user, movie, 4.0, 1) for user in (1, 2, 3) for movie in (1, 2)]
    data = write_movielens(tmp_path / "data", ratings, _MOVIES)
    answer = here("evaluate", "--data", data, "--output", tmp_path)
    assert (answer.returncode, "has none; give --split random" in said(answer)) == (2, True)
    answer = here("evaluate", "--data", data, "--rows", "9", "--output", tmp_path)
    assert (answer.returncode, "add --split random" in said(answer)) == (2, True)
