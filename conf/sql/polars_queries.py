"""The queries beside this file for Polars; `output` is what --output was. Copy what you need."""

from pathlib import Path

import polars as pl


def run(output: Path, back: int = 0) -> pl.LazyFrame:
    """The recommendations of the newest run, or of the one so many runs before."""
    folder = sorted((output / "recommendations").iterdir())[-1 - back]
    return pl.scan_parquet(folder / "*.parquet", hive_partitioning=False)


def latest_run(output: Path) -> pl.DataFrame:
    columns = ["user_id", "rank", "movie_id", "title", "retrieval_score", "predicted_rating", "source"]
    return (
        pl.scan_parquet(output / "latest/recommendations/*.parquet").select(columns).sort("user_id", "rank").collect()
    )


def one_user(output: Path, user_id: int = 42) -> pl.DataFrame:
    columns = ["rank", "movie_id", "title", "retrieval_score", "predicted_rating", "source"]
    mine = run(output).filter(pl.col("user_id") == user_id)  # reads little: see "In SQL" in the README
    return mine.select(columns).sort("rank").collect()


def movie_audience(output: Path, movie_id: int = 1196) -> pl.DataFrame:
    columns = ["user_id", "rank", "retrieval_score", "predicted_rating"]
    return run(output).filter(pl.col("movie_id") == movie_id).select(columns).sort("rank", "user_id").collect()


def most_recommended(output: Path) -> pl.DataFrame:
    movies = (
        run(output)
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
    rows = pl.scan_parquet(output / "recommendations/*/*.parquet", hive_partitioning=True)
    lists = rows.group_by("run_date", "movie_id").agg(lists=pl.len())
    by_run = lists.group_by("run_date").agg(
        movies=pl.len(),
        recommendations=pl.col("lists").sum(),
        share_of_ten=pl.col("lists").top_k(10).sum() / pl.col("lists").sum(),
    )
    return by_run.sort("run_date").collect()


def day_over_day(output: Path) -> pl.DataFrame:
    today, yesterday = (
        run(output, back).select("user_id", "movie_id", pl.col("predicted_rating").cast(pl.Float64)) for back in (0, 1)
    )
    key = ["user_id", "movie_id"]
    both = today.join(yesterday, on=key, how="full", suffix="_then")
    now, then = pl.col("user_id"), pl.col("user_id_then")
    users = pl.coalesce(now, then).n_unique()
    return both.select(
        users=now.drop_nulls().n_unique(),
        users_entered=users - then.drop_nulls().n_unique(),
        users_left=users - now.drop_nulls().n_unique(),
        entered=then.is_null().sum(),
        went=now.is_null().sum(),
        stayed=(now.is_not_null() & then.is_not_null()).sum(),
        mean_shift=pl.col("predicted_rating").mean() - pl.col("predicted_rating_then").mean(),
        mean_shift_of_stayed=(pl.col("predicted_rating") - pl.col("predicted_rating_then")).mean(),
    ).collect()


def day_over_day_lists(output: Path) -> pl.DataFrame:
    key = ["user_id", "movie_id"]
    today, yesterday = run(output), run(output, 1)
    changes = [
        today.join(yesterday, on=key, how="anti").with_columns(what=pl.lit("entered")),
        yesterday.join(today, on=key, how="anti").with_columns(what=pl.lit("left")),
    ]
    columns = ["user_id", "what", "rank", "movie_id", "title"]
    return pl.concat(changes).select(columns).sort("user_id", "what", "rank").collect()


def day_over_day_movies(output: Path) -> pl.DataFrame:
    now, before = (
        run(output, back).group_by("movie_id").agg(title=pl.col("title").max(), lists=pl.len().cast(pl.Int64))
        for back in (0, 1)
    )
    both = now.join(before, on="movie_id", how="full", suffix="_before", coalesce=True).select(
        "movie_id",
        title=pl.coalesce("title", "title_before"),
        lists_before=pl.col("lists_before").fill_null(0),
        lists_now=pl.col("lists").fill_null(0),
    )
    change = (pl.col("lists_now") - pl.col("lists_before")).abs()
    return both.sort(change, "movie_id", descending=[True, False]).head(100).collect()
