-- migrate: no-transaction
-- Indexes with which each list, each filter and each claim reads about as many rows as it returns, however many there are.
-- Built while others write, so not in a transaction: psql -X -v ON_ERROR_STOP=1 -f FILE. Safe to run again.

-- All agents, in the list's order. NULLS FIRST, here and below: an order that no other index has, so that PostgreSQL uses this one
-- for the statement that it is for, and for no other.
CREATE INDEX CONCURRENTLY IF NOT EXISTS agents_created_at_idx ON agents (created_at NULLS FIRST, id NULLS FIRST);
-- A channel's workflows of any one status; workflows_active_idx had those of three only.
CREATE INDEX CONCURRENTLY IF NOT EXISTS workflows_channel_status_idx ON workflows (channel_id, status, created_at, id);
DROP INDEX CONCURRENTLY IF EXISTS workflows_active_idx;
-- What an agent can claim of one workflow.
CREATE INDEX CONCURRENTLY IF NOT EXISTS workflow_tasks_ready_idx ON workflow_tasks (workflow_id, agent_id, order_index NULLS FIRST, id NULLS FIRST) WHERE status = 'ready';

-- Three of the named indexes lacked columns: PostgreSQL read all rows of a type, status or author, to filter or sort them. The
-- fourth, by which an agent claims a task of any workflow, had an order that another index has.
-- Each is built anew beside the old one and takes its name. PostgreSQL builds no index on a partitioned table while others
-- write, but on each partition. messages_mirror exists while messages moves to another layout (optional/messages_by_month.sql).
WITH wanted (name, on_table, columns) AS (VALUES
    ('idx_agents_type_active', 'agents', '(agent_type, is_active, created_at, id)'),
    ('idx_workflow_tasks_status', 'workflow_tasks', '(status, agent_id, order_index NULLS FIRST, id NULLS FIRST)'),
    ('idx_workflow_tasks_workflow_status', 'workflow_tasks', '(workflow_id, status, order_index, id)'),
    ('idx_messages_author_id', 'messages', '(author_id, author_type, created_at, id)'),
    ('idx_messages_author_id_mirror', 'messages_mirror', '(author_id, author_type, created_at, id)')
), found AS (
    SELECT wanted.*, oid, relkind = 'p' AS is_partitioned,
           coalesce(pg_get_indexdef(to_regclass('public.' || name)) LIKE '%' || columns, false) AS is_done
    FROM wanted JOIN pg_class ON oid = to_regclass('public.' || on_table)
), part AS (
    SELECT name, inhrelid::regclass::text AS partition, relname || '_author_type_idx' AS part_name
    FROM found JOIN pg_inherits ON inhparent = found.oid JOIN pg_class ON pg_class.oid = inhrelid
    WHERE is_partitioned
)
SELECT statement FROM (
    -- An interrupted run may have left these.
    SELECT name, 1 AS step, '' AS part, format('DROP INDEX %s IF EXISTS public.%s_new',
        CASE WHEN NOT is_partitioned THEN 'CONCURRENTLY' END, name) AS statement
    FROM found WHERE NOT is_done
    UNION ALL
    SELECT name, 2, '', CASE WHEN is_partitioned THEN format('CREATE INDEX %s_new ON ONLY public.%s %s', name, on_table, columns)
        ELSE format('CREATE INDEX CONCURRENTLY %s_new ON public.%s %s', name, on_table, columns) END
    FROM found WHERE NOT is_done
    UNION ALL
    SELECT name, 3, partition || of.step, of.statement
    FROM found JOIN part USING (name), LATERAL (VALUES
        (1, format('DROP INDEX CONCURRENTLY IF EXISTS public.%I', part_name)),
        (2, format('CREATE INDEX CONCURRENTLY %I ON %s %s', part_name, partition, columns)),
        (3, format('ALTER INDEX public.%s_new ATTACH PARTITION public.%I', name, part_name))
    ) AS of (step, statement)
    WHERE NOT is_done
    UNION ALL
    -- One transaction: there is always an index of that name.
    SELECT name, 4, '', format('ALTER INDEX IF EXISTS public.%s RENAME TO %s_old; ALTER INDEX public.%s_new RENAME TO %s',
        name, name, name, name)
    FROM found WHERE NOT is_done
    UNION ALL
    SELECT name, 5, '', CASE WHEN is_partitioned THEN format('CALL public.messages_try(''DROP INDEX IF EXISTS public.%s_old'')', name)
        ELSE format('DROP INDEX CONCURRENTLY IF EXISTS public.%s_old', name) END
    FROM found
) AS steps ORDER BY name, step, part \gexec

-- What is declared from now on, for scripts/migrate verify: nothing runs this.
\if false
DROP INDEX idx_agents_type_active, idx_workflow_tasks_status, idx_workflow_tasks_workflow_status, idx_messages_author_id;
CREATE INDEX idx_agents_type_active ON agents (agent_type, is_active, created_at, id);
CREATE INDEX idx_workflow_tasks_status ON workflow_tasks (status, agent_id, order_index NULLS FIRST, id NULLS FIRST);
CREATE INDEX idx_workflow_tasks_workflow_status ON workflow_tasks (workflow_id, status, order_index, id);
CREATE INDEX idx_messages_author_id ON messages (author_id, author_type, created_at, id);
\endif
