"""Models of implicit feedback, compared with models of ratings that say the same."""

import numpy as np
import pytest
from support.inputs import CATALOGUE, make_ratings, table

from recmodel import schemas as c
from recmodel.data import duplicates
from recmodel.models import architectures, presets, training
from recmodel.models.tensors import strength
from recmodel.records import EXPLICIT, IMPLICIT

SCALE = {IMPLICIT: (np.nan, np.nan), EXPLICIT: (0.0, 5.0)}


def fit(name, value, feedback=IMPLICIT, **changes):
    """(trained model, what it was fitted to): ratings, or weights, that `value` gives from user and movie."""
    rows = [(user, movie, value(user, movie), time) for user, movie, _, time in make_ratings()]
    fitted = duplicates.latest(table(rows))
    preset = presets.for_feedback(presets.load(name, **changes), name, feedback)
    users = np.unique(fitted[c.USER_ID])
    return training.train(fitted, users, CATALOGUE, preset, seed=1, rating_range=SCALE[feedback]), fitted


def described(trained, fitted):
    """The user tower's vectors of all users, and their ratings of all movies."""
    users, first = np.unique(fitted[c.USER_ID], return_index=True)  # `make_ratings` ascends by user
    splits = np.append(first, len(fitted[c.USER_ID]))
    towers = architectures.part(trained.architecture, "towers").Towers(trained.weights)
    found = towers.users(users, (fitted[c.MOVIE_ID], fitted[c.RATING], splits))
    lists = towers.rate_lists(found.rating, np.tile(np.arange(len(CATALOGUE)), (len(users), 1)))
    return found.retrieval.numpy(), lists.numpy(), towers.rate_catalogue(found.rating).numpy()


def plays(user, movie):
    return float((7 * user + movie) % 40 + 1)


def stars(user, movie):
    return min(np.log2(1 + plays(user, movie)), 5.0)


@pytest.mark.parametrize(
    ("weight", "rating"), [(lambda *_: 1.0, lambda *_: 3.5), (plays, stars)], ids=["alike", "weighted"]
)
def test_the_closed_form_is_that_of_ratings_which_are_the_strengths(weight, rating):
    """Without weights, that of ratings that are all the same, whatever they are. Only predicted ratings are missing."""
    implicit, explicit = fit("default", weight, epochs=0), fit("default", rating, EXPLICIT, epochs=0)
    for name in ("seen_vectors", "movie_vectors", "average_seen"):
        np.testing.assert_array_equal(*(getattr(trained.weights, name) for trained, _ in (implicit, explicit)))
    (users, *no_ratings), (as_explicit, *ratings) = described(*implicit), described(*explicit)
    np.testing.assert_allclose(
        users, as_explicit, rtol=0 if weight is not plays else 1e-5, atol=0 if weight is not plays else 1e-8
    )
    assert np.isnan(no_ratings).all()
    assert np.isfinite(ratings).all()


def test_gradient_steps_leave_out_the_rating_task():
    trained, start = (fit("default", plays, epochs=epochs)[0] for epochs in (1, 0))
    assert list(trained.losses) == ["retrieval_loss"]
    assert (trained.weights.movie_vectors != start.weights.movie_vectors).any()
    np.testing.assert_array_equal(trained.weights.traits, start.weights.traits)


def test_embeddings_of_implicit_feedback_are_trained_by_retrieval_alone():
    """They are those of the preset `retrieval`, which ratings do not change; and there is no loss of ratings."""
    implicit, fitted = fit("joint", plays, epochs=2)
    explicit, _ = fit("retrieval", stars, EXPLICIT, epochs=2)
    assert list(implicit.losses) == ["retrieval_loss"]
    for name in ("user_vectors", "movie_vectors"):
        np.testing.assert_array_equal(getattr(implicit.weights, name), getattr(explicit.weights, name))
    _, *no_ratings = described(implicit, fitted)
    assert np.isnan(no_ratings).all()


def test_strength_rises_more_and_more_slowly_and_ends():
    weights = np.array([0.01, 1, 3, 31, 1e6], np.float32)
    np.testing.assert_allclose(strength(weights).numpy(), [np.log2(1.01), 1, 2, 5, 5], rtol=1e-5, atol=1e-8)
    assert strength(weights).numpy()[1] == 1
