"""The queries beside this file for pandas; `output` is what --output was. Copy what you need."""

from pathlib import Path

import pandas as pd


def run(output: Path, back: int = 0) -> pd.DataFrame:
    """The recommendations of the newest run, or of the one so many runs before."""
    folder = sorted((output / "recommendations").iterdir())[-1 - back]
    return pd.read_parquet(folder).sort_values(["user_id", "rank"])


def latest_run(output: Path) -> pd.DataFrame:
    columns = ["user_id", "rank", "movie_id", "title", "retrieval_score", "predicted_rating", "source"]
    return pd.read_parquet(output / "latest/recommendations", columns=columns).sort_values(["user_id", "rank"])


def one_user(output: Path, user_id: int = 42) -> pd.DataFrame:
    columns = ["rank", "movie_id", "title", "retrieval_score", "predicted_rating", "source"]
    filters = [("user_id", "=", user_id)]  # reads little: see "In SQL" in the README
    return pd.read_parquet(output / "latest/recommendations", columns=columns, filters=filters).sort_values("rank")


def movie_audience(output: Path, movie_id: int = 1196) -> pd.DataFrame:
    columns = ["user_id", "rank", "retrieval_score", "predicted_rating"]
    filters = [("movie_id", "=", movie_id)]
    found = pd.read_parquet(output / "latest/recommendations", columns=columns, filters=filters)
    return found.sort_values(["rank", "user_id"])


def most_recommended(output: Path) -> pd.DataFrame:
    movies = run(output).astype({"predicted_rating": float}).groupby("movie_id")
    found = movies.agg(
        title=("title", "max"),
        lists=("title", "size"),
        mean_rank=("rank", "mean"),
        mean_rating=("predicted_rating", "mean"),
    )
    return found.reset_index().sort_values(["lists", "movie_id"], ascending=[False, True]).head(100)


def coverage(output: Path) -> pd.DataFrame:
    rows = pd.read_parquet(output / "recommendations", columns=["run_date", "movie_id"])
    rows["run_date"] = pd.to_datetime(rows["run_date"].astype(str)).dt.date
    lists = rows.value_counts().groupby("run_date")
    found = lists.agg(movies="size", recommendations="sum", share_of_ten=lambda n: n.nlargest(10).sum() / n.sum())
    return found.sort_index().reset_index()


def day_over_day(output: Path) -> pd.DataFrame:
    columns = ["user_id", "movie_id", "predicted_rating"]
    today, yesterday = (run(output, back)[columns].astype({"predicted_rating": float}) for back in (0, 1))
    both = today.merge(yesterday, "outer", ["user_id", "movie_id"], suffixes=("_now", "_then"), indicator="where")
    now, then = set(today["user_id"]), set(yesterday["user_id"])
    return pd.DataFrame(
        {
            "users": [len(now)],
            "users_entered": len(now - then),
            "users_left": len(then - now),
            "entered": (both["where"] == "left_only").sum(),
            "went": (both["where"] == "right_only").sum(),
            "stayed": (both["where"] == "both").sum(),
            "mean_shift": today["predicted_rating"].mean() - yesterday["predicted_rating"].mean(),
            "mean_shift_of_stayed": (both["predicted_rating_now"] - both["predicted_rating_then"]).mean(),
        }
    )


def day_over_day_lists(output: Path) -> pd.DataFrame:
    key = ["user_id", "movie_id"]
    today, yesterday = (run(output, back).set_index(key)[["rank", "title"]] for back in (0, 1))
    entered = today[~today.index.isin(yesterday.index)].assign(what="entered")
    left = yesterday[~yesterday.index.isin(today.index)].assign(what="left")
    changes = pd.concat([entered, left]).reset_index().sort_values(["user_id", "what", "rank"])
    return changes[["user_id", "what", "rank", "movie_id", "title"]]


def day_over_day_movies(output: Path) -> pd.DataFrame:
    today, yesterday = run(output), run(output, 1)
    titles = pd.concat([yesterday, today]).groupby("movie_id")["title"].last()
    lists = {"lists_before": yesterday["movie_id"].value_counts(), "lists_now": today["movie_id"].value_counts()}
    found = pd.DataFrame({"title": titles, **lists}).fillna({"lists_before": 0, "lists_now": 0})
    found["change"] = (found["lists_now"] - found["lists_before"]).abs()
    found = found.reset_index().sort_values(["change", "movie_id"], ascending=[False, True])
    return found.head(100).drop(columns="change").astype({"lists_before": int, "lists_now": int})
