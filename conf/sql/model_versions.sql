-- The two newest model versions that have been used compared, by the last run of each: how much of the lists stayed.
WITH last_runs AS (
    SELECT model_version, max(run_date) AS run_date FROM recommendations
    WHERE run_date <= CURRENT_DATE + INTERVAL '1' DAY GROUP BY model_version
),
placed AS (
    SELECT model_version, run_date, row_number() OVER (ORDER BY run_date DESC) AS place FROM last_runs
),
now AS (
    SELECT r.user_id, r.movie_id, r.model_version, CAST(r.predicted_rating AS DOUBLE) AS rating
    FROM recommendations r JOIN placed p ON p.run_date = r.run_date AND p.model_version = r.model_version
    WHERE p.place = 1
),
earlier AS (
    SELECT r.user_id, r.movie_id, r.model_version, CAST(r.predicted_rating AS DOUBLE) AS rating
    FROM recommendations r JOIN placed p ON p.run_date = r.run_date AND p.model_version = r.model_version
    WHERE p.place = 2
)
SELECT
    max(n.model_version) AS model_version, max(e.model_version) AS model_version_before,
    count(n.user_id) AS recommendations, count(CASE WHEN e.user_id = n.user_id THEN 1 END) AS stayed,
    count(DISTINCT n.movie_id) AS movies, count(DISTINCT e.movie_id) AS movies_before,
    avg(n.rating) AS mean_rating, avg(e.rating) AS mean_rating_before
FROM now n FULL OUTER JOIN earlier e ON e.user_id = n.user_id AND e.movie_id = n.movie_id;
