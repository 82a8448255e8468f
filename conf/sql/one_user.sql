-- One user's list in the newest run: user 42.
SELECT rank, movie_id, title, retrieval_score, predicted_rating, source
FROM recommendations
WHERE run_date = (SELECT max(run_date) FROM recommendations) AND user_id = 42
ORDER BY rank;
