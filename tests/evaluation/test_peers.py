"""Peers, on ratings whose pattern is plain."""

import numpy as np
import pytest
from support.evaluation import by_hand

from recmodel.evaluation import peers
from recmodel.evaluation.splits import Split

MOVIES = np.arange(10, 20)


@pytest.fixture
def two_tastes():
    """Even users watch and like even movies, odd ones odd movies; each user has not seen one of them, held out."""
    rows = [(user, movie, 5.0 - user % 3, 0) for user in range(30) for movie in MOVIES if movie % 2 == user % 2]
    is_held_out = [user % 5 == movie % 10 // 2 for user, movie, *_ in rows]
    fitted = [row for row, out in zip(rows, is_held_out, strict=True) if not out]
    held_out = [row for row, out in zip(rows, is_held_out, strict=True) if out]
    return Split(by_hand(*fitted), by_hand(*held_out), MOVIES)


def test_ials_finds_the_one_that_is_missing(two_tastes):
    lists = peers.of_implicit(two_tastes).lists
    assert (lists[:, 0] % 2 == two_tastes.users % 2).all()


def test_the_factorisation_machine_knows_how_users_rate(two_tastes):
    predicted = peers.of_myfm(two_tastes).ratings
    assert np.sqrt(np.mean((predicted - two_tastes.held_out["rating"]) ** 2)) < 0.3
