-- For each run, the movies of its catalogue by status: how many, how many of them may be recommended, their ratings.
SELECT
    run_date, status, count(*) AS movies, sum(CASE WHEN allowed THEN 1 ELSE 0 END) AS allowed, sum(ratings) AS ratings
FROM movies
GROUP BY run_date, status
ORDER BY run_date, status;
