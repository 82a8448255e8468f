-- DuckDB: the published tables as views, which always show what is published. Put your --output for /data/output.
CREATE OR REPLACE VIEW recommendations AS
SELECT * FROM read_parquet('/data/output/recommendations/*/*.parquet', hive_partitioning = true);

CREATE OR REPLACE VIEW predicted_ratings AS
SELECT * FROM read_parquet('/data/output/predicted_ratings/*/*.parquet', hive_partitioning = true);

CREATE OR REPLACE VIEW rejects AS
SELECT * FROM read_parquet('/data/output/rejects/*/*.parquet', hive_partitioning = true);

CREATE OR REPLACE VIEW runs AS
SELECT * FROM read_json('/data/output/runs/*/run.json', hive_partitioning = true, union_by_name = true);

-- The newest run alone, without run_date.
CREATE OR REPLACE VIEW latest_recommendations AS
SELECT * FROM read_parquet('/data/output/latest/recommendations/*.parquet');
