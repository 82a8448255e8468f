-- The hundred most rated movies that may be recommended, and that the newest run recommends to nobody.
SELECT m.movie_id, m.title, m.ratings, m.mean_rating
FROM latest_movies m
LEFT JOIN (SELECT DISTINCT movie_id FROM latest_recommendations) r ON r.movie_id = m.movie_id
WHERE m.allowed AND r.movie_id IS NULL
ORDER BY m.ratings DESC, m.movie_id
LIMIT 100;
