-- DuckDB: how much of the newest run a query for user 42 has to read: files, row groups and megabytes in all, and those
-- whose statistics of user_id include that user. EXPLAIN ANALYZE before a query shows what it did read.
WITH row_groups AS (
    SELECT file_name, row_group_id, sum(total_compressed_size) / 1e6 AS mb,
        max(path_in_schema = 'user_id' AND 42 BETWEEN TRY_CAST(stats_min_value AS BIGINT)
            AND TRY_CAST(stats_max_value AS BIGINT)) AS may_have
    FROM parquet_metadata('var/output/latest/recommendations/*.parquet')
    GROUP BY file_name, row_group_id
)
SELECT
    count(DISTINCT file_name) AS files, count(DISTINCT file_name) FILTER (may_have) AS files_read,
    count(*) AS row_groups, count(*) FILTER (may_have) AS row_groups_read,
    round(sum(mb), 2) AS mb, round(sum(mb) FILTER (may_have), 2) AS mb_read
FROM row_groups;
