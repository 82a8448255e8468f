"""List rules: the best movies for each user, with a limit on the movies of each group, such as a genre."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recmodel.scoring.topn import ExcludedGroups, Pairs, Search, Top, of_users, ranked


class Cap(NamedTuple):
    """A limit on the movies of each group in a list: of each genre, and of those that are new."""

    groups: np.ndarray  # [M, G] float32: 1 where a movie is of a group, else 0
    most: np.ndarray  # [G] of each group


def lists(search: Search, users: int, n: int, hidden: Pairs, cap: Cap | None, given: np.ndarray | None = None) -> Top:
    """Return the n best movies for each user, without the hidden pairs and within the cap, if there is one.

    A list is filled greedily, in the order of the ranking: a movie is skipped if the list has enough movies of any of
    its groups. How far down the ranking that goes is not known in advance, so it happens in rounds, each among the
    movies none of whose groups is full. A round fills the list, exhausts the catalogue, or skips a movie, which means
    that it has filled a group: there are at most as many rounds as groups, plus one.

    Args:
        given: [B, k] what the lists have already, and is counted in their groups; -1 pads. None: nothing.
    """
    if given is not None:
        user, place = np.nonzero(given >= 0)
        hidden = hidden.and_also(Pairs(user, given[user, place]))
    if cap is None:
        best = search(np.arange(users), n, hidden, None)
        return Top(best.row[:, :n], best.score[:, :n])
    row, score = np.full((users, n), -1), np.full((users, n), np.nan, np.float32)
    filled, of_group = np.zeros(users, int), np.zeros((users, cap.groups.shape[1]), np.float32)
    if given is not None:
        np.add.at(of_group, user, cap.groups[given[user, place]])
    short = np.arange(users)
    while len(short):
        full = (of_group[short] >= cap.most).astype(np.float32)
        best = search(short, n, of_users(short, hidden), ExcludedGroups(cap.groups, full) if full.any() else None)
        fits, of_group[short] = _fitting(best.row, of_group[short], n - filled[short], cap)
        place, at = np.nonzero(fits)
        user = short[place]
        to = (filled[short, np.newaxis] + np.cumsum(fits, axis=1) - 1)[place, at]
        row[user, to], score[user, to] = best.row[place, at], best.score[place, at]
        filled[short] += fits.sum(axis=1)
        hidden = hidden.and_also(Pairs(user, row[user, to]))
        more = best.row.shape[1] >= n and (best.row[:, -1] >= 0)
        short = short[(filled[short] < n) & more]
    return ranked(row, score, n)


def _fitting(row: np.ndarray, of_group: np.ndarray, room: np.ndarray, cap: Cap) -> tuple[np.ndarray, np.ndarray]:
    """Choose the movies that go into each list.

    Args:
        row: [b, k] the movies to choose from, best first; -1 pads.
        of_group: [b, G] how many movies of each group the list has already.
        room: [b] how many more movies the list takes.

    Returns:
        [b, k] bool, the movies that go into the list; and [b, G], how many of each group it has with them.
    """
    fits = np.zeros(row.shape, bool)
    for place in range(row.shape[1]):
        groups = cap.groups[row[:, place]]
        fits[:, place] = (row[:, place] >= 0) & (room > 0) & ~((of_group >= cap.most) & (groups > 0)).any(axis=1)
        of_group = of_group + groups * fits[:, place, np.newaxis]
        room = room - fits[:, place]
    return fits, of_group
