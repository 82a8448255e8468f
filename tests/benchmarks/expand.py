"""Expand real MovieLens ratings to any size: write another MovieLens folder, with the long tail of the real one.

    python tests/benchmarks/expand.py --data ml-latest-small --users 162541 --movies 62423 --ratings 25000095 \\
        --output var/ml25m

Source: Belletti, Lakshmanan, Krichene, Chen, Anderson, "Scalable Realistic Recommendation Datasets through Fractal
Expansions" (2019), which MLPerf used for MovieLens. The expanded matrix is the Kronecker product of a small one and
the real one: a grid of copies of the real matrix, of which the copy at (i, j) keeps a share of its ratings, drawn at
random, that follows entry (i, j) of the small matrix. The small matrix is the real one shrunk: how many ratings the
users of one group gave to the movies of one group. The paper shrinks it by its singular vectors; here its counts are
pooled, which needs no decomposition, and tempered (`_SHARPNESS`), or the tails of the two would multiply.

Users and movies of a copy are numbered after those of the one before, so movie k + 1 is a copy of real movie
k mod (real movies), by ascending id. Where the sizes are no multiples of the real ones, the last copies have only the
first users and movies. A copy keeps the real rating and time. Memory holds the real ratings and one row of the grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from recmodel import schemas as c
from recmodel import settings
from recmodel.arrays import Arrays
from recmodel.data import duplicates, movielens
from recmodel.data.sample import SAMPLE

_SHARPNESS = 0.35  # power of the small matrix' entries: 1 multiplies the tails, 0 makes all copies equally dense

RATINGS = pa.schema(
    [("userId", pa.int64()), ("movieId", pa.int64()), ("rating", pa.float32()), ("timestamp", pa.int64())]
)


@dataclass(frozen=True)
class Real:
    """The real ratings, one per user and movie, as rows 0, 1, 2, … of users and movies; all arrays are [S]."""

    user: np.ndarray
    movie: np.ndarray
    rating: np.ndarray
    timestamp: np.ndarray
    catalogue: pa.Table  # schemas.CATALOGUE, ascending by movie_id
    users: int

    @property
    def movies(self) -> int:
        return self.catalogue.num_rows


def read_real(data: str) -> tuple[pa.Table, Arrays]:
    """Read the catalogue and the ratings that count, of a MovieLens folder or of the word `sample`, as the jobs do."""
    options = settings.load(paths={"data": data})
    folder = movielens.data_dir(options.paths.data, options.paths.sample)
    catalogue, ratings, _ = movielens.read(folder, options.input)
    return catalogue, duplicates.latest(ratings)


def read(data: str) -> Real:
    """Read the real ratings; see `read_real`."""
    catalogue, ratings = read_real(data)
    users, user = np.unique(ratings[c.USER_ID], return_inverse=True)
    movie = np.searchsorted(catalogue.column(c.MOVIE_ID).to_numpy(), ratings[c.MOVIE_ID])
    return Real(user, movie, ratings[c.RATING], ratings[c.TIMESTAMP], catalogue, len(users))


def expanded(real: Real, users: int, movies: int, ratings: int, seed: int) -> Iterator[pa.Table]:
    """Yield the ratings (`RATINGS`), ascending by user and movie, a row of the grid at a time.

    Each user has at least one.

    Raises:
        ValueError: that many ratings of that many users and movies cannot be copies of the real ones.
    """
    random = np.random.default_rng(seed)
    down, across = -(-users // real.users), -(-movies // real.movies)
    room = _room(real, users, movies)
    users_of_copy = np.full(down, real.users)
    users_of_copy[-1] = users - (down - 1) * real.users
    if movies < real.movies or not users <= ratings <= room.sum():
        raise ValueError(
            f"{users:,} users and {movies:,} movies can be drawn from {real.users:,} and {real.movies:,} real ones "
            f"with {users:,} to {room.sum():,} ratings, and with at least as many movies"
        )
    small = _pooled(real, down, across) ** _SHARPNESS
    wanted = _whole(_filled(room * small, room, ratings), room, ratings)
    if (wanted.sum(axis=1) < users_of_copy).any():
        raise ValueError(f"{ratings:,} ratings are too few for at least one of each of {users:,} users")
    for i in range(down):
        inside = [real.user < users_of_copy[i]] * across
        inside[-1] = inside[-1] & (real.movie < movies - (across - 1) * real.movies)
        copy, at = _draw(random, real, inside, wanted[i], users_of_copy[i])
        user, movie = i * real.users + real.user[at] + 1, copy * real.movies + real.movie[at] + 1
        order = np.lexsort((movie, user))
        columns = (user[order], movie[order], real.rating[at][order], real.timestamp[at][order])
        yield pa.table(dict(zip(RATINGS.names, columns, strict=True)), schema=RATINGS)


def catalogue(real: Real, movies: int) -> pa.Table:
    """Return `movieId, title, genres` of the expanded movies; a copy's title has its number."""
    of, copy = np.arange(movies) % real.movies, np.arange(movies) // real.movies
    titles = real.catalogue.column(c.TITLE).take(of).to_pylist()
    return pa.table({
        "movieId": np.arange(1, movies + 1),
        "title": [f"{title} [{j + 1}]" if j else title for title, j in zip(titles, copy.tolist(), strict=True)],
        "genres": real.catalogue.column(c.GENRES).take(of),
    })  # fmt: skip


