-- Spark SQL 4: partial runs (score --users) as views, to be read next to those of tables-spark.sql. Spark refuses these
-- before there is a partial run. Replace var/output as there.
CREATE OR REPLACE TEMPORARY VIEW partial_recommendations AS
SELECT * FROM parquet.`var/output/partial/recommendations` WITH (mergeSchema = 'true');
CREATE OR REPLACE TEMPORARY VIEW partial_predicted_ratings AS
SELECT * FROM parquet.`var/output/partial/predicted_ratings` WITH (mergeSchema = 'true');
CREATE OR REPLACE TEMPORARY VIEW partial_rejects AS
SELECT * FROM parquet.`var/output/partial/rejects` WITH (mergeSchema = 'true');
CREATE OR REPLACE TEMPORARY VIEW partial_users AS
SELECT * FROM parquet.`var/output/partial/users` WITH (mergeSchema = 'true');
CREATE OR REPLACE TEMPORARY VIEW partial_runs AS
SELECT * FROM json.`var/output/partial/runs` WITH (multiLine = 'true');

-- The newest partial run alone, without the column run_date.
CREATE OR REPLACE TEMPORARY VIEW latest_partial_recommendations AS
SELECT * FROM parquet.`var/output/partial/latest/recommendations`;
CREATE OR REPLACE TEMPORARY VIEW latest_partial_predicted_ratings AS
SELECT * FROM parquet.`var/output/partial/latest/predicted_ratings`;
CREATE OR REPLACE TEMPORARY VIEW latest_partial_rejects AS SELECT * FROM parquet.`var/output/partial/latest/rejects`;
CREATE OR REPLACE TEMPORARY VIEW latest_partial_users AS SELECT * FROM parquet.`var/output/partial/latest/users`;
CREATE OR REPLACE TEMPORARY VIEW latest_partial_runs AS
SELECT * FROM json.`var/output/partial/latest/runs` WITH (multiLine = 'true');
