"""A catalogue that lives: a movie leaves, another comes, a third has a new title, while the model stays as it is."""

from datetime import date

import pyarrow.compute as pc
import pytest
from support.inputs import MOVIES_CSV, make_ratings, write_movielens

from recmodel import schemas as c
from recmodel import settings
from recmodel.data import movielens
from recmodel.models import versions
from recmodel.tables.output import open_output

GONE, NEW = 10, 77
TONIGHT = "\n".join(line for line in MOVIES_CSV.splitlines() if not line.startswith(f"{GONE},")).replace(
    '"Matrix, The (1999)"', '"Matrix, remastered (1999)"'
)


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """The same ratings with the catalogue of the model, and with tonight's."""
    base = tmp_path_factory.mktemp("catalogues")
    ratings = [*make_ratings(), (50, GONE, 5.0, 2_000_000), (51, 99, 3.0, 2_000_000)]  # nobody knows movie 99
    tonight = f"{TONIGHT}\n{NEW},Brand New (2026),Comedy\n"
    return write_movielens(base / "before", ratings), write_movielens(base / "tonight", ratings, tonight)


def test_a_movie_that_left_is_recommended_to_nobody_and_still_is_seen_and_taste(
    nights, toy_models, tmp_path, score_here, monkeypatch
):
    monkeypatch.setenv("RECMODEL_SCORING__MIN_HISTORY", "2")  # user 50 is served from popularity
    (default,) = toy_models.glob("*-default-*")
    model = ("--models", toy_models, "--model-version", default.name, "--output", tmp_path, "--incremental")
    for data, day in zip(nights, ("2026-02-01", "2026-02-02"), strict=True):
        score_here("--data", data, "--run-date", day, *model)
    output = open_output(tmp_path)
    before, tonight = (output.recommendations(date(2026, 2, day)).to_table() for day in (1, 2))
    assert GONE in before.column(c.MOVIE_ID).to_pylist()
    assert GONE not in tonight.column(c.MOVIE_ID).to_pylist()
    sources = {(row[c.SOURCE], row[c.MOVIE_ID] == NEW) for row in tonight.to_pylist()} - {("trending", True)}
    assert sources == {("model", False), ("trending", False), ("content", True)}
    reasons = tonight.filter(pc.equal(tonight.column(c.BECAUSE_MOVIE_ID), GONE))
    assert {*reasons.column(c.BECAUSE_TITLE).to_pylist()} == {"Amélie (2001)"}  # as the model calls it
    titles = tonight.filter(pc.equal(tonight.column(c.MOVIE_ID), 1)).column(c.TITLE).to_pylist()
    assert {*titles} == {"Matrix, remastered (1999)"}
    run = output.read_run(date(2026, 2, 2))
    assert (run.movies, run.movies_tonight, run.movies_delisted) == (7, 6, 1)
    assert (run.movies_new, run.movies_placed, run.movies_allowed) == (1, 1, 6)
    assert run.recommendations.new_rows == tonight.column(c.SOURCE).to_pylist().count("content")
    assert run.carried_from is None  # lists of the night before may hold the movie
    assert run.rows_rejected == 1  # of movie 99
    assert 50 in output.dataset(c.USERS_TABLE, date(2026, 2, 2)).to_table().column(c.USER_ID).to_pylist()


def test_training_keeps_the_ratings_of_a_movie_that_left(nights, toy_models):
    _, tonight = nights
    known = versions.open_version(toy_models).catalogue()
    limits = settings.load().input
    catalogue, ratings, validation = movielens.read(tonight, limits, known)
    assert catalogue.column(c.MOVIE_ID).to_pylist() == [1, 2, 3, 4, GONE, 11, NEW]
    assert GONE in ratings.column(c.MOVIE_ID).to_pylist()
    assert validation.rejected().column("value").to_pylist() == ["99"]
    alone, without, _ = movielens.read(tonight, limits.model_copy(update={"max_rejected_share": 1.0}))
    assert GONE not in alone.column(c.MOVIE_ID).to_pylist() + without.column(c.MOVIE_ID).to_pylist()
