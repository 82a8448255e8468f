-- Did it work? For each run so far that users came back after: how much of what they have rated since was in their
-- lists, next to what was popular that day, and how much of the hits they liked.
SELECT
    scored_on, model_version, rank_by, sum(users_back) AS users_back, sum(ratings) AS ratings, sum(hits) AS hits,
    sum(recall_10 * users_measured) / CAST(sum(users_measured) AS DOUBLE) AS recall_10,
    sum(ndcg_10 * users_measured) / CAST(sum(users_measured) AS DOUBLE) AS ndcg_10,
    sum(popular_ndcg_10 * users_measured) / CAST(sum(users_measured) AS DOUBLE) AS popular_ndcg_10,
    CAST(sum(liked_hits) AS DOUBLE) / CAST(nullif(sum(hits), 0) AS DOUBLE) AS share_liked
FROM latest_hits
GROUP BY scored_on, model_version, rank_by
ORDER BY scored_on;
