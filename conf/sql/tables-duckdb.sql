-- DuckDB: the published tables as views, which always show what is published. Printed by create_tables.py.
-- The path of your --output stands in the next statement only; var/output is right in the project's folder.
CREATE OR REPLACE MACRO recmodel_output(below) AS 'var/output/' || below;

CREATE OR REPLACE VIEW recommendations AS
SELECT * FROM read_parquet(
    recmodel_output('recommendations/*/*.parquet'), hive_partitioning = true, union_by_name = true
);
COMMENT ON VIEW recommendations IS
    'what each user is recommended, a row for each movie';
COMMENT ON COLUMN recommendations.user_id IS
    'rows are sorted by user and rank, files cover ranges of users that do not overlap';
COMMENT ON COLUMN recommendations.rank IS
    '1 is best';
COMMENT ON COLUMN recommendations.movie_id IS
    'the recommended movie';
COMMENT ON COLUMN recommendations.title IS
    'its title in the catalogue of that night';
COMMENT ON COLUMN recommendations.retrieval_score IS
    'comparable within a user, null for popular movies and without retrieval';
COMMENT ON COLUMN recommendations.predicted_rating IS
    'in stars, for popular movies their damped mean rating';
COMMENT ON COLUMN recommendations.source IS
    'model, or content: it knows genres and year of the movie only, or trending, or popularity';
COMMENT ON COLUMN recommendations.model_version IS
    'the model version of the run';
COMMENT ON COLUMN recommendations.scored_at IS
    'when the run began to score';
COMMENT ON COLUMN recommendations.because_movie_id IS
    'the liked movie that contributes most to the recommendation, null without one';
COMMENT ON COLUMN recommendations.because_title IS
    'its title';
COMMENT ON COLUMN recommendations.score IS
    'by which the list is ordered, null for trending and popular movies';
COMMENT ON COLUMN recommendations.run_date IS
    'the date of the run';
CREATE OR REPLACE VIEW latest_recommendations AS
SELECT *, (SELECT run_date FROM read_json(recmodel_output('latest/runs/run.json'))) AS run_date
FROM read_parquet(recmodel_output('latest/recommendations/*.parquet'));
COMMENT ON VIEW latest_recommendations IS
    'what each user is recommended, a row for each movie, of the newest run';
COMMENT ON COLUMN latest_recommendations.user_id IS
    'rows are sorted by user and rank, files cover ranges of users that do not overlap';
COMMENT ON COLUMN latest_recommendations.rank IS
    '1 is best';
COMMENT ON COLUMN latest_recommendations.movie_id IS
    'the recommended movie';
COMMENT ON COLUMN latest_recommendations.title IS
    'its title in the catalogue of that night';
COMMENT ON COLUMN latest_recommendations.retrieval_score IS
    'comparable within a user, null for popular movies and without retrieval';
COMMENT ON COLUMN latest_recommendations.predicted_rating IS
    'in stars, for popular movies their damped mean rating';
COMMENT ON COLUMN latest_recommendations.source IS
    'model, or content: it knows genres and year of the movie only, or trending, or popularity';
COMMENT ON COLUMN latest_recommendations.model_version IS
    'the model version of the run';
COMMENT ON COLUMN latest_recommendations.scored_at IS
    'when the run began to score';
COMMENT ON COLUMN latest_recommendations.because_movie_id IS
    'the liked movie that contributes most to the recommendation, null without one';
COMMENT ON COLUMN latest_recommendations.because_title IS
    'its title';
COMMENT ON COLUMN latest_recommendations.score IS
    'by which the list is ordered, null for trending and popular movies';
COMMENT ON COLUMN latest_recommendations.run_date IS
    'the date of the run';

CREATE OR REPLACE VIEW predicted_ratings AS
SELECT * FROM read_parquet(
    recmodel_output('predicted_ratings/*/*.parquet'), hive_partitioning = true, union_by_name = true
);
COMMENT ON VIEW predicted_ratings IS
    'how users would rate movies';
COMMENT ON COLUMN predicted_ratings.user_id IS
    'the user';
COMMENT ON COLUMN predicted_ratings.movie_id IS
    'a recommended movie, or any with --predicted-ratings all';
COMMENT ON COLUMN predicted_ratings.predicted_rating IS
    'in stars, always a prediction of the model';
