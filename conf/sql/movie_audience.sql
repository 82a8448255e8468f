-- Who is recommended a movie in the newest run, and how high: movie 1196.
SELECT user_id, rank, retrieval_score, predicted_rating
FROM recommendations
WHERE run_date = (SELECT max(run_date) FROM recommendations) AND movie_id = 1196
ORDER BY rank, user_id;
