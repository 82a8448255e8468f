-- For each run, how many users are served from popularity, and their share.
SELECT
    run_date, count(*) AS users, sum(CASE WHEN source IN ('popularity', 'trending') THEN 1 ELSE 0 END) AS cold_users,
    CAST(sum(CASE WHEN source IN ('popularity', 'trending') THEN 1 ELSE 0 END) AS DOUBLE) / CAST(count(*) AS DOUBLE) AS share
FROM recommendations
WHERE rank = 1
GROUP BY run_date
ORDER BY run_date;
