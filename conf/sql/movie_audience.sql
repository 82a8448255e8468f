-- Who is recommended one movie, 1196, in the newest run, and how high.
SELECT user_id, rank, retrieval_score, predicted_rating
FROM latest_recommendations
WHERE movie_id = 1196
ORDER BY rank, user_id;
