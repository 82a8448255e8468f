-- Spark SQL 4: the published tables as views of a session, which always show what is published. Printed by
-- create_tables.py. The path of your --output stands in the next statement only; var/output is right in the
-- project's folder.
SET recmodel.partial_output=var/output/partial;

CREATE OR REPLACE TEMPORARY VIEW partial_recommendations (
    user_id COMMENT 'rows are sorted by user and rank, files cover ranges of users that do not overlap',
    rank COMMENT '1 is best',
    movie_id COMMENT 'the recommended movie',
    title COMMENT 'its title in the catalogue of that night',
    retrieval_score COMMENT 'comparable within a user, null for popular movies and without retrieval',
    predicted_rating COMMENT 'in stars, for popular movies their damped mean rating',
    source COMMENT 'model, or content: it knows genres and year of the movie only, or trending, or popularity',
    model_version COMMENT 'the model version of the run',
    scored_at COMMENT 'when the run began to score',
    because_movie_id COMMENT 'the liked movie that contributes most to the recommendation, null without one',
    because_title COMMENT 'its title',
    score COMMENT 'by which the list is ordered, null for trending and popular movies',
    run_date COMMENT 'the date of the run'
)
COMMENT 'what each user is recommended, a row for each movie' AS
SELECT user_id, rank, movie_id, title, retrieval_score, predicted_rating, source, model_version, scored_at,
    because_movie_id, because_title, score, run_date
FROM parquet.`${recmodel.partial_output}/recommendations` WITH (mergeSchema = 'true');
CREATE OR REPLACE TEMPORARY VIEW latest_partial_recommendations (
    user_id COMMENT 'rows are sorted by user and rank, files cover ranges of users that do not overlap',
    rank COMMENT '1 is best',
    movie_id COMMENT 'the recommended movie',
    title COMMENT 'its title in the catalogue of that night',
    retrieval_score COMMENT 'comparable within a user, null for popular movies and without retrieval',
    predicted_rating COMMENT 'in stars, for popular movies their damped mean rating',
    source COMMENT 'model, or content: it knows genres and year of the movie only, or trending, or popularity',
    model_version COMMENT 'the model version of the run',
    scored_at COMMENT 'when the run began to score',
    because_movie_id COMMENT 'the liked movie that contributes most to the recommendation, null without one',
    because_title COMMENT 'its title',
    score COMMENT 'by which the list is ordered, null for trending and popular movies',
    run_date COMMENT 'the date of the run'
)
COMMENT 'what each user is recommended, a row for each movie, of the newest run' AS
SELECT user_id, rank, movie_id, title, retrieval_score, predicted_rating, source, model_version, scored_at,
    because_movie_id, because_title, score,
    (SELECT CAST(get_json_object(value, '$.run_date') AS DATE)
    FROM text.`${recmodel.partial_output}/latest/runs/run.json` WITH (wholetext = 'true'))
FROM parquet.`${recmodel.partial_output}/latest/recommendations`;

CREATE OR REPLACE TEMPORARY VIEW partial_predicted_ratings (
    user_id COMMENT 'the user',
    movie_id COMMENT 'a recommended movie, or any with --predicted-ratings all',
    predicted_rating COMMENT 'in stars, always a prediction of the model',
    model_version COMMENT 'the model version of the run',
    run_date COMMENT 'the date of the run'
)
COMMENT 'how users would rate movies' AS
SELECT user_id, movie_id, predicted_rating, model_version, run_date
FROM parquet.`${recmodel.partial_output}/predicted_ratings` WITH (mergeSchema = 'true');
CREATE OR REPLACE TEMPORARY VIEW latest_partial_predicted_ratings (
    user_id COMMENT 'the user',
    movie_id COMMENT 'a recommended movie, or any with --predicted-ratings all',
    predicted_rating COMMENT 'in stars, always a prediction of the model',
    model_version COMMENT 'the model version of the run',
    run_date COMMENT 'the date of the run'
)
COMMENT 'how users would rate movies, of the newest run' AS
SELECT user_id, movie_id, predicted_rating, model_version,
    (SELECT CAST(get_json_object(value, '$.run_date') AS DATE)
    FROM text.`${recmodel.partial_output}/latest/runs/run.json` WITH (wholetext = 'true'))
