"""What people read in the terminal."""

import pytest

from recmodel import schemas as c
from recmodel.cli import console


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0, 1_000, "users", 2.0), "0 of 1,000 users"),
        ((250, 1_000, "users", 2.0), "250 of 1,000 users, 125 users/s, 6.0 s left"),
        ((9_000, 1_000_000, "ratings", 9.0), "9,000 of 1,000,000 ratings, 1,000 ratings/s, 16 min 31 s left"),
    ],
)
def test_how_far(arguments, sentence):
    assert console.how_far(*arguments).replace("\u00a0", " ") == sentence


def test_a_table_for_people_has_reasons_where_the_run_has_some():
    row = {
        c.RANK: 1, c.TITLE: "Heat (1995)", c.RETRIEVAL_SCORE: None, c.PREDICTED_RATING: 4.0, c.MOVIE_ID: 6,
        c.SOURCE: c.SOURCE_POPULARITY,
    }  # fmt: skip
    shown = {}
    for name, rows in {
        "older": [row], "popular": [row | {c.BECAUSE_TITLE: None}], "some": [row | {c.BECAUSE_TITLE: "[Rec] (2007)"}]
    }.items():  # fmt: skip
        with console.out.capture() as captured:
            console.out.print(console.recommendations("", rows))
        shown[name] = captured.get()
    assert "because you liked" not in shown["older"] + shown["popular"]
    assert "because you liked" in shown["some"]
    assert "[Rec] (2007)" in shown["some"]
