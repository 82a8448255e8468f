"""MovieLens: the tables of a MovieLens directory.

Takes `ratings`, `movies` and optionally `links` and returns Arrow data of `schemas.RATINGS` and `schemas.CATALOGUE`.
`layouts` finds the files, `reading` reads them, and `validation` keeps the rejected rows.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from recmodel import schemas as c
from recmodel import storage
from recmodel.arrays import Arrays
from recmodel.data import archives, duplicates, histories, layouts, reading
from recmodel.data import feedback as feedbacks
from recmodel.data import ids as identifiers
from recmodel.data.catalogue import with_delisted
from recmodel.data.feedback import Feedback
from recmodel.data.ids import NO_LABELS, Labels
from recmodel.data.layouts import Source
from recmodel.data.limits import Input
from recmodel.data.reading import Rule
from recmodel.data.rules import InCatalogue, InThePast, OnScale, as_ratings, is_weight
from recmodel.data.sample import SAMPLE, sample_dir
from recmodel.data.tally import Tally
from recmodel.data.validation import Request, Validation
from recmodel.data.values import Vocabulary
from recmodel.errors import InputRejected
from recmodel.schemas import Id, Ids
from recmodel.storage import Location

_DAY = 86_400  # seconds


def data_dir(data: str, sample_cache: str, *, local: bool = False) -> Location:
    """Return the directory that `--data` means: the sample for its word, an unpacked copy for a zip file.

    What lies at a URI is read where it lies, but for zip files, which are copied to be unpacked.

    Args:
        local: whether all that lies at a URI is copied.

    Raises:
        InputRejected: the directory does not exist, or the zip file cannot be used.
        UsageRejected: the sample's package is not installed, or no file system is known for the URI.
    """
    if storage.is_uri(data):
        return _at_uri(data, local=local)
    folder = sample_dir(sample_cache) if data == SAMPLE else Path(data)
    if folder.is_file() and folder.suffix.lower() == ".zip":
        return archives.unpack(folder)
    if not folder.is_dir():
        raise InputRejected(
            f"{folder} is not a directory; --data takes a MovieLens directory, its zip file or the word sample"
        )
    return folder


def _at_uri(uri: str, *, local: bool) -> Location:
    try:
        if uri.lower().endswith(".zip"):
            above, _, name = uri.rpartition("/")
            copy = storage.fetch(above, [name]) / name
            if copy.is_file():
                return archives.unpack(copy)
        elif names := [*filter(layouts.is_part_of_input, storage.names(uri))]:
            return storage.fetch(uri, names) if local else uri
    except OSError as error:
        raise InputRejected(f"{uri} cannot be read ({error}); check the address and the right to it") from None
    raise InputRejected(f"{uri} holds neither ratings nor movies; check the address")


def read_catalogue(folder: Location, validation: Validation) -> pa.Table:
    """Read all movies of `folder` (`schemas.CATALOGUE`); see `read_movies`.

    Raises:
        InputRejected: see `Validation.accept` and `layouts.find`.
    """
    return read_movies(layouts.find(folder, "movies"), layouts.find_optional(folder, "links"), validation)


def read_movies(source: Source, links_source: Source | None, validation: Validation) -> pa.Table:
    """Read all movies of a table (`schemas.CATALOGUE`), ascending by movie_id, one row per movie.

    External ids come from `links`; they are null where that table or the movie's row in it is missing.

    Raises:
        InputRejected: see `Validation.accept`.
    """
    seen: set[Id] = set()

    def first_of_its_id(batch: pa.RecordBatch) -> tuple[str, str, pa.BooleanArray]:
        repeated = []
        for movie_id in batch.column(c.MOVIE_ID).to_pylist():
            repeated.append(movie_id in seen)
            seen.add(movie_id)
        return c.MOVIE_ID, "appears a second time", pa.array(repeated, pa.bool_())

    def has_title(batch: pa.RecordBatch) -> tuple[str, str, pa.BooleanArray]:
        return c.TITLE, "is not a title", pc.equal(pc.utf8_trim_whitespace(batch.column(c.TITLE)), "")

    movies = validation.read(source, c.MOVIES, [has_title, first_of_its_id])
    if links_source is None:
        links = c.with_ids(c.LINKS, validation.ids).empty_table()
    else:
        links = validation.read(links_source, c.LINKS, [])
        links = links.group_by(c.MOVIE_ID, use_threads=False).aggregate([(c.IMDB_ID, "first"), (c.TMDB_ID, "first")])
        links = links.rename_columns([c.MOVIE_ID, c.IMDB_ID, c.TMDB_ID])
    if not movies.num_rows:
        raise InputRejected(f"{source.location} holds no movies; a catalogue needs at least one")
    joined = movies.join(links, c.MOVIE_ID).select(c.CATALOGUE.names).sort_by(c.MOVIE_ID)
    imdb_id = pc.utf8_lpad(joined.column(c.IMDB_ID), 7, "0")  # IMDb's own form, which a numeric column loses
    padded = joined.set_column(joined.schema.get_field_index(c.IMDB_ID), c.IMDB_ID, imdb_id)
    return padded.cast(c.with_ids(c.CATALOGUE, validation.ids))


def ratings_request(
    folder: Location, catalogue: pa.Table, validation: Validation, feedback: Feedback | None = None
) -> Request:
    """Return how the ratings of `folder` are read; see `stream_ratings`."""
    feedback = feedback or feedbacks.decide(folder, validation.limits)
    source, limits = layouts.find(folder, "ratings"), validation.limits
    movie_ids = catalogue.column(c.MOVIE_ID).combine_chunks()
    vocabulary = Vocabulary(movie_ids) if identifiers.has_text(catalogue) else None
    tomorrow = int(time.time()) + _DAY  # clocks and time zones differ
    of_any: list[Rule] = [*[InCatalogue(movie_ids)] * (vocabulary is None), InThePast(tomorrow)]
    if feedback.is_implicit:
        schema = c.INTERACTIONS if feedback.is_weighted else _UNWEIGHTED
        rules = [*[is_weight] * feedback.is_weighted, *of_any]
        return validation.request(source, schema, rules, note=feedback.note, movies=vocabulary)
    on_scale = OnScale(limits.rating_min, limits.rating_max)
    remedies = {on_scale.reason: _about_the_scale}
    return validation.request(source, c.RATINGS, [on_scale, *of_any], remedies, movies=vocabulary)


def stream_ratings(
    folder: Location, catalogue: pa.Table, validation: Validation, feedback: Feedback | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the usable ratings of `folder` (`schemas.RATINGS`) block by block, in the order of the file.

    Movie ids that are text are given as their numbers, which are their places in the catalogue; see `ids`.

    Ratings outside the scale, from the future, or of a movie that the catalogue lacks are rejected. Of implicit
    feedback, interactions take the place of ratings and their weights that of the values.

    Args:
        feedback: None: as `feedback.decide` has it.

    Raises:
        InputRejected: see `Validation.accept`, `layouts.find` and `feedback.decide`.
    """
    return map(as_ratings, validation.accept(ratings_request(folder, catalogue, validation, feedback)))


