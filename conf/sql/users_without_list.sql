-- Users who have rated and have no list in the newest run: nothing that may be recommended is left for them.
SELECT u.user_id, u.ratings, u.movies
FROM latest_users u LEFT JOIN latest_lists l ON l.user_id = u.user_id
WHERE l.user_id IS NULL
ORDER BY u.user_id;
