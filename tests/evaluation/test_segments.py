"""Segments by hand."""

import numpy as np
import pyarrow as pa
import pytest
from support.evaluation import by_hand

from recmodel import schemas as c
from recmodel.evaluation import ranking, segments
from recmodel.evaluation.baselines import Predictions
from recmodel.evaluation.splits import Split

MOVIES = np.array([10, 20, 30])
CATALOGUE = pa.table(
    {
        c.MOVIE_ID: MOVIES,
        c.TITLE: ["A (1990)", "B (2001)", "C (2010)"],
        c.GENRES: ["Drama", "Comedy|Drama", "(no genres listed)"],
    }
)


def test_each_segment_is_measured_alone():
    """User 1 knows one movie and finds what is held out; user 2 knows two and does not."""
    fitted = by_hand((1, 10, 4.0, 0), (2, 10, 4.0, 0), (2, 20, 4.0, 0))
    split = Split(fitted, by_hand((1, 20, 4.0, 1), (2, 30, 2.0, 1)), MOVIES)
    predictions = Predictions(ratings=np.array([4.0, 3.0]), lists=np.array([[20], [20]]))
    per_user = ranking.per_user(predictions.lists, split)
    found = segments.measure(predictions, per_user, split, segments.of(split, CATALOGUE))
    rows = {(row["segment"], row["of"]): row for row in found}
    assert rows["users by ratings", "1"]["recall@10"] == 1
    assert rows["users by ratings", "1"]["rmse"] == 0
    assert rows["users by ratings", "2"]["ndcg@10"] == 0
    assert rows["users by ratings", "2"]["rmse"] == 1
    assert rows["movies by ratings", "0"]["recall@10"] == 0  # movie 30
    assert rows["movies by year", "2001"]["recall@10"] == 1
    assert rows["movies by year", "2010"]["rmse"] == 1
    assert rows["genre", "Comedy"]["held out"] == rows["genre", "Drama"]["held out"] == 1
    assert ("genre", "(no genres listed)") not in rows


@pytest.mark.parametrize("values", [np.array([np.nan]), np.array([]), np.array([3.0, 3.0])])
def test_groups_of_values_that_are_missing_or_equal(values):
    assert [rows.all() for _, rows in segments._thirds(values)] == [True] * (len(values) == 2)