FROM parquet.`${recmodel.partial_output}/latest/predicted_ratings`;

CREATE OR REPLACE TEMPORARY VIEW partial_rejects (
    file COMMENT 'the file of the input',
    row COMMENT 'counted from 1, in a CSV file the header is row 1',
    column COMMENT 'the column at fault, (all): the whole row',
    value COMMENT 'what is there, shortened if it is long',
    reason COMMENT 'why the row was not used',
    run_date COMMENT 'the date of the run'
)
COMMENT 'every row of the input that was not used' AS
SELECT file, row, column, value, reason, run_date
FROM parquet.`${recmodel.partial_output}/rejects` WITH (mergeSchema = 'true');
CREATE OR REPLACE TEMPORARY VIEW latest_partial_rejects (
    file COMMENT 'the file of the input',
    row COMMENT 'counted from 1, in a CSV file the header is row 1',
    column COMMENT 'the column at fault, (all): the whole row',
    value COMMENT 'what is there, shortened if it is long',
    reason COMMENT 'why the row was not used',
    run_date COMMENT 'the date of the run'
)
COMMENT 'every row of the input that was not used, of the newest run' AS
SELECT file, row, column, value, reason,
    (SELECT CAST(get_json_object(value, '$.run_date') AS DATE)
    FROM text.`${recmodel.partial_output}/latest/runs/run.json` WITH (wholetext = 'true'))
FROM parquet.`${recmodel.partial_output}/latest/rejects`;

CREATE OR REPLACE TEMPORARY VIEW partial_users (
    user_id COMMENT 'a user who has rated',
    ratings COMMENT 'ratings of the user, those that later ones replace included',
    movies COMMENT 'movies that the user has rated',
    fingerprint COMMENT 'another when any rating of the user is another, null unless runs are incremental',
    run_date COMMENT 'the date of the run'
)
COMMENT 'everybody who has rated' AS
SELECT user_id, ratings, movies, fingerprint, run_date
FROM parquet.`${recmodel.partial_output}/users` WITH (mergeSchema = 'true');
CREATE OR REPLACE TEMPORARY VIEW latest_partial_users (
    user_id COMMENT 'a user who has rated',
    ratings COMMENT 'ratings of the user, those that later ones replace included',
    movies COMMENT 'movies that the user has rated',
    fingerprint COMMENT 'another when any rating of the user is another, null unless runs are incremental',
    run_date COMMENT 'the date of the run'
)
COMMENT 'everybody who has rated, of the newest run' AS
SELECT user_id, ratings, movies, fingerprint,
    (SELECT CAST(get_json_object(value, '$.run_date') AS DATE)
    FROM text.`${recmodel.partial_output}/latest/runs/run.json` WITH (wholetext = 'true'))
FROM parquet.`${recmodel.partial_output}/latest/users`;

