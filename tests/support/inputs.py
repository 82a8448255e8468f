"""Small hand-made inputs, as files and as tables."""

import csv
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recmodel import schemas as c
from recmodel.data import histories
from recmodel.data import movielens as data
from recmodel.data.histories import Histories
from recmodel.data.limits import Input
from recmodel.data.validation import Validation

MOVIES_CSV = """movieId,title,genres
1,"Matrix, The (1999)",Action|Sci-Fi
2,"Say ""Hi"" (2001)",Comedy
3,Emma (1996),Drama
4,Emma (1996),Drama|Romance
10,Amélie (2001),Comedy|Romance
11,Never Rated (1990),(no genres listed)
"""


def make_ratings(
    users: int = 40, movies: tuple[int, ...] = (1, 2, 3, 4, 10), seed: int = 0, each: tuple[int, int] = (2, 4)
) -> list[tuple]:
    """(user, movie, rating, timestamp): everybody has rated two or three movies, or as many as `each` says."""
    random = np.random.RandomState(seed)
    rows = []
    for user in range(1, users + 1):
        for movie in sorted(random.choice(movies, size=random.randint(*each), replace=False)):
            rows.append((user, int(movie), random.randint(1, 11) / 2, 1_000_000 + len(rows)))
    return rows


# Ratings that are older than those of `make_ratings`, of movies that their users have rated again; some twice.
REPEATS = [(1, 1, 0.5, 5), (1, 1, 1.0, 5), (2, 4, 5.0, 5), (3, 1, 2.0, 5), (3, 1, 2.0, 5)]


def write_movielens(folder: Path, ratings: list[tuple], movies_csv: str = MOVIES_CSV) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "movies.csv").write_text(movies_csv, encoding="utf-8")
    lines = ["userId,movieId,rating,timestamp", *(",".join(str(value) for value in row) for row in ratings)]
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


MOVIES = np.array([1, 2, 3, 4, 10, 11])
CATALOGUE = pa.table(
    {
        c.MOVIE_ID: MOVIES,
        c.TITLE: ["Matrix, The (1999)", "B (2001)", "Emma (1996)", "Emma (1996)", "Amélie (2001)", "Undated"],
        c.GENRES: ["Action|Sci-Fi", "Comedy", "Drama", "Drama|Romance", "Comedy|Romance", None],
        c.IMDB_ID: [None] * 6,
        c.TMDB_ID: [None] * 6,
    },
    schema=c.CATALOGUE,
)


def make_catalogue(rows: list[tuple[int, str, str | None]]) -> pa.Table:
    ids, titles, genres = zip(*rows, strict=True)
    nothing = [None] * len(ids)
    return pa.table([ids, titles, genres, nothing, nothing], schema=c.CATALOGUE)


def table(rows: list[tuple]) -> pa.Table:
    return pa.table(list(zip(*rows, strict=True)), schema=c.RATINGS)


# That scoring needs; what a placeholder of a model says it has.
SIGNATURES = ("movie_vectors", "predict", "rate_catalogue", "rate_lists", "user_vectors")

STRICT = Input(rating_min=0.5, rating_max=5.0, max_rejected_share=0.0)
LENIENT = Input(rating_min=0.5, rating_max=5.0, max_rejected_share=1.0)
HEADER = b"userId,movieId,rating,timestamp\n"


def read(folder, limits=STRICT):
    validation = Validation(limits)
    catalogue = data.read_catalogue(folder, validation)
    return data.read_ratings(folder, catalogue, validation), catalogue, validation


def with_ratings(folder, content: bytes):
    write_movielens(folder, [])
    (folder / "ratings.csv").write_bytes(content)
    return folder


def csv_text(table: pa.Table, delimiter: str = ",", decimal: str = ".", newline: str = "\n") -> str:
    """The rows of a table as people's programs write them, with quotes where they are needed."""
    lines = io.StringIO()
    writer = csv.writer(lines, delimiter=delimiter, lineterminator=newline)
    writer.writerow(table.schema.names)
    for row in table.to_pylist():
        writer.writerow(
            str(value).replace(".", decimal) if isinstance(value, float) else value for value in row.values()
        )
    return lines.getvalue()


# What `make_ratings` and `MOVIES_CSV` hold, with MovieLens' names.
RATED = pa.table(list(zip(*make_ratings(), strict=True)), names=["userId", "movieId", "rating", "timestamp"])
LISTED = pa.table(
    list(zip(*list(csv.reader(MOVIES_CSV.splitlines()))[1:], strict=True)), names=["movieId", "title", "genres"]
)


def with_files(folder: Path, files: dict[str, bytes | str | pa.Table]) -> Path:
    """Write a directory of input: text, bytes, or a table as Parquet; plain MovieLens files where one is missing."""
    files = {**files}
    for table, rows in (("ratings", RATED), ("movies", LISTED)):
        if not any(name.startswith((table, "u.")) for name in files):
            files[f"{table}.csv"] = csv_text(rows)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def histories_of(movie_ids: np.ndarray, user_ids, seen, denied=None) -> Histories:
    """Histories of users, ascending, from the ids of the movies that each has seen, with three stars, and is denied."""

    def rows(lists) -> pa.Table:
        pairs = [(user, movie) for user, movies in zip(user_ids, lists, strict=True) for movie in movies]
        user, movie = zip(*pairs, strict=True) if pairs else ((), ())
        place = pa.array(np.searchsorted(movie_ids, movie), pa.int32())
        return pa.table({c.USER_ID: pa.array(user, pa.int64()), c.MOVIE: place})

    rated = rows(seen)
    rated = rated.append_column(c.RATING, pa.array([3.0] * rated.num_rows, pa.float32()))
    rated = rated.append_column(c.TIMESTAMP, pa.array(range(rated.num_rows), pa.int64()))
    return histories.of_users(pa.array(user_ids, pa.int64()), rated, None if denied is None else rows(denied))
