"""The SavedModel's answers, held against NumPy in float64.

The weights are small multiples of 1/2, so that both sides compute without rounding: ids must be identical, ties
included.
"""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.exact import oracle_scores, oracle_top

from recmodel.scoring import policies, recommender
from recmodel.tf import tf


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_top_n_is_the_oracles(exported, data):
    case = exported[data.draw(st.sampled_from(sorted(exported)), "catalogue size")]
    weights = case.weights
    users = data.draw(st.lists(st.integers(0, len(weights.user_ids) - 1), max_size=6), "users")
    n = data.draw(st.integers(1, len(weights.movie_ids) + 3), "n")
    candidates = data.draw(st.integers(1, len(weights.movie_ids) + 3), "candidates")
    rank_by = data.draw(st.sampled_from(policies.NAMES), "policy")
    include_seen = data.draw(st.booleans(), "include seen")
    movie = st.one_of(st.sampled_from(weights.movie_ids.tolist()), st.integers(-5, 10_000))
    seen = [
        data.draw(st.one_of(st.lists(movie, max_size=90), st.just(weights.movie_ids.tolist())), "seen") for _ in users
    ]
    top = case.model.recommend(
        weights.user_ids[users], [np.array(ids, np.int64) for ids in seen], [np.ones(len(ids)) for ids in seen],
        n=n, rank_by=rank_by, candidates=candidates, include_seen=include_seen,
    )  # fmt: skip
    for b, user in enumerate(users):
        expected = oracle_top(weights, user, [] if include_seen else seen[b], n, rank_by, candidates)
        assert top.count[b] == len(expected)
        assert top.movie_id[b, : len(expected)].tolist() == expected.tolist()
        row = np.searchsorted(weights.movie_ids, expected)
        score, rating = oracle_scores(weights, user)
        assert top.retrieval_score[b, : len(expected)].tolist() == score[row].tolist()
        assert top.predicted_rating[b, : len(expected)].tolist() == rating[row].tolist()
        assert (top.movie_id[b, len(expected) :] == -1).all()
        assert np.isnan(top.predicted_rating[b, len(expected) :]).all()


@pytest.mark.parametrize("rank_by", policies.NAMES)
@pytest.mark.parametrize("include_seen", [False, True])
def test_the_signature_recommend_says_the_same_without_this_package(exported, rank_by, include_seen):
    case = exported[60]
    seen = [case.weights.movie_ids[start::7] for start in range(20)]
    ours = case.model.recommend(
        case.weights.user_ids, seen, [np.ones(len(ids)) for ids in seen],
        n=9, rank_by=rank_by, candidates=30, include_seen=include_seen,
    )  # fmt: skip
    plain = tf.saved_model.load(str(case.folder)).signatures["recommend"](
        user_id=tf.constant(case.weights.user_ids), seen_movie_id=tf.constant(np.concatenate(seen)),
        seen_rating=tf.ones(sum(map(len, seen))), seen_row_splits=tf.constant(np.cumsum([0, *map(len, seen)])),
        n=tf.constant(9), rank_by=tf.constant(rank_by), candidates=tf.constant(30),
        include_seen=tf.constant(include_seen),
    )  # fmt: skip
    for name, values in plain.items():
        assert values.numpy().tolist() == getattr(ours, name).tolist()


def test_the_signature_recommend_refuses_an_unknown_policy(exported):
    nothing = {"seen_movie_id": tf.constant([], tf.int64), "seen_rating": tf.constant([], tf.float32)}
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="must be one of retrieval, rating, two-stage, blend, not.*best"
    ):
        tf.saved_model.load(str(exported[7].folder)).signatures["recommend"](
            user_id=tf.constant([3], tf.int64), **nothing, seen_row_splits=tf.constant([0, 0], tf.int64),
            n=tf.constant(2), rank_by=tf.constant("best"), candidates=tf.constant(3), include_seen=tf.constant(False),
        )  # fmt: skip


