-- The model versions at the time of the newest run, and how good they are on held-out ratings.
SELECT model_version, used, current, preset, train_rows, ndcg_10, ndcg_10_liked, rmse, accuracy_at_100, gate
FROM latest_models
ORDER BY model_version;
