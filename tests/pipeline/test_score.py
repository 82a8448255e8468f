"""A scoring run, in this process, on small data."""

from collections import Counter
from datetime import datetime, timezone

import numpy as np
import pytest
from support.inputs import MOVIES, REPEATS, make_ratings, write_movielens
from support.runs import published, run_json, without_time

from recmodel import schemas as c
from recmodel.models import versions
from recmodel.pipeline import monitoring
from recmodel.records import RunRecord
from recmodel.tf import tf

DAY = "2026-02-01"


def test_superseded_ratings_are_rejects_that_change_nothing(
    with_repeats, toy_models, tmp_path, score_here, monkeypatch
):
    """Neither the lists nor what is popular for a new user; and any number of them is no reason to stop."""
    monkeypatch.setenv("RECMODEL_INPUT__MAX_REJECTED_SHARE", "0")
    arguments = ("--models", toy_models, "--users", tmp_path / "users.csv", "--run-date", DAY)
    for data, output in zip(with_repeats, (tmp_path / "a", tmp_path / "b"), strict=True):
        score_here("--data", data, "--output", output, *arguments)
    a, b = tmp_path / "a/partial", tmp_path / "b/partial"
    assert without_time(published(a, DAY)).equals(without_time(published(b, DAY)))
    assert set(published(a, DAY)[c.SOURCE].to_pylist()) == {"model", "trending"}
    rejects = published(a, DAY, "rejects").to_pylist()
    assert Counter(row["value"] for row in rejects) == Counter(
        f"user_id {user}, movie_id {movie}, rating {rating}, timestamp {timestamp}"
        for user, movie, rating, timestamp in REPEATS
    )
    assert {row["file"] for row in rejects} == {"ratings.csv"}
    for output, superseded in ((a, 5), (b, 0)):
        run = run_json(output, DAY)
        assert (
            run["ratings_superseded"]
            == run["rows_rejected"]
            == published(output, DAY, "rejects").num_rows
            == superseded
        )
        assert sum(run["rows_in"].values()) == sum(run["rows_used"].values()) + run["rows_rejected"]
        assert run["rows_in"]["ratings.csv"] == run["rows_used"]["ratings.csv"] + superseded


def test_rows_in_are_rows_used_and_rows_rejected(toy_models, tmp_path, score_here, monkeypatch):
    """With every kind of reject, and users in a file that has the name of another."""
    monkeypatch.setenv("RECMODEL_INPUT__MAX_REJECTED_SHARE", "0.5")
    bad = [(1, 99, 3.0, 5), (2, 1, 9.0, 5), (3, 1, 3.0, 10**11), ("x", 1, 3.0, 5), (1, 1, 3.0)]
    data = write_movielens(tmp_path / "data", [*make_ratings(), *bad, *REPEATS, *REPEATS])
    (tmp_path / "ratings.csv").write_text("userId\n1\n2\n2\nx\n")
    score_here(
        "--data", data, "--output", tmp_path / "o", "--models", toy_models, "--users", tmp_path / "ratings.csv",
        "--run-date", DAY,
    )  # fmt: skip
    run = run_json(tmp_path / "o/partial", DAY)
    of_pair = {row[:2] for row in [*make_ratings(), *REPEATS]}
    assert run["rows_in"] == {"movies.csv": 6, "ratings.csv": len(make_ratings()) + 5 + 10 + 4}
    assert run["rows_used"] == {"movies.csv": 6, "ratings.csv": len(of_pair) + 3}
    assert [(file["file"], file["layout"], file["rows"], file["rejected"]) for file in run["input"]] == [
        ("movies.csv", "CSV", 6, 0), ("ratings.csv", "CSV", len(make_ratings()) + 15, 5), ("ratings.csv", "CSV", 4, 1),
    ]  # fmt: skip
    assert run["ratings_superseded"] == len(make_ratings()) + 10 - len(of_pair)
    assert (
        run["rows_rejected"]
        == run["ratings_superseded"] + 6
        == published(tmp_path / "o/partial", DAY, "rejects").num_rows
    )
    monitoring.write_textfile(tmp_path / "metrics.prom", 0, RunRecord(**run))
    assert "recmodel_rejected_rows 6.0" in (tmp_path / "metrics.prom").read_text()


