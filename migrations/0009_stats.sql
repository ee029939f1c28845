-- What GET /api/stats tells: the view stats, which counts when it's asked. Safe to run again.
-- Where counting takes too long, migrations/optional/stats_materialized.sql has the view read what was counted before.
--
-- The counting is a function's, not the view's own: a view would keep to the table that messages is now, also when another
-- one takes its place (migrations/optional/messages_by_month.sql). It's inlined, so plans show what it does.

CREATE OR REPLACE FUNCTION stats_count()
RETURNS TABLE (agents json, messages json, tasks json, workflows json)
LANGUAGE sql STABLE AS $$
    -- Messages are counted one by one up to 100,000; beyond, by the server's own estimate, which costs nothing.
    WITH counted AS (
        SELECT count(*) AS n FROM (SELECT FROM public.messages LIMIT 100000) AS first
    ), estimated AS (
        SELECT sum(reltuples)::bigint AS n FROM pg_class
        WHERE relkind = 'r' AND reltuples > 0
          AND (oid = 'public.messages'::regclass OR oid IN (SELECT relid FROM pg_partition_tree('public.messages')))
    )
    SELECT
        (SELECT json_build_object(
            'total', count(*),
            'active', count(*) FILTER (WHERE is_active),
            'busy', count(*) FILTER (WHERE is_busy)) FROM public.agents),
        (SELECT json_build_object(
            'total', CASE WHEN counted.n < 100000 THEN counted.n ELSE greatest(estimated.n, counted.n) END,
            'is_estimate', counted.n >= 100000) FROM counted, estimated),
        (SELECT coalesce(json_object_agg(status, n ORDER BY status), '{}')
         FROM (SELECT status, count(*) AS n FROM public.tasks GROUP BY status) AS by_status),
        (SELECT coalesce(json_object_agg(status, n ORDER BY status), '{}')
         FROM (SELECT status, count(*) AS n FROM public.workflows GROUP BY status) AS by_status)
$$;

DO $$
BEGIN
    -- Not OR REPLACE: what the optional migration made of it stays.
    IF to_regclass('public.stats') IS NULL THEN
        CREATE VIEW stats AS
        SELECT agents, messages, tasks, workflows, NULL::timestamptz AS counted_at FROM stats_count();
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reznet_app') THEN
        REVOKE ALL ON stats FROM reznet_app;
        GRANT SELECT ON stats TO reznet_app;
    END IF;
END
$$;
