-- Who was recommended movie 1196 and has rated it since: how often it was in their list before that, and at which best
-- rank. A date that was scored later, as of its end, counts from the next day on. Needs your ratings as a view; see
-- README.md.
SELECT r.user_id, count(*) AS runs, min(r.rank) AS best_rank, min(r.run_date) AS first_run, max(x.rating) AS rating
FROM recommendations r JOIN ratings x ON x.user_id = r.user_id AND x.movie_id = r.movie_id
WHERE r.movie_id = 1196 AND (x.rated_at > r.scored_at OR CAST(x.rated_at AS DATE) > r.run_date)
GROUP BY r.user_id
ORDER BY r.user_id;