def test_the_exact_weights_do_tie(exported):
    """Else the test above would say nothing about ties."""
    weights = exported[60].weights
    score, rating = oracle_scores(weights, 0)
    assert len(np.unique(score)) < 60
    assert len(np.unique(rating)) < 60


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.int16])
def test_predict_is_the_oracles_for_any_integer_type(exported, dtype):
    weights, model = exported[60].weights, exported[60].model
    pairs = model.predict(np.repeat(weights.user_ids, 60).astype(dtype), np.tile(weights.movie_ids, 20).astype(dtype))
    expected = [oracle_scores(weights, user) for user in range(20)]
    assert pairs.retrieval_score.tolist() == np.concatenate([score for score, _ in expected]).tolist()
    assert pairs.predicted_rating.tolist() == np.concatenate([rating for _, rating in expected]).tolist()
    assert pairs.known_user.all()
    assert pairs.known_movie.all()


def test_rate_catalogue_is_predict_for_every_movie(exported):
    weights, model = exported[60].weights, exported[60].model
    ratings, known = model.rate_catalogue(weights.user_ids)
    assert known.all()
    assert ratings.tolist() == [oracle_scores(weights, user)[1].tolist() for user in range(20)]


def test_unknown_ids_are_flagged_and_never_scored(exported):
    weights, model = exported[7].weights, exported[7].model
    user, movie = weights.user_ids[0], weights.movie_ids[0]
    pairs = model.predict([user, user, -1, 2**62], [movie, -1, movie, 2**62])
    assert pairs.known_user.tolist() == [True, True, False, False]
    assert pairs.known_movie.tolist() == [True, False, True, False]
    for values in (pairs.predicted_rating, pairs.retrieval_score):
        assert np.isnan(values).tolist() == [False, True, True, True]
    top = model.recommend([-1, user], [np.empty(0, int)] * 2, [np.empty(0)] * 2, n=3)
    assert top.known_user.tolist() == [False, True]
    assert top.count.tolist() == [0, 3]
    assert (top.movie_id[0] == -1).all()
    assert np.isnan(model.user_embedding([-1])).all()
    assert np.isnan(model.movie_embedding([-1])).all()


def test_embeddings_are_the_towers(exported):
    weights, model = exported[60].weights, exported[60].model
    assert (model.user_embedding(weights.user_ids) == weights.user_vectors).all()
    assert (model.movie_embedding(weights.movie_ids[::-1]) == weights.movie_vectors[::-1]).all()


def test_who_is_known_by_id_needs_no_history(exported):
    case = exported[60]
    users, nothing = case.weights.user_ids[:2], [np.empty(0, np.int64)] * 2
    top = case.model.recommend(users, n=3)
    assert top.movie_id.tolist() == case.model.recommend(users, nothing, nothing, n=3).movie_id.tolist()


def test_wrong_arguments_get_a_sentence(exported):
    model = exported[7].model
    with pytest.raises(TypeError, match="movie_ids must be integers, not .*look titles up"):
        model.predict([1], ["Heat (1995)"])
    with pytest.raises(TypeError, match="user_ids must be integers, not float64"):
        model.predict([1.5], [1])
    with pytest.raises(ValueError, match="2 user ids and 1 movie ids do not make pairs"):
        model.predict([1, 2], [1])
    with pytest.raises(ValueError, match="cannot rank the top 0"):
        model.recommend([3], [np.empty(0, int)], [np.empty(0)], n=0)
    with pytest.raises(ValueError, match="no ranking policy 'best'; choose one of retrieval, rating, two-stage, blend"):
        model.recommend([3], [np.empty(0, int)], [np.empty(0)], rank_by="best")
    with pytest.raises(ValueError, match="one list of seen movies"):
        model.recommend([3, 6], [np.empty(0, int)], [np.empty(0)])


def test_unpacking_a_model_cannot_leave_its_directory(exported, tmp_path):
    case = exported[60]
    packed = io.BytesIO(recommender.pack(case.folder))
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("../../escaped", "")
        archive.writestr("/tmp/recmodel-escaped", "")
    inner = tmp_path / "outer/inner"
    recommender.unpack(packed.getvalue(), inner)
    assert recommender.Recommender(inner).predict([3], [int(case.weights.movie_ids[0])]).known_user.tolist() == [True]
    assert [path.name for path in tmp_path.iterdir()] == ["outer"]
    assert [path.name for path in (tmp_path / "outer").iterdir()] == ["inner"]
    assert not Path("/tmp/recmodel-escaped").exists()
