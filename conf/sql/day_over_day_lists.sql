-- The movies that entered or left each user's list, with their ranks: the newest run compared with the newest before it
-- of the same model version and ranking policy.
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
    SELECT user_id, movie_id, title, rank FROM recommendations WHERE run_date = (SELECT run_date FROM newest)
),
yesterday AS (
    SELECT user_id, movie_id, title, rank FROM recommendations WHERE run_date = (SELECT run_date FROM before)
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
