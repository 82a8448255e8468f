"""The queries beside this file for pandas; `output` is the folder that --output named. Copy what you need."""

from pathlib import Path

import pandas as pd

LIST = ["rank", "movie_id", "title", "retrieval_score", "predicted_rating", "source"]


def latest_run(output: Path) -> pd.DataFrame:
    rows = pd.read_parquet(output / "latest/recommendations", columns=["user_id", *LIST])
    return rows.sort_values(["user_id", "rank"])


def one_user(output: Path, user_id: int = 42) -> pd.DataFrame:
    mine = [("user_id", "=", user_id)]  # reads one file, see "In SQL" in the README
    return pd.read_parquet(output / "latest/recommendations", columns=LIST, filters=mine).sort_values("rank")


def movie_audience(output: Path, movie_id: int = 1196) -> pd.DataFrame:
    columns = ["user_id", "rank", "retrieval_score", "predicted_rating"]
    its = [("movie_id", "=", movie_id)]
    rows = pd.read_parquet(output / "latest/recommendations", columns=columns, filters=its)
    return rows.sort_values(["rank", "user_id"])


def most_recommended(output: Path) -> pd.DataFrame:
    rows = pd.read_parquet(output / "latest/recommendations").astype({"predicted_rating": float})
    movies = rows.groupby("movie_id", as_index=False).agg(
        title=("title", "max"),
        lists=("title", "size"),
        mean_rank=("rank", "mean"),
        mean_rating=("predicted_rating", "mean"),
    )
    return movies.sort_values(["lists", "movie_id"], ascending=[False, True]).head(100)


def coverage(output: Path) -> pd.DataFrame:
    rows = pd.read_parquet(output / "recommendations", columns=["run_date", "movie_id"])
    lists = rows.astype({"run_date": str}).value_counts().groupby("run_date")
    shares = lists.agg(movies="size", recommendations="sum", share_of_ten=lambda n: n.nlargest(10).sum() / n.sum())
    return shares.sort_index().reset_index()


def day_over_day(output: Path) -> pd.DataFrame:
    before, newest = sorted((output / "recommendations").iterdir())[-2:]
    key = ["user_id", "movie_id"]
    then, now = (
        pd.read_parquet(run, columns=[*key, "predicted_rating"]).astype({"predicted_rating": float})
        for run in (before, newest)
    )
    both = now.merge(then, "inner", key, suffixes=("", "_before"))
    users, users_before = set(now["user_id"]), set(then["user_id"])
    return pd.DataFrame(
        {
            "users": [len(users)],
            "users_entered": len(users - users_before),
            "users_left": len(users_before - users),
            "recommendations": len(now),
            "recommendations_entered": len(now) - len(both),
            "recommendations_left": len(then) - len(both),
            "mean_rating": now["predicted_rating"].mean(),
            "mean_rating_before": then["predicted_rating"].mean(),
            "mean_change_of_stayed": (both["predicted_rating"] - both["predicted_rating_before"]).mean(),
        }
    )
