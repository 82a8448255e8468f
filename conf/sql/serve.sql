-- What to show user 42: the first ten of their list and the reserve, without what may not be recommended any more and
-- what they have rated since. Needs your ratings as a view; see README.md.
SELECT e.rank, e.movie_id, m.title, e.score, e.predicted_rating, e.source, e.valid_until
FROM latest_list_entries e
JOIN latest_movies m ON m.movie_id = e.movie_id AND m.allowed
LEFT JOIN ratings x ON x.user_id = e.user_id AND x.movie_id = e.movie_id
WHERE e.user_id = 42 AND x.movie_id IS NULL
ORDER BY e.rank
LIMIT 10;