_UNWEIGHTED = c.INTERACTIONS.remove(c.INTERACTIONS.get_field_index(c.WEIGHT))


def _about_the_scale(tally: Tally) -> str:
    """Return what to do about ratings that are not on the scale."""
    if not tally.observed:
        return "correct the file"
    return (
        f"the ratings lie between {tally.observed[0]:g} and {tally.observed[1]:g}; if that is their scale, set "
        "input.rating_min and input.rating_max to its ends, otherwise correct the file"
    )


def read_ratings(
    folder: Location, catalogue: pa.Table, validation: Validation, feedback: Feedback | None = None
) -> pa.Table:
    """Read all usable ratings of `folder` into memory, 28 bytes per row of integers. See `stream_ratings`."""
    batches = stream_ratings(folder, catalogue, validation, feedback)
    return pa.Table.from_batches(batches, schema=c.with_ids(c.RATINGS, identifiers.numbered(validation.ids)))


def read(
    folder: Location,
    limits: Input,
    known: pa.Table | None = None,
    feedback: Feedback | None = None,
    ids: Ids | None = None,
) -> tuple[pa.Table, pa.Table, Validation]:
    """Read (`schemas.CATALOGUE`, `schemas.RATINGS`) of a directory into memory, and what was rejected.

    Movie ids that are text are given in the ratings as their numbers.

    Args:
        ids: what the ids are; None: as `ids.decide` has it.
        known: the catalogue of an earlier model. Its movies that the directory lacks are delisted: they are part of
            the catalogue where somebody has rated them, as their ratings still describe people's taste.
        feedback: see `stream_ratings`.

    Raises:
        InputRejected: see `read_catalogue` and `read_ratings`.
    """
    validation = Validation(limits, ids or identifiers.decide(folder, limits))
    tonight = read_catalogue(folder, validation)
    everything = with_delisted(tonight, known)
    ratings = read_ratings(folder, everything, validation, feedback)
    rated = identifiers.movie_ids(pc.unique(ratings.column(c.MOVIE_ID)), everything)
    catalogue = with_rated(tonight, known, rated)
    return catalogue, identifiers.renumbered(ratings, everything, catalogue), validation


def with_rated(tonight: pa.Table, known: pa.Table | None, rated: pa.Array) -> pa.Table:
    """Return a catalogue with those movies of an earlier one, too, that are rated."""
    return with_delisted(tonight, known and known.filter(pc.is_in(known.column(c.MOVIE_ID), rated)))


