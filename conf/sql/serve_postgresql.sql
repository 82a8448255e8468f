-- In PostgreSQL, to which `export` has loaded a run: what to show user 42. The first ten of their list and the reserve,
-- without what they have bought and what is no longer sold since. is_old: a newer list should have been there by now.
-- Needs two tables of the site, here bought (user_id, movie_id) and products (movie_id): put yours in their places.
SELECT e.rank, e.movie_id, m.title, e.score, e.predicted_rating, e.source, e.valid_until < now() AS is_old
FROM recmodel.list_entries e
JOIN recmodel.movies m ON m.movie_id = e.movie_id AND m.allowed
JOIN products p ON p.movie_id = e.movie_id
WHERE e.user_id = 42
    AND NOT EXISTS (SELECT FROM bought b WHERE b.user_id = e.user_id AND b.movie_id = e.movie_id)
ORDER BY e.rank
LIMIT 10;
