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
RANK_BY = "rank_by"
RUN_DATE = "run_date"
RECOMMENDATIONS = "recommendations"
SCORE = "score"
VALID_UNTIL = "valid_until"
YEAR = "year"
MEAN_RATING = "mean_rating"
ALLOWED = "allowed"
STATUS = "status"
SCORED_ON = "scored_on"
SIMILAR_MOVIE_ID = "similar_movie_id"
RATINGS_COUNT = "ratings"
MOVIES_COUNT = "movies"
FINGERPRINT = "fingerprint"  # of a user's ratings: another when any of them is another

SOURCE_MODEL = "model"
SOURCE_CONTENT = "content"  # by the model too, which knows the movie by its genres and year only
SOURCE_POPULARITY = "popularity"
SOURCE_TRENDING = "trending"  # popularity of late, where times are known

STATUS_KNOWN = "known"  # to the model, and in tonight's catalogue
STATUS_NEW = "new"  # in tonight's catalogue, and the model was not trained on it
STATUS_DELISTED = "delisted"  # known to the model, or rated before, and not in tonight's catalogue

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
    """Return a schema whose columns of ids, nested ones too, have the types of these ids: int64 or string."""
    return pa.schema([_with_ids(field, ids) for field in schema], schema.metadata)


def _with_ids(field: pa.Field, ids: Ids) -> pa.Field:
    movies = (MOVIE_ID, BECAUSE_MOVIE_ID, SIMILAR_MOVIE_ID)
    kinds: dict[str, IdKind] = {USER_ID: ids.user, **dict.fromkeys(movies, ids.movie)}
    if kinds.get(field.name) == TEXT:
        return field.with_type(pa.string())
    if pa.types.is_list(field.type) and pa.types.is_struct(field.type.value_type):
        return field.with_type(_list_of(*(_with_ids(inner, ids) for inner in field.type.value_type)))
    return field


def _list_of(*fields: pa.Field | tuple[str, pa.DataType]) -> pa.ListType:
    """Return the type of a list of structs, with the name of elements that Parquet has."""
    return pa.list_(pa.field("element", pa.struct(fields)))


_TEXTS = pa.list_(pa.field("element", pa.string()))


def _described(*columns: tuple[str, pa.DataType, str]) -> pa.Schema:
    """Return the schema of a published table from names, types and what each column says; see `comment`."""
    return pa.schema([pa.field(name, kind, metadata={"comment": text}) for name, kind, text in columns])


def comment(field: pa.Field) -> str:
    """Return what a column of a published table says, as table definitions have it."""
    return field.metadata[b"comment"].decode()


# The published tables. run_date, by which each is partitioned, is not in the files. Columns are added at the end only.

REJECTS = _described(
    ("file", pa.string(), "the file of the input"),
    ("row", pa.int64(), "counted from 1, in a CSV file the header is row 1"),
    ("column", pa.string(), "the column at fault, (all): the whole row"),
    ("value", pa.string(), "what is there, shortened if it is long"),
    ("reason", pa.string(), "why the row was not used"),
)

TIMED_REJECTS = REJECTS.append(RATINGS.field(TIMESTAMP))  # inside a run; null where a row has no time that can be read

RECOMMENDATION = _described(
    (USER_ID, pa.int64(), "rows are sorted by user and rank, files cover ranges of users that do not overlap"),
    (RANK, pa.int32(), "1 is best"),
    (MOVIE_ID, pa.int64(), "the recommended movie"),
    (TITLE, pa.string(), "its title in the catalogue of that night"),
    (RETRIEVAL_SCORE, pa.float32(), "comparable within a user, null for popular movies and without retrieval"),
    (PREDICTED_RATING, pa.float32(), "in stars, for popular movies their damped mean rating"),
    (SOURCE, pa.string(), "model, or content: it knows genres and year of the movie only, or trending, or popularity"),
    (MODEL_VERSION, pa.string(), "the model version of the run"),
    (SCORED_AT, pa.timestamp("us", "UTC"), "when the run began to score"),
    (BECAUSE_MOVIE_ID, pa.int64(), "the liked movie that contributes most to the recommendation, null without one"),
    (BECAUSE_TITLE, pa.string(), "its title"),
    (SCORE, pa.float32(), "by which the list is ordered, null for trending and popular movies"),
)

