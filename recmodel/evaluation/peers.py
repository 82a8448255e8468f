"""Peers: recommenders that others publish, fitted and measured on the same split.

They are the extra `peers`, which nothing else needs: pip install 'recmodel[peers]'.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO

import numpy as np
from scipy.sparse import csr_array, csr_matrix, eye_array, hstack

from recmodel import schemas as c
from recmodel.arrays import Arrays
from recmodel.evaluation.baselines import Predictions, of_popularity
from recmodel.evaluation.splits import Split


def of_implicit(split: Split) -> Predictions:
    """Recommend by iALS of the package implicit, which solves for users by their histories, known in fitting or not.

    Source: Rendle et al., "Revisiting the Performance of iALS on Item Recommendation Benchmarks", 2022, for what its
    parameters should be like on MovieLens.
    """
    from implicit.als import AlternatingLeastSquares

    fitted, _ = _matrix(split, split.fitted[c.USER_ID], split.fitted[c.MOVIE_ID])
    model = AlternatingLeastSquares(factors=128, regularization=10.0, alpha=2.0, iterations=15, random_state=0)
    model.fit(fitted, show_progress=False)
    lists = of_popularity(split).lists  # of users without history
    assert lists is not None
    seen, _ = split.histories(split.users)
    rows = np.flatnonzero([len(movies) > 0 for movies in seen])
    movies = np.concatenate([seen[row] for row in rows])
    histories, _ = _matrix(split, np.repeat(rows, [len(seen[row]) for row in rows]), movies)
    found, _ = model.recommend(np.arange(len(rows)), histories, N=lists.shape[1], recalculate_user=True)
    lists[rows] = np.where(found >= 0, split.movie_ids[found], -1)
    return Predictions(lists=lists)


def of_myfm(split: Split) -> Predictions:
    """Predict by the Bayesian factorisation machine of the package myfm, on users, movies and the users' histories.

    Source: Rendle, Zhang and Koren, "On the Difficulty of Evaluating Baselines", 2019, whose Bayesian SVD++ it is.
    """
    import myfm

    known, held_out, movies = split.known, split.held_out, split.movie_ids
    users = np.union1d(known[c.USER_ID], held_out[c.USER_ID])
    seen, _ = split.histories(users)
    rows = np.repeat(np.arange(len(users)), [len(of_user) for of_user in seen])
    weights = 1 / np.sqrt([len(seen[row]) for row in rows])
    columns = np.searchsorted(movies, np.concatenate(seen))
    histories = csr_array((weights, (rows, columns)), (len(users), len(movies)))
    of_users = csr_matrix(hstack([eye_array(len(users)), histories]))

    def pairs(part: Arrays) -> tuple[csr_matrix, list[myfm.RelationBlock]]:
        column = np.searchsorted(movies, part[c.MOVIE_ID])
        movie = csr_matrix((np.ones(len(column)), (np.arange(len(column)), column)), (len(column), len(movies)))
        return movie, [myfm.RelationBlock(np.searchsorted(users, part[c.USER_ID]), of_users)]

    model = myfm.MyFMRegressor(rank=16, random_seed=0)
    groups = [len(movies), len(users), len(movies)]
    fitted, blocks = pairs(known)
    with redirect_stderr(StringIO()):  # it counts its iterations there
        model.fit(fitted, known[c.RATING], X_rel=blocks, n_iter=200, group_shapes=groups)
    predicted = model.predict(*pairs(held_out))
    return Predictions(ratings=np.clip(predicted, known[c.RATING].min(), known[c.RATING].max()))


PEERS: dict[str, tuple[str, Callable[[Split], Predictions]]] = {
    "iALS (implicit)": ("implicit", of_implicit),
    "Bayesian FM (myfm)": ("myfm", of_myfm),
}


def installed() -> tuple[list[str], list[str]]:
    """Return the names of the peers that are installed, and of those that are not."""
    is_there = {name: importlib.util.find_spec(package) is not None for name, (package, _) in PEERS.items()}
    return [name for name in PEERS if is_there[name]], [name for name in PEERS if not is_there[name]]


def _matrix(split: Split, users: np.ndarray, movies: np.ndarray) -> tuple[csr_matrix, np.ndarray]:
    """Return which of the [M] movies each of the users has, and these users, ascending."""
    ids, row = np.unique(users, return_inverse=True)
    column = np.searchsorted(split.movie_ids, movies)
    return csr_matrix((np.ones(len(row), np.float32), (row, column)), (len(ids), len(split.movie_ids))), ids
