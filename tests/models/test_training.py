"""Training and export: every preset, with real TensorFlow Recommenders on a small set."""

from dataclasses import replace

import numpy as np
import pytest
from support.exact import history_scores
from support.inputs import CATALOGUE, MOVIES
from support.training import ask_a_fresh_process, export, train, trained

from recmodel import schemas as c
from recmodel.data import duplicates
from recmodel.errors import InputRejected, ModelRejected
from recmodel.evaluation import splits
from recmodel.models import presets, training
from recmodel.models.embedding.model import EmbeddingModel

PRESETS = ("default", "joint", "rating", "retrieval", "ranking")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """By preset, for all users and movies: what was trained, and what is loaded in a fresh process."""
    expected, questions = {}, {}
    for preset in PRESETS:
        model, keras_model, fitted = train_and_keep(preset)
        users = np.unique(fitted[c.USER_ID]) if keras_model is None else keras_model.user_ids
        asked = {c.USER_ID: np.repeat(users, len(MOVIES)), c.MOVIE_ID: np.tile(MOVIES, len(users))}
        if keras_model is None:
            expected[preset], histories = by_definition(model.weights, splits.Split(fitted, fitted, MOVIES), users)
            asked |= histories
        else:
            expected[preset] = {name: value.numpy() for name, value in keras_model(asked).items()}
        questions[preset] = model.weights, asked
    answers = ask_a_fresh_process(questions, tmp_path_factory.mktemp("fresh"))
    return {preset: (expected[preset], answers[preset]) for preset in PRESETS}


def train_and_keep(preset):
    """(trained model, its Keras model if it knows users by id, what it was fitted to)."""
    kept = []
    take = EmbeddingModel.weights_as_arrays
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmbeddingModel, "weights_as_arrays", lambda self: kept.append(self) or take(self))
        model, fitted, _ = train(preset)
    return model, kept[0] if kept else None, fitted


def by_definition(weights, split, users):
    """What a model that knows users by their history says, in float64; and the histories, one for each pair.

    The signature `predict` is for the same sitting.
    """
    weights = replace(weights, another_day=None)
    seen, ratings = split.histories(users)
    of_users = [history_scores(weights, *history) for history in zip(seen, ratings, strict=True)]
    scores, stars = (np.concatenate(values) for values in zip(*of_users, strict=True))
    histories = {
        "seen_movie_id": np.concatenate([ids for ids in seen for _ in MOVIES]),
        "seen_rating": np.concatenate([values for values in ratings for _ in MOVIES]),
        "seen_row_splits": np.cumsum([0, *np.repeat([len(ids) for ids in seen], len(MOVIES))]),
    }
    return {c.RETRIEVAL_SCORE: scores, c.PREDICTED_RATING: stars}, histories


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_loaded_in_a_fresh_process_is_what_was_trained(saved, preset):
    """The SavedModel needs TensorFlow alone, and gives the numbers of the trained model, or its definition's."""
    expected, answer = saved[preset]
    assert set(answer) == {"retrieval_score", "predicted_rating", "known_user", "known_movie"}
    assert answer["known_user"].all()
    assert answer["known_movie"].all()
    for name in (c.RETRIEVAL_SCORE, c.PREDICTED_RATING):
        assert answer[name].dtype == np.float32
        assert np.abs(answer[name] - expected[name]).max() <= 1e-5
    assert np.ptp(answer[c.RETRIEVAL_SCORE]) > 0  # pairs do differ
    if preset == "default":  # its ratings bend at the ends of the scale
        assert answer[c.PREDICTED_RATING].min() > 0.5
        assert answer[c.PREDICTED_RATING].max() < 5.0


@pytest.mark.parametrize("preset", ["joint", "default"])
def test_the_same_seed_gives_the_same_model(preset):
    first, again, other = (
        fitted.weights for fitted, *_ in (trained(preset), train(preset, seed=1), train(preset, seed=2))
    )
    assert (first.movie_vectors == again.movie_vectors).all()
    assert (first.movie_vectors != other.movie_vectors).any()


def test_nothing_to_train_on_is_refused():
    with pytest.raises(InputRejected, match="no ratings to train on"):
        training.train(
            duplicates.latest(c.RATINGS.empty_table()), np.array([], int), CATALOGUE, presets.load("default"),
            seed=1, rating_range=(0.5, 5.0),
        )  # fmt: skip


def test_a_model_that_diverged_is_refused(exported, tmp_path):
    with pytest.raises(ModelRejected, match="training diverged"):
        train(learning_rate=1e30)
    weights = exported[7].weights
    broken = type(weights)(**{**vars(weights), "movie_vectors": np.full_like(weights.movie_vectors, np.nan)})
    with pytest.raises(ModelRejected, match="not a finite number"):
        export(broken, tmp_path / "saved_model")
