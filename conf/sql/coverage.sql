-- For each run: how many movies it recommends, and the share of its recommendations that go to the ten most recommended
-- movies. runs.sql has the share of the catalogue that is recommended.
WITH movies AS (
    SELECT run_date, movie_id, count(*) AS lists FROM recommendations GROUP BY run_date, movie_id
),
placed AS (
    SELECT run_date, lists, row_number() OVER (PARTITION BY run_date ORDER BY lists DESC) AS place FROM movies
)
SELECT run_date, count(*) AS movies, sum(lists) AS recommendations,
    CAST(sum(CASE WHEN place <= 10 THEN lists END) AS DOUBLE) / CAST(sum(lists) AS DOUBLE) AS share_of_ten
FROM placed
GROUP BY run_date
ORDER BY run_date;
