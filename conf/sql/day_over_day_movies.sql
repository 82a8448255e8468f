-- The hundred movies whose number of lists changed most: the newest run compared with the newest before it of the same
-- model version and ranking policy.
WITH today AS (
    SELECT movie_id, max(title) AS title, count(*) AS lists FROM recommendations
    WHERE run_date = (SELECT run_date FROM compared_runs) GROUP BY movie_id
),
yesterday AS (
    SELECT movie_id, max(title) AS title, count(*) AS lists FROM recommendations
    WHERE run_date = (SELECT run_date_before FROM compared_runs) GROUP BY movie_id
)
SELECT
    coalesce(t.movie_id, y.movie_id) AS movie_id,
    coalesce(t.title, y.title) AS title,
    coalesce(t.lists, 0) AS lists,
    coalesce(y.lists, 0) AS lists_before
FROM today t FULL OUTER JOIN yesterday y ON t.movie_id = y.movie_id
ORDER BY abs(coalesce(t.lists, 0) - coalesce(y.lists, 0)) DESC, 1
LIMIT 100;