COMMENT ON COLUMN predicted_ratings.model_version IS
    'the model version of the run';
COMMENT ON COLUMN predicted_ratings.run_date IS
    'the date of the run';
CREATE OR REPLACE VIEW latest_predicted_ratings AS
SELECT *, (SELECT run_date FROM read_json(recmodel_output('latest/runs/run.json'))) AS run_date
FROM read_parquet(recmodel_output('latest/predicted_ratings/*.parquet'));
COMMENT ON VIEW latest_predicted_ratings IS
    'how users would rate movies, of the newest run';
COMMENT ON COLUMN latest_predicted_ratings.user_id IS
    'the user';
COMMENT ON COLUMN latest_predicted_ratings.movie_id IS
    'a recommended movie, or any with --predicted-ratings all';
COMMENT ON COLUMN latest_predicted_ratings.predicted_rating IS
    'in stars, always a prediction of the model';
COMMENT ON COLUMN latest_predicted_ratings.model_version IS
    'the model version of the run';
COMMENT ON COLUMN latest_predicted_ratings.run_date IS
    'the date of the run';

CREATE OR REPLACE VIEW rejects AS
SELECT * FROM read_parquet(
    recmodel_output('rejects/*/*.parquet'), hive_partitioning = true, union_by_name = true
);
COMMENT ON VIEW rejects IS
    'every row of the input that was not used';
COMMENT ON COLUMN rejects.file IS
    'the file of the input';
COMMENT ON COLUMN rejects.row IS
    'counted from 1, in a CSV file the header is row 1';
COMMENT ON COLUMN rejects.column IS
    'the column at fault, (all): the whole row';
COMMENT ON COLUMN rejects.value IS
    'what is there, shortened if it is long';
COMMENT ON COLUMN rejects.reason IS
    'why the row was not used';
COMMENT ON COLUMN rejects.run_date IS
    'the date of the run';
CREATE OR REPLACE VIEW latest_rejects AS
SELECT *, (SELECT run_date FROM read_json(recmodel_output('latest/runs/run.json'))) AS run_date
FROM read_parquet(recmodel_output('latest/rejects/*.parquet'));
COMMENT ON VIEW latest_rejects IS
    'every row of the input that was not used, of the newest run';
COMMENT ON COLUMN latest_rejects.file IS
    'the file of the input';
COMMENT ON COLUMN latest_rejects.row IS
    'counted from 1, in a CSV file the header is row 1';
COMMENT ON COLUMN latest_rejects.column IS
    'the column at fault, (all): the whole row';
COMMENT ON COLUMN latest_rejects.value IS
    'what is there, shortened if it is long';
COMMENT ON COLUMN latest_rejects.reason IS
    'why the row was not used';
COMMENT ON COLUMN latest_rejects.run_date IS
    'the date of the run';

CREATE OR REPLACE VIEW users AS
SELECT * FROM read_parquet(
    recmodel_output('users/*/*.parquet'), hive_partitioning = true, union_by_name = true
);
COMMENT ON VIEW users IS
    'everybody who has rated';
COMMENT ON COLUMN users.user_id IS
    'a user who has rated';
COMMENT ON COLUMN users.ratings IS
    'ratings of the user, those that later ones replace included';
COMMENT ON COLUMN users.movies IS
    'movies that the user has rated';
COMMENT ON COLUMN users.fingerprint IS
    'another when any rating of the user is another, null unless runs are incremental';
COMMENT ON COLUMN users.run_date IS
    'the date of the run';
CREATE OR REPLACE VIEW latest_users AS
SELECT *, (SELECT run_date FROM read_json(recmodel_output('latest/runs/run.json'))) AS run_date
FROM read_parquet(recmodel_output('latest/users/*.parquet'));
COMMENT ON VIEW latest_users IS
    'everybody who has rated, of the newest run';
COMMENT ON COLUMN latest_users.user_id IS
    'a user who has rated';
COMMENT ON COLUMN latest_users.ratings IS
    'ratings of the user, those that later ones replace included';
COMMENT ON COLUMN latest_users.movies IS
    'movies that the user has rated';
COMMENT ON COLUMN latest_users.fingerprint IS
    'another when any rating of the user is another, null unless runs are incremental';
