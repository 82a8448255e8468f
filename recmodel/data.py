"""Input: a MovieLens directory, checked row by row.

Takes `ratings`, `movies` and optionally `links`, as `.csv` or `.parquet`; gives Arrow tables of
`columns.RATINGS` and `columns.CATALOGUE`, and every refused row with its reason. Nothing here loops over rows
unless a block of rows holds a value that cannot be read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet

from recmodel import columns as c
from recmodel.errors import InputRejected
from recmodel.sample import sample_dir
from recmodel.settings import SAMPLE, Input

_CSV_BLOCK_BYTES = 4 << 20
_PARQUET_BATCH_ROWS = 1 << 17

# A rule marks the rows of a batch it refuses: (column, reason, mask).
Rule = Callable[[pa.RecordBatch], "tuple[str, str, pa.BooleanArray]"]


@dataclass(frozen=True)
class Checked:
    """A block of input rows, split into those that can be used and those that cannot (`columns.REJECTS`)."""

    accepted: pa.RecordBatch
    rejected: pa.RecordBatch

    @property
    def rows_in(self) -> int:
        return self.accepted.num_rows + self.rejected.num_rows


@dataclass
class Intake:
    """Counts what is read and keeps what is refused, over all files of a run."""

    limits: Input
    rows: dict[str, int] = field(default_factory=dict)
    rejects: list[pa.RecordBatch] = field(default_factory=list)

    def accept(self, path: Path, blocks: Iterable[Checked]) -> Iterator[pa.RecordBatch]:
        """The usable rows of the blocks of one file.

        Raises:
            InputRejected: after the last block, if a greater share of the rows was refused than the settings
                allow; names file, column, row and value of the first.
        """
        refused: list[pa.RecordBatch] = []
        total = 0
        for block in blocks:
            total += block.rows_in
            if block.rejected.num_rows:
                refused.append(block.rejected)
            yield block.accepted
        self.rows[path.name] = total
        self.rejects += refused
        count = sum(batch.num_rows for batch in refused)
        if count > self.limits.max_rejected_share * total:
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
    """The directory that `--data` means; the word `sample` means the built-in sample.

    Raises:
        InputRejected: there is no such directory.
        UsageRejected: the sample's package is not installed.
    """
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
        InputRejected: see `Intake.accept` and `find`; a rating is refused outside the scale or for a movie that
            the catalogue lacks.
    """
    low, high = intake.limits.rating_min, intake.limits.rating_max
    movie_ids = catalogue.column(c.MOVIE_ID).combine_chunks()

    def on_the_scale(batch: pa.RecordBatch) -> tuple[str, str, pa.BooleanArray]:
        rating = batch.column(c.RATING)
        on_scale = pc.and_(pc.greater_equal(rating, low), pc.less_equal(rating, high))  # false for NaN
        return c.RATING, f"is outside the rating scale {low:g} to {high:g}", pc.invert(on_scale)

    def in_the_catalogue(batch: pa.RecordBatch) -> tuple[str, str, pa.BooleanArray]:
        known = pc.is_in(batch.column(c.MOVIE_ID), value_set=movie_ids)
        return c.MOVIE_ID, "is not in the file of movies", pc.invert(known)

    path = find(folder, "ratings")
    return intake.accept(path, check(path, c.RATINGS, [on_the_scale, in_the_catalogue]))


def read_ratings(folder: Path, catalogue: pa.Table, intake: Intake) -> pa.Table:
    """All usable ratings of `folder` in memory, 28 bytes a row. See `stream_ratings`."""
    return pa.Table.from_batches(stream_ratings(folder, catalogue, intake), schema=c.RATINGS)


def history_of(user_id: int, batches: Iterable[pa.RecordBatch]) -> tuple[np.ndarray, np.ndarray]:
    """The movie ids a user has rated and their latest ratings, from batches of `columns.RATINGS`."""
    mine = [batch.filter(pc.equal(batch.column(c.USER_ID), user_id)) for batch in batches]
    rated = pa.Table.from_batches(mine, schema=c.RATINGS).sort_by([(c.TIMESTAMP, "ascending"), (c.RATING, "ascending")])
    latest = dict(zip(rated.column(c.MOVIE_ID).to_pylist(), rated.column(c.RATING).to_pylist(), strict=True))
    return np.array([*latest], np.int64), np.array([*latest.values()], np.float32)


