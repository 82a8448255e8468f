"""Training and export: every preset, with real TensorFlow Recommenders on a small set."""

import numpy as np
import pytest
from support.inputs import CATALOGUE, MOVIES
from support.training import ask_a_fresh_process, export, train

from recmodel import schemas as c
from recmodel.data import duplicates
from recmodel.errors import InputRejected, ModelRejected
from recmodel.models import presets, training
from recmodel.models.embedding.model import EmbeddingModel

PRESETS = ("default", "joint", "rating", "retrieval", "ranking")


@pytest.mark.parametrize("preset", [p for p in PRESETS if p != "default"])
def test_what_is_loaded_in_a_fresh_process_is_what_was_trained(preset, tmp_path, monkeypatch):
    """The SavedModel needs TensorFlow alone, and gives the trained Keras model's numbers for every pair."""
    kept = []
    take = EmbeddingModel.weights_as_arrays
    monkeypatch.setattr(EmbeddingModel, "weights_as_arrays", lambda self: kept.append(self) or take(self))
    trained, *_ = train(preset)
    (model,) = kept
    user_id, movie_id = (ids.ravel() for ids in np.meshgrid(model.user_ids, MOVIES))
    expected = model({c.USER_ID: user_id, c.MOVIE_ID: movie_id})
    answer = ask_a_fresh_process(trained.weights, tmp_path, user_id=user_id, movie_id=movie_id)
    for name in (c.RETRIEVAL_SCORE, c.PREDICTED_RATING):
        assert np.abs(answer[name] - expected[name].numpy()).max() <= 1e-5


@pytest.mark.parametrize("preset", ["joint", "default"])
def test_the_same_seed_gives_the_same_model(preset):
    first, again, other = (train(preset, seed=seed)[0].weights for seed in (7, 7, 8))
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
