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

from recmodel import artifact, closed_form, evaluation, export, history_model, serving, settings, training
from recmodel import columns as c
from recmodel.embedding_model import tf, tfrs
from recmodel.errors import InputRejected, ModelRejected

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
    export.save(weights, folder / "saved_model")
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


def history_scores(weights, seen: np.ndarray, ratings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The history model by its definition, in float64 NumPy: ([M] retrieval scores, [M] ratings)."""
    row = np.searchsorted(weights.movie_ids, seen)
    ratings = ratings.astype(np.float64)
    own_mean = weights.mean_rating + (ratings - weights.mean_rating).sum() / (len(ratings) + 5)
    liked = 1 + weights.liking * (ratings - own_mean)
    summed = liked @ weights.seen_vectors[row].astype(np.float64) + weights.prior_weight * weights.average_seen
    user = summed / np.sqrt(len(seen) + weights.prior_weight)
    traits = weights.traits.astype(np.float64)
    residual = ratings - weights.movie_bias[row]
    taste = np.linalg.solve(traits[row].T @ traits[row] + np.diag(weights.ridge), traits[row].T @ residual)
    raw = weights.movie_bias + traits @ taste
    low, high = weights.rating_range
    bend = (high - low) / 20
    bent = np.where(raw > high - bend, high - bend * np.exp(-(raw - high + bend) / bend), raw)
    bent = np.where(raw < low + bend, low + bend * np.exp((raw - low - bend) / bend), bent)
    return weights.movie_vectors.astype(np.float64) @ user, bent


def test_the_history_model_is_its_definition_in_a_fresh_process(tmp_path):
    trained, fitted, _ = train("default")
    users = np.unique(fitted[c.USER_ID])
    split = evaluation.Split(fitted, fitted, MOVIES)
    seen, ratings = split.histories(users)
    expected = [history_scores(trained.weights, *history) for history in zip(seen, ratings, strict=True)]
    each = len(MOVIES)
    answer = ask_a_fresh_process(
        trained.weights, tmp_path, user_id=np.repeat(users, each), movie_id=np.tile(MOVIES, len(users)),
        seen_movie_id=np.concatenate([ids for ids in seen for _ in MOVIES]),
        seen_rating=np.concatenate([values for values in ratings for _ in MOVIES]),
        seen_row_splits=np.concatenate([[0], np.cumsum(np.repeat([len(ids) for ids in seen], each))]),
    )  # fmt: skip
    assert answer["known_user"].all()
    assert np.abs(answer[c.RETRIEVAL_SCORE] - np.concatenate([s for s, _ in expected])).max() <= 1e-5
    assert np.abs(answer[c.PREDICTED_RATING] - np.concatenate([r for _, r in expected])).max() <= 1e-5
    assert answer[c.PREDICTED_RATING].min() > 0.5
    assert answer[c.PREDICTED_RATING].max() < 5.0


def test_the_history_model_serves_users_it_never_met(tmp_path):
    """All policies against the definition; seen ids outside the catalogue are ignored; nobody is known by id."""
    trained, *_ = train("default")
    export.save(trained.weights, tmp_path / "saved_model")
    model = serving.Recommender(tmp_path / "saved_model")
    seen, ratings = np.array([10, 3]), np.array([5.0, 1.0])
    score, rating = history_scores(trained.weights, seen, ratings)
    unseen = [0, 1, 3, 5]
    for rank_by, key in (("retrieval", score), ("rating", rating), ("two-stage", rating)):
        top = model.recommend(
            [10**15, 7], [np.array([10, 999, 3]), np.array([999])], [np.array([5.0, 2.0, 1.0]), np.array([4.0])],
            n=10, rank_by=rank_by, candidates=10,
        )  # fmt: skip
        best = sorted(unseen, key=lambda row: -key[row])
        assert top.known_user.tolist() == [True, False]
        assert top.count.tolist() == [4, 0]
        assert top.movie_id[0, :4].tolist() == MOVIES[best].tolist()
        assert top.predicted_rating[0, :4] == pytest.approx(rating[best], abs=1e-5)
        assert top.retrieval_score[0, :4] == pytest.approx(score[best], abs=1e-5)
    everything, known = model.rate_catalogue([1], [seen], [ratings])
    assert known.all()
    assert everything[0] == pytest.approx(rating, abs=1e-5)
    vector = model.user_embedding([1], [seen], [ratings])[0]
    assert model.movie_embedding(MOVIES) @ vector == pytest.approx(score, abs=1e-5)
    with pytest.raises(ValueError, match="knows users by their history"):
        model.predict([1], [1])


def test_the_rating_loss_is_leave_one_out(monkeypatch):
    """The closed form against refitting each user's regression without each rating in turn."""
    start = _start()
    preset = settings.preset("default", trait_penalty=0.0, bias_penalty=0.0)
    model = history_model.HistoryModel(start, preset)
    movie, rating = np.array([0, 2, 3, 4]), np.array([4.0, 1.0, 3.5, 5.0], np.float32)
    left_out = []
    for i in range(4):
        others = np.arange(4) != i
        traits = start.traits[movie[others]].astype(np.float64)
        penalty = np.diag(history_model.ridge(start.traits.shape[1], preset))
        residual = (rating - start.movie_bias[movie])[others]
        taste = np.linalg.solve(traits.T @ traits + penalty, traits.T @ residual)
        left_out.append(rating[i] - start.movie_bias[movie[i]] - start.traits[movie[i]] @ taste)
    padded = {"movie": [[*movie, 0, 0]], "rating": [[*rating, 0, 0]], "present": [[1, 1, 1, 1, 0, 0]]}
    loss, penalty = model._rating_loss(
        tf.constant(padded["movie"]), tf.constant(padded["rating"], tf.float32),
        tf.constant(padded["present"], tf.float32), 4.0,
    )  # fmt: skip
    assert float(loss) == pytest.approx(np.mean(np.square(left_out)), rel=1e-4)
    assert float(penalty) == 0


def _start():
    fitted = training.latest_ratings(table(make_ratings()))
    users, user = np.unique(fitted[c.USER_ID], return_inverse=True)
    ratings = closed_form.Interactions(
        user, np.searchsorted(MOVIES, fitted[c.MOVIE_ID]), fitted[c.RATING], len(users), len(MOVIES)
    )
    return closed_form.start(ratings, closed_form.features(CATALOGUE), settings.preset("default"), seed=0)


def test_singular_vectors_are_those_of_the_dense_matrix():
    random = np.random.RandomState(0)
    user, movie = np.divmod(random.choice(50 * 30, 400, replace=False), 30)
    values = random.uniform(0.5, 1.5, 400).astype(np.float32)
    content = random.uniform(size=(4, 30)).astype(np.float32)
    ratings = closed_form.Interactions(user, movie, values, 50, 30)
    found, squared = closed_form._right_singular_vectors(ratings, values, content, 5, seed=0)
    dense = np.zeros((50, 30))
    dense[user, movie] = values
    _, expected, right = np.linalg.svd(np.vstack([dense, content]), full_matrices=False)
    assert np.sqrt(squared) == pytest.approx(expected[:5], rel=1e-4)
    assert np.abs(np.diag(right[:5] @ found)) == pytest.approx(np.ones(5), abs=1e-3)


def test_features_come_from_titles_and_genres():
    found = closed_form.features(CATALOGUE)
    assert found.year.tolist() == [1999, 2001, 1996, 1996, 2001, 1999]  # the undated one at the median
    assert found.genres.sum(axis=1).tolist() == [2, 1, 1, 2, 2, 1]


def test_saving_works_with_metrics_attached(tmp_path):
    """The notebook's FailedPreconditionError: FactorizedTopK's dataset of candidates was part of what was saved."""
    model = training.EmbeddingModel(np.arange(1, 4), MOVIES, settings.preset("joint"), (0.5, 5.0))
    candidates = tf.data.Dataset.from_tensor_slices(MOVIES).batch(4).map(model.movie_tower)
    model.retrieval_task = tfrs.tasks.Retrieval(metrics=tfrs.metrics.FactorizedTopK(candidates=candidates))
    model.compile(optimizer="adagrad")
    rows = {"user_id": [1, 2], "movie_id": [1, 10], "rating": [3.0, 4.0]}
    model.fit(tf.data.Dataset.from_tensors(rows), verbose=0)
    export.save(model.weights_as_arrays(), tmp_path / "saved_model")
    assert serving.Recommender(tmp_path / "saved_model").predict([1], [1]).known_movie.all()


def test_a_version_describes_itself_in_json_and_text(tmp_path, toy):
    """The notebook's TypeError: a vocabulary of bytes went to JSON. Here ids are int64 and titles are text."""
    version = artifact.open_version(*_trained_by_command(toy, tmp_path))
    manifest = json.loads((version.path / "manifest.json").read_text())
    assert manifest["format_version"] == 1
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
    return models, artifact.current(models)


def test_signatures_take_plain_names_and_int64(exported):
    """The notebook's model wanted `features/title` and refused int32."""
    signatures = tf.saved_model.load(str(exported[7].folder)).signatures
    assert set(signatures) >= {"serving_default", "predict", "recommend", "user_embedding", "movie_embedding"}
    inputs = signatures["serving_default"].structured_input_signature[1]
    assert {name: spec.dtype.name for name, spec in inputs.items()} == {"user_id": "int64", "movie_id": "int64"}


def test_movies_of_one_title_have_scores_of_their_own(tmp_path):
    """The notebook keyed movies by title: 3 and 4 are both Emma (1996)."""
    export.save(train()[0].weights, tmp_path / "saved_model")
    pairs = serving.Recommender(tmp_path / "saved_model").predict([1, 1], [3, 4])
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
    export.save(trained.weights, tmp_path / "saved_model")
    model = serving.Recommender(tmp_path / "saved_model")
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
        export.save(broken, tmp_path / "saved_model")


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
    name = artifact.current(toy_models)
    shutil.copytree(toy_models / name, tmp_path / name)
    artifact.open_version(tmp_path, name)
    spoil(tmp_path / name)
    with pytest.raises(ModelRejected) as caught:
        artifact.open_version(tmp_path, name)
    assert sentence in str(caught.value)


def test_versions_are_listed_chosen_and_current(toy_models, tmp_path):
    assert len(artifact.versions(toy_models)) == 5
    assert artifact.open_version(toy_models).manifest["preset"] == "joint"
    first = artifact.versions(toy_models)[0]
    assert artifact.open_version(toy_models, first).manifest["preset"] == "rating"
    assert artifact.current(tmp_path) is None
    with pytest.raises(ModelRejected, match="has no model yet"):
        artifact.open_version(tmp_path)
    with pytest.raises(ModelRejected, match="has no version '../x'"):
        artifact.open_version(toy_models, "../x")


def test_a_model_that_cannot_be_exported_says_so(tmp_path, exported):
    weights = exported[1].weights
    broken = type(weights)(**{**vars(weights), "user_ids": weights.user_ids[::-1]})
    with pytest.raises(ModelRejected, match="strictly ascending"):
        export.save(broken, tmp_path / "saved_model")
