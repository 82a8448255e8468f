-- The newest run compared with the newest before it of the same model version and ranking policy, in one row: numbers
-- of users and recommendations, and how many of them entered and left; the mean predicted rating of both runs, and its
-- mean change for recommendations that are in both. run_date_before is null where there is no such run.
WITH today AS (
    SELECT user_id, movie_id, CAST(predicted_rating AS DOUBLE) AS rating FROM recommendations
    WHERE run_date = (SELECT run_date FROM compared_runs)
),
yesterday AS (
    SELECT user_id, movie_id, CAST(predicted_rating AS DOUBLE) AS rating FROM recommendations
    WHERE run_date = (SELECT run_date_before FROM compared_runs)
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
    (SELECT run_date FROM compared_runs) AS run_date,
    (SELECT run_date_before FROM compared_runs) AS run_date_before
FROM today t FULL OUTER JOIN yesterday y ON t.user_id = y.user_id AND t.movie_id = y.movie_id;