def test_only_the_users_asked_for_are_scored_and_new_ones_get_what_is_popular(toy, toy_models, tmp_path, score_here):
    (tmp_path / "users.csv").write_text("userId\n5\n3\n12345\n5\n")
    score_here(
        "--data", toy, "--models", toy_models, "--output", tmp_path / "o", "--run-date", DAY, "--rank-by", "two-stage",
        "--candidates", "3", "--top-n", "2", "--predicted-ratings", "all", "--users", tmp_path / "users.csv",
    )  # fmt: skip
    rows = published(tmp_path / "o/partial", DAY).to_pandas()
    assert rows[c.USER_ID].tolist() == [3, 3, 5, 5, 12345, 12345]
    assert rows[c.SOURCE].tolist() == ["model"] * 4 + ["trending"] * 2
    rated = [row[1] for row in make_ratings()]
    most = sorted(set(rated), key=lambda movie: (-rated.count(movie), movie))[:2]
    assert rows.query("user_id == 12345")[c.MOVIE_ID].tolist() == most
    lists = published(tmp_path / "o/partial", DAY, c.LISTS_TABLE).to_pylist()
    assert [row[c.USER_ID] for row in lists] == [3, 5, 12345]
    for row in lists:
        movies = [entry[c.MOVIE_ID] for entry in row[c.RECOMMENDATIONS]]
        assert movies[:2] == rows.query(f"user_id == {row[c.USER_ID]}")[c.MOVIE_ID].tolist()
        seen = {other[1] for other in make_ratings() if other[0] == row[c.USER_ID]}
        assert {*movies} == {1, 2, 3, 4, 10, 11} - seen  # all that is left is in reserve
        assert row[c.VALID_UNTIL] == datetime(2026, 2, 3, 23, 59, 59, tzinfo=timezone.utc)
    predicted = published(tmp_path / "o/partial", DAY, "predicted_ratings").to_pandas()
    assert predicted.groupby(c.USER_ID)[c.MOVIE_ID].apply(list).to_dict() == {
        user: [1, 2, 3, 4, 10, 11] for user in (3, 5)
    }  # fmt: skip


def test_similar_movies_are_found_once_and_again_when_what_may_be_recommended_changes(
    toy, toy_models, tmp_path, score_here, monkeypatch
):
    default = next(v for v in versions.list_versions(toy_models) if "-default-" in v)
    runs, found = [], []
    for day, denied in (("2026-02-01", ""), ("2026-02-02", ""), ("2026-02-03", "[10]"), ("2026-02-04", "[10]")):
        if denied:
            monkeypatch.setenv("RECMODEL_RULES__DENY__MOVIES", denied)
        score_here(
            "--data", toy, "--models", toy_models, "--model-version", default, "--output", tmp_path, "--run-date", day
        )
        runs.append(run_json(tmp_path, day)["similar_movies"])
        found.append(
            published(tmp_path, day, c.SIMILAR_TABLE).sort_by([(c.MOVIE_ID, "ascending"), (c.RANK, "ascending")])
        )
    assert [run["carried_from"] for run in runs] == [None, "2026-02-01", None, "2026-02-03"]
    assert [run["rows"] for run in runs] == [rows.num_rows for rows in found]
    assert found[0].equals(found[1])
    assert found[2].equals(found[3])
    assert not found[0].equals(found[2])
    assert 10 in found[0][c.SIMILAR_MOVIE_ID].to_pylist()
    model = tf.saved_model.load(str(versions.open_version(toy_models, default).saved_model))
    vectors = {name: values.numpy() for name, values in model.signatures["movie_vectors"]().items()}
    assert vectors[c.MOVIE_ID].tolist() == MOVIES.tolist()
    added = dict(np.ndenumerate(vectors["seen"] @ vectors["retrieval"].T))
    for row in found[2].to_pylist():
        movie, other = (MOVIES.tolist().index(row[name]) for name in (c.MOVIE_ID, c.SIMILAR_MOVIE_ID))
        assert row[c.SCORE] == pytest.approx(added[movie, other], abs=1e-5)
        assert row[c.SIMILAR_MOVIE_ID] not in (10, row[c.MOVIE_ID])
    right = {(MOVIES[pair[0]], MOVIES[pair[1]]) for pair, value in added.items() if value > 0 and pair[0] != pair[1]}
    assert {*zip(found[0][c.MOVIE_ID].to_pylist(), found[0][c.SIMILAR_MOVIE_ID].to_pylist(), strict=True)} == right


