-- Hive metastore, filled by Spark SQL with Hive support or by Hive 4 (older ones cannot read scored_at). Put the path
-- of your --output for /data/output. Repeat the last four lines after each night: they add and drop dates.
CREATE EXTERNAL TABLE IF NOT EXISTS recommendations (
    user_id BIGINT, rank INT, movie_id BIGINT, title STRING, retrieval_score FLOAT, predicted_rating FLOAT,
    source STRING, model_version STRING, scored_at TIMESTAMP,
    because_movie_id BIGINT, because_title STRING
)
PARTITIONED BY (run_date DATE) STORED AS PARQUET LOCATION '/data/output/recommendations';
CREATE EXTERNAL TABLE IF NOT EXISTS predicted_ratings (
    user_id BIGINT, movie_id BIGINT, predicted_rating FLOAT, model_version STRING
)
PARTITIONED BY (run_date DATE) STORED AS PARQUET LOCATION '/data/output/predicted_ratings';
CREATE EXTERNAL TABLE IF NOT EXISTS rejects (
    `file` STRING, `row` BIGINT, `column` STRING, `value` STRING, reason STRING
)
PARTITIONED BY (run_date DATE) STORED AS PARQUET LOCATION '/data/output/rejects';
CREATE EXTERNAL TABLE IF NOT EXISTS users (user_id BIGINT, ratings BIGINT, movies BIGINT, fingerprint BIGINT)
PARTITIONED BY (run_date DATE) STORED AS PARQUET LOCATION '/data/output/users';

-- The newest run alone, without the column run_date. Nothing has to be repeated for these, but in a Spark session that
-- has read one before: REFRESH TABLE.
CREATE EXTERNAL TABLE IF NOT EXISTS latest_recommendations (
    user_id BIGINT, rank INT, movie_id BIGINT, title STRING, retrieval_score FLOAT, predicted_rating FLOAT,
    source STRING, model_version STRING, scored_at TIMESTAMP,
    because_movie_id BIGINT, because_title STRING
)
STORED AS PARQUET LOCATION '/data/output/latest/recommendations';
CREATE EXTERNAL TABLE IF NOT EXISTS latest_predicted_ratings (
    user_id BIGINT, movie_id BIGINT, predicted_rating FLOAT, model_version STRING
)
STORED AS PARQUET LOCATION '/data/output/latest/predicted_ratings';
CREATE EXTERNAL TABLE IF NOT EXISTS latest_rejects (
    `file` STRING, `row` BIGINT, `column` STRING, `value` STRING, reason STRING
)
STORED AS PARQUET LOCATION '/data/output/latest/rejects';
CREATE EXTERNAL TABLE IF NOT EXISTS latest_users (user_id BIGINT, ratings BIGINT, movies BIGINT, fingerprint BIGINT)
STORED AS PARQUET LOCATION '/data/output/latest/users';

MSCK REPAIR TABLE recommendations SYNC PARTITIONS;
MSCK REPAIR TABLE predicted_ratings SYNC PARTITIONS;
MSCK REPAIR TABLE rejects SYNC PARTITIONS;
MSCK REPAIR TABLE users SYNC PARTITIONS;
