-- All lists of user 42, the newest first.
SELECT run_date, rank, movie_id, title, predicted_rating, source, model_version
FROM recommendations
WHERE user_id = 42
ORDER BY run_date DESC, rank;
