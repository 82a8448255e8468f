"""Training and export: every preset, with real TensorFlow Recommenders on a small set."""

import json
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pytest
from conftest import make_ratings
from hypothesis import given
from hypothesis import strategies as st

from recmodel import schemas as c
from recmodel import settings
from recmodel.errors import InputRejected, ModelRejected
from recmodel.evaluation import evaluation
from recmodel.models import saved_model, training, versions
from recmodel.models.embedding.model import tf, tfrs
from recmodel.scoring import recommender

PRESETS = ("default", "joint", "rating", "retrieval", "ranking")
MOVIES = np.array([1, 2, 3, 4, 10, 11])
CATALOGUE = pa.table(
    {
        c.MOVIE_ID: MOVIES,
        c.TITLE: ["Matrix, The (1999)", "B (2001)", "Emma (1996)", "Emma (1996)", "Amélie (2001)", "Undated"],
        c.GENRES: ["Action|Sci-Fi", "Comedy", "Drama", "Drama|Romance", "Comedy|Romance", None],
        c.IMDB_ID: [None] * 6,
        c.TMDB_ID: [None] * 6,
    },
    schema=c.CATALOGUE,
)


def table(rows: list[tuple]) -> pa.Table:
    return pa.table(list(zip(*rows, strict=True)), schema=c.RATINGS)


def train(preset="joint", rows=None, seed=1, **changes):
    """(weights, fitted, held out) of a short training."""
    everything = training.latest_ratings(table(rows or make_ratings()))
    fitted, held_out = training.split_at_random(everything, 0.2, seed)
    trained = training.train(
        fitted, np.unique(everything[c.USER_ID]), CATALOGUE, settings.preset(preset, epochs=2, **changes),
        seed=seed, rating_range=(0.5, 5.0),
    )  # fmt: skip
    return trained, fitted, held_out


FRESH_PROCESS = """
    import sys
    for name in ("keras", "tf_keras", "tensorflow_recommenders", "recmodel"):
        sys.modules[name] = None  # an import of it fails
    import numpy as np
    import tensorflow as tf
    asked = np.load("asked.npz")
    loaded = tf.saved_model.load("saved_model")
    for name in ("serving_default", "predict"):
        answer = loaded.signatures[name](**{k: tf.constant(asked[k]) for k in asked})
    np.savez("answer.npz", **{name: value.numpy() for name, value in answer.items()})
"""


