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
from recmodel.data import archives, duplicates, layouts, reading
from recmodel.data import feedback as feedbacks
from recmodel.data import ids as identifiers
from recmodel.data.catalogue import with_delisted
from recmodel.data.feedback import Feedback
from recmodel.data.ids import NO_LABELS, Labels
from recmodel.data.limits import Input
from recmodel.data.sample import SAMPLE, sample_dir
from recmodel.data.validation import Validation
from recmodel.data.values import NOT_LISTED, Vocabulary
from recmodel.errors import InputRejected
from recmodel.schemas import Id, Ids

_DAY = 86_400  # seconds


def data_dir(data: str, sample_cache: str) -> Path:
    """Return the directory that `--data` means: the sample for its word, local copies for a URI and for a zip file.

    Raises:
        InputRejected: the directory does not exist, or the zip file cannot be used.
        UsageRejected: the sample's package is not installed, or no file system is known for the URI.
    """
    if storage.is_uri(data):
        return _local_copy(data)
    folder = sample_dir(sample_cache) if data == SAMPLE else Path(data)
    if folder.is_file() and folder.suffix.lower() == ".zip":
        return archives.unpack(folder)
    if not folder.is_dir():
        raise InputRejected(
            f"{folder} is not a directory; --data takes a MovieLens directory, its zip file or the word sample"
        )
    return folder


def _local_copy(uri: str) -> Path:
    try:
        if uri.lower().endswith(".zip"):
            above, _, name = uri.rpartition("/")
            copy = storage.fetch(above, [name]) / name
            if copy.is_file():
                return archives.unpack(copy)
        else:
            copy = storage.fetch(uri, filter(layouts.is_part_of_input, storage.names(uri)))
            if any(copy.iterdir()):
                return copy
    except OSError as error:
        raise InputRejected(f"{uri} cannot be read ({error}); check the address and the right to it") from None
    raise InputRejected(f"{uri} holds neither ratings nor movies; check the address")


