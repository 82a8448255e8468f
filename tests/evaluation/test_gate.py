"""The gate that a new model has to pass."""

import numpy as np

from recmodel import schemas as c
from recmodel.evaluation import evaluation
from recmodel.settings import Gate


def test_the_gate_asks_for_more_than_biases_and_popularity():
    """Hand-worked: everybody gives movie i the rating i, so biases predict without error; lists of movie 1 alone."""
    fitted = {c.USER_ID: np.repeat([1, 2, 3], 2), c.MOVIE_ID: np.tile([1, 2], 3), c.RATING: np.tile([1.0, 2.0], 3)}
    held_out = {c.USER_ID: np.array([1, 2]), c.MOVIE_ID: np.array([3, 3]), c.RATING: np.array([1.5, 1.5])}
    split = evaluation.Split(fitted, held_out, np.arange(1, 200))
    good = {"rmse": 0.0, "top_k_accuracy_unseen": {"100": 1.0}, "baselines": evaluation.baselines(split)}
    margins = Gate(rmse=0.01, accuracy=0.01)
    assert evaluation.gate(good, split, None, margins) == []
    (reason,) = evaluation.gate(good | {"rmse": 0.9}, split, None, margins)
    assert "held-out RMSE 0.9000 is above 0.0000 of mean and biases" in reason
    (reason,) = evaluation.gate(good | {"top_k_accuracy_unseen": {"100": 0.5}}, split, None, margins)
    assert "held-out top-100 accuracy 0.5000 is below 1.0000 of popularity" in reason
    neither_task = {"test_rows": 2, "baselines": evaluation.baselines(split)}
    assert evaluation.gate(neither_task, split, None, margins) == []