CREATE OR REPLACE TEMPORARY VIEW partial_movies (
    movie_id COMMENT 'a movie of the catalogue of that night, or one that is delisted',
    title COMMENT 'as in the input',
    genres COMMENT 'empty for a movie without genres',
    year COMMENT 'at the end of the title, null where there is none',
    imdb_id COMMENT 'from links of the input, with leading zeros',
    tmdb_id COMMENT 'from links of the input',
    ratings COMMENT 'ratings in the input that count',
    mean_rating COMMENT 'their mean, in stars, null without ratings',
    allowed COMMENT 'whether the model could recommend it that night: listed, scored and within the rules',
    status COMMENT 'known, or new: the model was not trained on it, or delisted: no longer in the catalogue',
    run_date COMMENT 'the date of the run'
)
COMMENT 'the catalogue as the run used it' AS
SELECT movie_id, title, genres, year, imdb_id, tmdb_id, ratings, mean_rating, allowed, status, run_date
FROM parquet.`${recmodel.partial_output}/movies` WITH (mergeSchema = 'true');
CREATE OR REPLACE TEMPORARY VIEW latest_partial_movies (
    movie_id COMMENT 'a movie of the catalogue of that night, or one that is delisted',
    title COMMENT 'as in the input',
    genres COMMENT 'empty for a movie without genres',
    year COMMENT 'at the end of the title, null where there is none',
    imdb_id COMMENT 'from links of the input, with leading zeros',
    tmdb_id COMMENT 'from links of the input',
    ratings COMMENT 'ratings in the input that count',
    mean_rating COMMENT 'their mean, in stars, null without ratings',
    allowed COMMENT 'whether the model could recommend it that night: listed, scored and within the rules',
    status COMMENT 'known, or new: the model was not trained on it, or delisted: no longer in the catalogue',
    run_date COMMENT 'the date of the run'
)
COMMENT 'the catalogue as the run used it, of the newest run' AS
SELECT movie_id, title, genres, year, imdb_id, tmdb_id, ratings, mean_rating, allowed, status,
    (SELECT CAST(get_json_object(value, '$.run_date') AS DATE)
    FROM text.`${recmodel.partial_output}/latest/runs/run.json` WITH (wholetext = 'true'))
FROM parquet.`${recmodel.partial_output}/latest/movies`;

CREATE OR REPLACE TEMPORARY VIEW partial_lists (
    user_id COMMENT 'one row for each user who has a list',
    recommendations COMMENT 'best first, those of recommendations, then the reserve, by score',
    model_version COMMENT 'the model version of the run',
    valid_until COMMENT 'from then on a newer list should have been published',
    run_date COMMENT 'the date of the run'
)
COMMENT 'what each user is recommended, a row for each user, to serve it from' AS
SELECT user_id, recommendations, model_version, valid_until, run_date
FROM parquet.`${recmodel.partial_output}/lists` WITH (mergeSchema = 'true');
CREATE OR REPLACE TEMPORARY VIEW latest_partial_lists (
    user_id COMMENT 'one row for each user who has a list',
    recommendations COMMENT 'best first, those of recommendations, then the reserve, by score',
    model_version COMMENT 'the model version of the run',
    valid_until COMMENT 'from then on a newer list should have been published',
    run_date COMMENT 'the date of the run'
)
COMMENT 'what each user is recommended, a row for each user, to serve it from, of the newest run' AS
SELECT user_id, recommendations, model_version, valid_until,
    (SELECT CAST(get_json_object(value, '$.run_date') AS DATE)
    FROM text.`${recmodel.partial_output}/latest/runs/run.json` WITH (wholetext = 'true'))
FROM parquet.`${recmodel.partial_output}/latest/lists`;

CREATE OR REPLACE TEMPORARY VIEW partial_models (
    model_version COMMENT 'a version in MODELS when the run was published',
    used COMMENT 'whether it is the version of this run',
    rank_by COMMENT 'the ranking policy of this run, if it used the version, otherwise null',
    current COMMENT 'whether it was CURRENT',
    created_at COMMENT 'when it was trained, null if its manifest cannot be read',
    preset COMMENT 'what was trained',
    newest_rating COMMENT 'that it has seen, null where times are not known',
    train_rows COMMENT 'ratings that it was fitted to',
    test_rows COMMENT 'ratings that were held out to measure it',
    rmse COMMENT 'held out, in stars, null if it predicts no ratings',
    accuracy_at_100 COMMENT 'share of held-out pairs among the first 100 unseen movies',
    baselines COMMENT 'the same measures of the baselines, on the same held-out ratings',
    gate COMMENT 'passed, refused, or null where nobody asked',
    gate_reasons COMMENT 'why it was refused',
    metrics COMMENT 'all of its metrics.json',
    ndcg_10 COMMENT 'NDCG@10 of the held-out ratings, by which the gate goes, null for versions before 0.3.2',
    ndcg_10_liked COMMENT 'the same of held-out movies that users liked',
    run_date COMMENT 'the date of the run'
)
COMMENT 'the model versions there were, and how good they are' AS
SELECT model_version, used, rank_by, current, created_at, preset, newest_rating, train_rows, test_rows,
    rmse, accuracy_at_100, baselines, gate, gate_reasons, metrics, ndcg_10, ndcg_10_liked, run_date