def read_catalogue(folder: Path, validation: Validation) -> pa.Table:
    """Read all movies of `folder` (`schemas.CATALOGUE`), ascending by movie_id, one row per movie.

    External ids come from `links`; they are null where that file or the movie's row in it is missing.

    Raises:
        InputRejected: see `Validation.accept` and `layouts.find`.
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

    source = layouts.find(folder, "movies")
    movies = validation.read(source, c.MOVIES, [has_title, first_of_its_id])
    links_source = layouts.find_optional(folder, "links")
    if links_source is None:
        links = c.with_ids(c.LINKS, validation.ids).empty_table()
    else:
        links = validation.read(links_source, c.LINKS, [])
        links = links.group_by(c.MOVIE_ID, use_threads=False).aggregate([(c.IMDB_ID, "first"), (c.TMDB_ID, "first")])
        links = links.rename_columns([c.MOVIE_ID, c.IMDB_ID, c.TMDB_ID])
    if not movies.num_rows:
        raise InputRejected(f"{source.path} holds no movies; a catalogue needs at least one")
    joined = movies.join(links, c.MOVIE_ID).select(c.CATALOGUE.names).sort_by(c.MOVIE_ID)
    imdb_id = pc.utf8_lpad(joined.column(c.IMDB_ID), 7, "0")  # IMDb's own form, which a numeric column loses
    padded = joined.set_column(joined.schema.get_field_index(c.IMDB_ID), c.IMDB_ID, imdb_id)
    return padded.cast(c.with_ids(c.CATALOGUE, validation.ids))


def stream_ratings(
    folder: Path, catalogue: pa.Table, validation: Validation, feedback: Feedback | None = None
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
    feedback = feedback or feedbacks.decide(folder, validation.limits)
    tomorrow = int(time.time()) + _DAY  # clocks and time zones differ
    source, on_the_scale = layouts.find(folder, "ratings"), _Scale(validation.limits)
    movie_ids = catalogue.column(c.MOVIE_ID).combine_chunks()
    vocabulary = Vocabulary(movie_ids) if identifiers.has_text(catalogue) else None

    def in_the_catalogue(batch: pa.RecordBatch) -> tuple[str, str, pa.BooleanArray]:
        in_catalogue = pc.is_in(batch.column(c.MOVIE_ID), value_set=movie_ids)
        return c.MOVIE_ID, NOT_LISTED, pc.invert(in_catalogue)

    def in_the_past(batch: pa.RecordBatch) -> tuple[str, str, pa.BooleanArray]:
        late = pc.greater(batch.column(c.TIMESTAMP), tomorrow)
        return c.TIMESTAMP, "lies in the future, as seconds since 1970", late

    of_any: list[reading.Rule] = [*[in_the_catalogue] * (vocabulary is None), in_the_past]
    if feedback.is_implicit:
        schema = c.INTERACTIONS if feedback.is_weighted else _UNWEIGHTED
        rules = [*[_is_a_weight] * feedback.is_weighted, *of_any]
        return map(_as_ratings, validation.accept(source, schema, rules, note=feedback.note, movies=vocabulary))
    remedies = {on_the_scale.reason: on_the_scale.remedy}
    return validation.accept(source, c.RATINGS, [on_the_scale, *of_any], remedies, movies=vocabulary)


_UNWEIGHTED = c.INTERACTIONS.remove(c.INTERACTIONS.get_field_index(c.WEIGHT))


def _is_a_weight(batch: pa.RecordBatch) -> tuple[str, str, pa.BooleanArray]:
    weight = batch.column(c.WEIGHT)
    is_weight = pc.and_(pc.greater(weight, 0), pc.is_finite(weight))  # false for NaN
    return c.WEIGHT, "is not a weight, which is a finite number above 0", pc.invert(is_weight)


def _as_ratings(interactions: pa.RecordBatch) -> pa.RecordBatch:
    """Put the weights of interactions, or 1, where ratings have their values."""
    columns = dict(zip(interactions.schema.names, interactions.columns, strict=True))
    ones = pa.repeat(pa.scalar(1, pa.float32()), interactions.num_rows)
    columns[c.RATING] = columns.get(c.WEIGHT, ones)
    return pa.RecordBatch.from_arrays([columns[name] for name in c.RATINGS.names], names=c.RATINGS.names)


class _Scale:
    """The rule that ratings lie on the scale; remembers the range that they have."""

    def __init__(self, limits: Input) -> None:
        self._low, self._high = limits.rating_min, limits.rating_max
        self.reason = f"is outside the rating scale {self._low:g} to {self._high:g}"
        self._lowest, self._highest = np.inf, -np.inf

    def __call__(self, batch: pa.RecordBatch) -> tuple[str, str, pa.BooleanArray]:
        rating = batch.column(c.RATING)
        on_scale = pc.and_(pc.greater_equal(rating, self._low), pc.less_equal(rating, self._high))  # false for NaN
        extremes = pc.min_max(rating if on_scale.true_count == len(rating) else rating.filter(pc.is_finite(rating)))
        if extremes["min"].is_valid:
            self._lowest = min(self._lowest, extremes["min"].as_py())
            self._highest = max(self._highest, extremes["max"].as_py())
        return c.RATING, self.reason, pc.invert(on_scale)

    def remedy(self) -> str:
        """Return what to do about ratings that are not on the scale."""
        if self._lowest > self._highest:
            return "correct the file"
        return (
            f"the ratings lie between {self._lowest:g} and {self._highest:g}; if that is their scale, set "
            "input.rating_min and input.rating_max to its ends, otherwise correct the file"
        )


def read_ratings(
    folder: Path, catalogue: pa.Table, validation: Validation, feedback: Feedback | None = None
) -> pa.Table:
    """Read all usable ratings of `folder` into memory, 28 bytes per row of integers. See `stream_ratings`."""
    batches = stream_ratings(folder, catalogue, validation, feedback)
    return pa.Table.from_batches(batches, schema=c.with_ids(c.RATINGS, identifiers.numbered(validation.ids)))


def read(
    folder: Path,
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
    delisted = known and known.filter(pc.is_in(known.column(c.MOVIE_ID), rated))
    catalogue = with_delisted(tonight, delisted)
    return catalogue, identifiers.renumbered(ratings, everything, catalogue), validation


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
    order = np.lexsort((rated[c.MOVIE_ID], rated[c.TIMESTAMP]))
    return labels.movie_ids(rated[c.MOVIE_ID][order]), rated[c.RATING][order]


class RatingsSize(NamedTuple):
    """The size of the file, or of the files of the folder, that holds the ratings."""

    file: str  # its name
    bytes: int
    rows: int | None  # None for text, which would have to be read


def ratings_size(folder: Path) -> RatingsSize:
    """Return the size of the ratings of `folder`, from directory entries and Parquet footers alone.

    Raises:
        InputRejected: see `layouts.find`; or a Parquet file is damaged.
    """
    source = layouts.find(folder, "ratings")
    if source.format in ("delta", "iceberg"):
        return RatingsSize(source.name, reading.live_size(source), reading.parquet_rows(source))
    size = sum(part.path.stat().st_size for part in source.parts)
    return RatingsSize(source.name, size, reading.parquet_rows(source) if source.format == "parquet" else None)


def count_ratings(folder: Path) -> int:
    """Count the rows of the ratings of `folder`: the lines of text files are counted, but not parsed."""
    rows = ratings_size(folder).rows
    return reading.text_rows(layouts.find(folder, "ratings")) if rows is None else rows


def estimate_ratings(folder: Path, seen_rows: int, seen_file: str | None, seen_bytes: int | None) -> int:
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


def identity(path: Path) -> list[tuple[str, int, int]]:
    """Return (relative name, size, mtime in ns) of a file, or of every file of a folder, in ascending order.

    This decides whether an interrupted run may go on, as it decides for make and rsync what is up to date. A checksum
    of the content would cost another pass over all ratings.
    """
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    stats = [(file.relative_to(path.parent).as_posix(), file.stat()) for file in files]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


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


def fingerprint(ratings: pa.Table, catalogue: pa.Table, labels: Labels = NO_LABELS) -> str:
    """Return the sha256 of the values read, which is the same for a CSV and a Parquet file of the same rows.

    Args:
        ratings: with int64 ids.
        labels: what these stand for.
    """
    digest = hashlib.sha256()
    if labels.users is not None:
        digest.update(repr(labels.users.to_pylist()).encode())
    for column in (*ratings.columns, *catalogue.columns):
        if pa.types.is_string(column.type):
            digest.update(repr(column.to_pylist()).encode())
        else:
            for chunk in column.chunks:
                digest.update(chunk.fill_null(0).to_numpy().tobytes())
    return digest.hexdigest()


def find(folder: Path, table: str) -> Path:
    """Return the file or folder that holds `table`; see `layouts.find`."""
    return layouts.find(folder, table).path
