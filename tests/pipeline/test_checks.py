"""What a run must be like before it is published, on a small one with one fault at a time."""

from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pytest

from recmodel import schemas as c
from recmodel.data.catalogue import combine
from recmodel.errors import ScoringFailed
from recmodel.pipeline import checks
from recmodel.records import Figures
from recmodel.settings import Checks

SCHEMA = (
    f"{c.USER_ID} BIGINT, {c.RANK} INT, {c.MOVIE_ID} BIGINT, {c.RETRIEVAL_SCORE} FLOAT, {c.PREDICTED_RATING} FLOAT, "
    f"{c.SOURCE} STRING"
)
EXPECTED = checks.Expectations(
    top_n=2, movies=3, include_seen=False, tasks=("retrieval", "rating"), rating_range=(0.5, 5.0)
)
GOOD = [(1, 1, 10, 0.9, 4.0, "model"), (1, 2, 20, 0.8, 3.0, "model"), (2, 1, 30, None, 2.0, "popularity")]
RATED = [(1, 30), (2, 10), (2, 20), (3, 10), (3, 20), (3, 30)]  # user 3 has seen everything


PAIRS = f"{c.USER_ID} BIGINT, {c.MOVIE_ID} BIGINT"


def catalogue_of(*movies: int) -> pa.Table:
    nothing = pa.nulls(len(movies))
    columns = [pa.array(movies), [f"M{movie}" for movie in movies], nothing, nothing, nothing]
    return pa.table(columns, c.CATALOGUE.names).cast(c.CATALOGUE)


TONIGHT = catalogue_of(10, 20, 30, 40)


def check(spark, rows, expected=EXPECTED, tonight=TONIGHT, **rules):
    by_user = spark.createDataFrame([(1, 1), (2, 2), (3, 3)], f"{c.USER_ID} BIGINT, movies BIGINT")
    rated = spark.createDataFrame(RATED, PAIRS)
    catalogues = combine(tonight, TONIGHT, place_new=False)
    return checks.check(spark.createDataFrame(rows, SCHEMA), rated, by_user, expected, catalogues, **rules)


def test_a_good_run_gives_its_figures(spark):
    assert check(spark, GOOD) == Figures(
        rows=3, users=2, distinct_movies=3, mean_predicted_rating=3.0, popular_rows=1, popular_users=1
    )


MISSING, NOT_ASKED = "users are missing", "users were not asked for"
RANKS = "lists are too long, or their ranks are not 1, 2, 3, …"
TWICE, SEEN = "movies come twice in a list", "recommended movies have been rated by their user"
NO_SCORE, NO_RATING = "rows have no retrieval_score", "rows have no predicted_rating"
OFF_SCALE = "predicted ratings are off the scale"
FAULTY = [
    (GOOD[:2], [MISSING]),
    ([*GOOD, (4, 1, 10, 0.9, 4.0, "model")], [NOT_ASKED]),
    ([GOOD[0], (1, 3, 20, 0.8, 3.0, "model"), GOOD[2]], [RANKS]),
    ([GOOD[0], (1, 1, 20, 0.8, 3.0, "model"), GOOD[2]], [RANKS]),
    ([(1, 2, 20, 0.8, 3.0, "model"), GOOD[2]], [RANKS]),
    ([GOOD[0], (1, 0, 20, 0.8, 3.0, "model"), GOOD[2]], [RANKS]),
    ([*GOOD, (1, 3, 40, 0.7, 3.0, "model")], [RANKS]),
    ([GOOD[0], (1, 2, 10, 0.8, 3.0, "model"), GOOD[2]], [TWICE]),
    ([*GOOD, (2, 2, 10, None, 2.0, "popularity")], [SEEN]),
    ([GOOD[0], (1, 2, 20, None, 3.0, "model"), GOOD[2]], [NO_SCORE]),
    ([GOOD[0], (1, 2, 20, float("nan"), 3.0, "model"), GOOD[2]], [NO_SCORE]),
    ([GOOD[0], (1, 2, 20, 0.8, float("nan"), "model"), GOOD[2]], [NO_RATING, OFF_SCALE]),
    ([GOOD[0], (1, 2, 20, 0.8, 5.5, "model"), GOOD[2]], [OFF_SCALE]),
]


