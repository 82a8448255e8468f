-- The movies that entered or left each user's list, with their ranks: the newest run compared with the newest before it
-- of the same model version and ranking policy.
WITH today AS (
    SELECT user_id, movie_id, title, rank FROM recommendations WHERE run_date = (SELECT run_date FROM compared_runs)
),
yesterday AS (
    SELECT user_id, movie_id, title, rank FROM recommendations WHERE run_date = (SELECT run_date_before FROM compared_runs)
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
