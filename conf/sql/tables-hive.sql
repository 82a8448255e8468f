-- Hive metastore, by Spark SQL with Hive support or by Hive 4 (older ones cannot read scored_at): the published tables.
-- Put your --output for /data/output. Repeat the MSCK lines after each night: they add and drop dates.
CREATE EXTERNAL TABLE IF NOT EXISTS recommendations (
    user_id BIGINT, rank INT, movie_id BIGINT, title STRING, retrieval_score FLOAT, predicted_rating FLOAT,
    source STRING, model_version STRING, scored_at TIMESTAMP
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

-- The newest run alone, without run_date.
CREATE EXTERNAL TABLE IF NOT EXISTS latest_recommendations (
    user_id BIGINT, rank INT, movie_id BIGINT, title STRING, retrieval_score FLOAT, predicted_rating FLOAT,
    source STRING, model_version STRING, scored_at TIMESTAMP
)
STORED AS PARQUET LOCATION '/data/output/latest/recommendations';

MSCK REPAIR TABLE recommendations SYNC PARTITIONS;
MSCK REPAIR TABLE predicted_ratings SYNC PARTITIONS;
MSCK REPAIR TABLE rejects SYNC PARTITIONS;
