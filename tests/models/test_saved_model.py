"""The SavedModel: what it can be asked, by whom, and what is not saved."""

import numpy as np
import pytest
from support.inputs import MOVIES
from support.training import export, served, trained

from recmodel.errors import ModelRejected
from recmodel.models import presets, saved_model
from recmodel.models.embedding.model import EmbeddingModel, tf, tfrs
from recmodel.scoring import recommender


def test_saving_works_with_metrics_attached(tmp_path):
    """The notebook's FailedPreconditionError: FactorizedTopK's dataset of candidates was part of what was saved."""
    model = EmbeddingModel(np.arange(1, 4), MOVIES, presets.load("joint"), (0.5, 5.0))
    candidates = tf.data.Dataset.from_tensor_slices(MOVIES).batch(4).map(model.movie_tower)
    model.retrieval_task = tfrs.tasks.Retrieval(metrics=tfrs.metrics.FactorizedTopK(candidates=candidates))
    model.compile(optimizer="adagrad")
    rows = {"user_id": [1, 2], "movie_id": [1, 10], "rating": [3.0, 4.0]}
    model.fit(tf.data.Dataset.from_tensors(rows), verbose=0)
    export(model.weights_as_arrays(), tmp_path / "saved_model")
    assert recommender.Recommender(tmp_path / "saved_model").predict([1], [1]).known_movie.all()


def test_signatures_take_plain_names_and_int64(exported):
    """The notebook's model wanted `features/title` and refused int32."""
    signatures = tf.saved_model.load(str(exported[7].folder)).signatures
    assert set(signatures) >= {"serving_default", "predict", "recommend", "user_embedding", "movie_embedding"}
    inputs = signatures["serving_default"].structured_input_signature[1]
    assert {name: spec.dtype.name for name, spec in inputs.items()} == {"user_id": "int64", "movie_id": "int64"}


def test_movies_of_one_title_have_scores_of_their_own():
    """The notebook keyed movies by title: 3 and 4 are both Emma (1996)."""
    pairs = served("joint").predict([1, 1], [3, 4])
    assert pairs.known_movie.all()
    assert pairs.predicted_rating[0] != pairs.predicted_rating[1]


def test_a_model_that_cannot_be_exported_says_so(tmp_path, exported):
    weights = exported[1].weights
    broken = type(weights)(**{**vars(weights), "user_ids": weights.user_ids[::-1]})
    with pytest.raises(ModelRejected, match="ascend strictly"):
        export(broken, tmp_path / "saved_model")


@pytest.mark.parametrize("preset", ["default", "joint"])
def test_a_model_from_before_there_were_reasons_recommends_without(preset, exported, monkeypatch, tmp_path):
    weights = exported[60].weights if preset == "joint" else trained("default")[0].weights
    seen, ratings = [weights.movie_ids[:5], weights.movie_ids[3:4]], [np.full(5, 4.0), np.full(1, 5.0)]

    def saved(folder):
        export(weights, folder)
        return recommender.Recommender(folder).recommend([3, 6], seen, ratings, liked_from=3.0)

    now = saved(tmp_path / "now")
    vectors, users = saved_model.ServingModel._movie_vectors, saved_model.ServingModel._user_vectors

    def without(told: dict, name: str) -> dict:
        return {key: value for key, value in told.items() if key != name}

    monkeypatch.setattr(saved_model.ServingModel, "_movie_vectors", lambda self: without(vectors(self), "seen"))
    monkeypatch.setattr(
        saved_model.ServingModel, "_user_vectors",
        lambda self, user_id, *seen: without(users(self, user_id, *seen), "seen_weight"),
    )  # fmt: skip
    then = saved(tmp_path / "then")
    np.testing.assert_array_equal(then.row, now.row)
    np.testing.assert_array_equal(then.retrieval_score, now.retrieval_score)
    assert (now.because >= 0).any()
    assert (then.because == -1).all()
