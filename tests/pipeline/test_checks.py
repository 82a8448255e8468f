"""What a run must be like before it is published, on a small one with one fault at a time."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from recmodel import schemas as c
from recmodel.data.catalogue import combine
from recmodel.errors import ScoringFailed
from recmodel.pipeline import checks
from recmodel.records import Figures
from recmodel.scoring import faults
from recmodel.settings import Checks

GOOD = [(1, 1, 10, 0.9, 4.0, "model"), (1, 2, 20, 0.8, 3.0, "model"), (2, 1, 30, None, 2.0, "popularity")]
RATED = [(1, 30), (2, 10), (2, 20), (3, 10), (3, 20), (3, 30), (3, 40)]  # user 3 has seen everything
COLUMNS = (c.USER_ID, c.RANK, c.MOVIE_ID, c.RETRIEVAL_SCORE, c.PREDICTED_RATING, c.SOURCE)
MOVIES = [10, 20, 30, 40]


def catalogue_of(*movies: int, genres: dict[int, str | None] | None = None) -> pa.Table:
    nothing, of_movies = pa.nulls(len(movies)), [(genres or {}).get(movie) for movie in movies]
    columns = [pa.array(movies), [f"M{movie}" for movie in movies], pa.array(of_movies, pa.string()), nothing, nothing]
    return pa.table(columns, c.CATALOGUE.names).cast(c.CATALOGUE)


def expected(tonight=MOVIES, allowed=MOVIES, genres=None, **changes) -> faults.Expectations:
    catalogues = combine(catalogue_of(*tonight, genres=genres), catalogue_of(*MOVIES, genres=genres), place_new=False)
    usual = {"top_n": 2, "include_seen": False, "tasks": ("retrieval", "rating"), "rating_range": (0.5, 5.0)}
    return checks.expectations(
        catalogues, np.isin(MOVIES, allowed), **{"max_per_genre": 0, "max_new": None, **usual, **changes}
    )


def found(rows, expectations: faults.Expectations, denied=None, opted_out=None, reserve=()) -> faults.Found:
    """Of these rows, and lists of them; a pair of a user and a movie in the reserve comes after them."""
    rows = sorted(rows, key=lambda row: row[0])
    columns = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    users = {user: sum(of == user for of, _ in RATED) for user in (1, 2, 3)}

    def pairs(some) -> pa.Table:
        return pa.table({
            c.USER_ID: pa.array([user for user, _ in some], pa.int64()),
            c.MOVIE: pa.array([MOVIES.index(movie) for _, movie in some], pa.int32()),
        })  # fmt: skip

    return faults.found(
        pa.table({name: pa.array(columns[name], c.RECOMMENDATION.field(name).type) for name in COLUMNS}),
        lists_of([(row[0], row[2]) for row in rows] + [*reserve]),
        pa.table({c.USER_ID: [*users], c.MOVIES_COUNT: [*users.values()]}),
        None if expectations.include_seen else pairs(RATED),
        None if denied is None else pairs(denied),
        opted_out,
        expectations,
    )


def lists_of(pairs) -> pa.Table:
    by_user: dict[int, list] = {}
    for user, movie in pairs:
        by_user.setdefault(user, []).append({c.MOVIE_ID: movie})
    return pa.Table.from_pylist(
        [{c.USER_ID: user, c.RECOMMENDATIONS: movies} for user, movies in sorted(by_user.items())], c.LIST
    )


def check(rows, expectations=None, **rules) -> Figures:
    return checks.figures([found(rows, expectations or expected(), **rules)])


def test_a_good_run_gives_its_figures():
    assert check(GOOD) == Figures(
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
    ([GOOD[0], (1, 2, 20, 0.8, float("nan"), "model"), GOOD[2]], [NO_RATING]),
    ([GOOD[0], (1, 2, 20, 0.8, 5.5, "model"), GOOD[2]], [OFF_SCALE]),
]


@pytest.mark.parametrize(("rows", "wrong"), FAULTY)
def test_every_fault_is_counted(rows, wrong):
    assert +found(rows, expected()).faults == Counter(wrong)


@pytest.mark.parametrize(("rows", "wrong"), [FAULTY[0], FAULTY[7]])
def test_a_run_with_a_fault_is_not_published(rows, wrong):
    with pytest.raises(ScoringFailed, match=f"the run is not published: 1 {wrong[0]}; the last one still stands"):
        check(rows)


def test_parts_are_added_up():
    parts = [found(GOOD, expected()), found(GOOD[:2], expected(), denied=[(2, 30), (2, 40)])]
    assert checks.figures(parts) == Figures(
        rows=5, users=3, distinct_movies=3, mean_predicted_rating=3.2, popular_rows=1, popular_users=1
    )
    with pytest.raises(ScoringFailed, match="1 users are missing"):
        checks.figures([*parts, found(GOOD[:2], expected())])


RESERVE = "movies in reserve may not be recommended to their user"


@pytest.mark.parametrize(
    ("reserve", "wrong"),
    [
        ([(1, 40)], []),
        ([(1, 30), (1, 40), (1, 99)], [RESERVE, RESERVE]),  # user 1 has rated 30
        ([(2, 40)], ["parts of the table lists differ from recommendations"]),  # it would have the rank 2 of two
        ([(3, 30)], ["parts of the table lists differ from recommendations"]),
    ],
)
def test_lists_have_the_recommendations_and_then_a_reserve_to_which_the_rules_apply(reserve, wrong):
    assert +found(GOOD, expected(), reserve=reserve).faults == Counter(wrong)
    if not wrong:
        assert +found(GOOD, expected(allowed=[10, 20, 30]), reserve=reserve).faults == Counter([RESERVE])
        assert +found(GOOD, expected(tonight=[10, 20, 30]), reserve=reserve).faults == Counter([RESERVE])
        assert +found(GOOD, expected(), reserve=reserve, denied=[(1, 40)]).faults == Counter([RESERVE])
        assert +found(GOOD, expected(max_new=0), reserve=reserve).faults == Counter()


def test_a_task_without_training_may_leave_its_column_empty():
    rows = [(user, rank, movie, None, *rest) for user, rank, movie, _, *rest in GOOD]
    assert check(rows, expected(tasks=("rating",))).rows == 3


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
        (2, {10: "Action|Crime", 20: "Action", 30: "(no genres listed)"}, [(2, 10), (3, 10), (1, 40)], None),
        (1, {10: "(no genres listed)", 20: "(no genres listed)", 30: None}, [], None),
        (0, {10: "Action", 30: "Drama"}, [], "1 recommended movies are against the rules"),
        (1, {10: "Action|Crime", 20: "Action", 30: "Crime"}, [], "1 times a list has more than 1 movies of a"),
        (2, {10: None, 20: None, 30: None}, [(1, 20), (2, 20)], "1 recommended movies are denied to their user"),
    ],
)
def test_a_run_against_a_rule_is_not_published(most, allowed, denied, sentence):
    expectations = expected(allowed=[*allowed], genres=allowed, max_per_genre=most)
    if sentence is None:
        assert check(GOOD, expectations, denied=denied).rows == len(GOOD)
    else:
        with pytest.raises(ScoringFailed, match=f"the run is not published: {sentence}"):
            check(GOOD, expectations, denied=denied)


def test_a_user_to_whom_the_rest_is_denied_may_be_missing():
    """User 2 has rated two of the four movies."""
    others = GOOD[:2]
    with pytest.raises(ScoringFailed, match="1 users are missing"):
        check(others)
    check(others, denied=[(2, 30), (2, 40)])


def test_a_run_with_a_movie_that_is_gone_is_not_published():
    """Whatever the scoring thinks may be recommended."""
    with pytest.raises(ScoringFailed, match="1 recommended movies are not in tonight's catalogue"):
        check(GOOD, expected(tonight=[10, 30, 40]))


def test_a_run_with_more_new_movies_than_allowed_is_not_published():
    rows = [(*row[:5], "content") for row in GOOD[:2]] + GOOD[2:]
    assert check(rows, expected(max_new=2)).new_rows == 2
    with pytest.raises(ScoringFailed, match="1 lists have more than 1 new movies"):
        check(rows, expected(max_new=1))


def test_a_run_for_somebody_who_opted_out_is_not_published():
    assert check(GOOD, opted_out=pa.array([2])).rows == 3  # what is popular may be recommended
    with pytest.raises(ScoringFailed, match="2 recommendations by the model are of users who opted out"):
        check(GOOD, opted_out=pa.array([1]))