PREDICTED_RATING_ROW = _described(
    (USER_ID, pa.int64(), "the user"),
    (MOVIE_ID, pa.int64(), "a recommended movie, or any with --predicted-ratings all"),
    (PREDICTED_RATING, pa.float32(), "in stars, always a prediction of the model"),
    (MODEL_VERSION, pa.string(), "the model version of the run"),
)

USER = _described(
    (USER_ID, pa.int64(), "a user who has rated"),
    (RATINGS_COUNT, pa.int64(), "ratings of the user, those that later ones replace included"),
    (MOVIES_COUNT, pa.int64(), "movies that the user has rated"),
    (FINGERPRINT, pa.int64(), "another when any rating of the user is another, null unless runs are incremental"),
)

MOVIE_ROW = _described(
    (MOVIE_ID, pa.int64(), "a movie of the catalogue of that night, or one that is delisted"),
    (TITLE, pa.string(), "as in the input"),
    (GENRES, _TEXTS, "empty for a movie without genres"),
    (YEAR, pa.int32(), "at the end of the title, null where there is none"),
    (IMDB_ID, pa.string(), "from links of the input, with leading zeros"),
    (TMDB_ID, pa.int64(), "from links of the input"),
    (RATINGS_COUNT, pa.int64(), "ratings in the input that count"),
    (MEAN_RATING, pa.float32(), "their mean, in stars, null without ratings"),
    (ALLOWED, pa.bool_(), "whether the model could recommend it that night: listed, scored and within the rules"),
    (STATUS, pa.string(), "known, or new: the model was not trained on it, or delisted: no longer in the catalogue"),
)

LIST = _described(
    (USER_ID, pa.int64(), "one row for each user who has a list"),
    (
        RECOMMENDATIONS,
        _list_of(
            (MOVIE_ID, pa.int64()), (SCORE, pa.float32()), (PREDICTED_RATING, pa.float32()), (SOURCE, pa.string())
        ),
        "best first, those of recommendations, then the reserve, by score",
    ),
    (MODEL_VERSION, pa.string(), "the model version of the run"),
    (VALID_UNTIL, pa.timestamp("us", "UTC"), "from then on a newer list should have been published"),
)

MODEL_ROW = _described(
    (MODEL_VERSION, pa.string(), "a version in MODELS when the run was published"),
    ("used", pa.bool_(), "whether it is the version of this run"),
    (RANK_BY, pa.string(), "the ranking policy of this run, if it used the version, otherwise null"),
    ("current", pa.bool_(), "whether it was CURRENT"),
    ("created_at", pa.timestamp("us", "UTC"), "when it was trained, null if its manifest cannot be read"),
    ("preset", pa.string(), "what was trained"),
    ("newest_rating", pa.timestamp("us", "UTC"), "that it has seen, null where times are not known"),
    ("train_rows", pa.int64(), "ratings that it was fitted to"),
    ("test_rows", pa.int64(), "ratings that were held out to measure it"),
    ("rmse", pa.float32(), "held out, in stars, null if it predicts no ratings"),
    ("accuracy_at_100", pa.float32(), "share of held-out pairs among the first 100 unseen movies"),
    (
        "baselines",
        _list_of(("name", pa.string()), ("rmse", pa.float32()), ("accuracy_at_100", pa.float32())),
        "the same measures of the baselines, on the same held-out ratings",
    ),
    ("gate", pa.string(), "passed, refused, or null where nobody asked"),
    ("gate_reasons", _TEXTS, "why it was refused"),
    ("metrics", pa.string(), "all of its metrics.json"),
    (
        "ndcg_10",
        pa.float32(),
        "NDCG@10 of the held-out ratings, by which the gate goes, null for versions before 0.3.2",
    ),
    ("ndcg_10_liked", pa.float32(), "the same of held-out movies that users liked"),
)


SIMILAR = _described(
    (MOVIE_ID, pa.int64(), "a movie of the catalogue that the model knows"),
    (RANK, pa.int32(), "1 is most similar"),
    (SIMILAR_MOVIE_ID, pa.int64(), "a movie that may be recommended"),
    (SCORE, pa.float32(), "how much having seen the one adds to the retrieval score of the other, above 0"),
)

