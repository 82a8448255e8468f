-- What the newest run recommends by the decade of the movie; null where the title ends in no year.
SELECT
    m.year - m.year % 10 AS decade, count(*) AS recommendations, count(DISTINCT r.movie_id) AS movies,
    count(DISTINCT r.user_id) AS users, avg(CAST(r.predicted_rating AS DOUBLE)) AS mean_rating
FROM latest_recommendations r JOIN latest_movies m ON m.movie_id = r.movie_id
GROUP BY m.year - m.year % 10
ORDER BY count(*) DESC, min(m.year);