FROM parquet.`${recmodel.partial_output}/models` WITH (mergeSchema = 'true');
CREATE OR REPLACE TEMPORARY VIEW latest_partial_models (
    model_version COMMENT 'a version in MODELS when the run was published',
    used COMMENT 'whether it is the version of this run',
    rank_by COMMENT 'the ranking policy of this run, if it used the version, otherwise null',
    current COMMENT 'whether it was CURRENT',
    created_at COMMENT 'when it was trained, null if its manifest cannot be read',
    preset COMMENT 'what was trained',
    newest_rating COMMENT 'that it has seen, null where times are not known',
    train_rows COMMENT 'ratings that it was fitted to',
    test_rows COMMENT 'ratings that were held out to measure it',
    rmse COMMENT 'held out, in stars, null if it predicts no ratings',
    accuracy_at_100 COMMENT 'share of held-out pairs among the first 100 unseen movies',
    baselines COMMENT 'the same measures of the baselines, on the same held-out ratings',
    gate COMMENT 'passed, refused, or null where nobody asked',
    gate_reasons COMMENT 'why it was refused',
    metrics COMMENT 'all of its metrics.json',
    ndcg_10 COMMENT 'NDCG@10 of the held-out ratings, by which the gate goes, null for versions before 0.3.2',
    ndcg_10_liked COMMENT 'the same of held-out movies that users liked',
    run_date COMMENT 'the date of the run'
)
COMMENT 'the model versions there were, and how good they are, of the newest run' AS
SELECT model_version, used, rank_by, current, created_at, preset, newest_rating, train_rows, test_rows,
    rmse, accuracy_at_100, baselines, gate, gate_reasons, metrics, ndcg_10, ndcg_10_liked,
    (SELECT CAST(get_json_object(value, '$.run_date') AS DATE)
    FROM text.`${recmodel.partial_output}/latest/runs/run.json` WITH (wholetext = 'true'))
FROM parquet.`${recmodel.partial_output}/latest/models`;

CREATE OR REPLACE TEMPORARY VIEW partial_similar_movies (
    movie_id COMMENT 'a movie of the catalogue that the model knows',
    rank COMMENT '1 is most similar',
    similar_movie_id COMMENT 'a movie that may be recommended',
    score COMMENT 'how much having seen the one adds to the retrieval score of the other, above 0',
    run_date COMMENT 'the date of the run'
)
COMMENT 'for each movie the twenty most similar ones, empty in partial runs' AS
SELECT movie_id, rank, similar_movie_id, score, run_date
FROM parquet.`${recmodel.partial_output}/similar_movies` WITH (mergeSchema = 'true');
CREATE OR REPLACE TEMPORARY VIEW latest_partial_similar_movies (
    movie_id COMMENT 'a movie of the catalogue that the model knows',
    rank COMMENT '1 is most similar',
    similar_movie_id COMMENT 'a movie that may be recommended',
    score COMMENT 'how much having seen the one adds to the retrieval score of the other, above 0',
    run_date COMMENT 'the date of the run'
)
COMMENT 'for each movie the twenty most similar ones, empty in partial runs, of the newest run' AS
SELECT movie_id, rank, similar_movie_id, score,
    (SELECT CAST(get_json_object(value, '$.run_date') AS DATE)
    FROM text.`${recmodel.partial_output}/latest/runs/run.json` WITH (wholetext = 'true'))
FROM parquet.`${recmodel.partial_output}/latest/similar_movies`;

