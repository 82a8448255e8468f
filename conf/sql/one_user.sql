-- The list of user 42 in the newest run.
SELECT rank, movie_id, title, retrieval_score, predicted_rating, source
FROM latest_recommendations
WHERE user_id = 42
ORDER BY rank;
