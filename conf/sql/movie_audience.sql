-- The users to whom the newest run recommends movie 1196, and its rank in their lists.
SELECT user_id, rank, retrieval_score, predicted_rating
FROM latest_recommendations
WHERE movie_id = 1196
ORDER BY rank, user_id;
