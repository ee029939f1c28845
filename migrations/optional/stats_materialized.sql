-- Makes GET /api/stats return counts from a materialized view. The response's counted_at is the time of the last refresh. Use this
-- migration if counting takes too long; docs/benchmarks.md has figures. Safe to run again.
--
--   scripts/migrate optional stats_materialized                    applies this migration
--   scripts/migrate undo stats_materialized                        makes GET /api/stats count for each response again
--   REFRESH MATERIALIZED VIEW CONCURRENTLY stats_materialized;     updates the counts; run it by cron as the view's owner; blocks no reader

-- Disables statement_timeout, because the first count may take long, and no session waits for it.
SET LOCAL statement_timeout = 0;

CREATE MATERIALIZED VIEW IF NOT EXISTS stats_materialized AS
SELECT agents, messages, tasks, workflows, now() AS counted_at FROM stats_count();

-- REFRESH … CONCURRENTLY requires a unique index, although the view has only one row.
CREATE UNIQUE INDEX IF NOT EXISTS stats_materialized_counted_at_idx ON stats_materialized (counted_at);

CREATE OR REPLACE VIEW stats AS
SELECT agents, messages, tasks, workflows, counted_at FROM stats_materialized;

DO $$
BEGIN
    -- The API reads the materialized view through the view stats, with the privileges of that view's owner.
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reznet_app') THEN
        REVOKE ALL ON stats_materialized FROM reznet_app;
    END IF;
END
$$;
