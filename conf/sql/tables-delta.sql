-- An --output that is a URI holds Delta tables, which have comments. Here OUTPUT stands for s3://lake/tables.
-- First name the tables, in the way of your engine: recommendations, and so on:
-- predicted_ratings, rejects, users, movies, lists, models, similar_movies, hits.
--   DuckDB   CREATE VIEW recommendations AS SELECT * FROM delta_scan('OUTPUT/recommendations')
--   DuckDB in Python, without its extension:
--            table = deltalake.DeltaTable("OUTPUT/recommendations")
--            connection.register("recommendations", table.to_pyarrow_dataset())
--   Spark    CREATE TABLE recommendations USING delta LOCATION 'OUTPUT/recommendations'  (s3a:// for s3://)
--   Trino    CALL delta.system.register_table('recmodel', 'recommendations', 'OUTPUT/recommendations')

-- The newest run alone. A run of the future (score --allow-future) is none.
CREATE OR REPLACE VIEW latest_recommendations AS
SELECT * FROM recommendations
WHERE run_date = (SELECT max(run_date) FROM recommendations WHERE run_date <= CURRENT_DATE + INTERVAL '1' DAY);
CREATE OR REPLACE VIEW latest_predicted_ratings AS
SELECT * FROM predicted_ratings
WHERE run_date = (SELECT max(run_date) FROM predicted_ratings WHERE run_date <= CURRENT_DATE + INTERVAL '1' DAY);
CREATE OR REPLACE VIEW latest_rejects AS
SELECT * FROM rejects
WHERE run_date = (SELECT max(run_date) FROM rejects WHERE run_date <= CURRENT_DATE + INTERVAL '1' DAY);
CREATE OR REPLACE VIEW latest_users AS
SELECT * FROM users
WHERE run_date = (SELECT max(run_date) FROM users WHERE run_date <= CURRENT_DATE + INTERVAL '1' DAY);
CREATE OR REPLACE VIEW latest_movies AS
SELECT * FROM movies
WHERE run_date = (SELECT max(run_date) FROM movies WHERE run_date <= CURRENT_DATE + INTERVAL '1' DAY);
CREATE OR REPLACE VIEW latest_lists AS
SELECT * FROM lists
WHERE run_date = (SELECT max(run_date) FROM lists WHERE run_date <= CURRENT_DATE + INTERVAL '1' DAY);
CREATE OR REPLACE VIEW latest_models AS
SELECT * FROM models
WHERE run_date = (SELECT max(run_date) FROM models WHERE run_date <= CURRENT_DATE + INTERVAL '1' DAY);
CREATE OR REPLACE VIEW latest_similar_movies AS
SELECT * FROM similar_movies
WHERE run_date = (SELECT max(run_date) FROM similar_movies WHERE run_date <= CURRENT_DATE + INTERVAL '1' DAY);
CREATE OR REPLACE VIEW latest_hits AS
SELECT * FROM hits
WHERE run_date = (SELECT max(run_date) FROM hits WHERE run_date <= CURRENT_DATE + INTERVAL '1' DAY);

-- For DuckDB. Other engines take what create_tables.py prints for hive or trino instead.

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
-- Partial runs (score --users) are Delta tables of their own, below OUTPUT/partial, once there is one.
-- Name them partial_recommendations, and so on. create_tables.py delta OUTPUT --partial prints views.
