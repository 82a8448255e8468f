"""Implicit feedback from the input to the report, in this process, on small data."""

from datetime import date
from types import SimpleNamespace

import pytest
from support.inputs import MOVIES_CSV, make_ratings, with_files
from support.processes import here, said
from support.runs import published, run_json

from recmodel import schemas as c
from recmodel import settings
from recmodel.models import versions
from recmodel.pipeline import predict
from recmodel.tables.output import open_output

DAY = date(2026, 2, 1)
NEW = "77,Brand New (2026),Comedy\n"


def plays(user, movie):
    return (3 * user + movie) % 7 + 2


def as_text(rows, *names):
    return "\n".join(",".join(map(str, row)) for row in [names, *rows]) + "\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory, score_here):
    """A model of plays, and a run on the same with a new movie and a row for each half of the plays."""
    base = tmp_path_factory.mktemp("implicit")
    rows = [(user, movie, plays(user, movie), time) for user, movie, _, time in make_ratings()]
    halves = [row for u, m, n, t in rows for row in ((u, m, n // 2, t - 9), (u, m, n - n // 2, t))]
    names = "userId", "movieId", "plays", "timestamp"
    tonight = with_files(base / "tonight", {"ratings.csv": as_text(halves, *names), "movies.csv": MOVIES_CSV + NEW})
    before = with_files(base / "before", {"ratings.csv": as_text(rows, *names), "movies.csv": MOVIES_CSV})
    (base / "users.csv").write_text(as_text([*((user,) for user in range(1, 13)), (12345,)], "userId"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECMODEL_INPUT__WEIGHT", "plays")
        patch.setenv("RECMODEL_INPUT__MAX_REJECTED_SHARE", "0")
        for name in ("HOOK", "ON_FAILURE"):
            patch.setenv(f"RECMODEL_MONITORING__{name}", "curl -H 'Authorization: Bearer S3CRET' https://example.org")
        trained = here("train", "--data", before, "--models", base / "models", "--epochs", "1")
        assert trained.returncode == 0, trained.stderr
        users = "--users", base / "users.csv"
        score_here("--data", tonight, "--models", base / "models", "--output", base / "o", "--run-date", DAY, *users)
        yield SimpleNamespace(data=tonight, models=base / "models", output=base / "o/partial", trained=trained)


def test_no_rating_is_published_and_everything_else_is(world):
    rows = published(world.output, DAY)
    assert rows.column(c.PREDICTED_RATING).null_count == rows.num_rows
    assert {*rows.column(c.SOURCE).to_pylist()} == {"model", "content", "trending"}
    by_model = [row for row in rows.to_pylist() if row[c.SOURCE] == "model"]
    assert all(row[c.RETRIEVAL_SCORE] is not None for row in by_model)
    assert any(row[c.BECAUSE_TITLE] for row in by_model)
    assert published(world.output, DAY, c.PREDICTED_RATINGS_TABLE).num_rows == 0
    assert not any("S3CRET" in file.read_text(errors="replace") for file in world.output.rglob("*.json"))
    run = run_json(world.output, DAY)
    assert (run["feedback"], run["recommendations"]["mean_predicted_rating"]) == ("implicit", None)
    assert "interactions are implicit feedback; plays taken as weight" in "; ".join(run["input"][1]["assumptions"])


def test_several_interactions_with_a_movie_are_one_and_no_rejects(world):
    """What is published is what is predicted from histories that are put together in another way."""
    chosen = settings.load(paths={"data": str(world.data), "models": str(world.models)})
    rows = [row for row in published(world.output, DAY).to_pylist() if row[c.USER_ID] == 1 and row[c.MOVIE_ID] != 77]
    _, predictions = predict.predict(chosen, 1, [str(row[c.MOVIE_ID]) for row in rows])
    scores = [prediction.retrieval_score for prediction in predictions]
    assert scores == pytest.approx([row[c.RETRIEVAL_SCORE] for row in rows], rel=1e-4)
    run = run_json(world.output, DAY)
    assert (run["rows_rejected"], run["ratings_superseded"]) == (0, 0)
    assert run["interactions_repeated"] == len(make_ratings())
    assert run["rows_used"]["ratings.csv"] == 2 * len(make_ratings())


def test_cold_users_get_what_most_users_have(world):
    movies = [row[1] for row in make_ratings()]
    of_cold = [row for row in published(world.output, DAY).to_pylist() if row[c.USER_ID] == 12345]
    assert [row[c.MOVIE_ID] for row in of_cold][:5] == sorted(
        {*movies}, key=lambda movie: (-movies.count(movie), movie)
    )


def test_people_read_that_there_are_no_ratings(world):
    version = versions.open_version(world.models)
    assert (version.feedback, version.tasks) == ("implicit", ("retrieval",))
    measures = version.metrics()
    assert (measures.rmse, [*measures.baselines], [*measures.epochs]) == (None, ["popularity"], ["retrieval_loss"])
    assert "no ratings are predicted" in said(world.trained)
    asked = "--data", world.data, "--models", world.models
    for answer in (here("show", "1", "--output", world.output), here("predict", "1", "1", *asked)):
        assert answer.returncode == 0, answer.stderr
        assert "there are no ratings" in said(answer)
        assert "★" not in answer.stdout
    assert here("report", "--output", world.output).returncode == 0
    page = (world.output / "reports/latest.html").read_text().partition('<script type="application/json"')[0]
    assert "There are no ratings: the input is implicit feedback" in page
    for of_ratings in ("★", "RMSE", "you liked", "held-out ratings", "Rated highest", ">predicted rating<"):
        assert of_ratings not in page
    assert "×&nbsp;" in page  # plays of sample users
    assert open_output(world.output).read_run(DAY).noun == "interactions"


@pytest.mark.parametrize(
    ("command", "code", "sentence"),
    [
        (("score", "--rank-by", "two-stage"), 2, "choose --rank-by retrieval and --predicted-ratings top-n"),
        (("score", "--predicted-ratings", "all"), 2, "so it predicts no ratings"),
        (("train", "--preset", "ranking"), 2, "the input has none; choose one of default, any-order, joint, retrieval"),
    ],
)
def test_what_needs_ratings_is_refused_with_the_remedy(world, tmp_path, command, code, sentence):
    where = [] if command[0] == "train" else ["--output", tmp_path]
    answer = here(*command, "--data", world.data, "--models", world.models, *where)
    assert answer.returncode == code
    assert sentence in said(answer)


def test_the_kind_of_feedback_does_not_change_unasked(world, toy, monkeypatch):
    monkeypatch.delenv("RECMODEL_INPUT__WEIGHT")
    before = versions.current(world.models)
    answer = here("train", "--data", toy, "--models", world.models, "--preset", "joint", "--epochs", "1", "--gate")
    assert answer.returncode == 4
    assert f"{before} was trained on implicit feedback, and this input has ratings" in said(answer)
    assert versions.current(world.models) == before
