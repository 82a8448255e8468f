-- The newest run compared with the newest before it of the same model version and ranking policy, in one row: numbers
-- of users and recommendations, and how many of them entered and left; the mean predicted rating of both runs, and its
-- mean change for recommendations that are in both. run_date_before is null where there is no such run.
WITH runs_made AS (
    SELECT run_date, model_version, rank_by FROM models WHERE used AND run_date <= CURRENT_DATE + INTERVAL '1' DAY
),
newest AS (
    SELECT run_date, model_version, rank_by FROM runs_made WHERE run_date = (SELECT max(run_date) FROM runs_made)
),
before AS (
    SELECT max(r.run_date) AS run_date FROM runs_made r
    JOIN newest n ON r.model_version = n.model_version AND r.rank_by = n.rank_by AND r.run_date < n.run_date
),
today AS (
    SELECT user_id, movie_id, CAST(predicted_rating AS DOUBLE) AS rating FROM recommendations
    WHERE run_date = (SELECT run_date FROM newest)
),
yesterday AS (
    SELECT user_id, movie_id, CAST(predicted_rating AS DOUBLE) AS rating FROM recommendations
    WHERE run_date = (SELECT run_date FROM before)
)
SELECT
    count(DISTINCT t.user_id) AS users,
    count(DISTINCT coalesce(t.user_id, y.user_id)) - count(DISTINCT y.user_id) AS users_entered,
    count(DISTINCT coalesce(t.user_id, y.user_id)) - count(DISTINCT t.user_id) AS users_left,
    count(t.user_id) AS recommendations,
    count(*) - count(y.user_id) AS recommendations_entered,
    count(*) - count(t.user_id) AS recommendations_left,
    avg(t.rating) AS mean_rating,
    avg(y.rating) AS mean_rating_before,
    avg(t.rating - y.rating) AS mean_change_of_stayed,
    (SELECT run_date FROM newest) AS run_date,
    (SELECT run_date FROM before) AS run_date_before
FROM today t FULL OUTER JOIN yesterday y ON t.user_id = y.user_id AND t.movie_id = y.movie_id;
