-- The lists of all users in the newest run.
SELECT user_id, rank, movie_id, title, retrieval_score, predicted_rating, source
FROM latest_recommendations
ORDER BY user_id, rank;
