-- The genres of what the newest run recommends, next to those of what people rate. A movie counts for each of its
-- genres.
WITH recommended AS (
    SELECT g.genre, count(*) AS entries FROM latest_recommendations r
    JOIN latest_movie_genres g ON g.movie_id = r.movie_id GROUP BY g.genre
),
rated AS (
    SELECT g.genre, count(*) AS movies, sum(m.ratings) AS ratings FROM latest_movies m
    JOIN latest_movie_genres g ON g.movie_id = m.movie_id GROUP BY g.genre
)
SELECT
    t.genre, t.movies, coalesce(r.entries, 0) AS recommendations,
    CAST(coalesce(r.entries, 0) AS DOUBLE) / (SELECT count(*) FROM latest_recommendations) AS share_of_recommendations,
    CAST(t.ratings AS DOUBLE) / (SELECT CAST(sum(ratings) AS DOUBLE) FROM latest_movies) AS share_of_ratings
FROM rated t LEFT JOIN recommended r ON r.genre = t.genre
ORDER BY recommendations DESC, t.genre;