def stage_ratings(
    batches: Iterable[pa.RecordBatch], path: Path, movie_ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Writes ratings to one Parquet file for Spark to read, and counts them by movie on the way.

    Args:
        movie_ids: [M] int64, ascending. Ratings of other movies are written but not counted.

    Returns:
        [M] number and [M] sum of the ratings of each movie, float64. Memory depends on M, not on the ratings.
    """
    counts, sums = np.zeros(len(movie_ids)), np.zeros(len(movie_ids))
    with pyarrow.parquet.ParquetWriter(path, c.RATINGS) as writer:
        for batch in batches:
            writer.write_batch(batch)
            movie_id = batch.column(c.MOVIE_ID).to_numpy()
            row = np.searchsorted(movie_ids, movie_id).clip(max=len(movie_ids) - 1)
            known = movie_ids[row] == movie_id
            counts += np.bincount(row[known], minlength=len(movie_ids))
            sums += np.bincount(row[known], batch.column(c.RATING).to_numpy()[known], len(movie_ids))
    return counts, sums


def read_users(path: Path, intake: Intake) -> pa.Table:
    """The user ids of a CSV or Parquet file with a column `userId` or `user_id`, each once, ascending.

    Raises:
        InputRejected: see `Intake.accept`; also if the file does not exist.
    """
    if not path.exists():
        raise InputRejected(f"{path} does not exist; --users takes a CSV or Parquet file with a column userId")
    users = pa.Table.from_batches(intake.accept(path, check(path, c.USERS, [])), schema=c.USERS)
    return users.group_by(c.USER_ID).aggregate([]).sort_by(c.USER_ID)


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
    candidates = (folder / f"{table}{ending}" for ending in (".csv", ".parquet"))
    return next((path for path in candidates if path.exists()), None)


def check(path: Path, schema: pa.Schema, rules: list[Rule]) -> Iterator[Checked]:
    """The rows of one file as `schema`, each accepted or rejected with the first reason that applies.

    A value that cannot be read as its column's type is a reason; so is each rule that marks the row. Only text
    and external ids may be empty.

    Raises:
        InputRejected: the file cannot be read at all, or lacks a column.
    """
    source = _csv_blocks if path.suffix == ".csv" else _parquet_blocks
    try:
        for block in source(path, schema):
            yield _check_block(block, schema, rules, path.name)
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputRejected(f"{path} cannot be read ({reason}); export it again") from None


# -- one block ---------------------------------------------------------------------------------------------------

_MAY_BE_EMPTY = {c.GENRES, c.IMDB_ID, c.TMDB_ID}
_TYPE_NAMES = {pa.int64(): "an integer of 64 bits", pa.float32(): "a number", pa.string(): "UTF-8 text"}


def _check_block(block: _Block, schema: pa.Schema, rules: list[Rule], file: str) -> Checked:
    typed = pa.RecordBatch.from_arrays(
        [_parse(column, f.type) for column, f in zip(block.columns, schema, strict=True)], schema=schema
    )
    refusals = [
        (f.name, f"is not {_TYPE_NAMES[f.type]}", pc.is_null(typed.column(f.name)))
        for f in schema
        if f.name not in _MAY_BE_EMPTY
    ]
    readable = np.ones(typed.num_rows, bool)
    for _, _, mask in refusals:
        readable &= ~mask.to_numpy(zero_copy_only=False)
    refusals += [_on_readable(rule, typed, readable) for rule in rules]

    accepted = np.ones(typed.num_rows, bool)
    rejects = list(block.malformed)
    for name, reason, mask in refusals:
        refused_here = accepted & mask.to_numpy(zero_copy_only=False)
        accepted &= ~refused_here
        column = schema.get_field_index(name)
        for i in np.flatnonzero(refused_here):
            value = _printable(block.columns[column][int(i)].as_py())
            rejects.append(_reject(file, int(block.row_numbers[i]), block.names[column], value, reason))
    rejects.sort(key=lambda reject: reject["row"])
    return Checked(
        accepted=typed if accepted.all() else typed.filter(pa.array(accepted)),
        rejected=pa.RecordBatch.from_pylist(rejects, schema=c.REJECTS),
    )


def _on_readable(rule: Rule, typed: pa.RecordBatch, readable: np.ndarray) -> tuple[str, str, pa.BooleanArray]:
    """Applies a rule to the rows without nulls, so that no rule needs to think of them."""
    if readable.all():
        return rule(typed)
    column, reason, mask = rule(typed.filter(pa.array(readable)))
    whole = np.zeros(typed.num_rows, bool)
    whole[readable] = mask.to_numpy(zero_copy_only=False)
    return column, reason, pa.array(whole)


def _parse(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    """The column as the wanted type; null where a value cannot be read as one.

    Halves a block that does not convert until the bad values stand alone: fast where nearly all is well.
    """
    if pa.types.is_timestamp(column.type) and pa.types.is_integer(wanted):
        column = column.cast(pa.timestamp("s"), safe=False)
    try:
        text = pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
        column = column.cast(pa.string()) if text else column
        if pa.types.is_string(column.type) and not pa.types.is_string(wanted):
            column = pc.utf8_trim_whitespace(column)
        return column.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        if len(column) <= 1:
            return pa.nulls(len(column), wanted)
        half = len(column) // 2
        return pa.concat_arrays([_parse(column[:half], wanted), _parse(column[half:], wanted)])


def _printable(value: object, limit: int = 80) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _reject(file: str, row: int, column: str, value: str, reason: str) -> dict:
    return {"file": file, "row": row, "column": column, "value": value, "reason": reason}


# -- files ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Block:
    """Some rows of a file as they stand there: one array a column of the schema, and rows of the wrong length."""

    columns: list[pa.Array]
    names: list[str]  # of the columns, as the file calls them
    row_numbers: np.ndarray
    malformed: list[dict]


def _csv_blocks(path: Path, schema: pa.Schema) -> Iterator[_Block]:
    """Blocks of undecoded text. Row numbers are those of the file's lines: the header is row 1."""
    with path.open("rb") as file:
        header = file.readline(_CSV_BLOCK_BYTES).decode("utf-8-sig").strip()
    if not header:
        raise InputRejected(f"{path} is empty; its first line must name the columns")
    names = _file_names(path, schema, [name.strip('"') for name in header.split(",")])
    malformed: list[dict] = []

    def set_aside(row: pyarrow.csv.InvalidRow) -> str:
        reason = f"has {row.actual_columns} fields where the header has {row.expected_columns}"
        malformed.append(_reject(path.name, row.number, "(all)", _printable(row.text), reason))
        return "skip"

    reader = pyarrow.csv.open_csv(
        path,
        # Rows keep their numbers only in one thread, which still reads 8 million ratings a second.
        read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK_BYTES),
        # Blank lines are read, to keep the numbers right, and dropped below.
        parse_options=pyarrow.csv.ParseOptions(ignore_empty_lines=False, invalid_row_handler=set_aside),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=names, column_types=dict.fromkeys(names, pa.binary()), strings_can_be_null=False
        ),
    )
    first = reported = 0
    for batch in reader:
        position = np.arange(first, first + batch.num_rows)
        first += batch.num_rows
        # The j-th malformed row has (its number - 2 - j) good rows before it.
        good_rows_before = np.array([row["row"] for row in malformed], np.int64) - 2 - np.arange(len(malformed))
        row_numbers = position + 2 + np.searchsorted(good_rows_before, position, side="right")
        filled = np.zeros(batch.num_rows, bool)
        for column in batch.columns:
            filled |= pc.binary_length(column).to_numpy() > 0
        mask = pa.array(filled)
        yield _Block(
            [column.filter(mask) for column in batch.columns], names, row_numbers[filled], malformed[reported:]
        )
        reported = len(malformed)
    if malformed[reported:]:
        yield _Block([pa.array([], field.type) for field in schema], names, np.empty(0, np.int64), malformed[reported:])


def _parquet_blocks(path: Path, schema: pa.Schema) -> Iterator[_Block]:
    """Blocks as they are stored. Row numbers start at 1."""
    dataset = pyarrow.dataset.dataset(path, format="parquet")
    names = _file_names(path, schema, dataset.schema.names)
    first = 1
    for batch in dataset.to_batches(columns=names, batch_size=_PARQUET_BATCH_ROWS):
        yield _Block(batch.columns, names, np.arange(first, first + batch.num_rows), [])
        first += batch.num_rows


def _file_names(path: Path, schema: pa.Schema, present: list[str]) -> list[str]:
    """For each column of the schema the name it has in the file: MovieLens' own, or ours."""
    theirs = {ours: movielens for movielens, ours in c.MOVIELENS_NAMES.items()}
    names = []
    for name in schema.names:
        choices = [theirs.get(name, name), name]
        chosen = next((choice for choice in choices if choice in present), None)
        if chosen is None:
            raise InputRejected(f"{path} has no column {choices[0]} (it has {', '.join(present)}); add it")
        names.append(chosen)
    return names