def test_every_fault_is_counted(spark):
    """All faulty runs at once, each of users of its own."""

    def of_all(runs: list[list[tuple]]) -> list[tuple]:
        return [(100 * number + user, *rest) for number, rows in enumerate(runs) for user, *rest in rows]

    rows = spark.createDataFrame(of_all([rows for rows, _ in FAULTY]), SCHEMA)
    by_user = spark.createDataFrame(
        of_all([[(1, 1), (2, 2), (3, 3)]] * len(FAULTY)), f"{c.USER_ID} BIGINT, movies BIGINT"
    )
    rated = spark.createDataFrame(of_all([RATED] * len(FAULTY)), PAIRS)
    _, faults = checks._check_by_user(rows, by_user, EXPECTED, None)
    faults |= checks._check_pairs(rows, rated, rows.select(c.MOVIE_ID).distinct())
    assert faults == Counter(fault for _, names in FAULTY for fault in names)


@pytest.mark.parametrize(("rows", "faults"), [FAULTY[0], FAULTY[7]])
def test_a_run_with_a_fault_is_not_published(spark, rows, faults):
    with pytest.raises(ScoringFailed, match=f"the run is not published: 1 {faults[0]}; the last one still stands"):
        check(spark, rows)


def test_a_task_without_training_may_leave_its_column_empty(spark):
    rows = [(user, rank, movie, None, *rest) for user, rank, movie, _, *rest in GOOD]
    expected = checks.Expectations(2, 3, False, ("rating",), (0.5, 5.0))
    assert check(spark, rows, expected).rows == 3


def test_a_run_far_from_the_last_is_not_published():
    limits = Checks(max_user_loss=0.2, max_coverage_change=0.5, max_rating_shift=0.3)
    last = Figures(users=100, distinct_movies=40, mean_predicted_rating=3.5)
    checks.compare(Figures(users=80, distinct_movies=60, mean_predicted_rating=3.2), last, limits)
    for change, what in (
        ({"users": 79}, "users, as a share lost, changed by 0.210"),
        ({"distinct_movies": 19}, "the recommended share of the catalogue changed by 0.525"),
        ({"distinct_movies": 61}, "the recommended share of the catalogue changed by 0.525"),
        ({"mean_predicted_rating": 3.9}, "the mean predicted rating changed by 0.400"),
    ):
        with pytest.raises(ScoringFailed, match=f"{what} since the last run"):
            checks.compare(last.model_copy(update=change), last, limits)


@pytest.mark.parametrize(
    ("most", "allowed", "denied", "sentence"),
    [
        (2, [(10, "Action|Crime"), (20, "Action"), (30, "(no genres listed)")], [(2, 10), (3, 10), (4, 20)], None),
        (1, [(10, "(no genres listed)"), (20, "(no genres listed)"), (30, None)], [], None),
        (0, [(10, "Action"), (30, "Drama")], [], "1 recommended movies are against the rules"),
        (1, [(10, "Action|Crime"), (20, "Action"), (30, "Crime")], [], "1 times a list has more than 1 movies of a"),
        (2, [(10, None), (20, None), (30, None)], [(1, 20), (2, 20)], "1 recommended movies are denied to their user"),
    ],
)
def test_a_run_against_a_rule_is_not_published(spark, most, allowed, denied, sentence):
    rules = {
        "allowed": spark.createDataFrame(allowed, f"{c.MOVIE_ID} BIGINT, {c.GENRES} STRING"),
        "denied": spark.createDataFrame(denied, PAIRS),
    }
    expected = replace(EXPECTED, max_per_genre=most)
    if sentence is None:
        assert check(spark, GOOD, expected, **rules).rows == len(GOOD)
    else:
        with pytest.raises(ScoringFailed, match=f"the run is not published: {sentence}"):
            check(spark, GOOD, expected, **rules)


def test_a_user_to_whom_the_rest_is_denied_may_be_missing(spark):
    """User 2 has rated two of the three movies."""
    others = GOOD[:2]
    with pytest.raises(ScoringFailed, match="1 users are missing"):
        check(spark, others)
    check(spark, others, denied=spark.createDataFrame([(2, 30)], PAIRS))


def test_a_run_with_a_movie_that_is_gone_is_not_published(spark):
    """Whatever the scoring thinks may be recommended."""
    with pytest.raises(ScoringFailed, match="1 recommended movies are not in tonight's catalogue"):
        check(spark, GOOD, tonight=catalogue_of(10, 30, 40))