def with_text(table: pa.Table) -> pa.Table:
    """Return the table with ids of 36 characters that keep the order of the integers."""
    for name in {"userId", "movieId"}.intersection(table.schema.names):
        labels = pc.utf8_lpad(table.column(name).cast(pa.string()), 34, "0")
        labelled = pc.binary_join_element_wise(name[0], labels, "-")
        table = table.set_column(table.schema.get_field_index(name), name, labelled)
    return table


def write(
    real: Real,
    folder: Path,
    *,
    users: int,
    movies: int,
    ratings: int,
    seed: int,
    as_csv: bool = False,
    text_ids: bool = False,
) -> None:
    """Write the MovieLens folder: `ratings` and `movies`, both as Parquet or both as CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    label = with_text if text_ids else lambda table: table
    tables, listed = map(label, expanded(real, users, movies, ratings, seed)), label(catalogue(real, movies))
    schema = label(RATINGS.empty_table()).schema
    if as_csv:
        with pyarrow.csv.CSVWriter(folder / "ratings.csv", schema) as sink:
            for table in tables:
                sink.write_table(table)
        pyarrow.csv.write_csv(listed, folder / "movies.csv")
    else:
        with pq.ParquetWriter(folder / "ratings.parquet", schema, compression="zstd") as sink:
            for table in tables:
                sink.write_table(table)
        pq.write_table(listed, folder / "movies.parquet")


def _room(real: Real, users: int, movies: int) -> np.ndarray:
    """Return [down, across] how many real ratings each copy can hold: all, except for the last copies."""
    few_users = real.user < users - (users - 1) // real.users * real.users
    few_movies = real.movie < movies - (movies - 1) // real.movies * real.movies
    room = np.full((-(-users // real.users), -(-movies // real.movies)), len(real.user))
    room[-1], room[:, -1], room[-1, -1] = few_users.sum(), few_movies.sum(), (few_users & few_movies).sum()
    return room


def _pooled(real: Real, down: int, across: int) -> np.ndarray:
    """Return [down, across] the real counts, summed by groups of neighbours; a group may be a part of a user."""

    def pooling(count: int, groups: int) -> np.ndarray:
        """Return [groups, count] which share of each row is in each group."""
        ends = np.arange(groups + 1) * count / groups
        covered = np.clip(ends[:, np.newaxis] - np.arange(count), 0, 1)
        return np.diff(covered, axis=0)

    by_movie = np.zeros((real.users, across))
    of_movie = pooling(real.movies, across)
    for j in range(across):
        by_movie[:, j] = np.bincount(real.user, of_movie[j][real.movie], real.users)
    return pooling(real.users, down) @ by_movie + 1e-9


def _filled(shares: np.ndarray, room: np.ndarray, total: int) -> np.ndarray:
    """Divide `total` in proportion to `shares`, none above its `room`; what overflows goes to the others."""
    full = np.zeros(shares.shape, bool)
    while True:
        left = total - room[full].sum()
        wanted = np.where(full, room, shares * (left / max(shares[~full].sum(), 1e-300)))
        over = wanted > room
        if not over.any():
            return wanted
        full |= over


def _whole(wanted: np.ndarray, room: np.ndarray, total: int) -> np.ndarray:
    """Round to integers with the sum `total`: down, and up where most was cut off and there is room."""
    whole = np.minimum(np.floor(wanted).astype(np.int64), room)
    behind = np.where(whole < room, wanted - whole, -1).ravel()
    for at in np.argsort(-behind, kind="stable")[: total - whole.sum()]:
        whole.flat[at] += 1
    return whole


def _draw(
    random: np.random.Generator, real: Real, inside: list[np.ndarray], wanted: np.ndarray, users: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the ratings that a row of the grid keeps: none twice, and at least one for each user.

    Returns:
        The copy of each, and its row of `real`.
    """
    drawn = []
    for where, count in zip(inside, wanted, strict=True):
        rows = np.flatnonzero(where)
        drawn.append(rows[random.choice(len(rows), count, replace=False, shuffle=False)])
    copy, at = np.repeat(np.arange(len(inside)), wanted), np.concatenate(drawn)

    # A user who was left out gets one of their ratings in the first copy, in place of one that another user can spare.
    left_out = np.setdiff1d(np.arange(users), real.user[at])
    shuffled = random.permutation(len(at))
    spare = np.ones(len(at), bool)
    spare[shuffled[np.unique(real.user[at][shuffled], return_index=True)[1]]] = False
    replaced = shuffled[spare[shuffled]][: len(left_out)]
    first_rating = np.unique(real.user, return_index=True)[1]
    copy[replaced], at[replaced] = 0, first_rating[left_out]
    return copy, at


@click.command(help=__doc__)
@click.option("--data", default=SAMPLE, show_default=True, help="The real ratings: a MovieLens folder.")
@click.option("--users", required=True, type=int)
@click.option("--movies", required=True, type=int)
@click.option("--ratings", required=True, type=int)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option("--seed", default=0, show_default=True)
@click.option("--text-ids", is_flag=True, help="Ids of 36 characters instead of integers.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV, as MovieLens has it, instead of Parquet.")
def main(data: str, output: Path, **sizes: int) -> None:
    try:
        write(read(data), output, **sizes)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    print(f"{sizes['ratings']:,} ratings of {sizes['users']:,} users and {sizes['movies']:,} movies are in {output}")


if __name__ == "__main__":
    main()