COMMENT ON COLUMN latest_users.run_date IS
    'the date of the run';

CREATE OR REPLACE VIEW movies AS
SELECT * FROM read_parquet(
    recmodel_output('movies/*/*.parquet'), hive_partitioning = true, union_by_name = true
);
COMMENT ON VIEW movies IS
    'the catalogue as the run used it';
COMMENT ON COLUMN movies.movie_id IS
    'a movie of the catalogue of that night, or one that is delisted';
COMMENT ON COLUMN movies.title IS
    'as in the input';
COMMENT ON COLUMN movies.genres IS
    'empty for a movie without genres';
COMMENT ON COLUMN movies.year IS
    'at the end of the title, null where there is none';
COMMENT ON COLUMN movies.imdb_id IS
    'from links of the input, with leading zeros';
COMMENT ON COLUMN movies.tmdb_id IS
    'from links of the input';
COMMENT ON COLUMN movies.ratings IS
    'ratings in the input that count';
COMMENT ON COLUMN movies.mean_rating IS
    'their mean, in stars, null without ratings';
COMMENT ON COLUMN movies.allowed IS
    'whether the model could recommend it that night: listed, scored and within the rules';
COMMENT ON COLUMN movies.status IS
    'known, or new: the model was not trained on it, or delisted: no longer in the catalogue';
COMMENT ON COLUMN movies.run_date IS
    'the date of the run';
CREATE OR REPLACE VIEW latest_movies AS
SELECT *, (SELECT run_date FROM read_json(recmodel_output('latest/runs/run.json'))) AS run_date
FROM read_parquet(recmodel_output('latest/movies/*.parquet'));
COMMENT ON VIEW latest_movies IS
    'the catalogue as the run used it, of the newest run';
COMMENT ON COLUMN latest_movies.movie_id IS
    'a movie of the catalogue of that night, or one that is delisted';
COMMENT ON COLUMN latest_movies.title IS
    'as in the input';
COMMENT ON COLUMN latest_movies.genres IS
    'empty for a movie without genres';
COMMENT ON COLUMN latest_movies.year IS
    'at the end of the title, null where there is none';
COMMENT ON COLUMN latest_movies.imdb_id IS
    'from links of the input, with leading zeros';
COMMENT ON COLUMN latest_movies.tmdb_id IS
    'from links of the input';
COMMENT ON COLUMN latest_movies.ratings IS
    'ratings in the input that count';
COMMENT ON COLUMN latest_movies.mean_rating IS
    'their mean, in stars, null without ratings';
COMMENT ON COLUMN latest_movies.allowed IS
    'whether the model could recommend it that night: listed, scored and within the rules';
COMMENT ON COLUMN latest_movies.status IS
    'known, or new: the model was not trained on it, or delisted: no longer in the catalogue';
COMMENT ON COLUMN latest_movies.run_date IS
    'the date of the run';

CREATE OR REPLACE VIEW lists AS
SELECT * FROM read_parquet(
    recmodel_output('lists/*/*.parquet'), hive_partitioning = true, union_by_name = true
);
COMMENT ON VIEW lists IS
    'what each user is recommended, a row for each user, to serve it from';
COMMENT ON COLUMN lists.user_id IS
    'one row for each user who has a list';
COMMENT ON COLUMN lists.recommendations IS
    'best first, those of recommendations, then the reserve, by score';
COMMENT ON COLUMN lists.model_version IS
    'the model version of the run';
COMMENT ON COLUMN lists.valid_until IS
    'from then on a newer list should have been published';
COMMENT ON COLUMN lists.run_date IS
    'the date of the run';
CREATE OR REPLACE VIEW latest_lists AS
SELECT *, (SELECT run_date FROM read_json(recmodel_output('latest/runs/run.json'))) AS run_date
FROM read_parquet(recmodel_output('latest/lists/*.parquet'));
COMMENT ON VIEW latest_lists IS
    'what each user is recommended, a row for each user, to serve it from, of the newest run';
COMMENT ON COLUMN latest_lists.user_id IS
    'one row for each user who has a list';
COMMENT ON COLUMN latest_lists.recommendations IS
    'best first, those of recommendations, then the reserve, by score';
COMMENT ON COLUMN latest_lists.model_version IS
    'the model version of the run';
