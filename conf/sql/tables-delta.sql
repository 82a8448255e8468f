-- An --output that is a URI holds Delta tables. First name them, in the way of your engine; here for s3://lake/tables.
-- Do the same for predicted_ratings, rejects and users:
--   DuckDB   CREATE VIEW recommendations AS SELECT * FROM delta_scan('s3://lake/tables/recommendations')
--   DuckDB in Python, without its extension:
--            table = deltalake.DeltaTable("s3://lake/tables/recommendations")
--            connection.register("recommendations", table.to_pyarrow_dataset())
--   Spark    CREATE TABLE recommendations USING delta LOCATION 's3a://lake/tables/recommendations'
--   Trino    CALL delta.system.register_table('recmodel', 'recommendations', 's3://lake/tables/recommendations')
-- Then these views show the newest run alone, in every engine. A run of the future (score --allow-future) is none.
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
-- Partial runs (score --users) are Delta tables of their own, below s3://lake/tables/partial, once there is one: name
-- them partial_recommendations, and so on, and define latest_partial_recommendations in the same way.
