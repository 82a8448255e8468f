-- Trino, for a catalogue `hive` of its Hive connector whose metastore does not have the tables of tables-hive.sql yet
-- (else they are there already). Put the path of your --output for /data/output. Repeat the last four lines after each
-- night: they add and drop dates.
CREATE SCHEMA IF NOT EXISTS hive.recmodel;
USE hive.recmodel;

CREATE TABLE IF NOT EXISTS recommendations (
    user_id BIGINT, rank INTEGER, movie_id BIGINT, title VARCHAR, retrieval_score REAL, predicted_rating REAL,
    source VARCHAR, model_version VARCHAR, scored_at TIMESTAMP,
    because_movie_id BIGINT, because_title VARCHAR, run_date DATE
)
WITH (format = 'PARQUET', external_location = 'file:///data/output/recommendations', partitioned_by = ARRAY['run_date']);
CREATE TABLE IF NOT EXISTS predicted_ratings (
    user_id BIGINT, movie_id BIGINT, predicted_rating REAL, model_version VARCHAR, run_date DATE
)
WITH (format = 'PARQUET', external_location = 'file:///data/output/predicted_ratings', partitioned_by = ARRAY['run_date']);
CREATE TABLE IF NOT EXISTS rejects (
    "file" VARCHAR, "row" BIGINT, "column" VARCHAR, "value" VARCHAR, reason VARCHAR, run_date DATE
)
WITH (format = 'PARQUET', external_location = 'file:///data/output/rejects', partitioned_by = ARRAY['run_date']);
CREATE TABLE IF NOT EXISTS users (user_id BIGINT, ratings BIGINT, movies BIGINT, fingerprint BIGINT, run_date DATE)
WITH (format = 'PARQUET', external_location = 'file:///data/output/users', partitioned_by = ARRAY['run_date']);

-- The newest run alone, without the column run_date; nothing has to be repeated for these.
CREATE TABLE IF NOT EXISTS latest_recommendations (
    user_id BIGINT, rank INTEGER, movie_id BIGINT, title VARCHAR, retrieval_score REAL, predicted_rating REAL,
    source VARCHAR, model_version VARCHAR, scored_at TIMESTAMP,
    because_movie_id BIGINT, because_title VARCHAR
)
WITH (format = 'PARQUET', external_location = 'file:///data/output/latest/recommendations');
CREATE TABLE IF NOT EXISTS latest_predicted_ratings (
    user_id BIGINT, movie_id BIGINT, predicted_rating REAL, model_version VARCHAR
)
WITH (format = 'PARQUET', external_location = 'file:///data/output/latest/predicted_ratings');
CREATE TABLE IF NOT EXISTS latest_rejects (
    "file" VARCHAR, "row" BIGINT, "column" VARCHAR, "value" VARCHAR, reason VARCHAR
)
WITH (format = 'PARQUET', external_location = 'file:///data/output/latest/rejects');
CREATE TABLE IF NOT EXISTS latest_users (user_id BIGINT, ratings BIGINT, movies BIGINT, fingerprint BIGINT)
WITH (format = 'PARQUET', external_location = 'file:///data/output/latest/users');

CALL hive.system.sync_partition_metadata('recmodel', 'recommendations', 'FULL');
CALL hive.system.sync_partition_metadata('recmodel', 'predicted_ratings', 'FULL');
CALL hive.system.sync_partition_metadata('recmodel', 'rejects', 'FULL');
CALL hive.system.sync_partition_metadata('recmodel', 'users', 'FULL');