COMMENT ON COLUMN latest_lists.valid_until IS
    'from then on a newer list should have been published';
COMMENT ON COLUMN latest_lists.run_date IS
    'the date of the run';

CREATE OR REPLACE VIEW models AS
SELECT * FROM read_parquet(
    recmodel_output('models/*/*.parquet'), hive_partitioning = true, union_by_name = true
);
COMMENT ON VIEW models IS
    'the model versions there were, and how good they are';
COMMENT ON COLUMN models.model_version IS
    'a version in MODELS when the run was published';
COMMENT ON COLUMN models.used IS
    'whether it is the version of this run';
COMMENT ON COLUMN models.rank_by IS
    'the ranking policy of this run, if it used the version, otherwise null';
COMMENT ON COLUMN models.current IS
    'whether it was CURRENT';
COMMENT ON COLUMN models.created_at IS
    'when it was trained, null if its manifest cannot be read';
COMMENT ON COLUMN models.preset IS
    'what was trained';
COMMENT ON COLUMN models.newest_rating IS
    'that it has seen, null where times are not known';
COMMENT ON COLUMN models.train_rows IS
    'ratings that it was fitted to';
COMMENT ON COLUMN models.test_rows IS
    'ratings that were held out to measure it';
COMMENT ON COLUMN models.rmse IS
    'held out, in stars, null if it predicts no ratings';
COMMENT ON COLUMN models.accuracy_at_100 IS
    'share of held-out pairs among the first 100 unseen movies';
COMMENT ON COLUMN models.baselines IS
    'the same measures of the baselines, on the same held-out ratings';
COMMENT ON COLUMN models.gate IS
    'passed, refused, or null where nobody asked';
COMMENT ON COLUMN models.gate_reasons IS
    'why it was refused';
COMMENT ON COLUMN models.metrics IS
    'all of its metrics.json';
COMMENT ON COLUMN models.ndcg_10 IS
    'NDCG@10 of the held-out ratings, by which the gate goes, null for versions before 0.3.2';
COMMENT ON COLUMN models.ndcg_10_liked IS
    'the same of held-out movies that users liked';
COMMENT ON COLUMN models.run_date IS
    'the date of the run';
CREATE OR REPLACE VIEW latest_models AS
SELECT *, (SELECT run_date FROM read_json(recmodel_output('latest/runs/run.json'))) AS run_date
FROM read_parquet(recmodel_output('latest/models/*.parquet'));
COMMENT ON VIEW latest_models IS
    'the model versions there were, and how good they are, of the newest run';
COMMENT ON COLUMN latest_models.model_version IS
    'a version in MODELS when the run was published';
COMMENT ON COLUMN latest_models.used IS
    'whether it is the version of this run';
COMMENT ON COLUMN latest_models.rank_by IS
    'the ranking policy of this run, if it used the version, otherwise null';
COMMENT ON COLUMN latest_models.current IS
    'whether it was CURRENT';
COMMENT ON COLUMN latest_models.created_at IS
    'when it was trained, null if its manifest cannot be read';
COMMENT ON COLUMN latest_models.preset IS
    'what was trained';
COMMENT ON COLUMN latest_models.newest_rating IS
    'that it has seen, null where times are not known';
COMMENT ON COLUMN latest_models.train_rows IS
    'ratings that it was fitted to';
COMMENT ON COLUMN latest_models.test_rows IS
    'ratings that were held out to measure it';
COMMENT ON COLUMN latest_models.rmse IS
    'held out, in stars, null if it predicts no ratings';
COMMENT ON COLUMN latest_models.accuracy_at_100 IS
    'share of held-out pairs among the first 100 unseen movies';
COMMENT ON COLUMN latest_models.baselines IS
    'the same measures of the baselines, on the same held-out ratings';
COMMENT ON COLUMN latest_models.gate IS
    'passed, refused, or null where nobody asked';
COMMENT ON COLUMN latest_models.gate_reasons IS
    'why it was refused';
COMMENT ON COLUMN latest_models.metrics IS
    'all of its metrics.json';
COMMENT ON COLUMN latest_models.ndcg_10 IS
    'NDCG@10 of the held-out ratings, by which the gate goes, null for versions before 0.3.2';
