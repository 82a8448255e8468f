"""What NumPy makes of the variables of a SavedModel is what TensorFlow makes of its graphs."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmodel import schemas as c
from recmodel.data.histories import ages
from recmodel.data.ids import Labels
from recmodel.models import saved_model
from recmodel.models.history.another_day import AnotherDay
from recmodel.models.history.calibration import Calibration
from recmodel.models.history.recency import Mood, Recency
from recmodel.models.history.served import InNumPy, open_model
from recmodel.models.history.successors import Successors
from recmodel.models.history.towers import Towers
from recmodel.models.history.weights import HistoryWeights
from recmodel.schemas import TEXT, Ids
from recmodel.scoring.signatures import InTensorFlow

MOVIES = 50
EXPLICIT, IMPLICIT, TEXT_IDS = "explicit", "implicit", "text ids"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """By kind: as it is served fastest, and as by TensorFlow."""
    random = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    made = {}
    for kind in (EXPLICIT, IMPLICIT, TEXT_IDS):
        follow = random.integers(0, MOVIES, (MOVIES, 3)).astype(np.int32)
        table = Successors(follow, abs(normal(MOVIES, 3)), 0.5, np.eye(6, dtype=np.float32))
        weights = HistoryWeights(
            movie_ids=np.arange(MOVIES), seen_vectors=normal(MOVIES, 6), average_seen=normal(6),
            movie_vectors=normal(MOVIES, 6), traits=normal(MOVIES, 5), movie_bias=normal(MOVIES) + 3,
            ridge=random.uniform(1, 9, 5).astype(np.float32), mean_rating=3.4, liking=0.25, prior_weight=2.0,
            rating_range=(np.nan, np.nan) if kind == IMPLICIT else (1.0, 10.0),
            recency=Recency(0.2, 3.0), rating_recency=Recency(0.4, 5.0), calibration=Calibration(0.3, 0.9),
            blend_power=1.5, mood=None if kind == TEXT_IDS else Mood(2.0, 1.5),
            successors=None if kind == IMPLICIT else table,
            another_day=None if kind == TEXT_IDS else AnotherDay(7.0, abs(normal(MOVIES))),
        )  # fmt: skip
        folder = tmp_path_factory.mktemp("served") / "saved_model"
        labels = Labels(movies=pa.array([f"tt{movie:04}" for movie in range(MOVIES)]))
        ids_and_labels = (Ids(TEXT, TEXT), labels) if kind == TEXT_IDS else ()
        saved_model.save(Towers(weights), folder, *ids_and_labels)
        made[kind] = open_model(folder), InTensorFlow(folder)
    return made


@pytest.mark.parametrize("kind", [EXPLICIT, IMPLICIT, TEXT_IDS])
@given(
    lengths=st.lists(st.sampled_from([0, 1, 3, 4, 5, 6, 30, MOVIES]), min_size=1, max_size=6), seed=st.integers(0, 99)
)
@settings(max_examples=30)
def test_numpy_and_tensorflow_agree_to_the_last_bits(models, kind, lengths, seed):
    """Of users without a history, with fewer movies than traits, as many, and all movies."""
    in_numpy, in_tensorflow = models[kind]
    assert isinstance(in_numpy, InNumPy)
    random = np.random.default_rng(seed)
    row = np.concatenate([np.sort(random.permutation(MOVIES)[:length]) for length in lengths])
    inputs = {
        c.USER_ID: np.array(["u"] * len(lengths), object) if kind == TEXT_IDS else np.arange(len(lengths)),
        "seen_row": row,
        "seen_movie_id": np.array([f"tt{movie:04}" for movie in row], object) if kind == TEXT_IDS else row,
        "seen_rating": random.integers(1, 11, len(row)).astype(np.float32),
        "seen_row_splits": np.append(0, np.cumsum(lengths)),
        "seen_age": np.concatenate([random.permutation(length) for length in lengths]).astype(np.int32),
    }
    found, expected = in_numpy("user_vectors", inputs), in_tensorflow("user_vectors", inputs)
    assert found.keys() == expected.keys()
    lists = {"rating_vector": expected["rating"], "row": random.integers(0, MOVIES, (len(lengths), 4)).astype(np.int32)}
    for signature in ("rate_lists", "rate_catalogue"):
        if signature == "rate_catalogue":  # which in TensorFlow takes the oldest rating first
            inputs["seen_age"] = ages(inputs["seen_row_splits"])
        found |= in_numpy(signature, inputs | lists)
        expected |= in_tensorflow(signature, inputs | lists)
        np.testing.assert_allclose(found.pop(c.PREDICTED_RATING), expected.pop(c.PREDICTED_RATING), rtol=2e-5)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("kind", [EXPLICIT, IMPLICIT, TEXT_IDS])
def test_numpy_and_tensorflow_say_the_same_of_movies(models, kind):
    found, expected = (served("movie_vectors", {}) for served in models[kind])
    assert found["blend_power"] == expected["blend_power"] == 1.5
    for name in found.keys() - {c.MOVIE_ID}:  # where ids are text, NumPy has their numbers
        np.testing.assert_allclose(found[name], expected[name], err_msg=name, rtol=1e-6)
    assert found.keys() == expected.keys()
