"""The queries beside this file for Polars; `output` is the folder that --output named. Copy what you need."""

from pathlib import Path

import polars as pl

LIST = ["rank", "movie_id", "title", "retrieval_score", "predicted_rating", "source"]


def latest(output: Path) -> pl.LazyFrame:
    return pl.scan_parquet(output / "latest/recommendations/*.parquet")


def latest_run(output: Path) -> pl.DataFrame:
    return latest(output).select("user_id", *LIST).sort("user_id", "rank").collect()


def one_user(output: Path, user_id: int = 42) -> pl.DataFrame:
    mine = latest(output).filter(pl.col("user_id") == user_id)  # reads one file, see "In SQL" in the README
    return mine.select(LIST).sort("rank").collect()


def movie_audience(output: Path, movie_id: int = 1196) -> pl.DataFrame:
    columns = ["user_id", "rank", "retrieval_score", "predicted_rating"]
    return latest(output).filter(pl.col("movie_id") == movie_id).select(columns).sort("rank", "user_id").collect()


def most_recommended(output: Path) -> pl.DataFrame:
    movies = (
        latest(output)
        .group_by("movie_id")
        .agg(
            title=pl.col("title").max(),
            lists=pl.len(),
            mean_rank=pl.col("rank").mean(),
            mean_rating=pl.col("predicted_rating").cast(pl.Float64).mean(),
        )
    )
    return movies.sort("lists", "movie_id", descending=[True, False]).head(100).collect()


def coverage(output: Path) -> pl.DataFrame:
    rows = pl.scan_parquet(output / "recommendations/*/*.parquet", hive_partitioning=True, extra_columns="ignore")
    lists = rows.group_by("run_date", "movie_id").agg(lists=pl.len())
    by_run = lists.group_by("run_date").agg(
        movies=pl.len(),
        recommendations=pl.col("lists").sum(),
        share_of_ten=pl.col("lists").top_k(10).sum() / pl.col("lists").sum(),
    )
    return by_run.sort("run_date").collect()


def day_over_day(output: Path) -> pl.DataFrame:
    before, newest = sorted((output / "recommendations").iterdir())[-2:]
    key, rating, rating_before = ["user_id", "movie_id"], pl.col("rating"), pl.col("rating_before")
    then, now = (
        pl.scan_parquet(run / "*.parquet", hive_partitioning=False).select(
            *key, rating=pl.col("predicted_rating").cast(pl.Float64)
        )
        for run in (before, newest)
    )
    both = now.join(then, on=key, how="full", suffix="_before")
    user, user_before = pl.col("user_id"), pl.col("user_id_before")
    users = pl.coalesce(user, user_before).n_unique()
    return both.select(
        users=user.drop_nulls().n_unique(),
        users_entered=users - user_before.drop_nulls().n_unique(),
        users_left=users - user.drop_nulls().n_unique(),
        recommendations=user.count(),
        recommendations_entered=user_before.null_count(),
        recommendations_left=user.null_count(),
        mean_rating=rating.mean(),
        mean_rating_before=rating_before.mean(),
        mean_change_of_stayed=(rating - rating_before).mean(),
    ).collect()
