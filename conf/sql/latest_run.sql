-- Everybody's list in the newest run.
SELECT user_id, rank, movie_id, title, retrieval_score, predicted_rating, source
FROM recommendations
WHERE run_date = (SELECT max(run_date) FROM recommendations)
ORDER BY user_id, rank;
