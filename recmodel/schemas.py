"""Every column name and table schema, in one place.

Input columns carry MovieLens' own names in files and ours (snake case) everywhere else. Ids are int64 here; `with_ids`
makes the same schema for ids that are text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

Id = int | str  # of a user or a movie
IdKind = Literal["integer", "text"]
INTEGER: IdKind = "integer"
TEXT: IdKind = "text"


@dataclass(frozen=True)
class Ids:
    """What the ids of users and movies are; see `data.ids`."""

    user: IdKind = INTEGER
    movie: IdKind = INTEGER


INTEGER_IDS = Ids()

USER_ID = "user_id"
MOVIE_ID = "movie_id"
RATING = "rating"
TIMESTAMP = "timestamp"
WEIGHT = (
    "weight"  # of an interaction without a rating, such as how often; where `RATINGS` is asked for, it is in RATING
)
TITLE = "title"
GENRES = "genres"
IMDB_ID = "imdb_id"
TMDB_ID = "tmdb_id"
RANK = "rank"
RETRIEVAL_SCORE = "retrieval_score"
PREDICTED_RATING = "predicted_rating"
SCORE = "score"  # by which a list is ordered; runs of older versions have none
SOURCE = "source"
MOVIE = "movie"  # the row of a movie in the run's catalogue, inside a run
MODEL_VERSION = "model_version"
SCORED_AT = "scored_at"
BECAUSE_MOVIE_ID = "because_movie_id"  # the liked movie that speaks most for a recommendation; null where there is none
BECAUSE_TITLE = "because_title"  # runs of older versions have neither
RUN_DATE = "run_date"
RATINGS_COUNT = "ratings"
MOVIES_COUNT = "movies"
FINGERPRINT = "fingerprint"  # of a user's ratings: another when any of them is another

SOURCE_MODEL = "model"
SOURCE_CONTENT = "content"  # by the model too, which knows the movie by its genres and year only
SOURCE_POPULARITY = "popularity"
SOURCE_TRENDING = "trending"  # popularity of late, where times are known

# name in a MovieLens file -> name here
MOVIELENS_NAMES = {
    "userId": USER_ID,
    "movieId": MOVIE_ID,
    "imdbId": IMDB_ID,
    "tmdbId": TMDB_ID,
}

RATINGS = pa.schema([(USER_ID, pa.int64()), (MOVIE_ID, pa.int64()), (RATING, pa.float32()), (TIMESTAMP, pa.int64())])
# Implicit feedback as it is read: interactions without ratings. Without a column of weights, each weighs 1.
INTERACTIONS = pa.schema(
    [(USER_ID, pa.int64()), (MOVIE_ID, pa.int64()), (WEIGHT, pa.float32()), (TIMESTAMP, pa.int64())]
)
MOVIES = pa.schema([(MOVIE_ID, pa.int64()), (TITLE, pa.string()), (GENRES, pa.string())])
LINKS = pa.schema([(MOVIE_ID, pa.int64()), (IMDB_ID, pa.string()), (TMDB_ID, pa.int64())])
USERS = pa.schema([(USER_ID, pa.int64())])
PAIRS = pa.schema([(USER_ID, pa.int64()), (MOVIE_ID, pa.int64())])
# Inside a run: ratings, and pairs of a user and a movie, with the row of the movie in the place of its id.
STAGED = pa.schema([(USER_ID, pa.int64()), (MOVIE, pa.int32()), (RATING, pa.float32()), (TIMESTAMP, pa.int64())])
STAGED_PAIRS = pa.schema([STAGED.field(USER_ID), STAGED.field(MOVIE)])
CATALOGUE = pa.schema([*MOVIES, LINKS.field(IMDB_ID), LINKS.field(TMDB_ID)])


def are_by_model(source: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return which values of `SOURCE` say that the model has recommended the movie, to that user."""
    return pc.invert(pc.is_in(source, value_set=pa.array([SOURCE_POPULARITY, SOURCE_TRENDING])))


def with_ids(schema: pa.Schema, ids: Ids) -> pa.Schema:
    """Return a schema whose columns of ids have the types of these ids: int64 or string."""
    kinds: dict[str, IdKind] = {USER_ID: ids.user, MOVIE_ID: ids.movie, BECAUSE_MOVIE_ID: ids.movie}
    return pa.schema(
        [field.with_type(pa.string()) if kinds.get(field.name) == TEXT else field for field in schema], schema.metadata
    )


REJECTS = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),  # 1-based; in a CSV file the header is row 1
        ("column", pa.string()),
        ("value", pa.string()),
        ("reason", pa.string()),
    ]
)

TIMED_REJECTS = REJECTS.append(RATINGS.field(TIMESTAMP))  # inside a run; null where a row has no time that can be read

# A published recommendation; run_date is the folder. Columns are added at the end only.
RECOMMENDATION = pa.schema(
    [
        (USER_ID, pa.int64()),
        (RANK, pa.int32()),
        (MOVIE_ID, pa.int64()),
        (TITLE, pa.string()),
        (RETRIEVAL_SCORE, pa.float32()),
        (PREDICTED_RATING, pa.float32()),
        (SOURCE, pa.string()),
        (MODEL_VERSION, pa.string()),
        (SCORED_AT, pa.timestamp("us", "UTC")),
        (BECAUSE_MOVIE_ID, pa.int64()),
        (BECAUSE_TITLE, pa.string()),
        (SCORE, pa.float32()),
    ]
)
# A published predicted rating.
PREDICTED_RATING_ROW = pa.schema([
    (USER_ID, pa.int64()), (MOVIE_ID, pa.int64()), (PREDICTED_RATING, pa.float32()), (MODEL_VERSION, pa.string())
])  # fmt: skip

# The published columns of a user who has rated; the fingerprint is null but for incremental runs.
USER = pa.schema([(name, pa.int64()) for name in (USER_ID, RATINGS_COUNT, MOVIES_COUNT, FINGERPRINT)])

RECOMMENDATIONS_TABLE = "recommendations"
PREDICTED_RATINGS_TABLE = "predicted_ratings"
REJECTS_TABLE = "rejects"
USERS_TABLE = "users"
RUNS_TABLE = "runs"

# The published tables of rows, each partitioned by run_date, with their schemas.
TABLES = {
    RECOMMENDATIONS_TABLE: RECOMMENDATION,
    PREDICTED_RATINGS_TABLE: PREDICTED_RATING_ROW,
    REJECTS_TABLE: REJECTS,
    USERS_TABLE: USER,
}