COMMENT ON COLUMN latest_models.ndcg_10_liked IS
    'the same of held-out movies that users liked';
COMMENT ON COLUMN latest_models.run_date IS
    'the date of the run';

CREATE OR REPLACE VIEW similar_movies AS
SELECT * FROM read_parquet(
    recmodel_output('similar_movies/*/*.parquet'), hive_partitioning = true, union_by_name = true
);
COMMENT ON VIEW similar_movies IS
    'for each movie the twenty most similar ones, empty in partial runs';
COMMENT ON COLUMN similar_movies.movie_id IS
    'a movie of the catalogue that the model knows';
COMMENT ON COLUMN similar_movies.rank IS
    '1 is most similar';
COMMENT ON COLUMN similar_movies.similar_movie_id IS
    'a movie that may be recommended';
COMMENT ON COLUMN similar_movies.score IS
    'how much having seen the one adds to the retrieval score of the other, above 0';
COMMENT ON COLUMN similar_movies.run_date IS
    'the date of the run';
CREATE OR REPLACE VIEW latest_similar_movies AS
SELECT *, (SELECT run_date FROM read_json(recmodel_output('latest/runs/run.json'))) AS run_date
FROM read_parquet(recmodel_output('latest/similar_movies/*.parquet'));
COMMENT ON VIEW latest_similar_movies IS
    'for each movie the twenty most similar ones, empty in partial runs, of the newest run';
COMMENT ON COLUMN latest_similar_movies.movie_id IS
    'a movie of the catalogue that the model knows';
COMMENT ON COLUMN latest_similar_movies.rank IS
    '1 is most similar';
COMMENT ON COLUMN latest_similar_movies.similar_movie_id IS
    'a movie that may be recommended';
COMMENT ON COLUMN latest_similar_movies.score IS
    'how much having seen the one adds to the retrieval score of the other, above 0';
COMMENT ON COLUMN latest_similar_movies.run_date IS
    'the date of the run';

CREATE OR REPLACE VIEW hits AS
SELECT * FROM read_parquet(
    recmodel_output('hits/*/*.parquet'), hive_partitioning = true, union_by_name = true
);
COMMENT ON VIEW hits IS
    'how runs so far did once ratings came in, all of them on each date, empty in partial runs';
COMMENT ON COLUMN hits.scored_on IS
    'the run that was measured, by its date';
COMMENT ON COLUMN hits.model_version IS
    'its model version';
COMMENT ON COLUMN hits.rank_by IS
    'its ranking policy';
COMMENT ON COLUMN hits.source IS
    'what the users had: model, trending or popularity';
COMMENT ON COLUMN hits.segment IS
    'how many ratings the users had given when it was made';
COMMENT ON COLUMN hits.since IS
    'ratings after this time are held against it';
COMMENT ON COLUMN hits.until IS
    'the newest of them';
COMMENT ON COLUMN hits.users_back IS
    'users who had a list and have rated something new since';
COMMENT ON COLUMN hits.users_measured IS
    'of these, those who were measured, at most 20,000 a run';
COMMENT ON COLUMN hits.ratings IS
    'what these have rated since and had not before, all of it relevant';
COMMENT ON COLUMN hits.hits IS
    'of it, what was among the first ten of their lists';
COMMENT ON COLUMN hits.liked_hits IS
    'hits rated at least four of five stars, null if the input is implicit feedback';
COMMENT ON COLUMN hits.recall_10 IS
    'mean over users of the share of relevant movies that were among the first ten';
COMMENT ON COLUMN hits.ndcg_10 IS
    'mean over users';
COMMENT ON COLUMN hits.popular_hits IS
    'the same of the ten most rated movies of that day that a user had not rated';
COMMENT ON COLUMN hits.popular_liked_hits IS
    'the same of what was popular';
COMMENT ON COLUMN hits.popular_recall_10 IS
    'the same of what was popular';
COMMENT ON COLUMN hits.popular_ndcg_10 IS
    'the same of what was popular';
COMMENT ON COLUMN hits.run_date IS
    'the date of the run';
CREATE OR REPLACE VIEW latest_hits AS
SELECT *, (SELECT run_date FROM read_json(recmodel_output('latest/runs/run.json'))) AS run_date
FROM read_parquet(recmodel_output('latest/hits/*.parquet'));
COMMENT ON VIEW latest_hits IS
    'how runs so far did once ratings came in, all of them on each date, empty in partial runs, of the newest run';
