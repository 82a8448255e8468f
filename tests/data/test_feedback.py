"""Whether the input has ratings, and how interactions without any are read."""

from math import isnan

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.inputs import RATED, STRICT, csv_text, read, table, with_files

from recmodel import schemas as c
from recmodel.data import duplicates, feedback
from recmodel.data.limits import Columns
from recmodel.errors import InputRejected
from recmodel.records import EXPLICIT, IMPLICIT

PLAYS = pa.array((np.arange(RATED.num_rows) % 5 + 0.5).astype(np.float32))
WITHOUT = RATED.drop_columns(["rating"])
COUNTED = WITHOUT.append_column("plays", PLAYS)
LIKED = WITHOUT.append_column("Stars given", RATED.column("rating"))


def limits(**fields):
    return STRICT.model_copy(update=fields)


@pytest.mark.parametrize(
    ("ratings", "settings", "kind", "weights", "note"),
    [
        (RATED, {}, EXPLICIT, None, ""),
        (LIKED, {"columns": Columns(rating="stars_given")}, EXPLICIT, None, ""),
        (WITHOUT, {}, IMPLICIT, None, "no column of ratings: interactions are implicit feedback, all of one weight"),
        (COUNTED, {}, IMPLICIT, None, "no column of ratings: interactions are implicit feedback, all of one weight"),
        (COUNTED, {"weight": "Plays"}, IMPLICIT, PLAYS, "no column of ratings: interactions are implicit feedback"),
        (RATED, {"rating": "none"}, IMPLICIT, None, "ratings are not read, as input.rating is none"),
        (LIKED, {"rating": "none", "weight": "Stars given"}, IMPLICIT, RATED.column("rating"), "input.rating is none"),
    ],
    ids=["ratings", "named ratings", "none", "unnamed weights", "weights", "unwanted ratings", "ratings as weights"],
)
@pytest.mark.parametrize("name", ["ratings.csv", "interactions.parquet"])
def test_the_columns_and_the_settings_decide(tmp_path, toy, name, ratings, settings, kind, weights, note):
    files = {name: csv_text(ratings) if name.endswith("csv") else ratings}
    folder, chosen = with_files(tmp_path, files if "ratings" in name else {"ratings": b"", **files}), limits(**settings)
    (folder / "ratings").unlink(missing_ok=True)
    decided = feedback.decide(folder, chosen)
    assert (decided.kind, decided.is_weighted) == (kind, weights is not None)
    assert note in decided.note
    rows, catalogue, validation = read(folder, chosen)
    as_rated, *others = read(toy)
    if kind == IMPLICIT:
        ones = pa.array(np.ones(RATED.num_rows), pa.float32())
        values = ones if weights is None else pa.chunked_array(weights if weights is not PLAYS else [weights])
        as_rated = as_rated.set_column(2, c.RATINGS.field(c.RATING), values.cast(pa.float32()))
        assert all(map(isnan, decided.rating_range))
        assert decided.note in validation.files[-1].sentence()
    assert (rows, catalogue) == (as_rated, others[0])


@pytest.mark.parametrize("bad", ["0", "-3", "nan", "inf", "many", ""])
def test_what_is_no_weight_is_a_reject_with_its_reason(tmp_path, bad):
    lines = csv_text(COUNTED).splitlines()
    user, movie, time, _ = lines[3].split(",")
    lines[3] = f"{user},{movie},{time},{bad}"
    folder = with_files(tmp_path, {"ratings.csv": "\n".join(lines)})
    rows, _, validation = read(folder, limits(weight="plays", max_rejected_share=1.0))
    (reject,) = validation.rejected().to_pylist()
    assert (reject["row"], reject["column"], reject["value"]) == (4, "plays", bad)
    assert "not a" in reject["reason"]
    assert rows.num_rows == RATED.num_rows - 1
    with pytest.raises(InputRejected, match="row 4, column plays"):
        read(folder, limits(weight="plays"))


@pytest.mark.parametrize(
    ("ratings", "settings", "trained_on", "sentence"),
    [
        (COUNTED, {"weight": "count"}, IMPLICIT, "has no column count (it has userId, movieId, timestamp, plays); "
         "correct input.weight"),
        (RATED, {"weight": "plays"}, None, "has ratings, so the weights that input.weight names (plays) would not be"),
        (WITHOUT, {"columns": Columns(rating="note")}, None, "has no column note"),
        (WITHOUT, {}, EXPLICIT, "is implicit feedback (no column of ratings), and model m was trained on ratings"),
        (RATED, {"rating": "none"}, EXPLICIT, "is implicit feedback (ratings are not read, as input.rating is none)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path, ratings, settings, trained_on, sentence):
    folder, chosen = with_files(tmp_path, {"ratings.csv": csv_text(ratings)}), limits(**settings)
    with pytest.raises(InputRejected) as caught:
        if trained_on:
            feedback.for_model(folder, chosen, "m", trained_on)
        read(folder, chosen)
    assert sentence in str(caught.value)


def test_a_model_of_implicit_feedback_does_without_ratings_and_says_so(tmp_path):
    folder = with_files(tmp_path, {"ratings.csv": csv_text(RATED)})
    decided = feedback.for_model(folder, STRICT, "m", IMPLICIT)
    assert decided.kind == IMPLICIT
    assert decided.note.startswith("ratings are not read, as model m was trained without")


ROWS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 9).map(float), st.integers(0, 5)), min_size=1
)


@given(rows=ROWS)
def test_weights_of_one_movie_add_up_and_the_latest_time_counts(rows):
    totals: dict[tuple, tuple] = {}
    for user, movie, weight, time in rows:
        before, last = totals.get((user, movie), (0.0, 0))
        totals[user, movie] = before + weight, max(last, time)
    found = duplicates.combined(table(rows), add_up=True)
    columns = (found[name].tolist() for name in c.RATINGS.names)
    assert sorted(zip(*columns, strict=True)) == sorted((*pair, *total) for pair, total in totals.items())
