"""Expanded data: the sizes asked for, valid pairs, and the long tail of the real ratings."""

import sys

import numpy as np
import pytest
from support.processes import ROOT

from recmodel import schemas as c
from recmodel import settings
from recmodel.data import movielens

sys.path.insert(0, str(ROOT / "tests/benchmarks"))
import expand


@pytest.fixture(scope="module")
def real():
    return expand.read("sample")


def tail(counts: np.ndarray) -> np.ndarray:
    """Return the shares of all ratings that the top 1 % and 10 % hold, and the Gini coefficient."""
    counts = np.sort(counts)
    shares = [counts[-int(len(counts) * top) :].sum() / counts.sum() for top in (0.01, 0.1)]
    position = np.arange(1, len(counts) + 1)
    return np.array([*shares, (2 * position - len(counts) - 1) @ counts / (len(counts) * counts.sum())])


@pytest.mark.parametrize(("ratings", "as_csv"), [(300_000, False), (6_000, True)])
def test_the_folder_is_read_by_the_product_and_has_the_sizes_asked_for(real, tmp_path, ratings, as_csv):
    sizes = {"users": 1500, "movies": 20_000, "ratings": ratings}
    expand.write(real, tmp_path, **sizes, seed=1, as_csv=as_csv)
    # Unknown movies and ratings off the scale would be rejected.
    catalogue, written, validation = movielens.read(tmp_path, settings.load().input)
    assert validation.rejected().num_rows == 0
    assert catalogue.num_rows == sizes["movies"]
    assert written.num_rows == sizes["ratings"]
    user, movie = written.column(c.USER_ID).to_numpy(), written.column(c.MOVIE_ID).to_numpy()
    assert np.array_equal(np.unique(user), np.arange(1, sizes["users"] + 1))
    assert movie.min() >= 1
    pair = user * (sizes["movies"] + 1) + movie
    assert (np.diff(pair) > 0).all()  # ascending, so none twice


def test_a_seed_draws_the_same_rows_and_another_seed_others(real):
    first, again, other = (list(expand.expanded(real, 700, 9100, 50_000, seed)) for seed in (3, 3, 4))
    assert all(a.equals(b) for a, b in zip(first, again, strict=True))
    assert not first[0].equals(other[0])


def test_tails_stay_those_of_the_real_ratings(real):
    users, movies = 20_000, 62_423
    of_user, of_movie = np.zeros(users + 1), np.zeros(movies + 1)
    for table in expand.expanded(real, users, movies, users * 150, seed=0):
        of_user += np.bincount(table["userId"], minlength=users + 1)
        of_movie += np.bincount(table["movieId"], minlength=movies + 1)
    real_user, real_movie = np.bincount(real.user), np.bincount(real.movie, minlength=real.movies)
    assert tail(of_user[1:]) == pytest.approx(tail(real_user), abs=0.03)
    assert tail(of_movie[1:]) == pytest.approx(tail(real_movie), abs=0.03)


def test_ratings_are_copies_of_real_ones(real):
    table = next(expand.expanded(real, 1342, 27_198, 100_000, seed=0))  # two by three whole copies
    rows = {
        (u, m): (r, t) for u, m, r, t in zip(real.user, real.movie, real.rating, real.timestamp, strict=True)
    }  # the first row of the grid holds the real users themselves
    for user, movie, rating, time in zip(*(column.to_pylist() for column in table.columns), strict=True):
        assert rows[user - 1, (movie - 1) % real.movies] == (rating, time)


@pytest.mark.parametrize(("users", "movies", "ratings"), [(100, 9000, 500), (671, 9066, 100_005), (1342, 9066, 1341)])
def test_sizes_that_cannot_be_are_refused(real, users, movies, ratings):
    with pytest.raises(ValueError, match="can be drawn"):
        next(expand.expanded(real, users, movies, ratings, 0))
