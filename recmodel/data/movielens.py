"""Input: the tables of a MovieLens directory.

Takes `ratings`, `movies` and optionally `links`, as `.csv` or `.parquet`; gives Arrow tables of `columns.RATINGS` and
`columns.CATALOGUE`, and keeps every refused row. `reading` reads the files.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet

from recmodel import schemas as c
from recmodel import storage
from recmodel.data import catalogue as lookup
from recmodel.data.reading import Checked, check
from recmodel.data.sample import sample_dir
from recmodel.errors import InputRejected
from recmodel.settings import SAMPLE, Input

_MOST_REJECTS = 1_000_000  # kept in memory; a file with more is no use whatever its size
_DAY = 86_400  # seconds
_TABLES, _ENDINGS = ("ratings", "movies", "links"), (".csv", ".parquet")


@dataclass
class Intake:
    """Counts what is read and keeps what is refused, over all files of a run."""

    limits: Input
    rows: dict[str, int] = field(default_factory=dict)  # by file
    used: dict[str, int] = field(default_factory=dict)
    rejects: list[pa.RecordBatch] = field(default_factory=list)

    def accept(self, path: Path, blocks: Iterable[Checked]) -> Iterator[pa.RecordBatch]:
        """The usable rows of the blocks of one file.

        Raises:
            InputRejected: after the last block, if a greater share of the rows was refused than the settings
                allow; names file, column, row and value of the first.
        """
        refused: list[pa.RecordBatch] = []
        total = count = 0
        for block in blocks:
            total += block.rows_in
            count += block.rejected.num_rows
            if block.rejected.num_rows:
                refused.append(block.rejected)
            if count > _MOST_REJECTS:
                break
            yield block.accepted
        self.rows[path.name] = self.rows.get(path.name, 0) + total  # files of several folders may have one name
        self.used[path.name] = self.used.get(path.name, 0) + total - count
        self.rejects += refused
        if count > min(_MOST_REJECTS, self.limits.max_rejected_share * total):
            first = refused[0].slice(0, 1).to_pylist()[0]
            raise InputRejected(
                f"{path}, row {first['row']}, column {first['column']}: {first['value']!r} {first['reason']} "
                f"({count:,} of {total:,} rows refused, {self.limits.max_rejected_share:.2%} allowed); "
                "correct the file or raise input.max_rejected_share"
            )

    def rejected(self) -> pa.Table:
        """Every refused row so far (`columns.REJECTS`)."""
        return pa.Table.from_batches(self.rejects, schema=c.REJECTS)


def data_dir(data: str, sample_cache: str) -> Path:
    """The directory that `--data` means: the built-in sample for the word `sample`, a local copy for a URI.

    Raises:
        InputRejected: there is no such directory.
        UsageRejected: the sample's package is not installed, or no file system is known for the URI.
    """
    if storage.is_uri(data):
        try:
            copy = storage.fetch(data, [f"{table}{ending}" for table in _TABLES for ending in _ENDINGS])
        except OSError as error:
            raise InputRejected(f"{data} cannot be read ({error}); check the address and the right to it") from None
        if not any(copy.iterdir()):
            raise InputRejected(f"{data} holds neither ratings nor movies; check the address")
        return copy
    folder = sample_dir(sample_cache) if data == SAMPLE else Path(data)
    if not folder.is_dir():
        raise InputRejected(f"{folder} is not a directory; --data takes a MovieLens directory or the word sample")
    return folder


def read_catalogue(folder: Path, intake: Intake) -> pa.Table:
    """All movies of `folder` (`columns.CATALOGUE`), ascending by movie_id, one row a movie.

    External ids come from `links` where that file exists and are null elsewhere.

    Raises:
        InputRejected: see `Intake.accept` and `find`.
    """
    seen: set[int] = set()

    def first_of_its_id(batch: pa.RecordBatch) -> tuple[str, str, pa.BooleanArray]:
        repeated = []
        for movie_id in batch.column(c.MOVIE_ID).to_pylist():
            repeated.append(movie_id in seen)
            seen.add(movie_id)
        return c.MOVIE_ID, "appears a second time", pa.array(repeated, pa.bool_())

    def has_title(batch: pa.RecordBatch) -> tuple[str, str, pa.BooleanArray]:
        return c.TITLE, "is not a title", pc.equal(pc.utf8_trim_whitespace(batch.column(c.TITLE)), "")

    path = find(folder, "movies")
    blocks = check(path, c.MOVIES, [has_title, first_of_its_id])
    movies = pa.Table.from_batches(intake.accept(path, blocks), schema=c.MOVIES)
    links_path = find_optional(folder, "links")
    if links_path is None:
        links = c.LINKS.empty_table()
    else:
        links = pa.Table.from_batches(intake.accept(links_path, check(links_path, c.LINKS, [])), schema=c.LINKS)
        links = links.group_by(c.MOVIE_ID, use_threads=False).aggregate([(c.IMDB_ID, "first"), (c.TMDB_ID, "first")])
        links = links.rename_columns([c.MOVIE_ID, c.IMDB_ID, c.TMDB_ID])
    if not movies.num_rows:
        raise InputRejected(f"{path} holds no movies; a catalogue needs at least one")
    joined = movies.join(links, c.MOVIE_ID).select(c.CATALOGUE.names).sort_by(c.MOVIE_ID)
    imdb_id = pc.utf8_lpad(joined.column(c.IMDB_ID), 7, "0")  # IMDb's own form, which a numeric column loses
    return joined.set_column(joined.schema.get_field_index(c.IMDB_ID), c.IMDB_ID, imdb_id).cast(c.CATALOGUE)


def stream_ratings(folder: Path, catalogue: pa.Table, intake: Intake) -> Iterator[pa.RecordBatch]:
    """The usable ratings of `folder` (`columns.RATINGS`), in file order, block by block.

    Raises:
        InputRejected: see `Intake.accept` and `find`; a rating is refused outside the scale, from the future, or for
            a movie that the catalogue lacks.
    """
    tomorrow = int(time.time()) + _DAY  # clocks and time zones differ
    low, high = intake.limits.rating_min, intake.limits.rating_max
    movie_ids = catalogue.column(c.MOVIE_ID).combine_chunks()

    def on_the_scale(batch: pa.RecordBatch) -> tuple[str, str, pa.BooleanArray]:
        rating = batch.column(c.RATING)
        on_scale = pc.and_(pc.greater_equal(rating, low), pc.less_equal(rating, high))  # false for NaN
        return c.RATING, f"is outside the rating scale {low:g} to {high:g}", pc.invert(on_scale)

    def in_the_catalogue(batch: pa.RecordBatch) -> tuple[str, str, pa.BooleanArray]:
        known = pc.is_in(batch.column(c.MOVIE_ID), value_set=movie_ids)
        return c.MOVIE_ID, "is not in the file of movies", pc.invert(known)

    def in_the_past(batch: pa.RecordBatch) -> tuple[str, str, pa.BooleanArray]:
        late = pc.greater(batch.column(c.TIMESTAMP), tomorrow)
        return c.TIMESTAMP, "lies in the future, as seconds since 1970", late

    path = find(folder, "ratings")
    return intake.accept(path, check(path, c.RATINGS, [on_the_scale, in_the_catalogue, in_the_past]))


def count_ratings(folder: Path) -> int:
    """How many rows the file of ratings has, without reading what is in them."""
    path = find(folder, "ratings")
    if path.suffix == ".parquet":
        return pyarrow.dataset.dataset(path, format="parquet").count_rows()
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 22), b"")) - 1


def read_ratings(folder: Path, catalogue: pa.Table, intake: Intake) -> pa.Table:
    """All usable ratings of `folder` in memory, 28 bytes a row. See `stream_ratings`."""
    return pa.Table.from_batches(stream_ratings(folder, catalogue, intake), schema=c.RATINGS)


def read(place: str, sample_cache: str, limits: Input) -> tuple[pa.Table, pa.Table, Intake]:
    """(`columns.CATALOGUE`, `columns.RATINGS`, what was refused) of the directory that `--data` means.

    Raises:
        InputRejected, UsageRejected: see `data_dir`, `read_catalogue` and `read_ratings`.
    """
    intake = Intake(limits)
    folder = data_dir(place, sample_cache)
    catalogue = read_catalogue(folder, intake)
    return catalogue, read_ratings(folder, catalogue, intake), intake


def history_of(user_id: int, batches: Iterable[pa.RecordBatch]) -> tuple[np.ndarray, np.ndarray]:
    """The movie ids a user has rated and their latest ratings, from batches of `columns.RATINGS`."""
    mine = [batch.filter(pc.equal(batch.column(c.USER_ID), user_id)) for batch in batches]
    rated = pa.Table.from_batches(mine, schema=c.RATINGS).sort_by([(c.TIMESTAMP, "ascending"), (c.RATING, "ascending")])
    latest = dict(zip(rated.column(c.MOVIE_ID).to_pylist(), rated.column(c.RATING).to_pylist(), strict=True))
    return np.array([*latest], np.int64), np.array([*latest.values()], np.float32)


@dataclass
class StagedRatings:
    """What is known of ratings once they have been written. M movies, in the order of the ids given."""

    counts: np.ndarray  # [M] float64: number of ratings of each movie
    sums: np.ndarray  # [M] float64: their sum
    may_repeat: bool  # False where they ascend strictly by user and movie, so that no pair of these comes twice


def stage_ratings(
    batches: Iterable[pa.RecordBatch], sink: Path | pa.NativeFile, movie_ids: np.ndarray
) -> StagedRatings:
    """Writes ratings to one Parquet file for Spark to read, and counts them by movie on the way.

    Memory depends on the movies, not on the ratings.

    Args:
        movie_ids: [M] int64, ascending. Ratings of other movies are written but not counted.

    Raises:
        InputRejected: there is not one rating.
    """
    staged = StagedRatings(np.zeros(len(movie_ids)), np.zeros(len(movie_ids)), may_repeat=False)
    written = 0
    last: np.ndarray = np.empty((2, 0), np.int64)  # user and movie of the last row so far
    with pyarrow.parquet.ParquetWriter(sink, c.RATINGS) as writer:
        for batch in batches:
            writer.write_batch(batch)
            movie_id = batch.column(c.MOVIE_ID).to_numpy()
            pairs = np.concatenate([last, [batch.column(c.USER_ID).to_numpy(), movie_id]], axis=1)
            (user, movie), (next_user, next_movie) = pairs[:, :-1], pairs[:, 1:]
            ascends = (next_user > user) | ((next_user == user) & (next_movie > movie))
            staged.may_repeat |= not ascends.all()
            last = pairs[:, -1:]
            row, known = lookup.rows(movie_ids, movie_id)
            staged.counts += np.bincount(row[known], minlength=len(movie_ids))
            staged.sums += np.bincount(row[known], batch.column(c.RATING).to_numpy()[known], len(movie_ids))
            written += batch.num_rows
    if not written:
        raise InputRejected("the file of ratings holds none that can be used; export it again")
    return staged


def read_ids(path: Path, schema: pa.Schema, intake: Intake) -> pa.Table:
    """The rows of a CSV or Parquet file of ids (`columns.USERS` or `columns.PAIRS`), each once, ascending.

    Raises:
        InputRejected: see `Intake.accept` and `find_ids`.
    """
    blocks = check(find_ids(path, schema), schema, [])
    rows = pa.Table.from_batches(intake.accept(path, blocks), schema=schema)
    return rows.group_by(schema.names).aggregate([]).sort_by([(name, "ascending") for name in schema.names])


def find_ids(path: Path, schema: pa.Schema) -> Path:
    """That path; InputRejected if nothing is there."""
    if not path.exists():
        wanted = {
            c.USERS: "--users takes a CSV or Parquet file with a column userId",
            c.PAIRS: "rules.deny_pairs takes a CSV or Parquet file with columns userId and movieId",
        }
        raise InputRejected(f"{path} does not exist; {wanted[schema]}")
    return path


def fingerprint(ratings: pa.Table, catalogue: pa.Table) -> str:
    """sha256 of the values read, the same for a CSV file and a Parquet file of the same rows."""
    digest = hashlib.sha256()
    for column in (*ratings.columns, *catalogue.columns):
        if pa.types.is_string(column.type):
            digest.update(repr(column.to_pylist()).encode())
        else:
            for chunk in column.chunks:
                digest.update(chunk.fill_null(0).to_numpy().tobytes())
    return digest.hexdigest()


def find(folder: Path, table: str) -> Path:
    """The file (or the folder of Parquet files) that holds `table`.

    Raises:
        InputRejected: it is missing.
    """
    path = find_optional(folder, table)
    if path is None:
        raise InputRejected(f"{folder} holds neither {table}.csv nor {table}.parquet; a MovieLens directory has one")
    return path


def find_optional(folder: Path, table: str) -> Path | None:
    """Like `find`, but None where the table is missing."""
    candidates = (folder / f"{table}{ending}" for ending in _ENDINGS)
    return next((path for path in candidates if path.exists()), None)