def history_of(
    user_id: Id, batches: Iterable[pa.RecordBatch], catalogue: pa.Table, *, add_up: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the movies that a user has rated ([R] ids) and the ratings that count ([R] float32), the oldest first.

    Args:
        batches: see `stream_ratings`.
        catalogue: that of the batches.
        add_up: see `duplicates.combined`.
    """
    of_user = [batch.filter(pc.equal(batch.column(c.USER_ID), user_id)) for batch in batches]
    if not of_user:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    ratings, _, labels = identifiers.number(pa.Table.from_batches(of_user), catalogue)
    rated = duplicates.combined(ratings, add_up=add_up)
    order = histories.oldest_first(rated[c.TIMESTAMP], rated[c.MOVIE_ID])
    return labels.movie_ids(rated[c.MOVIE_ID][order]), rated[c.RATING][order]


class RatingsSize(NamedTuple):
    """The size of the file, or of the files of the folder, that holds the ratings."""

    file: str  # its name
    bytes: int
    rows: int | None  # None for text, which would have to be read


def ratings_size(folder: Location) -> RatingsSize:
    """Return the size of the ratings of `folder`, from directory entries and Parquet footers alone.

    Raises:
        InputRejected: see `layouts.find`; or a Parquet file is damaged.
    """
    source = layouts.find(folder, "ratings")
    if source.format in ("delta", "iceberg"):
        return RatingsSize(source.name, reading.live_size(source), reading.parquet_rows(source))
    size = sum(part.size for part in source.parts)
    return RatingsSize(source.name, size, reading.parquet_rows(source) if source.format == "parquet" else None)


def count_ratings(folder: Location) -> int:
    """Count the rows of the ratings of `folder`: the lines of text files are counted, but not parsed."""
    rows = ratings_size(folder).rows
    return reading.text_rows(layouts.find(folder, "ratings")) if rows is None else rows


def estimate_ratings(folder: Location, seen_rows: int, seen_file: str | None, seen_bytes: int | None) -> int:
    """Estimate how many ratings `folder` has, from an earlier look at it and without reading a CSV file again.

    The number is exact for Parquet, and `seen_rows` for a CSV file that still has the size it had.

    Args:
        seen_rows, seen_file, seen_bytes: what the earlier look found; see `RatingsSize`. None: not known, or the
            file has another name now; then lines are counted.
    """
    size = ratings_size(folder)
    if size.rows is None and size.file == seen_file and seen_bytes:
        return seen_rows * size.bytes // seen_bytes
    return count_ratings(folder)


def identity(location: Location) -> list[tuple[str, int, int]]:
    """Return (relative name, size, time of the last change in ns) of a file, or of every file of a folder, ascending.

    This decides whether an interrupted run may go on, as it decides for make and rsync what is up to date. A checksum
    of the content would cost another pass over all ratings.
    """
    name, entry = storage.name(location), storage.entry(location)
    if entry.is_file:
        return [(name, entry.size, entry.mtime_ns)]
    files = (file for file in storage.entries(location, recursive=True) if file.is_file)
    return [(f"{name}/{file.path}", file.size, file.mtime_ns) for file in files]


def read_ids(path: Path, schema: pa.Schema, validation: Validation, given_by: str = "") -> pa.Table:
    """Read a CSV or Parquet file of ids (`schemas.USERS` or `schemas.PAIRS`): distinct rows, ascending.

    Args:
        given_by: see `find_ids`.

    Raises:
        InputRejected: see `Validation.accept` and `find_ids`.
    """
    rows = validation.read(layouts.source(find_ids(path, schema, given_by)), schema, [])
    return rows.group_by(schema.names).aggregate([]).sort_by([(name, "ascending") for name in schema.names])


def find_ids(path: Path, schema: pa.Schema, given_by: str = "") -> Path:
    """Return the path of a file of ids.

    Args:
        given_by: the setting that names the file; empty: --users, or rules.deny_pairs for pairs.

    Raises:
        InputRejected: nothing is there.
    """
    if not path.exists():
        usual, columns = {
            c.USERS: ("--users", "a column userId"),
            c.PAIRS: ("rules.deny_pairs", "columns userId and movieId"),
        }[schema]
        raise InputRejected(f"{path} does not exist; {given_by or usual} takes a CSV or Parquet file with {columns}")
    return path


def fingerprint(ratings: Arrays, catalogue: pa.Table, labels: Labels = NO_LABELS) -> str:
    """Return the sha256 of the values that count, which is the same for a CSV and a Parquet file of the same rows.

    Args:
        ratings: see `in_memory`.
        labels: what their ids stand for.
    """
    digest = hashlib.sha256()
    if labels.users is not None:
        digest.update(repr(labels.users.to_pylist()).encode())
    for values in ratings.values():
        digest.update(values.data)
    for column in catalogue.columns:
        if pa.types.is_string(column.type):
            digest.update(repr(column.to_pylist()).encode())
        else:
            for chunk in column.chunks:
                digest.update(chunk.fill_null(0).to_numpy().tobytes())
    return digest.hexdigest()


def find(folder: Location, table: str) -> str:
    """Return the location of the file or folder that holds `table`; see `layouts.find`."""
    return layouts.find(folder, table).location
