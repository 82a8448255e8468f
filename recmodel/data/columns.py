"""Columns: which column of a file is which of ours.

In this order: the name that the settings give (`input.columns`), MovieLens' name, ours, and names that are common
elsewhere, the last in any case and with or without blanks, hyphens and underscores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from recmodel import schemas as c
from recmodel.errors import InputRejected

_MOVIELENS = {ours: theirs for theirs, ours in c.MOVIELENS_NAMES.items()}
# Folded as `_fold` does. Where a file has several of them, the first counts.
_COMMON = {
    c.USER_ID: ("userid", "user", "uid", "customerid", "memberid"),
    c.MOVIE_ID: ("movieid", "itemid", "filmid", "movie", "item", "iid", "mid"),
    c.RATING: ("rating", "ratings", "stars", "score"),
    c.WEIGHT: (),  # plays, quantity, …: never taken for weights unless the settings say so
    c.TIMESTAMP: ("timestamp", "time", "ts", "datetime", "unixtime", "ratedat", "date"),
    c.TITLE: ("title", "movietitle", "moviename", "itemname", "name"),
    c.GENRES: ("genres", "genre"),
    c.IMDB_ID: ("imdbid", "imdb"),
    c.TMDB_ID: ("tmdbid", "tmdb"),
}
Names = Mapping[str, str]  # what the settings call our columns; empty: a name of the above

_MAY_BE_ABSENT = {c.TIMESTAMP}
_IN_SEVERAL_FILES = {c.USER_ID, c.MOVIE_ID}  # the name in the settings may be that of another file


def locate(file: str, wanted: list[str], present: list[str], settings: Names) -> list[int | None]:
    """Return the position in the file of each wanted column; None for one that may be absent and is.

    Args:
        file: its name in error messages.
        present: every column of the file, in order.

    Raises:
        InputRejected: a column is missing, or cannot be told from another one.
    """
    return [_locate(file, name, wanted, present, settings) for name in wanted]


def has(file: str, name: str, present: list[str], settings: Names) -> bool:
    """Return whether a file has one of our columns; see `locate`."""
    return _find(file, name, [name], present, settings) is not None


def may_be(name: str, column: str, configured: str = "") -> bool:
    """Return whether a file's column of that name may have been read as one of ours.

    Args:
        configured: what the settings called it.
    """
    names = (configured, movielens_name(name), name, *_COMMON[name])
    return _fold(column) in {_fold(other) for other in names if other}


def movielens_name(name: str) -> str:
    """Return what MovieLens calls one of our columns."""
    return _MOVIELENS.get(name, name)


def _locate(file: str, name: str, wanted: list[str], present: list[str], settings: Names) -> int | None:
    position = _find(file, name, wanted, present, settings)
    if position is None and name not in _MAY_BE_ABSENT:
        raise InputRejected(_missing(file, name, settings[name], present))
    return position


def _find(file: str, name: str, wanted: list[str], present: list[str], settings: Names) -> int | None:
    configured = settings[name]
    if configured:
        position = present.index(configured) if configured in present else _position(file, name, configured, present)
        if position is not None:
            return position
        if name not in _IN_SEVERAL_FILES:
            raise InputRejected(
                f"{file} has no column {configured} (it has {', '.join(present)}); correct {_setting(name)}"
            )
    for exact in (movielens_name(name), name):
        if present.count(exact) > 1:
            raise InputRejected(f"{file} has {present.count(exact)} columns {exact}; give each a name of its own")
        if exact in present:
            return present.index(exact)
    is_key_of_movies = name == c.MOVIE_ID and c.TITLE in wanted
    for common in (*_COMMON[name], *(["id"] if is_key_of_movies else [])):
        position = _position(file, name, common, present)
        if position is not None:
            return position
    return None


def _position(file: str, name: str, column: str, present: list[str]) -> int | None:
    """Return where the only column is that is written like this one."""
    alike = [i for i, other in enumerate(present) if _fold(other) == _fold(column)]
    if len(alike) > 1:
        names = " and ".join(repr(present[i]) for i in alike)
        raise InputRejected(f"{file} has the columns {names}; name the one that counts in {_setting(name)}")
    return alike[0] if alike else None


def _missing(file: str, name: str, configured: str, present: list[str]) -> str:
    wanted = configured or movielens_name(name)
    sentence = f"{file} has no column {wanted} (it has {', '.join(map(str.strip, present))}); "
    if len(present) == 1 and re.search(r"\w\W+\w", present[0]):
        return sentence + "its first line must name the columns, divided by commas, semicolons or tabs"
    if present and all(re.fullmatch(r"\s*[-+\d.,:TZ ]*\s*", other) for other in present):
        return sentence + "its first line must name the columns"
    if name == c.RATING:
        return sentence + (
            "add it, name the column that holds it in input.columns.rating, or set input.rating to none for "
            "interactions without ratings"
        )
    return sentence + f"add it, or name the column that holds it in input.columns.{name}"


def _setting(name: str) -> str:
    """Return the setting that names a column."""
    return "input.weight" if name == c.WEIGHT else f"input.columns.{name}"


def _fold(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()
