-- The hundred movies whose number of lists changed most from the last run but one to the newest.
WITH today AS (
    SELECT movie_id, max(title) AS title, count(*) AS lists FROM recommendations
    WHERE run_date = (SELECT max(run_date) FROM recommendations WHERE run_date <= CURRENT_DATE + INTERVAL '1' DAY)
    GROUP BY movie_id
),
yesterday AS (
    SELECT movie_id, max(title) AS title, count(*) AS lists FROM recommendations
    WHERE run_date = (
        SELECT max(run_date) FROM recommendations
        WHERE run_date < (SELECT max(run_date) FROM recommendations WHERE run_date <= CURRENT_DATE + INTERVAL '1' DAY)
    )
    GROUP BY movie_id
)
SELECT
    coalesce(t.movie_id, y.movie_id) AS movie_id,
    coalesce(t.title, y.title) AS title,
    coalesce(t.lists, 0) AS lists,
    coalesce(y.lists, 0) AS lists_before
FROM today t FULL OUTER JOIN yesterday y ON t.movie_id = y.movie_id
ORDER BY abs(coalesce(t.lists, 0) - coalesce(y.lists, 0)) DESC, 1
LIMIT 100;
