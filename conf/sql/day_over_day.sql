-- The newest run beside the one before, in one row: users and recommendations that came, went and stayed, and by how
-- many stars the predicted ratings moved: of all recommendations on average, and of those that stayed.
WITH today AS (
    SELECT user_id, movie_id, predicted_rating FROM recommendations
    WHERE run_date = (SELECT max(run_date) FROM recommendations)
),
yesterday AS (
    SELECT user_id, movie_id, predicted_rating FROM recommendations
    WHERE run_date = (
        SELECT max(run_date) FROM recommendations WHERE run_date < (SELECT max(run_date) FROM recommendations)
    )
),
both_days AS (
    SELECT t.user_id AS now_user, y.user_id AS then_user,
        t.predicted_rating AS now_rating, y.predicted_rating AS then_rating
    FROM today t FULL OUTER JOIN yesterday y ON t.user_id = y.user_id AND t.movie_id = y.movie_id
)
SELECT
    count(DISTINCT now_user) AS users,
    count(DISTINCT coalesce(now_user, then_user)) - count(DISTINCT then_user) AS users_entered,
    count(DISTINCT coalesce(now_user, then_user)) - count(DISTINCT now_user) AS users_left,
    count(CASE WHEN then_user IS NULL THEN 1 END) AS entered,
    count(CASE WHEN now_user IS NULL THEN 1 END) AS went,
    count(now_user) - count(CASE WHEN then_user IS NULL THEN 1 END) AS stayed,
    avg(now_rating) - avg(then_rating) AS mean_shift,
    avg(CAST(now_rating AS DOUBLE) - CAST(then_rating AS DOUBLE)) AS mean_shift_of_stayed
FROM both_days;
