"""Every column name and table schema, in one place.

Input columns carry MovieLens' own names in files and ours (snake case) everywhere else. Ids are int64 here; `with_ids`
makes the same schema for ids that are text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

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
SOURCE = "source"
NUMBER = "number"  # that stands for a movie id inside a run; see `data.ids`
PLACED = "placed"  # whether a movie is new to the model, which places it by genres and year; also published as SOURCE
BY_MODEL = "by_model"  # in the workers; published as SOURCE
MODEL_VERSION = "model_version"
SCORED_AT = "scored_at"
BECAUSE_MOVIE_ID = "because_movie_id"  # the liked movie that speaks most for a recommendation; null where there is none
BECAUSE_TITLE = "because_title"  # runs of older versions have neither
RUN_DATE = "run_date"
RATINGS_COUNT = "ratings"
MOVIES_COUNT = "movies"
FINGERPRINT = "fingerprint"  # of a user's ratings: another when any of them is another

# A history, as Spark hands it to the workers, is one row (USER_ID, MOVIE_ID, RATING) for each rating, one without a
# rating for each movie that is denied to the user, and one of NO_MOVIE for a user who was asked for.
NO_MOVIE = -(2**63)

# The same in the workers, as it is handed to the model: one row a user, of arrays, ascending movie_id.
SEEN_MOVIE_IDS = "seen_movie_ids"
SEEN_RATINGS = "seen_ratings"
DENIED_MOVIE_IDS = "denied_movie_ids"

SOURCE_MODEL = "model"
SOURCE_CONTENT = "content"  # by the model too, which knows the movie by its genres and year only
SOURCE_POPULARITY = "popularity"

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
CATALOGUE = pa.schema([*MOVIES, LINKS.field(IMDB_ID), LINKS.field(TMDB_ID)])


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
    ]
)
# The columns of it that the driver adds to what a worker computes, as they are the same for all rows or joined by id.
ADDED_BY_DRIVER = (TITLE, SOURCE, MODEL_VERSION, SCORED_AT, BECAUSE_TITLE)

# What a scoring worker yields for a recommendation, and for a predicted rating, movie ids that are text as numbers.
SCORED = pa.schema([*(field for field in RECOMMENDATION if field.name not in ADDED_BY_DRIVER), (BY_MODEL, pa.bool_())])
PREDICTED = pa.schema([(USER_ID, pa.int64()), (MOVIE_ID, pa.int64()), (PREDICTED_RATING, pa.float32())])

# A published predicted rating.
PREDICTED_RATING_ROW = pa.schema([*PREDICTED, (MODEL_VERSION, pa.string())])

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
