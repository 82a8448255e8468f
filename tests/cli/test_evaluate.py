"""The command `evaluate`."""

import json

import pyarrow.parquet as pq
from pyspark.ml import recommendation
from support.inputs import make_ratings, table, write_movielens
from support.processes import here, said


def test_evaluate_compares_on_the_same_held_out_ratings(spark, tmp_path, monkeypatch):
    """Ratings that are a table of Spark's, as every command takes them."""
    als, blocks = recommendation.ALS, spark.sparkContext.defaultParallelism

    def small_als(**options):
        """In few blocks, of which it makes ten of either kind however few the rows, and converging no further."""
        return als(**{**options, "numUserBlocks": blocks, "numItemBlocks": blocks, "maxIter": 2})

    monkeypatch.setattr(recommendation, "ALS", small_als)
    movies = "movieId,title,genres\n" + "".join(f"{movie},M{movie} (1999),Drama\n" for movie in range(20))
    busy = write_movielens(tmp_path / "data", [], movies)
    ratings = table(make_ratings(30, tuple(range(20)), each=(13, 18)))
    spark.createDataFrame(ratings.to_pandas()).createOrReplaceTempView("busy")
    monkeypatch.setenv("RECMODEL_INPUT__RATINGS", "table:busy")
    answer = here(
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
