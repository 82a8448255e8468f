-- The movies of the newest run that its model was not trained on, in how many lists they are, and the delisted ones.
SELECT m.status, m.movie_id, m.title, m.ratings, count(r.user_id) AS lists
FROM latest_movies m LEFT JOIN latest_recommendations r ON r.movie_id = m.movie_id
WHERE m.status <> 'known'
GROUP BY m.status, m.movie_id, m.title, m.ratings
ORDER BY m.status, lists DESC, m.movie_id;
