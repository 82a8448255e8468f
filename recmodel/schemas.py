"""Every column name and table schema, in one place.

Input columns carry MovieLens' own names in files and ours (snake case) everywhere else.
"""

from __future__ import annotations

import pyarrow as pa

USER_ID = "user_id"
MOVIE_ID = "movie_id"
RATING = "rating"
TIMESTAMP = "timestamp"
TITLE = "title"
GENRES = "genres"
IMDB_ID = "imdb_id"
TMDB_ID = "tmdb_id"
RANK = "rank"
RETRIEVAL_SCORE = "retrieval_score"
PREDICTED_RATING = "predicted_rating"
SOURCE = "source"
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
SOURCE_POPULARITY = "popularity"

# In metrics.json, and the baselines it tells of.
ACCURACY = "top_k_accuracy_unseen"
BASELINES = "baselines"
BIASES, POPULARITY = "mean and biases", "popularity"

# name in a MovieLens file -> name here
MOVIELENS_NAMES = {
    "userId": USER_ID,
    "movieId": MOVIE_ID,
    "imdbId": IMDB_ID,
    "tmdbId": TMDB_ID,
}

RATINGS = pa.schema([(USER_ID, pa.int64()), (MOVIE_ID, pa.int64()), (RATING, pa.float32()), (TIMESTAMP, pa.int64())])
MOVIES = pa.schema([(MOVIE_ID, pa.int64()), (TITLE, pa.string()), (GENRES, pa.string())])
LINKS = pa.schema([(MOVIE_ID, pa.int64()), (IMDB_ID, pa.string()), (TMDB_ID, pa.int64())])
USERS = pa.schema([(USER_ID, pa.int64())])
PAIRS = pa.schema([(USER_ID, pa.int64()), (MOVIE_ID, pa.int64())])
CATALOGUE = pa.schema([*MOVIES, LINKS.field(IMDB_ID), LINKS.field(TMDB_ID)])

REJECTS = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),  # 1-based; in a CSV file the header is row 1
        ("column", pa.string()),
        ("value", pa.string()),
        ("reason", pa.string()),
    ]
)

# What a scoring worker yields (Spark DDL): numbers only. Titles and constants are added after it.
SCORED = (
    f"{USER_ID} BIGINT, {RANK} INT, {MOVIE_ID} BIGINT, "
    f"{RETRIEVAL_SCORE} FLOAT, {PREDICTED_RATING} FLOAT, {BY_MODEL} BOOLEAN, {BECAUSE_MOVIE_ID} BIGINT"
)
PREDICTED = f"{USER_ID} BIGINT, {MOVIE_ID} BIGINT, {PREDICTED_RATING} FLOAT"

# The published columns of a recommendation, in this order; run_date is the folder.
RECOMMENDATION = (
    USER_ID, RANK, MOVIE_ID, TITLE, RETRIEVAL_SCORE, PREDICTED_RATING, SOURCE, MODEL_VERSION, SCORED_AT,
    BECAUSE_MOVIE_ID, BECAUSE_TITLE,
)  # fmt: skip

# The published columns of a user who has rated; the fingerprint is null but for incremental runs.
USER = pa.schema([(name, pa.int64()) for name in (USER_ID, RATINGS_COUNT, MOVIES_COUNT, FINGERPRINT)])

# The published tables: folders below OUTPUT, each partitioned by run_date.
RECOMMENDATIONS_TABLE = "recommendations"
PREDICTED_RATINGS_TABLE = "predicted_ratings"
REJECTS_TABLE = "rejects"
USERS_TABLE = "users"
RUNS_TABLE = "runs"
