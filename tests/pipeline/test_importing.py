"""Models of the notebook, saved as the notebook saves them, become versions that answer as they do."""

import csv
import re
from types import SimpleNamespace

import numpy as np
import pytest
from support import notebook
from support.processes import here
from support.runs import published, run_json

import recmodel
from recmodel.models import versions
from recmodel.pipeline import due
from recmodel.settings import load
from recmodel.tf import tf

STRANGER = "40"  # a user with ratings whom the models were not trained with
KNOWN = {1: "Matrix, The (1999)", 2: 'Say "Hi" (2001)', 3: "Emma (1996)", 10: "Amélie (2001)"}  # and 4 is Emma too


def import_model(folder, toy, models, *arguments):
    return here("models", "import", folder, "--catalogue", toy / "movies.csv", "--models", models, *arguments)


@pytest.fixture(scope="module")
def saved(toy, tmp_path_factory):
    """The originals, by name, and the folder of what was saved of them."""
    folder, features = tmp_path_factory.mktemp("notebook"), notebook.read(toy, STRANGER)
    weights = {"joint": (1, 1), "rating": (1, 0), "retrieval": (0, 1)}
    models = {name: notebook.fit(notebook.MovielensModel(features, *of), features) for name, of in weights.items()}
    models["ranking"] = notebook.fit(notebook.RankingModel(features), features)
    tf.saved_model.save(models["retrieval"].index(), str(folder / "retrieval"))
    models["joint"].without_metrics().save(folder / "joint")
    models["rating"].without_metrics().save(folder / "rating")
    tf.saved_model.save(models["ranking"], str(folder / "ranking"))
    return SimpleNamespace(folder=folder, **models)


@pytest.fixture(scope="module")
def imported(saved, toy, tmp_path_factory):
    """A folder of models with a version of each original, by its name."""
    models = tmp_path_factory.mktemp("models")
    flags = {"joint": (), "rating": ("--task", "rating"), "retrieval": (), "ranking": ()}
    for name, more in flags.items():
        done = import_model(saved.folder / name, toy, models, "--preset-name", name, *more)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Emma (1996): 3 and 4" in done.stdout + done.stderr
    return SimpleNamespace(
        folder=models, **{name.split("-")[1]: recmodel.load(models, name) for name in versions.list_versions(models)}
    )


def original_answers(model, users, titles):
    """(retrieval scores, ratings) of all pairs, [U, M], by the model as it was in the notebook; None: it has none."""
    pairs = {"userId": tf.constant(np.repeat(users, len(titles))), "title": tf.constant(np.tile(titles, len(users)))}
    answer, shape = model(pairs), (len(users), len(titles))
    if not isinstance(answer, tuple):
        return None, answer.numpy().reshape(shape)
    user, movie, rating = answer
    return tf.reduce_sum(user * movie, axis=1).numpy().reshape(shape), rating.numpy().reshape(shape)


@pytest.mark.parametrize(
    ("name", "tasks"),
    [
        ("joint", ("retrieval", "rating")),
        ("rating", ("rating",)),
        ("retrieval", ("retrieval",)),
        ("ranking", ("rating",)),
    ],
)
def test_a_model_of_the_notebook_answers_as_before(saved, imported, name, tasks):
    model = getattr(imported, name)
    assert (model.version.tasks, model.version.manifest.origin) == (tasks, "imported")
    assert model.version.catalogue().column("movie_id").to_pylist() == [*KNOWN]
    users = [user for user in range(1, 41) if str(user) != STRANGER]
    scores, ratings = original_answers(getattr(saved, name), [*map(str, users)], [*KNOWN.values()])
    answer = model.predict(np.repeat(users, len(KNOWN)), np.tile([*KNOWN], len(users)))
    if "retrieval" in tasks:
        np.testing.assert_allclose(answer.retrieval_score, scores.ravel(), rtol=1e-5, atol=1e-6)
    if "rating" in tasks:
        np.testing.assert_allclose(answer.predicted_rating, ratings.clip(0.5, 5).ravel(), rtol=1e-5)
    else:
        assert np.isnan(answer.predicted_rating).all()
    nobody = model.predict([int(STRANGER), 1], [1, 11])
    assert (nobody.known_user.tolist(), nobody.known_movie.tolist()) == ([False, True], [True, False])