# A backtest: a row per replayed night, method and group of users. Its intervals are in backtest.json.
BACKTEST = _described(
    (SCORED_ON, pa.date32(), "the night, as of whose end lists were made"),
    ("until", pa.date32(), "the last day whose ratings they are held against"),
    ("method", pa.string(), "a preset, with its ranking policy where there are several, or trending, or popularity"),
    ("preset", pa.string(), "null for trending and popularity, which take no training"),
    (RANK_BY, pa.string(), "the ranking policy, null without a preset"),
    ("trained_on", pa.date32(), "the night as of which the model in use had been trained, null without a preset"),
    ("users", pa.string(), "returning: had rated by that night, or new: rated for the first time since"),
    ("users_measured", pa.int64(), "how many of them have rated something new since"),
    (RATINGS_COUNT, pa.int64(), "movies that they have rated since and had not before"),
    ("hits", pa.int64(), "of these movies, those among the first ten of the list of their user"),
    ("liked_hits", pa.int64(), "hits rated at least four of five stars, null without ratings"),
    ("recall_10", pa.float64(), "mean over users of the share of these movies that were hits"),
    ("ndcg_10", pa.float64(), "mean over users of NDCG of the first ten"),
)

HITS = _described(
    (SCORED_ON, pa.date32(), "the run that was measured, by its date"),
    (MODEL_VERSION, pa.string(), "its model version"),
    (RANK_BY, pa.string(), "its ranking policy"),
    (SOURCE, pa.string(), "what the users had: model, trending or popularity"),
    ("segment", pa.string(), "how many ratings the users had given when it was made"),
    ("since", pa.timestamp("us", "UTC"), "ratings after this time are held against it"),
    ("until", pa.timestamp("us", "UTC"), "the newest of them"),
    ("users_back", pa.int64(), "users who had a list and have rated something new since"),
    ("users_measured", pa.int64(), "of these, those who were measured, at most 20,000 a run"),
    (RATINGS_COUNT, pa.int64(), "what these have rated since and had not before, all of it relevant"),
    ("hits", pa.int64(), "of it, what was among the first ten of their lists"),
    ("liked_hits", pa.int64(), "hits rated at least four of five stars, null if the input is implicit feedback"),
    ("recall_10", pa.float64(), "mean over users of the share of relevant movies that were among the first ten"),
    ("ndcg_10", pa.float64(), "mean over users"),
    ("popular_hits", pa.int64(), "the same of the ten most rated movies of that day that a user had not rated"),
    ("popular_liked_hits", pa.int64(), "the same of what was popular"),
    ("popular_recall_10", pa.float64(), "the same of what was popular"),
    ("popular_ndcg_10", pa.float64(), "the same of what was popular"),
)

RECOMMENDATIONS_TABLE = "recommendations"
PREDICTED_RATINGS_TABLE = "predicted_ratings"
REJECTS_TABLE = "rejects"
USERS_TABLE = "users"
MOVIES_TABLE = "movies"
LISTS_TABLE = "lists"
MODELS_TABLE = "models"
SIMILAR_TABLE = "similar_movies"
HITS_TABLE = "hits"
RUNS_TABLE = "runs"

# The published tables of rows, each partitioned by run_date, with their schemas.
TABLES = {
    RECOMMENDATIONS_TABLE: RECOMMENDATION,
    PREDICTED_RATINGS_TABLE: PREDICTED_RATING_ROW,
    REJECTS_TABLE: REJECTS,
    USERS_TABLE: USER,
    MOVIES_TABLE: MOVIE_ROW,
    LISTS_TABLE: LIST,
    MODELS_TABLE: MODEL_ROW,
    SIMILAR_TABLE: SIMILAR,
    HITS_TABLE: HITS,
}
TABLE_COMMENTS = {
    RECOMMENDATIONS_TABLE: "what each user is recommended, a row for each movie",
    PREDICTED_RATINGS_TABLE: "how users would rate movies",
    REJECTS_TABLE: "every row of the input that was not used",
    USERS_TABLE: "everybody who has rated",
    MOVIES_TABLE: "the catalogue as the run used it",
    LISTS_TABLE: "what each user is recommended, a row for each user, to serve it from",
    MODELS_TABLE: "the model versions there were, and how good they are",
    SIMILAR_TABLE: "for each movie the twenty most similar ones, empty in partial runs",
    HITS_TABLE: "how runs so far did once ratings came in, all of them on each date, empty in partial runs",
}
