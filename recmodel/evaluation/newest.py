"""Newest out: what training holds out, which is what the model is for.

Of some users the newest rating is held out. They are chosen by a hash of their ids, so they are the same every night,
and what is held out tonight is no surprise to the version of last night's only if it was not fitted to it: the same
rating was held out then, or it has come since. `unseen` finds these.

Where times are not known, the rating with the lowest hash takes the place of the newest one. New ratings may have a
lower one, and all that was said holds.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np

from recmodel import schemas as c
from recmodel.arrays import Arrays, mixed, runs, take
from recmodel.data import histories
from recmodel.data.ids import Labels
from recmodel.evaluation import splits
from recmodel.records import NEWEST, SOME, HeldOut, Manifest

_USERS = 10_000  # measured: enough for three digits, and done in a minute
_SALT = np.uint64(0x9E6C63D0876A9A35)  # so that the choice does not depend on those of `splits`


def choose(ratings: Arrays, labels: Labels, most: int = _USERS) -> tuple[np.ndarray, HeldOut]:
    """Choose one rating of each of at most `most` users who have two or more.

    Args:
        ratings: ascending by user.

    Returns:
        [H] int64, the rows of the chosen ratings, ascending; and by what they were chosen.
    """
    kind = NEWEST if histories.have_order(ratings[c.TIMESTAMP]) else SOME
    users, user = runs(ratings[c.USER_ID])
    hashed = _of_users(users, labels)
    eligible = np.sort(hashed[np.bincount(user, minlength=len(users)) > 1])
    up_to = float(eligible[most - 1]) if len(eligible) > most else 1.0
    rows = np.flatnonzero((hashed <= up_to)[user])
    some = take(ratings, rows)
    user = some[c.USER_ID]
    if kind == NEWEST:
        order = histories.oldest_first(some[c.TIMESTAMP], some[c.MOVIE_ID], user)
    else:
        of_pair = mixed(labels.hashes(c.USER_ID, user) ^ mixed(labels.hashes(c.MOVIE_ID, some[c.MOVIE_ID]) ^ _SALT))
        order = np.lexsort((~of_pair, user))
    last = np.append(user[1:] != user[:-1], True)[: len(user)]
    is_only = last & np.append(True, last[:-1])[: len(user)]
    return np.sort(rows[order[last & ~is_only]]), HeldOut(kind=kind, users_up_to=up_to)


def take_out(ratings: Arrays, rows: np.ndarray) -> tuple[Arrays, Arrays]:
    """Return (the other ratings, those of the rows). Empties `ratings`, so that no column is there twice for long."""
    held_out = take(ratings, rows)
    if not len(rows):
        return {name: ratings.pop(name) for name in list(ratings)}, held_out
    return {name: np.delete(ratings.pop(name), rows) for name in list(ratings)}, held_out


def put_back(others: Arrays, held_out: Arrays, rows: np.ndarray) -> Arrays:
    """Return the ratings that `take_out` has divided. Empties `others`."""
    place = rows - np.arange(len(rows))
    return {name: np.insert(others.pop(name), place, held_out[name]) for name in list(others)}


def unseen(held_out: Arrays, kind: HeldOut, current: Manifest, newest: datetime | None, labels: Labels) -> np.ndarray:
    """Return [H] bool: which of the ratings that are held out tonight the measured model of a version has not seen.

    Args:
        kind: by what they were chosen.
        newest: the time of the newest rating of tonight's input; None where times are not known.
    """
    came_later: np.ndarray = np.zeros(len(held_out[c.USER_ID]), bool)
    if current.newest_rating is not None and newest is not None:
        if current.newest_rating > newest:  # so it knows what came after tonight's newest ratings
            return came_later
        came_later = held_out[c.TIMESTAMP] > int(current.newest_rating.timestamp())
    if current.held_out is not None:
        if current.held_out.kind != kind.kind:
            return came_later
        return came_later | (_of_users(held_out[c.USER_ID], labels) <= current.held_out.users_up_to)
    before = current.settings.get("training", {})
    if not {"test_share", "seed"} <= before.keys():
        return came_later
    rows = {**held_out, "row": np.arange(len(came_later))}  # versions before 0.3.2 held pairs out
    came_later[splits.by_pair(rows, before["test_share"], before["seed"], labels)[1]["row"]] = True
    return came_later


def _of_users(user_id: np.ndarray, labels: Labels) -> np.ndarray:
    """Return float64 in [0, 1), which depend on the ids alone."""
    return (mixed(labels.hashes(c.USER_ID, user_id) ^ _SALT) >> np.uint64(11)) * 2.0**-53
