-- The hundred movies whose number of lists changed most: the newest run compared with the newest before it of the same
-- model version and ranking policy.
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
    SELECT movie_id, max(title) AS title, count(*) AS lists FROM recommendations
    WHERE run_date = (SELECT run_date FROM newest) GROUP BY movie_id
),
yesterday AS (
    SELECT movie_id, max(title) AS title, count(*) AS lists FROM recommendations
    WHERE run_date = (SELECT run_date FROM before) GROUP BY movie_id
)
SELECT
    coalesce(t.movie_id, y.movie_id) AS movie_id,
    coalesce(t.title, y.title) AS title,
    coalesce(t.lists, 0) AS lists,
    coalesce(y.lists, 0) AS lists_before
FROM today t FULL OUTER JOIN yesterday y ON t.movie_id = y.movie_id
ORDER BY abs(coalesce(t.lists, 0) - coalesce(y.lists, 0)) DESC, 1
LIMIT 100;