CREATE OR REPLACE TEMPORARY VIEW partial_hits (
    scored_on COMMENT 'the run that was measured, by its date',
    model_version COMMENT 'its model version',
    rank_by COMMENT 'its ranking policy',
    source COMMENT 'what the users had: model, trending or popularity',
    segment COMMENT 'how many ratings the users had given when it was made',
    since COMMENT 'ratings after this time are held against it',
    until COMMENT 'the newest of them',
    users_back COMMENT 'users who had a list and have rated something new since',
    users_measured COMMENT 'of these, those who were measured, at most 20,000 a run',
    ratings COMMENT 'what these have rated since and had not before, all of it relevant',
    hits COMMENT 'of it, what was among the first ten of their lists',
    liked_hits COMMENT 'hits rated at least four of five stars, null if the input is implicit feedback',
    recall_10 COMMENT 'mean over users of the share of relevant movies that were among the first ten',
    ndcg_10 COMMENT 'mean over users',
    popular_hits COMMENT 'the same of the ten most rated movies of that day that a user had not rated',
    popular_liked_hits COMMENT 'the same of what was popular',
    popular_recall_10 COMMENT 'the same of what was popular',
    popular_ndcg_10 COMMENT 'the same of what was popular',
    run_date COMMENT 'the date of the run'
)
COMMENT 'how runs so far did once ratings came in, all of them on each date, empty in partial runs' AS
SELECT scored_on, model_version, rank_by, source, segment, since, until, users_back, users_measured,
    ratings, hits, liked_hits, recall_10, ndcg_10, popular_hits, popular_liked_hits, popular_recall_10,
    popular_ndcg_10, run_date
FROM parquet.`${recmodel.partial_output}/hits` WITH (mergeSchema = 'true');
CREATE OR REPLACE TEMPORARY VIEW latest_partial_hits (
    scored_on COMMENT 'the run that was measured, by its date',
    model_version COMMENT 'its model version',
    rank_by COMMENT 'its ranking policy',
    source COMMENT 'what the users had: model, trending or popularity',
    segment COMMENT 'how many ratings the users had given when it was made',
    since COMMENT 'ratings after this time are held against it',
    until COMMENT 'the newest of them',
    users_back COMMENT 'users who had a list and have rated something new since',
    users_measured COMMENT 'of these, those who were measured, at most 20,000 a run',
    ratings COMMENT 'what these have rated since and had not before, all of it relevant',
    hits COMMENT 'of it, what was among the first ten of their lists',
    liked_hits COMMENT 'hits rated at least four of five stars, null if the input is implicit feedback',
    recall_10 COMMENT 'mean over users of the share of relevant movies that were among the first ten',
    ndcg_10 COMMENT 'mean over users',
    popular_hits COMMENT 'the same of the ten most rated movies of that day that a user had not rated',
    popular_liked_hits COMMENT 'the same of what was popular',
    popular_recall_10 COMMENT 'the same of what was popular',
    popular_ndcg_10 COMMENT 'the same of what was popular',
    run_date COMMENT 'the date of the run'
)
COMMENT 'how runs so far did once ratings came in, all of them on each date, empty in partial runs, of the newest run' AS
SELECT scored_on, model_version, rank_by, source, segment, since, until, users_back, users_measured,
    ratings, hits, liked_hits, recall_10, ndcg_10, popular_hits, popular_liked_hits, popular_recall_10,
    popular_ndcg_10,
    (SELECT CAST(get_json_object(value, '$.run_date') AS DATE)
    FROM text.`${recmodel.partial_output}/latest/runs/run.json` WITH (wholetext = 'true'))
FROM parquet.`${recmodel.partial_output}/latest/hits`;

CREATE OR REPLACE TEMPORARY VIEW partial_runs COMMENT 'the run.json of each run' AS
SELECT * FROM json.`${recmodel.partial_output}/runs` WITH (multiLine = 'true', pathGlobFilter = 'run.json');
CREATE OR REPLACE TEMPORARY VIEW latest_partial_runs COMMENT 'the run.json of the newest run' AS
SELECT * FROM json.`${recmodel.partial_output}/latest/runs` WITH (multiLine = 'true', pathGlobFilter = 'run.json');
