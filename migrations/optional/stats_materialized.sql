-- GET /api/stats from a materialized view: what was counted when it was last refreshed, which the answer's counted_at tells.
-- For databases where counting takes too long: docs/benchmarks.md has figures. Safe to run again.
--
--   scripts/migrate optional stats_materialized     and undo stats_materialized, to count for each answer again
--   REFRESH MATERIALIZED VIEW CONCURRENTLY stats_materialized;     by cron, as its owner: nobody waits for it

-- The first count; nobody waits for that either.
SET LOCAL statement_timeout = 0;

CREATE MATERIALIZED VIEW IF NOT EXISTS stats_materialized AS
SELECT agents, messages, tasks, workflows, now() AS counted_at FROM stats_count();

-- There's one row. Refreshing concurrently wants something to know it by.
CREATE UNIQUE INDEX IF NOT EXISTS stats_materialized_counted_at_idx ON stats_materialized (counted_at);

CREATE OR REPLACE VIEW stats AS
SELECT agents, messages, tasks, workflows, counted_at FROM stats_materialized;

DO $$
BEGIN
    -- The API reads it through the view, with the rights of the view's owner.
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reznet_app') THEN
        REVOKE ALL ON stats_materialized FROM reznet_app;
    END IF;
END
$$;
