-- The movies that entered or left each user's list from the last run but one to the newest, with their ranks.
WITH today AS (
    SELECT user_id, movie_id, title, rank FROM recommendations
    WHERE run_date = (SELECT max(run_date) FROM recommendations WHERE run_date <= CURRENT_DATE + INTERVAL '1' DAY)
),
yesterday AS (
    SELECT user_id, movie_id, title, rank FROM recommendations
    WHERE run_date = (
        SELECT max(run_date) FROM recommendations
        WHERE run_date < (SELECT max(run_date) FROM recommendations WHERE run_date <= CURRENT_DATE + INTERVAL '1' DAY)
    )
)
SELECT
    coalesce(t.user_id, y.user_id) AS user_id,
    CASE WHEN y.user_id IS NULL THEN 'entered' ELSE 'left' END AS what,
    coalesce(t.rank, y.rank) AS rank,
    coalesce(t.movie_id, y.movie_id) AS movie_id,
    coalesce(t.title, y.title) AS title
FROM today t FULL OUTER JOIN yesterday y ON t.user_id = y.user_id AND t.movie_id = y.movie_id
WHERE t.user_id IS NULL OR y.user_id IS NULL
ORDER BY 1, 2, 3;
