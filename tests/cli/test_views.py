"""What people read in the terminal."""

from recmodel import schemas as c
from recmodel.cli import console, views


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
            console.out.print(views.recommendations("", rows))
        shown[name] = captured.get()
    assert "because you liked" not in shown["older"] + shown["popular"]
    assert "because you liked" in shown["some"]
    assert "[Rec] (2007)" in shown["some"]
