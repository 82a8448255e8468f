"""Models with text for ids: every signature says what the model with integers says, in its order."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from support.inputs import CATALOGUE
from support.training import train

from recmodel import schemas as c
from recmodel.data.ids import Labels
from recmodel.errors import ModelRejected
from recmodel.models import saved_model
from recmodel.models.history.extend import add_movies
from recmodel.models.tensors import TextIds
from recmodel.schemas import TEXT, Ids
from recmodel.scoring.recommender import Recommender
from recmodel.tf import tf

MOVIES = np.array(["007", "7", "A", "Z", "é", "日本"], object)  # in the order of their bytes
TEXTS = Ids(TEXT, TEXT)


@pytest.fixture(scope="module", params=["default", "joint"])
def both(request, tmp_path_factory):
    """A model with integers, the same with text, and how ids of the one are written in the other."""
    folder = tmp_path_factory.mktemp(request.param)
    trained, _, _ = train(request.param)
    weights = trained.weights
    users = getattr(weights, "user_ids", np.arange(1, 41))
    user_texts = np.array([f"user-{number:03}" for number in users], object)
    saved_model.save(trained.towers(), folder / "integers")
    numbered = {"movie_ids": np.arange(len(MOVIES))}
    if hasattr(weights, "user_ids"):
        numbered["user_ids"] = np.arange(len(users))
    weights = type(weights)(**{**vars(weights), **numbered})
    labels = Labels(pa.array(user_texts, pa.string()), pa.array(MOVIES, pa.string()))
    towers = type(trained)(**{**vars(trained), "weights": weights}).towers()
    saved_model.save(towers, folder / "texts", TEXTS, labels)
    seen = [np.random.RandomState(user).permutation(CATALOGUE.column(c.MOVIE_ID).to_numpy())[:3] for user in users]
    return SimpleNamespace(
        integers=Recommender(folder / "integers"), texts=Recommender(folder / "texts"), folder=folder, users=users,
        user_texts=user_texts, seen=seen, stars=[np.array([4.0, 2.0, 5.0])] * len(users),
    )  # fmt: skip


def text_of(movie_ids: np.ndarray) -> np.ndarray:
    return MOVIES[np.searchsorted(CATALOGUE.column(c.MOVIE_ID).to_numpy(), movie_ids)]


@pytest.mark.parametrize("rank_by", ["retrieval", "rating", "two-stage"])
def test_lists_are_the_same(both, rank_by):
    # The oldest, as the others' places in the order count.
    seen = [np.insert(text_of(ids), 0, "not in the catalogue") for ids in both.seen]
    stars = [np.insert(values, 0, 1.0) for values in both.stars]
    denied = [ids[:1] for ids in both.seen]
    options = {"n": 4, "rank_by": rank_by, "candidates": 3, "liked_from": 2.5, "include_seen": True}
    expected = both.integers.recommend(both.users, both.seen, both.stars, denied=denied, **options)
    found = both.texts.recommend(both.user_texts, seen, stars, denied=[text_of(ids) for ids in denied], **options)
    for name in ("row", "retrieval_score", "predicted_rating", "because", "count", "known_user"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    filled = expected.row >= 0
    assert found.movie_id[filled].tolist() == text_of(expected.movie_id[filled]).tolist()
    assert set(found.movie_id[~filled]) <= {None}


def test_every_other_answer_is_the_same(both):
    for which in ("rate_catalogue", "user_embedding"):
        expected = getattr(both.integers, which)(both.users, both.seen, both.stars)
        np.testing.assert_equal(
            getattr(both.texts, which)(both.user_texts, [text_of(ids) for ids in both.seen], both.stars), expected
        )
    movies = CATALOGUE.column(c.MOVIE_ID).to_numpy()
    np.testing.assert_array_equal(both.texts.movie_embedding(MOVIES), both.integers.movie_embedding(movies))
    pairs = [both.users[:6], movies, both.seen[:6], both.stars[:6]]
    texts = [both.user_texts[:6], MOVIES, [text_of(ids) for ids in both.seen[:6]], both.stars[:6]]
    np.testing.assert_equal(vars(both.texts.predict(*texts)), vars(both.integers.predict(*pairs)))


def test_unknown_ids_are_unknown(both):
    nobody = both.texts.predict(["nobody"], ["nothing"], [np.empty(0, object)], [np.empty(0)])
    assert not nobody.known_user.any() and not nobody.known_movie.any()  # noqa: PT018
    assert np.isnan(nobody.predicted_rating).all()
    with pytest.raises(TypeError, match="user_ids must be text"):
        both.texts.predict([1], ["7"], [np.empty(0, object)], [np.empty(0)])


def test_the_signatures_take_and_give_strings_without_this_package(both):
    signatures = tf.saved_model.load(str(both.folder / "texts")).signatures
    answer = signatures["recommend"](
        user_id=tf.constant([both.user_texts[0]]), seen_movie_id=tf.constant(["7", "none"]),
        seen_rating=tf.constant([4.0, 3.0]), seen_row_splits=tf.constant([0, 2], tf.int64), n=tf.constant(9),
        rank_by=tf.constant("retrieval"), candidates=tf.constant(9), include_seen=tf.constant(False),
    )  # fmt: skip
    found = [text.decode() for text in answer["movie_id"].numpy()[0]]
    assert sorted(found[:-1]) == sorted({*MOVIES} - {"7"})
    assert found[-1] == ""


@pytest.mark.parametrize("both", ["default"], indirect=True)
def test_new_movies_take_their_place_among_texts(both, tmp_path):
    new = pa.table([["B", "zz"], ["New (2026)", "Newer (2026)"], ["Comedy", "Drama"], [None] * 2, [None] * 2],
                   schema=c.with_ids(c.CATALOGUE, TEXTS))  # fmt: skip
    add_movies(both.folder / "texts", new, tmp_path / "more", TEXTS)
    more = Recommender(tmp_path / "more")
    assert more.catalogue_ids.tolist() == ["007", "7", "A", "B", "Z", "zz", "é", "日本"]
    np.testing.assert_array_equal(more.movie_embedding(MOVIES), both.texts.movie_embedding(MOVIES))


def test_ids_are_found_among_hundreds_of_thousands():
    texts = np.sort(np.array([f"{number:08x}" for number in np.random.RandomState(0).permutation(300_000)], object))
    ids = TextIds(texts)
    assert ids.numbers(tf.constant(texts[::-1])).numpy().tolist() == [*range(len(texts))][::-1]
    assert ids.numbers(tf.constant(["", "x", "0000000"])).numpy().tolist() == [-1, -1, -1]


@pytest.mark.parametrize("texts", [[], ["b", "a"], ["a", "a"]])
def test_texts_must_ascend(texts):
    with pytest.raises(ModelRejected, match="ascend strictly"):
        TextIds(np.array(texts, object))
