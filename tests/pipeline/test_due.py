"""Whether tonight is a night to train."""

import pytest
from support.inputs import MOVIES_CSV, RATED, make_ratings, write_movielens

from recmodel import settings
from recmodel.pipeline import due

NEW = f"{MOVIES_CSV}77,Brand New (2026),Comedy\n"
OF_NEW = [*make_ratings()[4:], *((user, 77, 4.0, 2_000_000) for user in (1, 2, 3, 4))]  # as many as before


@pytest.mark.parametrize(
    ("ratings", "limits", "reason"),
    [
        (make_ratings(), {}, None),
        (OF_NEW, {}, "1 of the 7 movies are new to the current version"),
        (
            OF_NEW,
            {"max_new": 1},
            f"4 of the {RATED.num_rows} ratings are of movies that are new to the current version",
        ),
        (OF_NEW, {"max_new": 1, "max_new_ratings": 0.05}, None),
        (make_ratings() * 2, {"max_growth": 0.9}, "there are 19"),  # of a CSV file, an estimate by its size
        (OF_NEW, {"max_age_days": 0}, "the current version is 0 days old"),
    ],
)
def test_what_has_come_in_since_training_decides(toy_models, tmp_path, ratings, limits, reason):
    tonight = write_movielens(tmp_path / "tonight", ratings, NEW if ratings != make_ratings() else MOVIES_CSV)
    paths = {"data": str(tonight), "models": str(toy_models)}
    found = due.reason_to_train(settings.load(paths=paths, training={"max_growth": 0.05, **limits}))
    assert (found or "").startswith(reason or "")
    assert bool(found) == bool(reason)