def test_rules_and_reasons_are_in_what_is_published(toy, toy_models, tmp_path, score_here, monkeypatch):
    users, denied = tmp_path / "users.csv", tmp_path / "denied.csv"
    users.write_text("userId\n" + "".join(f"{user}\n" for user in [*range(1, 21), 12345]))
    denied.write_text("userId,movieId\n1,2\n2,3\n12345,10\n12345,77777\n")
    default = next(v for v in versions.list_versions(toy_models) if "-default-" in v)
    for name, value in {
        "DENY__GENRES": '["Sci-Fi"]', "MIN_RATINGS": "1", "MAX_PER_GENRE": "1", "DENY_PAIRS": str(denied),
    }.items():  # fmt: skip
        monkeypatch.setenv(f"RECMODEL_RULES__{name}", value)
    score_here(
        "--data", toy, "--models", toy_models, "--model-version", default, "--output", tmp_path / "output",
        "--run-date", DAY, "--users", users,
    )  # fmt: skip
    rows = published(tmp_path / "output/partial", DAY).to_pandas()
    stars: dict[int, list[float]] = {}
    for _, movie, rating, *_ in make_ratings():
        stars.setdefault(movie, []).append(rating)
    catalogue = published(tmp_path / "output/partial", DAY, c.MOVIES_TABLE).to_pylist()
    assert [tuple(row.values())[:4] for row in catalogue[:2]] == [
        (1, "Matrix, The (1999)", ["Action", "Sci-Fi"], 1999), (2, 'Say "Hi" (2001)', ["Comedy"], 2001),
    ]  # fmt: skip
    assert catalogue[-1][c.GENRES] == []
    for row in catalogue:
        given = stars.get(row[c.MOVIE_ID], [])
        assert (row[c.RATINGS_COUNT], row[c.STATUS]) == (len(given), "known")
        assert row[c.MEAN_RATING] == (pytest.approx(sum(given) / len(given)) if given else None)
        assert row[c.ALLOWED] == (row[c.MOVIE_ID] in (2, 3, 4, 10))
    models = published(tmp_path / "output/partial", DAY, c.MODELS_TABLE).to_pylist()
    assert [row[c.MODEL_VERSION] for row in models] == versions.list_versions(toy_models)
    for row in models:
        assert row["used"] == (row[c.MODEL_VERSION] == default)
        assert row[c.RANK_BY] == ("blend" if row["used"] else None)
        assert row["current"] == (row[c.MODEL_VERSION] == versions.current(toy_models))
        metrics = versions.read_metrics(toy_models, row[c.MODEL_VERSION])
        assert row["train_rows"] == metrics.train_rows
        assert row["rmse"] == (None if metrics.rmse is None else pytest.approx(metrics.rmse))
    rated: dict[int, set[int]] = {}
    for user, movie, *_ in make_ratings():
        rated.setdefault(user, set()).add(movie)
    genres = {2: {"Comedy"}, 3: {"Drama"}, 4: {"Drama", "Romance"}, 10: {"Comedy", "Romance"}}
    titles = {1: "Matrix, The (1999)", 2: 'Say "Hi" (2001)', 3: "Emma (1996)", 4: "Emma (1996)", 10: "Amélie (2001)"}
    never = {1: {2}, 2: {3}, 12345: {10}}
    for user, mine in rows.groupby(c.USER_ID):
        listed, left = mine[c.MOVIE_ID].tolist(), set(genres) - rated.get(user, set()) - never.get(user, set())
        assert set(listed) <= left
        shown = [genre for movie in listed for genre in genres[movie]]
        assert len(shown) == len(set(shown))
        for movie in left - set(listed):
            assert genres[movie] & set(shown)  # it does not fit
    assert rows[c.USER_ID].nunique() == 1 + sum(
        bool(set(genres) - rated[user] - never.get(user, set())) for user in range(1, 21)
    )
    because = rows.dropna(subset=c.BECAUSE_MOVIE_ID)
    assert 0 < len(because) < len(rows)
    for row in because.itertuples():
        assert row.because_movie_id in rated[row.user_id]
        assert row.because_title == titles[row.because_movie_id]
    assert rows.loc[rows[c.SOURCE] == "trending", c.BECAUSE_TITLE].isna().all()
    run = run_json(tmp_path / "output/partial", DAY)
    assert (run["movies_allowed"], run["settings"]["rules"]["deny"]["genres"]) == (4, ["Sci-Fi"])
