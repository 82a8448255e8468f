"""Pairing: which movies of a catalogue, and which users, an original knows, and by which key."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel.data import ids as identifiers
from recmodel.errors import ModelRejected
from recmodel.models.imported.original import Original
from recmodel.schemas import INTEGER, TEXT, IdKind
from recmodel.tf import tf


class Movies(NamedTuple):
    """The M movies of a catalogue that an original knows."""

    catalogue: pa.Table  # [M] `schemas.CATALOGUE`, ascending by movie_id
    keys: np.ndarray  # [M], what the original calls them
    by: Literal["title", "id"]
    unknown: int  # movies of the catalogue that it does not know
    namesakes: list[tuple[str, list[c.Id]]]  # titles of several movies, and their ids; the first stands for all of them


class Users(NamedTuple):
    """The U users that an original knows."""

    ids: pa.Array  # [U] int64 or string, ascending
    keys: np.ndarray  # [U]
    kind: IdKind
    unknown: int  # of those that were asked for


def movies_of(original: Original, catalogue: pa.Table) -> Movies:
    """Find the movies of a catalogue (`schemas.CATALOGUE`) by title or by id, by which of them more are known.

    Raises:
        ModelRejected: none is known.
    """
    titles, ids = catalogue.column(c.TITLE), catalogue.column(c.MOVIE_ID)
    if _are_row_numbers(original.movie_keys, ids):
        raise ModelRejected(
            "the index has row numbers in the place of ids or titles; make it with index(candidates, identifiers), or "
            "index_from_dataset of pairs of both"
        )
    first = np.ones(len(ids), bool)  # movies that are the first of their title
    found: list[tuple[Literal["title", "id"], np.ndarray]] = []
    if original.movie_dtype == tf.string:
        row = {title: row for row, title in reversed([*enumerate(titles.to_pylist())])}
        first = np.array([row[title] for title in titles.to_pylist()]) == np.arange(len(ids))
        found.append(("title", _keys(titles, original.movie_dtype)))
    if original.movie_dtype == tf.string or not identifiers.has_text(catalogue):
        found.append(("id", _keys(ids, original.movie_dtype)))
    known = [original.known_movies(keys) for _, keys in found]
    if not any(rows.any() for rows in known):
        examples = " nor ".join(f"by {by} ({keys[0]!r})" for by, keys in found) or "as its ids are integers"
        raise ModelRejected(
            f"the model knows none of the {len(ids):,} movies of the catalogue, neither {examples}; give the catalogue "
            "that it was trained with"
        )
    best = max(range(len(found)), key=lambda i: known[i].sum())
    (by, keys), keep, namesakes = found[best], known[best], []
    if by == "title":
        shared = dict.fromkeys(titles.filter(pa.array(keep & ~first)).to_pylist())
        namesakes = [(title, ids.filter(pc.equal(titles, title)).to_pylist()) for title in shared]
        keep = keep & first
    catalogue, unknown = catalogue.filter(pa.array(keep)).combine_chunks(), int((~known[best]).sum())
    return Movies(catalogue, keys[keep], by, unknown, namesakes)


def users_of(original: Original, asked: pa.Array | None, wanted: Literal["auto", "integer", "text"]) -> Users:
    """Find the users that an original knows.

    Args:
        asked: [N] string, the ids of users; None: those in the vocabulary of the SavedModel.
        wanted: what ids are; auto: integers, if the ids of all known users are.

    Raises:
        ModelRejected: none is known, or their ids are not as wanted.
    """
    where = "the list of users" if asked is not None else "the vocabulary of the model"
    keys = original.vocabulary() if asked is None else _keys(asked, original.user_dtype)
    keys = keys.astype(original.user_dtype.as_numpy_dtype) if original.user_dtype != tf.string else keys
    known = original.known_users(keys)
    if not known.any():
        raise ModelRejected(
            f"the model knows none of {where} ({len(keys):,}) as users; name its users by --users, a CSV or Parquet "
            "file with a column userId"
        )
    texts = pa.array(keys[known].tolist()).cast(pa.string())
    kind = wanted if wanted != "auto" else INTEGER if _are_integers(texts) else TEXT
    if kind == INTEGER and not _are_integers(texts):
        raise ModelRejected("input.ids is integer, and the model has users with other ids; set it to auto or text")
    ids = texts.cast(pa.int64()) if kind == INTEGER else texts
    order = pc.sort_indices(ids)
    return Users(ids.take(order), keys[known][order.to_numpy()], kind, 0 if asked is None else int((~known).sum()))


def _keys(column: pa.Array | pa.ChunkedArray, dtype: tf.DType) -> np.ndarray:
    """Return ids or titles as the original takes them."""
    if dtype == tf.string:
        return np.array(column.cast(pa.string()).to_pylist(), object)
    return np.array(column.cast(pa.int64()).to_pylist(), dtype.as_numpy_dtype)


def _are_row_numbers(keys: np.ndarray | None, ids: pa.ChunkedArray) -> bool:
    """Return whether the movies of an index are numbered as `index` does without identifiers, and not by id."""
    if keys is None or keys.dtype == object:
        return False
    has_zero = pc.any(pc.equal(ids.cast(pa.string()), "0")).as_py()
    return bool((keys == np.arange(len(keys))).all()) and not has_zero


def _are_integers(texts: pa.Array) -> bool:
    """Return whether all texts are integers, and written as integers are."""
    try:
        return bool(pc.all(pc.equal(texts.cast(pa.int64()).cast(pa.string()), texts)).as_py())
    except pa.ArrowInvalid:
        return False
