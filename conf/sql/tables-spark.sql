-- Spark SQL 4: the published tables as views of a session, which always show what is published. Replace var/output by
-- the path of your --output, unless it is the default and Spark runs in the project's folder.
CREATE OR REPLACE TEMPORARY VIEW recommendations AS
SELECT * FROM parquet.`var/output/recommendations` WITH (mergeSchema = 'true');
CREATE OR REPLACE TEMPORARY VIEW predicted_ratings AS
SELECT * FROM parquet.`var/output/predicted_ratings` WITH (mergeSchema = 'true');
CREATE OR REPLACE TEMPORARY VIEW rejects AS
SELECT * FROM parquet.`var/output/rejects` WITH (mergeSchema = 'true');
CREATE OR REPLACE TEMPORARY VIEW users AS
SELECT * FROM parquet.`var/output/users` WITH (mergeSchema = 'true');
CREATE OR REPLACE TEMPORARY VIEW runs AS
SELECT * FROM json.`var/output/runs` WITH (multiLine = 'true');

-- The newest run alone, without the column run_date.
CREATE OR REPLACE TEMPORARY VIEW latest_recommendations AS
SELECT * FROM parquet.`var/output/latest/recommendations`;
CREATE OR REPLACE TEMPORARY VIEW latest_predicted_ratings AS
SELECT * FROM parquet.`var/output/latest/predicted_ratings`;
CREATE OR REPLACE TEMPORARY VIEW latest_rejects AS SELECT * FROM parquet.`var/output/latest/rejects`;
CREATE OR REPLACE TEMPORARY VIEW latest_users AS SELECT * FROM parquet.`var/output/latest/users`;
CREATE OR REPLACE TEMPORARY VIEW latest_runs AS
SELECT * FROM json.`var/output/latest/runs` WITH (multiLine = 'true');
