-- Undoes stats_materialized.sql. GET /api/stats counts for each response again, as in migrations/0009_stats.sql. Safe to run again, and on
-- a database without stats_materialized.

CREATE OR REPLACE VIEW stats AS
SELECT agents, messages, tasks, workflows, NULL::timestamptz AS counted_at FROM stats_count();

DROP MATERIALIZED VIEW IF EXISTS stats_materialized;