def test_a_night_with_an_imported_model_is_exact(saved, imported, toy, score_here, tmp_path):
    """Also by the signature `recommend`, which others call, and with reasons; who is unknown gets what is popular."""
    version = imported.joint.version.name
    score_here(
        "--data", toy, "--models", imported.folder, "--model-version", version, "--output", tmp_path / "output",
        "--run-date", "2026-01-31", "--top-n", 2,
    )  # fmt: skip
    rows = published(tmp_path / "output", "2026-01-31").to_pylist()
    run = run_json(tmp_path / "output", "2026-01-31")
    assert (run["users"], run["recommendations"]["popular_users"]) == (40, 1)
    with (toy / "ratings.csv").open() as file:
        seen = {(int(row["userId"]), int(row["movieId"])) for row in csv.DictReader(file)}
    scores, ratings = original_answers(saved.joint, [*map(str, range(1, 41))], [*KNOWN.values()])
    ratings = ratings.clip(0.5, 5)
    blend = np.where(scores > 0, scores * ratings**2, scores)
    lists = 0
    for user in range(1, 40):
        unseen = [place for place, movie in enumerate(KNOWN) if (user, movie) not in seen]
        best = sorted(unseen, key=lambda place: -blend[user - 1, place])[:2]
        of_user = [row for row in rows if row["user_id"] == user]
        assert [row["movie_id"] for row in of_user] == [[*KNOWN][place] for place in best]
        np.testing.assert_allclose([row["score"] for row in of_user], blend[user - 1, best], rtol=1e-4, atol=1e-6)
        lists += len(best)
    assert lists > 39
    assert {row["source"] for row in rows if row["user_id"] == 40} == {"trending"}
    shown = here("show", "1", "--output", tmp_path / "output").stdout
    assert "Emma (1996)" in shown or "Matrix" in shown or "Amélie" in shown


def test_no_night_trains_in_the_place_of_an_imported_model(imported, toy):
    assert versions.current(imported.folder) == imported.joint.version.name  # the first; the others left it as it was
    assert due.reason_to_train(load(paths={"data": str(toy), "models": str(imported.folder)})) is None


def test_two_towers_with_integer_keys_by_id(toy, tmp_path):
    """As two SavedModels; users whom a list names, and some that the towers do not know."""
    towers = {"user_model": notebook.tower(np.arange(1, 40)), "movie_model": notebook.tower(np.array([1, 2, 3, 4]))}
    for name, tower in towers.items():
        tower(np.array([1]))
        tower.save(tmp_path / "towers" / name)
    (tmp_path / "users.csv").write_text("userId\n7\n40\n3\n")
    done = import_model(tmp_path / "towers", toy, tmp_path / "models", "--users", tmp_path / "users.csv")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "users that the model does not know: 1;" in done.stdout + done.stderr
    model = recmodel.load(tmp_path / "models")
    answer = model.predict([3, 7, 1, 40], [4, 2, 1, 1])
    assert answer.known_user.tolist() == [True, True, False, False]
    of_users, of_movies = towers["user_model"](np.array([3, 7])), towers["movie_model"](np.array([4, 2]))
    np.testing.assert_allclose(answer.retrieval_score[:2], tf.reduce_sum(of_users * of_movies, axis=1), rtol=1e-5)


def test_two_towers_inside_a_model_without_signatures(toy, tmp_path):
    features = notebook.read(toy)
    model = notebook.fit(notebook.RetrievalModel(features), features)
    tf.saved_model.save(model, str(tmp_path / "saved"))
    done = import_model(tmp_path / "saved", toy, tmp_path / "models")
    assert done.returncode == 0, done.stdout + done.stderr
    answer = recmodel.load(tmp_path / "models").predict([5, 6], [1, 10])
    of_users = model.user_model(tf.constant(["5", "6"]))
    expected = tf.reduce_sum(of_users * model.movie_model(tf.constant([KNOWN[1], KNOWN[10]])), axis=1)
    np.testing.assert_allclose(answer.retrieval_score, expected, rtol=1e-5)


