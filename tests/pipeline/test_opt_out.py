"""Users who opt out: popular movies for them, no training with their ratings, in incremental nights too."""

import pyarrow.compute as pc
import pytest
from support.processes import here, said
from support.runs import published, run_json

from recmodel import schemas as c
from recmodel import settings
from recmodel.data import movielens
from recmodel.models import versions
from recmodel.pipeline import due


@pytest.fixture
def opt_out(tmp_path, monkeypatch):
    """Writes the list."""
    file = tmp_path / "opt-out.csv"
    monkeypatch.setenv("RECMODEL_RULES__OPT_OUT", str(file))
    return lambda *users: file.write_text("userId\n" + "".join(f"{user}\n" for user in users))


def popular(output, day) -> set[int]:
    """Who is served from popularity."""
    rows = published(output, day)
    by_popularity = rows.filter(pc.equal(rows[c.SOURCE], "trending"))[c.USER_ID].to_pylist()
    by_model = rows.filter(pc.not_equal(rows[c.SOURCE], "trending"))[c.USER_ID].to_pylist()
    assert not {*by_popularity} & {*by_model}
    return {*by_popularity}


def test_they_get_popular_movies_from_the_next_night_on_and_their_own_again(
    toy, toy_models, tmp_path, score_here, opt_out
):
    output = tmp_path / "output"
    nights = {"2026-02-01": (5, 6, 999), "2026-02-02": (6, 7)}
    for day, users in nights.items():
        opt_out(*users)
        score_here("--data", toy, "--models", toy_models, "--output", output, "--run-date", day, "--incremental")
        in_run = {*users} - {999}
        assert popular(output, day) == in_run
        assert not in_run & {*published(output, day, "predicted_ratings")[c.USER_ID].to_pylist()}
        assert run_json(output, day)["users_opted_out"] == 2
    assert run_json(output, "2026-02-02")["users_scored"] == 3  # 5, 6 and 7
    score_here(
        "--data", toy, "--models", toy_models, "--output", tmp_path / "all", "--run-date", "2026-02-01",
        "--predicted-ratings", "all",
    )  # fmt: skip
    rated = {*published(tmp_path / "all", "2026-02-01", "predicted_ratings")[c.USER_ID].to_pylist()}
    assert rated == {*range(1, 41)} - {6, 7}


def test_no_model_is_trained_with_their_ratings_which_are_no_growth(toy, tmp_path, opt_out):
    opt_out(5, 6)
    trained = here("train", "--data", toy, "--models", tmp_path / "a", "--preset", "joint", "--epochs", "1")
    assert trained.returncode == 0, said(trained)
    _, ratings, _ = movielens.read(toy, settings.load().input)
    theirs = pc.sum(pc.is_in(ratings[c.USER_ID], value_set=pc.cast([5, 6], "int64"))).as_py()
    assert f"of users who opted out {theirs} rows, not trained with" in said(trained)
    version = versions.open_version(tmp_path / "a")
    metrics = version.metrics()
    assert (metrics.opted_out_rows, metrics.input_rows) == (theirs, ratings.num_rows)
    from recmodel.tf import tf

    # The preset knows users by id: those whom it was trained with.
    known = tf.saved_model.load(str(version.saved_model)).signatures["user_embedding"](
        user_id=tf.constant([4, 5, 6, 7], tf.int64)
    )["known_user"]
    assert known.numpy().tolist() == [True, False, False, True]
    paths = {"data": str(toy), "models": str(tmp_path / "a")}
    assert due.reason_to_train(settings.load(paths=paths, training={"max_growth": 0})) is None


def test_a_list_that_is_missing_stops_training_and_scoring(toy, toy_models, tmp_path, opt_out):
    for command in (
        ("train", "--data", toy, "--models", tmp_path / "models"),
        ("score", "--data", toy, "--models", toy_models, "--output", tmp_path / "o"),
    ):
        answer = here(*command)
        assert answer.returncode == 3
        assert "opt-out.csv does not exist; rules.opt_out takes a CSV or Parquet file with a column userId" in said(
            answer
        )