COMMENT ON COLUMN latest_hits.scored_on IS
    'the run that was measured, by its date';
COMMENT ON COLUMN latest_hits.model_version IS
    'its model version';
COMMENT ON COLUMN latest_hits.rank_by IS
    'its ranking policy';
COMMENT ON COLUMN latest_hits.source IS
    'what the users had: model, trending or popularity';
COMMENT ON COLUMN latest_hits.segment IS
    'how many ratings the users had given when it was made';
COMMENT ON COLUMN latest_hits.since IS
    'ratings after this time are held against it';
COMMENT ON COLUMN latest_hits.until IS
    'the newest of them';
COMMENT ON COLUMN latest_hits.users_back IS
    'users who had a list and have rated something new since';
COMMENT ON COLUMN latest_hits.users_measured IS
    'of these, those who were measured, at most 20,000 a run';
COMMENT ON COLUMN latest_hits.ratings IS
    'what these have rated since and had not before, all of it relevant';
COMMENT ON COLUMN latest_hits.hits IS
    'of it, what was among the first ten of their lists';
COMMENT ON COLUMN latest_hits.liked_hits IS
    'hits rated at least four of five stars, null if the input is implicit feedback';
COMMENT ON COLUMN latest_hits.recall_10 IS
    'mean over users of the share of relevant movies that were among the first ten';
COMMENT ON COLUMN latest_hits.ndcg_10 IS
    'mean over users';
COMMENT ON COLUMN latest_hits.popular_hits IS
    'the same of the ten most rated movies of that day that a user had not rated';
COMMENT ON COLUMN latest_hits.popular_liked_hits IS
    'the same of what was popular';
COMMENT ON COLUMN latest_hits.popular_recall_10 IS
    'the same of what was popular';
COMMENT ON COLUMN latest_hits.popular_ndcg_10 IS
    'the same of what was popular';
COMMENT ON COLUMN latest_hits.run_date IS
    'the date of the run';

CREATE OR REPLACE VIEW runs AS
SELECT * FROM read_json(recmodel_output('runs/*/run.json'), hive_partitioning = true, union_by_name = true);
COMMENT ON VIEW runs IS 'the run.json of each run';
CREATE OR REPLACE VIEW latest_runs AS
SELECT * FROM read_json(recmodel_output('latest/runs/run.json'));
COMMENT ON VIEW latest_runs IS 'the run.json of the newest run';

-- A row for each genre of a movie, and for each entry of a list, with its rank.
CREATE OR REPLACE VIEW movie_genres AS
SELECT movie_id, genre, run_date FROM movies CROSS JOIN UNNEST(genres) AS g (genre);
CREATE OR REPLACE VIEW list_entries AS
SELECT user_id, place AS rank,
    entry.movie_id AS movie_id, entry.score AS score, entry.predicted_rating AS predicted_rating, entry.source AS source,
    model_version, valid_until, run_date
FROM lists CROSS JOIN UNNEST(recommendations) WITH ORDINALITY AS e (entry, place);
CREATE OR REPLACE VIEW latest_movie_genres AS
SELECT movie_id, genre, run_date FROM latest_movies CROSS JOIN UNNEST(genres) AS g (genre);
CREATE OR REPLACE VIEW latest_list_entries AS
SELECT user_id, place AS rank,
    entry.movie_id AS movie_id, entry.score AS score, entry.predicted_rating AS predicted_rating, entry.source AS source,
    model_version, valid_until, run_date
FROM latest_lists CROSS JOIN UNNEST(recommendations) WITH ORDINALITY AS e (entry, place);

-- The newest run, and the newest before it of the same model version and ranking policy, or null.
CREATE OR REPLACE VIEW compared_runs AS
SELECT n.run_date, max(b.run_date) AS run_date_before
FROM (SELECT run_date, model_version, rank_by FROM latest_models WHERE used) n
LEFT JOIN (SELECT run_date, model_version, rank_by FROM models WHERE used) b ON b.model_version = n.model_version
    AND b.rank_by = n.rank_by AND b.run_date < n.run_date
GROUP BY n.run_date;
