-- The lists of the newest run with the ids of IMDb and TMDB, null for movies without links.
SELECT r.user_id, r.rank, r.movie_id, m.imdb_id, m.tmdb_id
FROM latest_recommendations r LEFT JOIN latest_movies m ON m.movie_id = r.movie_id
ORDER BY r.user_id, r.rank;
