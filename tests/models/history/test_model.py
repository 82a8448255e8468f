"""The default model, against its definition in float64 NumPy; all of its users in models/test_training.py."""

from dataclasses import replace
from datetime import datetime, timezone

import numpy as np
import pyarrow as pa
import pytest
from support.exact import history_scores
from support.inputs import CATALOGUE, MOVIES, make_ratings, table
from support.training import served, trained

from recmodel import schemas as c
from recmodel.data import duplicates, histories
from recmodel.models import presets
from recmodel.models.embedding.model import tf
from recmodel.models.history import closed_form
from recmodel.models.history import model as history_model
from recmodel.models.history.fit import varied
from recmodel.scoring import worker
from recmodel.scoring.request import Payload, TopNRequest
from recmodel.scoring.signatures import InTensorFlow


def test_the_history_model_serves_users_it_never_met():
    """All policies against the definition; seen ids outside the catalogue are ignored; nobody is known by id."""
    (fitted, *_), model = trained("default"), served("default")
    seen, ratings = np.array([10, 3]), np.array([5.0, 1.0])
    score, rating = history_scores(fitted.weights, seen, ratings, age=np.array([2, 0]))
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
    score, rating = history_scores(fitted.weights, seen, ratings)
    assert everything[0] == pytest.approx(rating, abs=1e-5)
    pairs = model.predict(np.ones(len(MOVIES), int), MOVIES, [seen] * len(MOVIES), [ratings] * len(MOVIES))
    assert pairs.retrieval_score == pytest.approx(score, abs=1e-5)
    product, _ = history_scores(replace(fitted.weights, successors=None, another_day=None), seen, ratings)
    vector = model.user_embedding([1], [seen], [ratings])[0]
    assert model.movie_embedding(MOVIES) @ vector == pytest.approx(product, abs=1e-5)
    with pytest.raises(ValueError, match="knows users by their history"):
        model.predict([1], [1])


def test_variety_lowers_all_scores_of_a_movie_by_one_factor():
    (fitted, *_) = trained("default")
    weights, counts = fitted.weights, np.array([0, 3, 19, 79, 319, 1279])
    assert varied(weights, counts, 0.0) is weights
    changed = varied(weights, counts, 0.5)
    factor = np.sqrt(20 / (counts + 1))
    assert changed.movie_vectors == pytest.approx(weights.movie_vectors * factor[:, np.newaxis])
    assert changed.successors.strength == pytest.approx(weights.successors.strength * factor[weights.successors.row])
    assert changed.successors.gram is weights.successors.gram  # so that successors weigh what they did


def test_without_times_the_order_of_a_history_does_not_matter():
    """Two users with the same ratings, given in opposite orders."""
    history = histories.of_users(
        pa.array([1, 2]),
        pa.table({
            c.USER_ID: [1, 1, 1, 2, 2, 2], c.MOVIE: pa.array([0, 2, 4] * 2, pa.int32()),
            c.RATING: pa.array([5, 1, 4] * 2, pa.float32()), c.TIMESTAMP: [1, 2, 3, 3, 2, 1],
        }),
    )  # fmt: skip
    movies = pa.table({c.MOVIE_ID: MOVIES, c.TITLE: CATALOGUE.column(c.TITLE)})
    payload = Payload(
        model_version="", model_digest="", open_model=InTensorFlow, tasks=("retrieval", "rating"), movies=movies,
        row=np.arange(6), popular=np.arange(6), popular_rating=np.zeros(6), scored_at=datetime.now(timezone.utc),
    )  # fmt: skip
    scores = {}
    for is_ordered in (True, False):
        request = TopNRequest(3, "blend", 6, False, 1, None, 1 << 20, 1, is_ordered)
        rows = worker.recommend_block(served("default"), history, payload, request).to_pandas()
        scores[is_ordered] = [rows[rows[c.USER_ID] == user][c.RETRIEVAL_SCORE].tolist() for user in (1, 2)]
    assert scores[True][0] != pytest.approx(scores[True][1])
    assert scores[False][0] == pytest.approx(scores[False][1])


def test_the_rating_loss_is_leave_one_out(monkeypatch):
    """The closed form against refitting each user's regression without each rating in turn."""
    start = _start()
    preset = presets.load("default", trait_penalty=0.0, bias_penalty=0.0)
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


def test_gradients_are_those_of_the_plain_definitions():
    """What the model adds up by sparse products, against TensorFlow's own gradients of gathered rows."""
    random = np.random.default_rng(0)
    movie = tf.constant([[0, 2, 5, 0], [1, 2, 4, 5], [3, 0, 0, 0]])
    present = tf.constant([[1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]], tf.float32)
    rating, ridge = tf.constant(random.uniform(0.5, 5, (3, 4)), tf.float32), tf.constant([4.0, 10.0, 10.0])
    table, bias = (tf.Variable(random.standard_normal(shape), dtype=tf.float32) for shape in ((7, 3), 7))
    row, place = tf.constant([5, 1, 2]), tf.constant([-1, 1, 2, -1, -1, 0, -1])

    def left_out():
        rows = tf.gather(table, movie) * present[..., tf.newaxis]
        residual = ((rating - tf.gather(bias, movie)) * present)[..., tf.newaxis]
        normal = tf.matmul(rows, rows, transpose_a=True) + tf.linalg.diag(ridge)
        leverage = tf.reduce_sum(
            rows * tf.linalg.matrix_transpose(tf.linalg.solve(normal, tf.transpose(rows, [0, 2, 1]))), 2
        )
        error = residual - tf.matmul(rows, tf.linalg.solve(normal, tf.matmul(rows, residual, transpose_a=True)))
        return error[..., 0] / tf.stop_gradient(1 - leverage)

    for ours, plain in (
        (lambda: history_model._left_out_errors(table, bias, movie, rating, present, ridge), left_out),
        (
            lambda: history_model._rows_summed(table + 0, movie, present * rating),
            lambda: tf.reduce_sum(tf.gather(table, movie) * (present * rating)[..., tf.newaxis], axis=1),
        ),
        (lambda: history_model._rows_summed(table + 0, movie, 0 * rating), lambda: tf.zeros((3, 3))),
        (lambda: history_model._rows(table + 0, row, place), lambda: tf.gather(table, row)),
    ):
        values, gradients = zip(_with_gradients(ours, table, bias), _with_gradients(plain, table, bias), strict=True)
        np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-5)


def _with_gradients(function, *variables):
    """Return what the function returns, and the gradients of the sum of its sines, in one array."""
    with tf.GradientTape() as tape:
        values = function()
        total = tf.reduce_sum(tf.sin(values))
    gradients = tape.gradient(total, variables, unconnected_gradients="zero")
    return values.numpy(), np.concatenate([tf.convert_to_tensor(g).numpy().ravel() for g in gradients])


def _start():
    fitted = duplicates.latest(table(make_ratings()))
    users, user = np.unique(fitted[c.USER_ID], return_inverse=True)
    ratings = closed_form.Interactions(
        user, np.searchsorted(MOVIES, fitted[c.MOVIE_ID]), fitted[c.RATING], len(users), len(MOVIES)
    )
    return closed_form.start(ratings, closed_form.features(CATALOGUE), presets.load("default"), seed=0)
