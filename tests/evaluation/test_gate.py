"""The gate that a new model has to pass."""

import numpy as np
import pytest

from recmodel import schemas as c
from recmodel.evaluation.gate import reasons_to_refuse
from recmodel.evaluation.metrics import baseline_measures
from recmodel.evaluation.splits import Split
from recmodel.records import Measures
from recmodel.settings import Gate

MARGINS = Gate(rmse=0.01, accuracy=0.01)
GOOD = Measures(rmse=0.0, top_k_accuracy_unseen={"100": 1.0})


@pytest.fixture(scope="module")
def baselines():
    """Hand-worked: everybody gives movie i the rating i, so biases predict without error; lists of movie 1 alone."""
    fitted = {c.USER_ID: np.repeat([1, 2, 3], 2), c.MOVIE_ID: np.tile([1, 2], 3), c.RATING: np.tile([1.0, 2.0], 3),
              c.TIMESTAMP: np.zeros(6)}  # fmt: skip
    held_out = {c.USER_ID: np.array([1, 2]), c.MOVIE_ID: np.array([3, 3]), c.RATING: np.array([1.5, 1.5])}
    return baseline_measures(Split(fitted, held_out, np.arange(1, 200)))


def test_the_gate_asks_for_more_than_biases_and_popularity(baselines):
    assert reasons_to_refuse(GOOD, baselines, None, MARGINS) == []
    (reason,) = reasons_to_refuse(GOOD.model_copy(update={"rmse": 0.9}), baselines, None, MARGINS)
    assert "held-out RMSE 0.9000 is above 0.0000 of mean and biases" in reason
    worse = GOOD.model_copy(update={"top_k_accuracy_unseen": {"100": 0.5}})
    (reason,) = reasons_to_refuse(worse, baselines, None, MARGINS)
    assert "held-out top-100 accuracy 0.5000 is below 1.0000 of popularity" in reason
    assert reasons_to_refuse(Measures(), baselines, None, MARGINS) == []


def test_the_gate_lets_a_model_be_worse_than_the_current_one_by_the_margins():
    current = ("v1", Measures(rmse=0.80, top_k_accuracy_unseen={"100": 0.50}))
    for rmse, accuracy, refused in ((0.809, 0.491, 0), (0.811, 0.491, 1), (0.809, 0.489, 1), (0.811, 0.489, 2)):
        new = Measures(rmse=rmse, top_k_accuracy_unseen={"100": accuracy})
        reasons = reasons_to_refuse(new, {}, current, MARGINS)
        assert len(reasons) == refused
        assert all("of v1" in reason for reason in reasons)
