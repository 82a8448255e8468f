-- The same over all runs so far, by ranking policy, model version, source and how many ratings users had given.
SELECT
    rank_by, model_version, source, segment, sum(users_back) AS users_back, sum(hits) AS hits,
    sum(ndcg_10 * users_measured) / CAST(sum(users_measured) AS DOUBLE) AS ndcg_10,
    sum(popular_ndcg_10 * users_measured) / CAST(sum(users_measured) AS DOUBLE) AS popular_ndcg_10
FROM latest_hits
GROUP BY rank_by, model_version, source, segment
ORDER BY rank_by, model_version, source, segment;
