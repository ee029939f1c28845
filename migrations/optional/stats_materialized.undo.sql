-- Undoes stats_materialized.sql: GET /api/stats counts when it's asked, as migrations/0009_stats.sql has it. Safe to run
-- again, also where it was never applied.

CREATE OR REPLACE VIEW stats AS
SELECT agents, messages, tasks, workflows, NULL::timestamptz AS counted_at FROM stats_count();

DROP MATERIALIZED VIEW IF EXISTS stats_materialized;
