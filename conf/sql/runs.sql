-- The main figures of each run, from its run.json (DuckDB and Spark SQL only: a metastore has no table `runs`).
SELECT
    run_date, model_version, rank_by, users, rows_rejected, movies AS movies_in_the_catalogue,
    recommendations.distinct_movies AS movies_recommended,
    CAST(recommendations.distinct_movies AS DOUBLE) / CAST(movies AS DOUBLE) AS coverage
FROM runs
ORDER BY run_date;
