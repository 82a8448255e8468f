-- The movies that are similar to movie 1196, the most similar first.
SELECT s.rank, s.similar_movie_id, m.title, s.score
FROM latest_similar_movies s JOIN latest_movies m ON m.movie_id = s.similar_movie_id
WHERE s.movie_id = 1196
ORDER BY s.rank;
