-- The hundred movies that are in most lists of the newest run.
SELECT movie_id, max(title) AS title, count(*) AS lists, avg(rank) AS mean_rank, avg(predicted_rating) AS mean_rating
FROM latest_recommendations
GROUP BY movie_id
ORDER BY lists DESC, movie_id
LIMIT 100;
