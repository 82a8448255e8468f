"""Progress, as people read it."""

import pytest

from recmodel import progress


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0, 1_000, "users", 2.0), "0 of 1,000 users"),
        ((250, 1_000, "users", 2.0), "250 of 1,000 users, 125 users/s, 6.0 s left"),
        ((9_000, 1_000_000, "ratings", 9.0), "9,000 of 1,000,000 ratings, 1,000 ratings/s, 16 min 31 s left"),
    ],
)
def test_how_far(arguments, sentence):
    assert progress.describe(*arguments).replace("\u00a0", " ") == sentence
