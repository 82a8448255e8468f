"""Movies without ratings: their rows of the model, and the model with them in it."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from support.inputs import make_catalogue

from recmodel import schemas as c
from recmodel.models import saved_model
from recmodel.models.history import placing
from recmodel.models.history.extend import add_movies
from recmodel.models.history.recency import Recency
from recmodel.models.history.successors import Successors
from recmodel.models.history.towers import Towers, read_weights
from recmodel.models.history.weights import PLACED, HistoryWeights
from recmodel.scoring.recommender import Recommender

GENRES = ["Action", "Action|Comedy", "Comedy", "Drama", "Drama|Action", "(no genres listed)"]
KNOWN = make_catalogue([(10 * i, f"Known {i} ({1930 + 7 * i})", GENRES[i % len(GENRES)]) for i in range(12)])
NEW = make_catalogue([(5, "New (1999)", "Action|Western"), (55, "No year", "Comedy"), (500, "Last (2031)", None)])


@pytest.fixture(scope="module")
def weights():
    random = np.random.default_rng(0)
    tables = {name: random.normal(size=(12, 4)).astype(np.float32) for name in PLACED[:3]}
    return HistoryWeights(
        movie_ids=KNOWN.column(c.MOVIE_ID).to_numpy(),
        **tables,
        movie_bias=random.normal(3.5, 0.3, 12).astype(np.float32),
        average_seen=random.normal(size=4).astype(np.float32),
        ridge=np.full(4, 2, np.float32),
        mean_rating=3.4,
        liking=0.25,
        prior_weight=2.0,
        rating_range=(1.0, 10.0),
        recency=Recency(0.2, 3.0),
        successors=Successors(
            row=random.integers(0, 12, (12, 2)).astype(np.int32),
            strength=random.random((12, 2)).astype(np.float32),
            weight=0.5,
            gram=np.eye(4, dtype=np.float32),
        ),
    )


COUNTS = np.arange(12) * 3


def features_by_hand(genres, year):
    """The features of one movie, from their description."""
    names = ["(no genres listed)", "Action", "Comedy", "Drama"]
    has = np.array([name in (genres or "").split("|") for name in names], float)
    eras = np.exp(-(((year - np.arange(1920, 2021, 5)) / 4) ** 2) / 2)
    unit = [vector / max(np.sqrt(vector @ vector), 1e-12) for vector in (has, eras)]
    return np.concatenate([[1], has, eras, *unit, [(year - 1990) / 15]])


def test_rows_are_a_weighted_ridge_regression_on_genres_and_years(weights, tmp_path):
    """The oracle solves it as least squares: a penalty is as good as observations of 0."""
    fitted = placing.fit(weights, KNOWN, COUNTS)
    years = [1930 + 7 * i for i in range(12)]
    known = np.array([features_by_hand(GENRES[i % len(GENRES)], year) for i, year in enumerate(years)])
    penalty = np.sqrt(10) * np.eye(known.shape[1])
    penalty[0] /= 1e4  # the constant is free
    root = COUNTS[:, np.newaxis] ** 0.25
    found = placing.PlacingGraph(fitted)(*placing.described(NEW))
    new = np.array(
        [features_by_hand(g, y) for g, y in zip(NEW[c.GENRES].to_pylist(), [1999, 1968.5, 2031], strict=True)]
    )
    for name in PLACED:
        table = getattr(weights, name).reshape(12, -1)
        observed = np.vstack([table * root, np.zeros((len(penalty), table.shape[1]))])
        maps, *_ = np.linalg.lstsq(np.vstack([known * root, penalty]), observed, rcond=None)
        np.testing.assert_allclose(found[name].numpy().reshape(3, -1), new @ maps, rtol=1e-3, atol=1e-3)


def test_a_model_with_new_movies_gives_old_ones_the_same_numbers_and_stands_alone(weights, tmp_path):
    trained, tonight = tmp_path / "trained", tmp_path / "tonight"
    names = saved_model.save(Towers(replace(weights, placing=placing.fit(weights, KNOWN, COUNTS))), trained)
    assert "place_movies" in names
    add_movies(trained, NEW, tonight)
    before, after = Recommender(trained), Recommender(tonight)
    assert after.catalogue_size == 15
    history = ([[0, 30, 110], [20]], [[9.0, 4.0, 7.0], [2.0]])
    of_before, _ = before.rate_catalogue([1, 2], *history)
    of_after, _ = after.rate_catalogue([1, 2], *history)
    pairs = [[1] * 12, weights.movie_ids, [history[0][0]] * 12, [history[1][0]] * 12]
    np.testing.assert_allclose(before.predict(*pairs).retrieval_score, after.predict(*pairs).retrieval_score, rtol=1e-5)
    is_old = np.isin(read_weights(tonight).movie_ids, weights.movie_ids)
    np.testing.assert_array_equal(of_after[:, is_old], of_before)
    loaded = tf.saved_model.load(str(trained)).signatures["place_movies"]
    placed = loaded(genres=tf.constant(["Comedy"]), year=tf.constant([np.nan], tf.float32))
    np.testing.assert_allclose(after.movie_embedding([55])[0], placed["movie_vectors"].numpy()[0], rtol=1e-5)
    again = read_weights(tonight)
    assert (again.mean_rating, again.liking, again.prior_weight, again.rating_range) == (3.4, 0.25, 2.0, (1.0, 10.0))
    np.testing.assert_array_equal(again.average_seen, weights.average_seen)
