"""Statistics of the interactions, by hand."""

import numpy as np
from support.inputs import make_ratings, write_movielens

from recmodel import schemas as c
from recmodel import settings
from recmodel.data import movielens, staged, statistics
from recmodel.data.validation import Validation


def test_statistics_by_hand(tmp_path):
    """User 1 has rated movie 1 twice; the ratings of others are counted, their histories not kept."""
    folder = write_movielens(
        tmp_path / "data", [(1, 1, 2.0, 100), (1, 1, 4.5, 300), (1, 3, 5.0, 200), (2, 3, 4.5, 50), (2, 10, 0.5, 60)]
    )
    result = statistics.read(folder, [1, 99], settings.load().input)
    assert result.stars == {0.5: 1, 2.0: 1, 4.5: 2, 5.0: 1}
    assert dict(zip(result.movie_ids.tolist(), result.ratings.tolist(), strict=True)) == {
        1: 2, 2: 0, 3: 2, 4: 0, 10: 1, 11: 0,
    }  # fmt: skip
    assert {user: [(row[c.TITLE], row[c.RATING]) for row in rated] for user, rated in result.histories.items()} == {
        1: [("Matrix, The (1999)", 4.5), ("Emma (1996)", 5.0)]
    }
    assert result.rows_in == {"movies.csv": 6, "ratings.csv": 5}


def test_what_a_run_publishes_is_what_reading_again_would_give(tmp_path):
    folder, limits = write_movielens(tmp_path / "data", make_ratings(seed=3) * 2), settings.load().input
    validation = Validation(limits)
    catalogue = movielens.read_catalogue(folder, validation)
    batches = movielens.stream_ratings(folder, catalogue, validation)
    (tmp_path / "staged").mkdir()
    counted = staged.write(batches, tmp_path / "staged" / staged.file(0), catalogue.column(c.MOVIE_ID).to_numpy())
    ratings, ids = str(tmp_path / "staged"), validation.ids
    of_staged = statistics.of_staged(counted, validation.rows, [1, 3, 99], ratings, catalogue, ids)
    published = of_staged.to_bytes()
    expected = statistics.read(folder, [1, 3, 99], limits)
    assert {*expected.histories} == {1, 3}
    for result in (
        statistics.InteractionStatistics.from_bytes(content) for content in (published, expected.to_bytes())
    ):
        for name, value in vars(expected).items():
            np.testing.assert_equal(getattr(result, name), value)