def ask_a_fresh_process(weights, folder, **asked):
    """`predict` of the saved model in a process that has TensorFlow and nothing else."""
    saved_model.save(weights, folder / "saved_model")
    np.savez(folder / "asked.npz", **asked)
    command = [sys.executable, "-c", textwrap.dedent(FRESH_PROCESS)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    answer = np.load(folder / "answer.npz")
    assert set(answer) == {"retrieval_score", "predicted_rating", "known_user", "known_movie"}
    assert answer[c.RETRIEVAL_SCORE].dtype == answer[c.PREDICTED_RATING].dtype == np.float32
    assert np.ptp(answer[c.RETRIEVAL_SCORE]) > 0  # pairs do differ
    return answer


@pytest.mark.parametrize("preset", [p for p in PRESETS if p != "default"])
def test_what_is_loaded_in_a_fresh_process_is_what_was_trained(preset, tmp_path, monkeypatch):
    """The SavedModel needs TensorFlow alone, and gives the trained Keras model's numbers for every pair."""
    kept = []
    take = training.EmbeddingModel.weights_as_arrays
    monkeypatch.setattr(training.EmbeddingModel, "weights_as_arrays", lambda self: kept.append(self) or take(self))
    trained, *_ = train(preset)
    (model,) = kept
    user_id, movie_id = (ids.ravel() for ids in np.meshgrid(model.user_ids, MOVIES))
    expected = model({c.USER_ID: user_id, c.MOVIE_ID: movie_id})
    answer = ask_a_fresh_process(trained.weights, tmp_path, user_id=user_id, movie_id=movie_id)
    for name in (c.RETRIEVAL_SCORE, c.PREDICTED_RATING):
        assert np.abs(answer[name] - expected[name].numpy()).max() <= 1e-5


def test_saving_works_with_metrics_attached(tmp_path):
    """The notebook's FailedPreconditionError: FactorizedTopK's dataset of candidates was part of what was saved."""
    model = training.EmbeddingModel(np.arange(1, 4), MOVIES, settings.preset("joint"), (0.5, 5.0))
    candidates = tf.data.Dataset.from_tensor_slices(MOVIES).batch(4).map(model.movie_tower)
    model.retrieval_task = tfrs.tasks.Retrieval(metrics=tfrs.metrics.FactorizedTopK(candidates=candidates))
    model.compile(optimizer="adagrad")
    rows = {"user_id": [1, 2], "movie_id": [1, 10], "rating": [3.0, 4.0]}
    model.fit(tf.data.Dataset.from_tensors(rows), verbose=0)
    saved_model.save(model.weights_as_arrays(), tmp_path / "saved_model")
    assert recommender.Recommender(tmp_path / "saved_model").predict([1], [1]).known_movie.all()


def test_a_version_describes_itself_in_json_and_text(tmp_path, toy):
    """The notebook's TypeError: a vocabulary of bytes went to JSON. Here ids are int64 and titles are text."""
    version = versions.open_version(*_trained_by_command(toy, tmp_path))
    manifest = json.loads((version.path / "manifest.json").read_text())
    assert manifest["format_version"] == 2
    assert manifest["preset"] == "joint"
    assert manifest["tasks"] == ["retrieval", "rating"]
    assert set(manifest["libraries"]) >= {"tensorflow", "tensorflow-recommenders"}
    assert set(manifest["files"]) >= {"catalogue.parquet", "metrics.json", "saved_model/saved_model.pb"}
    metrics = json.loads((version.path / "metrics.json").read_text())
    assert list(metrics["top_k_accuracy"]) == ["1", "5", "10", "50", "100"]
    assert metrics["rmse"] > 0
    assert version.catalogue().schema == c.CATALOGUE
    assert version.catalogue().column(c.TITLE)[0].as_py() == "Matrix, The (1999)"


def _trained_by_command(toy, models):
    command = [sys.executable, "jobs/train.py", "--data", toy, "--models", models, "--preset", "joint", "--epochs", "1"]
    subprocess.run(command, check=True, capture_output=True)
    return models, versions.current(models)


def test_signatures_take_plain_names_and_int64(exported):
    """The notebook's model wanted `features/title` and refused int32."""
    signatures = tf.saved_model.load(str(exported[7].folder)).signatures
    assert set(signatures) >= {"serving_default", "predict", "recommend", "user_embedding", "movie_embedding"}
    inputs = signatures["serving_default"].structured_input_signature[1]
    assert {name: spec.dtype.name for name, spec in inputs.items()} == {"user_id": "int64", "movie_id": "int64"}


def test_movies_of_one_title_have_scores_of_their_own(tmp_path):
    """The notebook keyed movies by title: 3 and 4 are both Emma (1996)."""
    saved_model.save(train()[0].weights, tmp_path / "saved_model")
    pairs = recommender.Recommender(tmp_path / "saved_model").predict([1, 1], [3, 4])
    assert pairs.known_movie.all()
    assert pairs.predicted_rating[0] != pairs.predicted_rating[1]


@pytest.mark.parametrize("preset", ["joint", "default"])
def test_the_same_seed_gives_the_same_model(preset):
    first, again, other = (train(preset, seed=seed)[0].weights for seed in (7, 7, 8))
    assert (first.movie_vectors == again.movie_vectors).all()
    assert (first.movie_vectors != other.movie_vectors).any()


@pytest.mark.parametrize("preset", ["joint", "default"])
def test_metrics_are_those_of_the_held_out_rows(preset, tmp_path):
    """RMSE and top-k accuracy, computed again here by hand from what the saved model says."""
    random = np.random.RandomState(3)
    rows = [(user, movie, random.randint(1, 11) / 2, 0) for user in range(30) for movie in (1, 2, 3, 4, 10)]
    trained, fitted, held_out = train(preset, rows=rows, seed=3)
    saved_model.save(trained.weights, tmp_path / "saved_model")
    model = recommender.Recommender(tmp_path / "saved_model")
    split = evaluation.Split(fitted, held_out, MOVIES)
    metrics = evaluation.held_out_metrics(model, ("retrieval", "rating"), split)
    assert metrics["test_rows"] == len(held_out[c.RATING])
    errors, hits, unseen_hits = [], [], []
    for user, movie, rating in zip(*(held_out[name] for name in (c.USER_ID, c.MOVIE_ID, c.RATING)), strict=True):
        mine = fitted[c.USER_ID] == user
        seen, ratings = fitted[c.MOVIE_ID][mine], fitted[c.RATING][mine]
        assert len(seen)
        pairs = model.predict([user] * 6, MOVIES, [seen] * 6, [ratings] * 6)
        errors.append(pairs.predicted_rating[movie == MOVIES][0] - rating)
        order = MOVIES[np.argsort(-pairs.retrieval_score, kind="stable")].tolist()
        hits.append(order.index(movie) < 5)
        unseen_hits.append([m for m in order if m not in seen].index(movie) < 1)
    assert len(errors) == len(held_out[c.RATING])
    assert metrics["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(errors))), abs=1e-5)
    assert metrics["top_k_accuracy"]["5"] == pytest.approx(np.mean(hits))
    assert metrics["top_k_accuracy_unseen"]["1"] == pytest.approx(np.mean(unseen_hits))


def test_the_split_is_the_published_protocol():
    """numpy.random.RandomState(42).permutation; the last fifth is held out."""
    rows = {c.USER_ID: np.arange(100), c.RATING: np.arange(100.0)}
    fitted, held_out = training.split_at_random(rows, 0.2, 42)
    order = np.random.RandomState(42).permutation(100)
    assert fitted[c.USER_ID].tolist() == order[:80].tolist()
    assert held_out[c.USER_ID].tolist() == order[80:].tolist()


def pairs(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """So many different (user, movie), in random order; the rating is the place in that order."""
    chosen = np.random.RandomState(seed).permutation(200 * 1000)[:count]
    return {c.USER_ID: chosen // 1000, c.MOVIE_ID: chosen % 1000, c.RATING: np.arange(count, dtype=np.float32)}


def held_out_pairs(ratings: dict[str, np.ndarray], test_share: float, seed: int) -> set[tuple[int, int]]:
    """Those that the split holds out; all others have to be in its other part."""
    parts = training.split_by_pair(ratings, test_share, seed)
    fitted, held_out = ({*zip(part[c.USER_ID].tolist(), part[c.MOVIE_ID].tolist(), strict=True)} for part in parts)
    assert not fitted & held_out
    assert len(fitted) + len(held_out) == len(ratings[c.USER_ID])
    for part in parts:
        assert (np.diff(part[c.RATING]) > 0).all()  # the order is kept
    return held_out


@given(
    rated=st.sets(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1)), min_size=1),
    more=st.sets(st.tuples(st.integers(1, 50), st.integers(1, 50))),
    random=st.randoms(use_true_random=False),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_rating_stays_on_its_side_whatever_is_added_or_reordered(rated, more, random, seed):
    def table_of(chosen):
        user, movie = np.array(chosen, np.int64).T
        return {c.USER_ID: user, c.MOVIE_ID: movie, c.RATING: np.arange(len(chosen))}

    before = held_out_pairs(table_of(sorted(rated)), 0.5, seed)
    grown = sorted(rated | more)
    random.shuffle(grown)
    assert held_out_pairs(table_of(grown), 0.5, seed) & rated == before


def test_the_share_that_is_held_out_is_the_share_asked_for():
    """Five standard deviations of a binomial: over all, and over each user's and each movie's ratings."""
    ratings = pairs(100_000)
    _, held_out = training.split_by_pair(ratings, 0.2, 42)
    for keys in (np.zeros(100_000, int), ratings[c.USER_ID], ratings[c.MOVIE_ID]):
        expected = np.bincount(keys)
        found = np.bincount(keys[held_out[c.RATING].astype(int)], minlength=len(expected))
        assert (np.abs(found - 0.2 * expected) <= 5 * np.sqrt(0.2 * 0.8 * expected)).all()


def test_another_seed_holds_out_other_ratings():
    """Two of them agree on a fifth of a fifth of the rows, as independent draws do."""
    ratings = pairs(50_000)
    one, other = (held_out_pairs(ratings, 0.2, seed) for seed in (42, 43))
    assert len(one & other) == pytest.approx(0.04 * 50_000, abs=5 * np.sqrt(0.04 * 0.96 * 50_000))


def test_a_greater_share_holds_out_the_same_ratings_and_more_and_none_holds_out_nothing():
    ratings = pairs(1000)
    none, few, some, most = (held_out_pairs(ratings, share, 1) for share in (0, 0.1, 0.3, 0.999))
    assert none == set()
    assert none < few < some < most


def test_the_split_mixes_as_splitmix64_does():
    """The first outputs of the generator that starts at 0, as published."""
    states = np.arange(3, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert [f"{n:016x}" for n in training._mix(states)] == ["e220a8397b1dcdaf", "6e789e6aa1b965f4", "06c45d188009454f"]


def test_of_several_ratings_of_a_movie_the_latest_counts():
    rows = [(1, 1, 2.0, 30), (1, 2, 5.0, 1), (1, 1, 4.0, 10), (2, 1, 1.0, 5), (2, 1, 3.0, 5)]
    latest = training.latest_ratings(table(rows))
    assert list(zip(*(latest[name].tolist() for name in (c.USER_ID, c.MOVIE_ID, c.RATING)), strict=True)) == [
        (1, 1, 2.0), (1, 2, 5.0), (2, 1, 3.0),
    ]  # fmt: skip


def test_nothing_to_train_on_is_refused():
    with pytest.raises(InputRejected, match="no ratings to train on"):
        training.train(
            training.latest_ratings(c.RATINGS.empty_table()), np.array([], int), CATALOGUE, settings.preset("default"),
            seed=1, rating_range=(0.5, 5.0),
        )  # fmt: skip


def test_a_model_that_diverged_is_refused(exported, tmp_path):
    with pytest.raises(ModelRejected, match="training diverged"):
        train(learning_rate=1e30)
    weights = exported[7].weights
    broken = type(weights)(**{**vars(weights), "movie_vectors": np.full_like(weights.movie_vectors, np.nan)})
    with pytest.raises(ModelRejected, match="not a finite number"):
        saved_model.save(broken, tmp_path / "saved_model")


# -- versions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda path: (path / "catalogue.parquet").write_bytes(b"x"), "catalogue.parquet was changed"),
        (lambda path: (path / "metrics.json").unlink(), "metrics.json is missing"),
        (lambda path: (path / "saved_model/more.txt").write_text("x"), "more.txt is not in its manifest"),
        (lambda path: (path / "manifest.json").write_text("{"), "manifest.json cannot be read"),
        (lambda path: (path / "manifest.json").write_text('{"files": {}, "format_version": 99}'), "has format 99"),
    ],
)
def test_a_version_that_is_not_what_was_written_is_refused(tmp_path, toy_models, spoil, sentence):
    name = versions.current(toy_models)
    shutil.copytree(toy_models / name, tmp_path / name)
    versions.open_version(tmp_path, name)
    spoil(tmp_path / name)
    with pytest.raises(ModelRejected) as caught:
        versions.open_version(tmp_path, name)
    assert sentence in str(caught.value)


def test_versions_are_listed_chosen_and_current(toy_models, tmp_path):
    assert len(versions.versions(toy_models)) == 5
    assert versions.open_version(toy_models).manifest["preset"] == "joint"
    first = versions.versions(toy_models)[0]
    assert versions.open_version(toy_models, first).manifest["preset"] == "rating"
    assert versions.current(tmp_path) is None
    with pytest.raises(ModelRejected, match="has no model yet"):
        versions.open_version(tmp_path)
    with pytest.raises(ModelRejected, match="has no version '../x'"):
        versions.open_version(toy_models, "../x")


def test_a_model_that_cannot_be_exported_says_so(tmp_path, exported):
    weights = exported[1].weights
    broken = type(weights)(**{**vars(weights), "user_ids": weights.user_ids[::-1]})
    with pytest.raises(ModelRejected, match="strictly ascending"):
        saved_model.save(broken, tmp_path / "saved_model")
