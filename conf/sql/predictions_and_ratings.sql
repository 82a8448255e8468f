-- Predicted ratings compared with those that users have given since, by model version. A date that was scored later,
-- as of its end, counts from the next day on. Needs your ratings as a view; see README.md.
SELECT
    r.model_version, count(*) AS ratings, avg(CAST(x.rating AS DOUBLE)) AS mean_rating,
    avg(CAST(r.predicted_rating AS DOUBLE)) AS mean_prediction,
    sqrt(avg(power(CAST(r.predicted_rating AS DOUBLE) - CAST(x.rating AS DOUBLE), 2))) AS rmse
FROM recommendations r JOIN ratings x ON x.user_id = r.user_id AND x.movie_id = r.movie_id
WHERE r.source NOT IN ('popularity', 'trending')
    AND (x.rated_at > r.scored_at OR CAST(x.rated_at AS DATE) > r.run_date)
GROUP BY r.model_version
ORDER BY r.model_version;
