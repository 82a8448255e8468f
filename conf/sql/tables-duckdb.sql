-- DuckDB: the published tables as views, which always show what is published. Replace var/output by the path of your
-- --output, unless it is the default and DuckDB runs in the project's folder.
CREATE OR REPLACE VIEW recommendations AS
SELECT * FROM read_parquet('var/output/recommendations/*/*.parquet', hive_partitioning = true, union_by_name = true);
CREATE OR REPLACE VIEW predicted_ratings AS
SELECT * FROM read_parquet('var/output/predicted_ratings/*/*.parquet', hive_partitioning = true, union_by_name = true);
CREATE OR REPLACE VIEW rejects AS
SELECT * FROM read_parquet('var/output/rejects/*/*.parquet', hive_partitioning = true, union_by_name = true);
CREATE OR REPLACE VIEW users AS
SELECT * FROM read_parquet('var/output/users/*/*.parquet', hive_partitioning = true, union_by_name = true);
CREATE OR REPLACE VIEW runs AS
SELECT * FROM read_json('var/output/runs/*/run.json', hive_partitioning = true, union_by_name = true);

-- The newest run alone, without the column run_date.
CREATE OR REPLACE VIEW latest_recommendations AS
SELECT * FROM read_parquet('var/output/latest/recommendations/*.parquet');
CREATE OR REPLACE VIEW latest_predicted_ratings AS
SELECT * FROM read_parquet('var/output/latest/predicted_ratings/*.parquet');
CREATE OR REPLACE VIEW latest_rejects AS SELECT * FROM read_parquet('var/output/latest/rejects/*.parquet');
CREATE OR REPLACE VIEW latest_users AS SELECT * FROM read_parquet('var/output/latest/users/*.parquet');
CREATE OR REPLACE VIEW latest_runs AS SELECT * FROM read_json('var/output/latest/runs/run.json');
