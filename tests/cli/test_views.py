"""What people read in the terminal."""

import pytest
from support.processes import here

from recmodel import formatting
from recmodel import schemas as c
from recmodel.cli import console, views
from recmodel.pipeline import predict


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


def test_a_task_that_a_model_was_not_trained_for_is_named():
    table = views.predictions("of a model", [predict.Prediction(1, "A", None, 0.5)])
    assert table.caption == "this model was not trained to predict ratings"


@pytest.mark.parametrize(("encoding", "name"), [("utf-8", "é★–"), ("latin-1", "é*-"), ("ascii", "e*-")])
def test_characters_that_the_encoding_lacks_are_replaced_by_plain_ones(tmp_path, encoding, name):
    """On both streams."""
    folder = tmp_path / "é★–"
    listed = here("models", "list", "--models", folder, encoding=encoding)
    assert f"{tmp_path}/{name} has no version yet" in listed.stdout
    refused = here("show", 1, "--output", folder, encoding=encoding)
    assert f"{tmp_path}/{name} holds no published run" in refused.stderr


def test_plain_characters_keep_columns_aligned():
    shown = "✓ 3.6 ★★★½ – −1 ± 2 … „日本“ Amélie" + formatting.NBSP
    assert len(formatting.ascii_only(shown)) == len(shown)
    assert formatting.ascii_only("3.6 ★★★½ – Amélie") == "3.6 ***+ - Amelie"
