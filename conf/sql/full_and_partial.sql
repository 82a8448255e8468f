-- The lists of the newest full run and, next to them, those of the newest partial run (score --users). Needs the views
-- of partial runs too (tables-partial-….sql), which can be made once there is one.
SELECT 'full' AS kind, user_id, rank, movie_id, title, retrieval_score, predicted_rating, source
FROM latest_recommendations
UNION ALL
SELECT 'partial' AS kind, user_id, rank, movie_id, title, retrieval_score, predicted_rating, source
FROM latest_partial_recommendations
ORDER BY user_id, kind, rank;
