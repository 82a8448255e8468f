"""Ids: whether those of users and movies are integers or text, and the numbers that stand for text.

The kind is decided once, when the first model is trained; from then on the model has it. Models, searches and metrics
compute with int64 alone. There a text id is represented by its number: its place among all ids in ascending order of
their UTF-8 bytes, so that ties are broken alike. Integers represent themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel.arrays import ABSENT, hashes, places
from recmodel.data import layouts, reading, values
from recmodel.data.layouts import Source
from recmodel.data.limits import Input
from recmodel.data.lines import printable
from recmodel.errors import InputRejected, UsageRejected
from recmodel.schemas import INTEGER, TEXT, Id, IdKind, Ids
from recmodel.storage import Location

_NAMES = {INTEGER: "integers", TEXT: "text"}


def decide(folder: Location, limits: Input) -> Ids:
    """Decide what the ids of a MovieLens directory are: integers, if the first rows of its tables hold nothing else.

    Raises:
        InputRejected: a table is missing, cannot be read, or lacks a column.
    """
    if limits.ids != "auto":
        return Ids(user=limits.ids, movie=limits.ids)
    samples = _samples(folder, limits)
    return Ids(user=_kind(samples[c.USER_ID]) or INTEGER, movie=_kind(samples[c.MOVIE_ID]) or INTEGER)


def of_movies(source: Source, limits: Input) -> IdKind:
    """Return what the ids of a table of movies are."""
    if limits.ids != "auto":
        return limits.ids
    movie, _ = _first(source, [c.MOVIE_ID, c.TITLE], limits)
    return _kind([movie]) or INTEGER


def for_model(folder: Location, limits: Input, model: str, of_model: Ids) -> Ids:
    """Return the ids of a model, by which the tables of a MovieLens directory are read.

    Args:
        model: its name.

    Raises:
        InputRejected: the directory has ids of another kind.
        UsageRejected: the settings ask for another kind.
    """
    kinds: Mapping[str, IdKind] = {c.USER_ID: of_model.user, c.MOVIE_ID: of_model.movie}
    if limits.ids != "auto":
        for name, kind in kinds.items():
            if limits.ids != kind:
                raise UsageRejected(
                    f"input.ids is {limits.ids}, and model {model} has {_NAMES[kind]} in {name}; ids keep their kind: "
                    "set input.ids to auto, or train a model in another folder with --models"
                )
        return of_model
    for name, samples in _samples(folder, limits).items():
        seen = _kind(samples)
        if seen not in (kinds[name], None):
            file, column, value = _example(samples, seen)
            as_text = "set input.ids to text if they are, " if seen == INTEGER else ""
            raise InputRejected(
                f"{file}, column {column}: ids such as {value!r} are {_NAMES[seen]}, and model {model} was "
                f"trained with {_NAMES[kinds[name]]}; ids keep their kind: correct the export, {as_text}or train a "
                "model on this input in another folder with --models"
            )
    return of_model


def typed(text: str, kind: IdKind) -> Id:
    """Return the id of a user that somebody has typed.

    Raises:
        UsageRejected: it is no integer, and the ids are integers; or it is nothing.
    """
    if kind == TEXT:
        found: str | None = values.text_ids(pa.array([text]))[0].as_py()  # as the same text in a file
        if found is None:
            raise UsageRejected(f"{text!r} is not the id of a user")
        return found
    try:
        return int(text)
    except ValueError:
        raise UsageRejected(f"{text!r} is not the id of a user: these are integers here") from None


def in_words(ids: Ids) -> str:
    """Return what the ids are, as part of a sentence."""
    if ids.user == ids.movie:
        return "ids that are text" if ids.user == TEXT else "integer ids"
    return f"{_NAMES[ids.user]} in user_id and {_NAMES[ids.movie]} in movie_id"


class _Sample(NamedTuple):
    """The first values of a column of ids, as they lie in a file."""

    file: str
    column: str  # as the file calls it
    values: pa.Array


def _samples(folder: Location, limits: Input) -> dict[str, list[_Sample]]:
    ratings, movies = (layouts.find(folder, table) for table in ("ratings", "movies"))
    user, rated = _first(ratings, c.PAIRS.names, limits)
    movie, _ = _first(movies, [c.MOVIE_ID, c.TITLE], limits)
    return {c.USER_ID: [user], c.MOVIE_ID: [movie, rated]}


def _first(source: Source, names: list[str], limits: Input) -> list[_Sample]:
    rows = reading.first_values(source, names, limits.column_names)
    columns = zip(rows.schema.names, rows.columns, strict=True)
    return [_Sample(source.location, name, column) for name, column in columns]


def _kind(samples: list[_Sample]) -> IdKind | None:
    """Return what the ids of some columns are together; None if they hold nothing."""
    filled = [sample for sample in samples if sample.values.null_count < len(sample.values)]
    if not filled:
        return None
    text = [sample for sample in filled if values.are_text_ids(sample.values)]
    for sample in text:
        if rounded := values.rounded_id(sample.values):
            raise InputRejected(
                f"{sample.file}, column {sample.column}: ids such as {rounded} were rounded, as spreadsheets do, so "
                "they cannot be told apart; export them as whole numbers or text (input.ids: text takes them so)"
            )
    return TEXT if text else INTEGER


def _example(samples: list[_Sample], kind: IdKind) -> tuple[str, str, str]:
    """Return the first value of that kind, and where it is."""
    for sample in samples:
        for value in sample.values.drop_null():
            if values.are_text_ids(pa.array([value])) == (kind == TEXT):
                return sample.file, sample.column, printable(value.as_py())
    raise ValueError(f"there is no {kind}")


# -- numbers that stand for text -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Labels:
    """The ids that numbers stand for; None where ids are integers, which stand for themselves."""

    users: pa.Array | None = None  # string, ascending
    movies: pa.Array | None = None  # string, ascending

    def user_ids(self, numbers: np.ndarray) -> np.ndarray:
        """Return the ids of users: int64, or texts (object)."""
        return _labelled(self.users, numbers)

    def movie_ids(self, numbers: np.ndarray) -> np.ndarray:
        """Return the ids of movies: int64, or texts (object)."""
        return _labelled(self.movies, numbers)

    def user_numbers(self, user_ids: np.ndarray) -> np.ndarray:
        """Return the numbers of users, in the same shape; `ABSENT` for a text without one."""
        return _numbers(self.users, user_ids)

    def movie_numbers(self, movie_ids: np.ndarray) -> np.ndarray:
        """Return the numbers of movies, in the same shape; `ABSENT` for a text without one."""
        return _numbers(self.movies, movie_ids)

    def hashes(self, name: str, numbers: np.ndarray) -> np.ndarray:
        """Return uint64 that depend on the ids alone, whatever other ids there are, of the column of that name."""
        of_labels = self._hashes[name]
        return hashes(numbers) if of_labels is None else of_labels[numbers]

    @cached_property
    def _hashes(self) -> dict[str, np.ndarray | None]:
        labels = {c.USER_ID: self.users, c.MOVIE_ID: self.movies}
        return {
            name: None if texts is None else hashes(texts.to_numpy(zero_copy_only=False))
            for name, texts in labels.items()
        }


NO_LABELS = Labels()


def _numbers(texts: pa.Array | None, ids: np.ndarray) -> np.ndarray:
    return ids if texts is None else places(texts, pa.array(ids.ravel(), pa.string())).reshape(ids.shape)


def has_text(catalogue: pa.Table) -> bool:
    """Return whether the movie ids of a catalogue are text, so that numbers stand for them."""
    return pa.types.is_string(catalogue.schema.field(c.MOVIE_ID).type)


def numbered(ids: Ids) -> Ids:
    """Return what ids are where numbers stand for the movie ids that are text."""
    return replace(ids, movie=INTEGER)


def number(ratings: pa.Table, catalogue: pa.Table) -> tuple[pa.Table, pa.Table, Labels]:
    """Put numbers in the place of all ids that are text.

    Args:
        ratings: `schemas.RATINGS`, movie ids that are text as their numbers in the catalogue.
        catalogue: `schemas.CATALOGUE`, ascending by movie_id.

    Returns:
        Both with int64 ids, and what they stand for.
    """
    users = movies = None
    if has_text(catalogue):
        movies = catalogue.column(c.MOVIE_ID).combine_chunks()
        catalogue = _with(catalogue, c.MOVIE_ID, pa.array(movie_numbers(catalogue)))
    if pa.types.is_string(ratings.schema.field(c.USER_ID).type):
        users = pc.unique(ratings.column(c.USER_ID))
        users = users.take(pc.sort_indices(users))
        ratings = _with(ratings, c.USER_ID, pa.array(places(users, ratings.column(c.USER_ID))))
    return ratings, catalogue, Labels(users, movies)


def renumbered(ratings: pa.Table, before: pa.Table, now: pa.Table) -> pa.Table:
    """Replace the numbers of movies in one catalogue by those in another, which has all of the movies."""
    if not has_text(now):
        return ratings
    numbers = pa.array(places(now.column(c.MOVIE_ID).combine_chunks(), before.column(c.MOVIE_ID)))
    return _with(ratings, c.MOVIE_ID, numbers.take(ratings.column(c.MOVIE_ID)))


def movie_ids(numbers: pa.Array, catalogue: pa.Table) -> pa.Array:
    """Return the movie ids that numbers stand for, which integers are themselves."""
    return catalogue.column(c.MOVIE_ID).combine_chunks().take(numbers) if has_text(catalogue) else numbers


def movie_numbers(catalogue: pa.Table) -> np.ndarray:
    """Return [M] int64, the numbers of the movies of a catalogue (`schemas.CATALOGUE`, ascending by movie_id)."""
    return np.arange(catalogue.num_rows) if has_text(catalogue) else catalogue.column(c.MOVIE_ID).to_numpy()


def with_movie_numbers(rows: pa.Table, catalogue: pa.Table) -> pa.Table:
    """Put numbers in the place of movie ids that are text. Rows of movies that the catalogue lacks are left out."""
    if not has_text(catalogue):
        return rows
    ids = catalogue.column(c.MOVIE_ID).combine_chunks()
    rows = _with(rows, c.MOVIE_ID, pa.array(places(ids, rows.column(c.MOVIE_ID))))
    return rows.filter(pc.not_equal(rows.column(c.MOVIE_ID), ABSENT))


def _with(rows: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(name), name, column)


def _labelled(labels: pa.Array | None, numbers: np.ndarray) -> np.ndarray:
    if labels is None:
        return numbers
    return labels.take(pa.array(numbers)).to_numpy(zero_copy_only=False)