def test_text_ids_stay_text(tmp_path):
    (tmp_path / "movies.csv").write_text("movieId,title,genres\ntt2,Two,Drama\ntt1,One,Comedy\n")
    towers = {"user_model": notebook.tower(np.array(["ann", "007"])), "movie_model": notebook.tower(np.array(["tt1"]))}
    for name, tower in towers.items():
        tower(tf.constant(["tt1"]))
        tower.save(tmp_path / "towers" / name)
    done = import_model(tmp_path / "towers", tmp_path, tmp_path / "models")
    assert done.returncode == 0, done.stdout + done.stderr
    model = recmodel.load(tmp_path / "models")
    answer = model.predict(["007", "ann", "7"], ["tt1", "tt1", "tt1"])
    assert answer.known_user.tolist() == [True, True, False]
    of_users, of_movie = towers["user_model"](tf.constant(["007", "ann"])), towers["movie_model"](tf.constant(["tt1"]))
    expected = tf.reduce_sum(of_users * of_movie, axis=1)
    np.testing.assert_allclose(answer.retrieval_score[:2], expected, rtol=1e-5)


def test_an_index_of_titles_that_come_twice_and_one_of_row_numbers(toy, tmp_path):
    users, movies = notebook.tower(np.array(["1", "2"])), notebook.tower(np.array([*KNOWN.values()]))
    titles = tf.constant([KNOWN[1], KNOWN[2], KNOWN[1], "Not Listed (1980)"])
    for name, identifiers in (("titles", titles), ("numbers", None)):
        index = notebook.tfrs.layers.factorized_top_k.BruteForce(users, k=4).index(movies(titles), identifiers)
        index(tf.constant(["1"]))
        tf.saved_model.save(index, str(tmp_path / name))
    done = import_model(tmp_path / "titles", toy, tmp_path / "models")
    assert done.returncode == 0, done.stdout + done.stderr
    assert recmodel.load(tmp_path / "models").version.catalogue().column("movie_id").to_pylist() == [1, 2]
    done = import_model(tmp_path / "numbers", toy, tmp_path / "models")
    assert (done.returncode, "row numbers in the place of ids or titles" in done.stderr) == (4, True)


def test_a_model_that_refuses_ids_that_it_does_not_know(toy, tmp_path):
    for name, keys in (("user_model", [1, 2]), ("movie_model", [1, 2, 3])):
        lookup = tf.keras.layers.IntegerLookup(vocabulary=keys, num_oov_indices=0)
        tower = tf.keras.Sequential([lookup, tf.keras.layers.Embedding(9, 4)])
        tower(tf.constant([1]))
        tower.save(tmp_path / "towers" / name)
    done = import_model(tmp_path / "towers", toy, tmp_path / "models")
    assert done.returncode == 4
    assert "fails for some ids (" in done.stderr
    assert "save it with a vector for unknown ids (num_oov_indices=1)" in " ".join(done.stderr.split())


class _Moody(tf.Module):
    """Answers differently each time."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name) for name in ("user", "movie")])
    def rate(self, user, movie):
        return {"rating": tf.random.uniform(tf.shape(user)) * 5}


class _Unlike(tf.Module):
    """Takes what is no key."""

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "features")])
    def rate(self, features):
        return {"rating": features[:, 0]}


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (_Moody, r"what was made of the model answers differently for \d+ of"),
        (_Unlike, r"takes features float32\(None, 3\) and returns rating float32\(None,\); what can be imported: "),
        (None, "holds weights, which are no model"),
    ],
)
def test_what_cannot_be_imported_is_refused_and_leaves_nothing(toy, tmp_path, module, sentence):
    (tmp_path / "saved").mkdir()
    if module is not None:
        original = module()
        tf.saved_model.save(original, str(tmp_path / "saved"), signatures={"serving_default": original.rate})
    else:  # as Keras saves weights
        (tmp_path / "saved/checkpoint").touch()
    (tmp_path / "users.csv").write_text("userId\n1\n2\n")
    done = import_model(tmp_path / "saved", toy, tmp_path / "models", "--users", tmp_path / "users.csv")
    assert done.returncode == 4
    assert re.search(sentence, " ".join(done.stderr.split())), done.stderr
    assert not versions.list_versions(tmp_path / "models")
