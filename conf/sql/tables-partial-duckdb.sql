-- DuckDB: partial runs (score --users) as views, to be read next to those of tables-duckdb.sql. DuckDB refuses these
-- before there is a partial run. Replace var/output as there.
CREATE OR REPLACE VIEW partial_recommendations AS
SELECT * FROM read_parquet(
    'var/output/partial/recommendations/*/*.parquet', hive_partitioning = true, union_by_name = true
);
CREATE OR REPLACE VIEW partial_predicted_ratings AS
SELECT * FROM read_parquet(
    'var/output/partial/predicted_ratings/*/*.parquet', hive_partitioning = true, union_by_name = true
);
CREATE OR REPLACE VIEW partial_rejects AS
SELECT * FROM read_parquet('var/output/partial/rejects/*/*.parquet', hive_partitioning = true, union_by_name = true);
CREATE OR REPLACE VIEW partial_users AS
SELECT * FROM read_parquet('var/output/partial/users/*/*.parquet', hive_partitioning = true, union_by_name = true);
CREATE OR REPLACE VIEW partial_runs AS
SELECT * FROM read_json('var/output/partial/runs/*/run.json', hive_partitioning = true, union_by_name = true);

-- The newest partial run alone, without the column run_date.
CREATE OR REPLACE VIEW latest_partial_recommendations AS
SELECT * FROM read_parquet('var/output/partial/latest/recommendations/*.parquet');
CREATE OR REPLACE VIEW latest_partial_predicted_ratings AS
SELECT * FROM read_parquet('var/output/partial/latest/predicted_ratings/*.parquet');
CREATE OR REPLACE VIEW latest_partial_rejects AS
SELECT * FROM read_parquet('var/output/partial/latest/rejects/*.parquet');
CREATE OR REPLACE VIEW latest_partial_users AS SELECT * FROM read_parquet('var/output/partial/latest/users/*.parquet');
CREATE OR REPLACE VIEW latest_partial_runs AS SELECT * FROM read_json('var/output/partial/latest/runs/run.json');
