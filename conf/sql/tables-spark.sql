-- Spark SQL: the published tables as views of this session. Put your --output for /data/output.
-- A view lists the files when it is made: make it again after a night.
CREATE OR REPLACE TEMPORARY VIEW recommendations USING parquet OPTIONS (path '/data/output/recommendations');

CREATE OR REPLACE TEMPORARY VIEW predicted_ratings USING parquet OPTIONS (path '/data/output/predicted_ratings');

CREATE OR REPLACE TEMPORARY VIEW rejects USING parquet OPTIONS (path '/data/output/rejects');

CREATE OR REPLACE TEMPORARY VIEW runs USING json OPTIONS (path '/data/output/runs', multiLine 'true');

-- The newest run alone, without run_date.
CREATE OR REPLACE TEMPORARY VIEW latest_recommendations
USING parquet OPTIONS (path '/data/output/latest/recommendations');
