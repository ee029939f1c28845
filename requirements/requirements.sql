-- Checks whether a database meets the API's requirements. Returns one row for each finding, and no row if the database meets all of them.
-- Changes nothing, and doesn't fail if an object is missing. scripts/migrate runs this text with psql; GET /api/health/ready runs it as a
-- part of its statement.
--
-- $1 text    the role whose privileges are checked; NULL means the current user
-- $2 text[]  the migrations that must be applied, by file name without .sql
--
-- severity    error, or warning if the API works in spite of the finding
-- kind        server, encoding, session, foreign (an object with our name that is not ours), differs (an object of ours that was
--             changed), migration, index, missing, privilege, statistics, role, inherit, trigger, row_security
-- object      our name of the object
-- detail      the problem in one sentence, which any client may see, so it names our own objects only
-- difference  details that only the operator may see
-- statement   the SQL that corrects the finding, or NULL
-- may_run     whether the current user may run that statement
--
-- expected_relation has the columns of the first version of each table. Columns that later migrations add are not listed, because their
-- tables would otherwise count as changed until those migrations are applied.
WITH expected_relation (schema, name, kinds, made_by, privileges, columns) AS (VALUES
    ('public', 'migration_ledger', 'r', NULL, 'SELECT', 'name text, sha256 text, duration_ms int4, applied_by text, applied_at timestamptz'),
    ('public', 'agents', 'r', '0001_schema', 'SELECT,INSERT,UPDATE,DELETE', 'id uuid, name text, agent_type text, persona jsonb, config jsonb, is_active bool, is_busy bool, created_at timestamptz, updated_at timestamptz'),
    ('public', 'channels', 'r', '0001_schema', 'SELECT,INSERT,UPDATE,DELETE', 'id uuid, name text, topic text, channel_type text, dm_agent_id uuid, is_archived bool, context_cleared_at timestamptz, created_at timestamptz, updated_at timestamptz'),
    ('public', 'messages', 'rp', '0001_schema', 'SELECT,INSERT,UPDATE,DELETE', 'id uuid, channel_id uuid, author_id uuid, author_type text, author_name text, content text, thread_id uuid, metadata jsonb, created_at timestamptz'),
    ('public', 'tasks', 'r', '0001_schema', 'SELECT,INSERT,UPDATE,DELETE', 'id uuid, description text, assigned_to uuid, status text, priority int4, context jsonb, result text, created_at timestamptz, started_at timestamptz, completed_at timestamptz'),
    ('public', 'workflows', 'r', '0001_schema', 'SELECT,INSERT,UPDATE,DELETE', 'id uuid, description text, orchestrator_id uuid, channel_id uuid, status text, execution_strategy text, created_at timestamptz, started_at timestamptz, completed_at timestamptz'),
    ('public', 'workflow_tasks', 'r', '0001_schema', 'SELECT,INSERT,UPDATE,DELETE', 'id uuid, workflow_id uuid, description text, agent_id uuid, is_anyones bool, order_index int4, depends_on _uuid, status text, output text, error text, created_at timestamptz, started_at timestamptz, completed_at timestamptz'),
    ('public', 'idempotency_keys', 'r', '0007_idempotency', 'SELECT,INSERT,UPDATE,DELETE', 'key text, request bytea, json text, note text, created_at timestamptz'),
    ('public', 'stats', 'v', '0009_stats', 'SELECT', 'agents json, messages json, tasks json, workflows json, counted_at timestamptz'),
    ('profile', 'samples', 'r', '0006_profile', 'SELECT,INSERT,UPDATE,DELETE', 'began_at timestamptz, kind text, name text, count int8, errors int8, sum_us int8, max_us int8, within_target int8, query_count int8, bins _int4, bin_counts _int8'),
    ('profile', 'minutes', 'r', '0006_profile', 'SELECT,INSERT,UPDATE,DELETE', 'began_at timestamptz, kind text, name text, count int8, errors int8, sum_us int8, max_us int8, within_target int8, query_count int8, bins _int4, bin_counts _int8'),
    ('profile', 'gathered', 'v', '0006_profile', 'SELECT', 'began_at timestamptz, kind text, name text, count int8, errors int8, sum_us int8, max_us int8, within_target int8, query_count int8, bins _int4, bin_counts _int8'),
    ('profile', 'totals', 'r', '0006_profile', 'SELECT,INSERT,UPDATE,DELETE', 'ended_at timestamptz, kind text, name text, count int8, errors int8, sum_us int8, within_target int8, query_count int8, bins _int4, bin_counts _int8'),
    ('profile', 'index_scans', 'r', '0006_profile', 'SELECT,INSERT,UPDATE,DELETE', 'seen_at timestamptz, index_name text, scans int8'),
    ('profile', 'flushes', 'r', '0006_profile', 'SELECT,INSERT,UPDATE,DELETE', 'began_at timestamptz, count int8, gathered int8, flushed int8, lost int8, sum_us int8, one_in int4'),
    ('profile', 'slow_queries', 'r', '0006_profile', 'SELECT,INSERT,UPDATE,DELETE', 'id int8, statement text, elapsed_us int8, route text, request_id text, ran_at timestamptz, plan jsonb'),
    -- Optional migrations create these relations. The API's role needs no privileges on them, because the API uses them only through the
    -- triggers of messages and the view stats, which have the privileges of their owner.
    ('public', 'messages_mirror', 'rp', NULL, '', 'id uuid, channel_id uuid, author_id uuid, author_type text, author_name text, content text, thread_id uuid, metadata jsonb, created_at timestamptz'),
    ('public', 'messages_mirroring', 'r', NULL, '', 'created_at timestamptz, id uuid, copied int8, expected int8, is_copied bool, is_compared bool'),
    ('public', 'stats_materialized', 'm', NULL, '', 'agents json, messages json, tasks json, workflows json, counted_at timestamptz')
),
-- is_called is true for functions that a statement, a view or a trigger function calls, so the API's role needs EXECUTE on them. PostgreSQL
-- checks no privilege when a trigger fires its own function.
expected_function (name, arguments, result, made_by, is_called) AS (VALUES
    ('workflow_settle', 'uuid', 'void', '0004_workflow_states', true),
    ('workflow_task_can_start', 'workflow_tasks text', 'bool', '0004_workflow_states', true),
    ('workflow_starts', '', 'trigger', '0004_workflow_states', false),
    ('workflow_changed', '', 'trigger', '0004_workflow_states', false),
    ('workflow_task_ended', '', 'trigger', '0004_workflow_states', false),
    ('workflow_task_added', '', 'trigger', '0004_workflow_states', false),
    ('write_once', 'text text text _text', 'record', '0007_idempotency', true),
    ('stats_count', '', 'record', '0009_stats', true),
    ('execute_now', 'text uuid', 'record', '0011_search_path', true),
    ('server_statements', 'int4', 'jsonb', '0014_server_statements', true)
),
expected_trigger (name, on_table, made_by) AS (VALUES
    ('workflows_starts', 'workflows', '0004_workflow_states'),
    ('workflows_changed', 'workflows', '0004_workflow_states'),
    ('workflow_tasks_ended', 'workflow_tasks', '0004_workflow_states'),
    ('workflow_tasks_added', 'workflow_tasks', '0004_workflow_states')
),
-- The sixteen indexes with is_named are required. The other indexes may be missing. An index of any of these names on a table that is not
-- ours is an error.
expected_index (schema, name, on_table, is_named) AS (VALUES
    ('public', 'idx_agents_active', 'agents', true),
    ('public', 'idx_agents_name', 'agents', true),
    ('public', 'idx_agents_type', 'agents', true),
    ('public', 'idx_agents_type_active', 'agents', true),
    ('public', 'idx_messages_author_id', 'messages', true),
    ('public', 'idx_messages_channel_created', 'messages', true),
    ('public', 'idx_messages_channel_id', 'messages', true),
    ('public', 'idx_messages_created_at', 'messages', true),
    ('public', 'idx_workflow_tasks_order', 'workflow_tasks', true),
    ('public', 'idx_workflow_tasks_status', 'workflow_tasks', true),
    ('public', 'idx_workflow_tasks_workflow_id', 'workflow_tasks', true),
    ('public', 'idx_workflow_tasks_workflow_status', 'workflow_tasks', true),
    ('public', 'idx_workflows_channel_id', 'workflows', true),
    ('public', 'idx_workflows_created_at', 'workflows', true),
    ('public', 'idx_workflows_status', 'workflows', true),
    ('public', 'idx_workflows_status_created', 'workflows', true),
    ('public', 'agents_created_at_idx', 'agents', false),
    ('public', 'channels_active_idx', 'channels', false),
    ('public', 'channels_name_key', 'channels', false),
    ('public', 'idempotency_keys_created_at_idx', 'idempotency_keys', false),
    ('public', 'tasks_created_at_idx', 'tasks', false),
    ('public', 'tasks_status_created_at_idx', 'tasks', false),
    ('public', 'workflow_tasks_ready_idx', 'workflow_tasks', false),
    ('public', 'workflows_channel_status_idx', 'workflows', false),
    ('profile', 'flushes_began_at_idx', 'flushes', false),
    ('profile', 'samples_began_at_idx', 'samples', false)
),
me AS MATERIALIZED (
    SELECT rolsuper, rolsuper OR rolcreaterole AS may_create_roles FROM pg_roles WHERE rolname = current_user
),
-- A GRANT to a missing role fails, so can_be_granted is true only if the role exists or the current user may create it.
api AS MATERIALIZED (
    SELECT given.name, pg_roles.oid, pg_roles.rolsuper OR rolbypassrls AS bypasses_row_security,
           pg_roles.oid IS NOT NULL OR may_create_roles AS can_be_granted
    FROM me CROSS JOIN (SELECT coalesce($1::text, current_user)) AS given (name) LEFT JOIN pg_roles ON rolname = given.name
),
-- Joins each expected relation with the existing relation of that name, which may be of another kind, or not exist.
relation AS MATERIALIZED (
    SELECT expected_relation.*, schema || '.' || expected_relation.name AS object, pg_class.oid, relkind, relispartition, relowner,
           relrowsecurity, relforcerowsecurity
    FROM expected_relation
    -- OFFSET 0, here and below, prevents a plan that reads the entire catalog.
    LEFT JOIN LATERAL (
        SELECT * FROM pg_class WHERE relname = expected_relation.name AND relnamespace = to_regnamespace(schema) OFFSET 0
    ) AS pg_class ON true
),
function AS MATERIALIZED (
    SELECT expected_function.*, pg_proc.oid, prokind, prorettype, proargtypes, proowner
    FROM expected_function
    LEFT JOIN LATERAL (
        SELECT * FROM pg_proc WHERE proname = expected_function.name AND pronamespace = to_regnamespace('public') OFFSET 0
    ) AS pg_proc ON true
),
differing_columns AS MATERIALIZED (
    SELECT object, string_agg(
               CASE WHEN attname IS NULL THEN 'it has no column ' || split_part(declared, ' ', 1)
               ELSE format('column %s is %s, not %s', attname, format_type(atttypid, atttypmod), format_type(expected_type.oid, NULL)) END,
               '; ' ORDER BY n) AS difference
    FROM relation
    CROSS JOIN unnest(string_to_array(columns, ', ')) WITH ORDINALITY AS of (declared, n)
    LEFT JOIN (
        SELECT oid, typname::text FROM pg_type
        WHERE typnamespace = 'pg_catalog'::regnamespace AND typname IN (
            'uuid', 'text', 'json', 'jsonb', 'bool', 'int4', 'int8', 'timestamptz', 'bytea', '_uuid', '_text', '_int4', '_int8')
    ) AS expected_type ON typname = split_part(declared, ' ', 2)
    LEFT JOIN (
        SELECT found.* FROM relation
        CROSS JOIN LATERAL (SELECT * FROM pg_attribute WHERE attrelid = relation.oid AND attnum > 0 OFFSET 0) AS found
    ) AS found ON attrelid = relation.oid AND attname = split_part(declared, ' ', 1)
    WHERE relation.oid IS NOT NULL AND (atttypid = expected_type.oid AND atttypmod = -1) IS NOT TRUE
    GROUP BY object
),
-- Lists the existing relations that have one of our names, but differ from the relation that our migration creates. If the relation has
-- the right type and the migration was applied, the relation is ours and was changed. Otherwise it belongs to another application.
foreign_relation AS MATERIALIZED (
    SELECT object, made_by, is_like_ours,
           CASE
               WHEN is_like_ours THEN difference
               WHEN relispartition THEN 'it is a partition of another table'
               ELSE 'it is ' || CASE relkind WHEN 'r' THEN 'a table' WHEN 'p' THEN 'a partitioned table' WHEN 'v' THEN 'a view'
                   WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table' WHEN 'S' THEN 'a sequence' WHEN 'c' THEN 'a type'
                   ELSE 'an index' END || ', not ' || CASE kinds WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' ELSE 'a table' END
           END AS difference
    FROM relation
    LEFT JOIN differing_columns USING (object)
    CROSS JOIN LATERAL (SELECT position(relkind::text IN kinds) > 0 AND NOT relispartition) AS of (is_like_ours)
    WHERE oid IS NOT NULL AND (difference IS NOT NULL OR NOT is_like_ours)
),
ledger AS MATERIALIZED (
    SELECT oid IS NOT NULL AS is_there,
           oid IS NOT NULL AND has_table_privilege(oid, 'SELECT')
               AND has_schema_privilege(to_regnamespace('public')::oid, 'USAGE')
               AND object NOT IN (SELECT object FROM foreign_relation) AS is_readable
    FROM relation WHERE name = 'migration_ledger'
),
-- ts_stat runs a query given as text, so the statement reads the ledger only if the ledger exists, is ours and is readable. With the
-- ledger in FROM, a missing ledger would make the entire statement fail.
applied AS MATERIALIZED (
    SELECT word AS name
    FROM ts_stat(CASE WHEN (SELECT is_readable FROM ledger)
        THEN 'SELECT array_to_tsvector(ARRAY[name]) FROM public.migration_ledger WHERE length(name) BETWEEN 1 AND 100'
        ELSE 'SELECT NULL::tsvector' END)
)
SELECT severity, kind, object, detail, difference, statement, may_run
FROM (
    SELECT 1, 'error', 'server', 'server', 'the server is older than PostgreSQL 14',
           'it is ' || current_setting('server_version'), NULL, false
    WHERE current_setting('server_version_num')::int < 140000
    UNION ALL
    SELECT 2, 'error', 'encoding', 'database', format('the encoding of the database is %s, not UTF8', getdatabaseencoding()), NULL, NULL, false
    WHERE getdatabaseencoding() <> 'UTF8'
    UNION ALL
    SELECT 2, 'error', 'missing', 'schema public', 'the schema public is missing', NULL, 'CREATE SCHEMA public', false
    WHERE to_regnamespace('public') IS NULL
    UNION ALL
    SELECT 3, 'error', 'session', 'session_replication_role', 'session_replication_role is replica, so triggers do not run', NULL,
           'RESET session_replication_role', false
    WHERE current_setting('session_replication_role') = 'replica'
    UNION ALL
    SELECT 4, 'error', 'foreign', object, object || ' is not this application''s', difference, NULL, false
    FROM foreign_relation
    WHERE NOT (is_like_ours AND made_by IN (SELECT name FROM applied)) IS TRUE
    UNION ALL
    SELECT 5, 'error', 'differs', object, format('%s is not as %s made it', object, made_by), difference, NULL, false
    FROM foreign_relation
    WHERE is_like_ours AND made_by IN (SELECT name FROM applied)
    UNION ALL
    -- If a type has one of our names and belongs to no relation, the migration can't create the table of this name.
    SELECT 4, 'error', 'foreign', object, object || ' is not this application''s', 'it is a type, not a table', NULL, false
    FROM relation JOIN pg_namespace ON nspname = schema JOIN pg_type ON typnamespace = pg_namespace.oid AND typname = relation.name
    WHERE relation.oid IS NULL AND typrelid = 0
    UNION ALL
    SELECT 4, 'error', 'foreign', 'profile', 'the schema profile is not this application''s',
           'it holds ' || string_agg(relname, ', ' ORDER BY relname), NULL, false
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = 'profile' AND relkind IN ('r', 'p', 'v', 'm', 'f')
      AND NOT EXISTS (SELECT FROM relation WHERE schema = 'profile' AND oid IS NOT NULL)
    HAVING count(*) > 0
    UNION ALL
    SELECT 4, 'error', 'foreign', 'public.' || name, format('the function public.%s is not this application''s', name),
           format('it is %s(%s) and returns %s; ours is %s(%s) and returns %s', name, pg_get_function_identity_arguments(oid),
                  format_type(prorettype, NULL), name, replace(arguments, ' ', ', '), result), NULL, false
    FROM function
    WHERE oid IS NOT NULL AND (prokind = 'f' AND result = (SELECT typname FROM pg_type WHERE oid = prorettype)
           AND arguments = coalesce((SELECT string_agg(typname, ' ' ORDER BY n)
                                     FROM unnest(proargtypes) WITH ORDINALITY AS argument (type, n)
                                     JOIN pg_type ON pg_type.oid = type), '')) IS NOT TRUE
    UNION ALL
    SELECT 4, 'error', 'foreign', schema || '.' || expected_index.name,
           format('the index %s.%s is not this application''s', schema, expected_index.name),
           CASE WHEN indrelid IS NULL THEN 'it is no index'
           ELSE format('it is on %s, not on %s.%s', indrelid::regclass, schema, on_table) END, NULL, false
    FROM expected_index
    JOIN pg_namespace ON nspname = schema
    JOIN pg_class ON relnamespace = pg_namespace.oid AND pg_class.relname = expected_index.name
    LEFT JOIN pg_index ON indexrelid = pg_class.oid
    WHERE indrelid IS NULL OR indrelid IS DISTINCT FROM (
        SELECT relation.oid FROM relation WHERE relation.schema = expected_index.schema AND relation.name = on_table)
    UNION ALL
    SELECT 5, 'error', 'migration', needed, 'the migration ' || needed || ' is not applied', NULL, NULL, false
    FROM unnest($2::text[]) AS needed
    -- If the ledger can't be read, another finding reports this, and no migration is reported as missing.
    WHERE needed NOT IN (SELECT name FROM applied) AND NOT (SELECT is_there AND NOT is_readable FROM ledger)
    UNION ALL
    SELECT 6, 'error', 'index', expected_index.name, 'the index ' || expected_index.name || ' is missing or invalid', NULL, NULL, false
    FROM expected_index
    WHERE is_named AND NOT EXISTS (
        SELECT FROM pg_class JOIN pg_index ON indexrelid = pg_class.oid
        WHERE relnamespace = to_regnamespace('public') AND relname = expected_index.name AND indisvalid)
    UNION ALL
    SELECT 7, 'error', 'missing', object, format('%s is missing, although %s is applied', object, made_by), NULL, NULL, false
    FROM (
        SELECT object, made_by FROM relation WHERE oid IS NULL
        UNION ALL
        SELECT 'public.' || name, made_by FROM function WHERE oid IS NULL
        UNION ALL
        SELECT 'trigger ' || name, made_by FROM expected_trigger
        WHERE NOT EXISTS (
            SELECT FROM pg_trigger JOIN relation ON relation.oid = tgrelid AND relation.name = on_table
            WHERE tgname = expected_trigger.name)
    ) AS missing
    WHERE made_by IN (SELECT name FROM applied)
    UNION ALL
    SELECT 8, 'warning', 'role', 'role', 'the role of the API is missing', NULL, format('CREATE ROLE %I NOLOGIN', api.name), may_create_roles
    FROM api, me
    WHERE api.oid IS NULL
    UNION ALL
    SELECT 9, 'error', 'privilege', 'database', 'CONNECT on the database is not granted', NULL,
           format('GRANT CONNECT ON DATABASE %I TO %I', datname, api.name), can_be_granted AND pg_has_role(datdba, 'USAGE')
    FROM api, pg_database
    WHERE datname = current_database() AND has_database_privilege(api.oid, pg_database.oid, 'CONNECT') IS NOT TRUE
    UNION ALL
    SELECT 9, 'error', 'privilege', 'schema ' || nspname, format('USAGE on the schema %s is not granted', nspname), NULL,
           format('GRANT USAGE ON SCHEMA %I TO %I', nspname, api.name), can_be_granted AND pg_has_role(nspowner, 'USAGE')
    FROM api, pg_namespace
    WHERE nspname IN ('public', 'profile') AND has_schema_privilege(api.oid, pg_namespace.oid, 'USAGE') IS NOT TRUE
    UNION ALL
    SELECT 9, 'error', 'privilege', object, format('%s on %s is not granted', lacking, object), NULL,
           format('GRANT %s ON %s TO %I', lacking, object, api.name), can_be_granted AND pg_has_role(relowner, 'USAGE')
    FROM api, relation
    CROSS JOIN LATERAL (
        SELECT string_agg(privilege, ', ')
        FROM unnest(string_to_array(privileges, ',')) AS privilege
        WHERE CASE
            WHEN has_table_privilege(api.oid, relation.oid, privilege) THEN false
            -- Grants on all columns count as a grant on the table. DELETE has no column privileges, so it needs a grant on the table.
            WHEN privilege = 'DELETE' THEN true
            ELSE EXISTS (
                SELECT FROM pg_attribute
                WHERE attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
                  AND has_column_privilege(api.oid, attrelid, attnum, privilege) IS NOT TRUE) END
    ) AS of (lacking)
    WHERE relation.oid IS NOT NULL AND relkind IN ('r', 'p', 'v') AND lacking IS NOT NULL
    UNION ALL
    SELECT 9, 'error', 'privilege', 'public.' || function.name, format('EXECUTE on the function public.%s is not granted', function.name),
           NULL, format('GRANT EXECUTE ON FUNCTION public.%I TO %I', function.name, api.name), can_be_granted AND pg_has_role(proowner, 'USAGE')
    FROM api, function
    WHERE is_called AND prokind = 'f' AND has_function_privilege(api.oid, function.oid, 'EXECUTE') IS NOT TRUE
    UNION ALL
    SELECT 10, 'warning', 'statistics', 'pg_read_all_stats', 'pg_read_all_stats is not granted, so the performance report is incomplete', NULL,
           format('GRANT pg_read_all_stats TO %I', api.name),
           can_be_granted AND (rolsuper OR pg_has_role('pg_read_all_stats', 'USAGE WITH ADMIN OPTION')
               OR (may_create_roles AND current_setting('server_version_num')::int < 160000))
    FROM api, me
    WHERE pg_has_role(api.oid, 'pg_read_all_stats', 'USAGE') IS NOT TRUE
    UNION ALL
    -- Finds logins that are members of the role, but don't inherit its privileges.
    SELECT DISTINCT 10, 'warning', 'inherit', 'role', 'a login of the API does not inherit the privileges of its role', 'it is ' || member.rolname,
           CASE WHEN current_setting('server_version_num')::int < 160000 THEN format('ALTER ROLE %I INHERIT', member.rolname)
           ELSE format('GRANT %I TO %I WITH INHERIT TRUE', api.name, member.rolname) END, may_create_roles
    FROM api, me, pg_auth_members JOIN pg_roles AS member ON member.oid = pg_auth_members.member
    WHERE $1 IS NOT NULL AND roleid = api.oid AND member.rolcanlogin AND NOT pg_has_role(member.oid, api.oid, 'USAGE')
    UNION ALL
    SELECT 11, 'error', 'trigger', object || '.' || label, format('the trigger %s on %s is disabled', label, object), NULL,
           format('ALTER TABLE %s ENABLE TRIGGER %s', tgrelid::regclass, CASE WHEN tgisinternal THEN 'ALL' ELSE label END), false
    FROM (SELECT oid, oid, object FROM relation WHERE relkind IN ('r', 'p')
          UNION ALL
          SELECT inhrelid, relation.oid, object FROM relation JOIN pg_inherits ON inhparent = relation.oid) AS ours (oid, parent, object)
    JOIN pg_trigger ON tgrelid = ours.oid
    LEFT JOIN pg_constraint ON pg_constraint.oid = tgconstraint
    CROSS JOIN LATERAL (SELECT coalesce(conname, tgname)::text) AS of (label)
    -- Ignores triggers of other applications, and the triggers of foreign keys from their tables to ours.
    WHERE tgenabled NOT IN ('O', 'A') AND (
        tgname IN (SELECT name FROM expected_trigger)
        OR tgname LIKE 'messages\_thread\_%' OR tgname LIKE 'messages\_mirror\_%'
        OR conrelid IN (SELECT relation.oid FROM relation))
    UNION ALL
    SELECT 12, 'error', 'row_security', object,
           format('row level security on %s has no policy that allows %s', object, denied), NULL,
           format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', object), false
    FROM api, relation
    CROSS JOIN LATERAL (
        SELECT string_agg(privilege, ', ')
        FROM unnest(string_to_array(privileges, ',')) AS privilege
        WHERE NOT EXISTS (
            SELECT FROM pg_policy
            WHERE polrelid = relation.oid AND polpermissive
              AND polcmd IN ('*', CASE privilege WHEN 'SELECT' THEN 'r' WHEN 'INSERT' THEN 'a' WHEN 'DELETE' THEN 'd' ELSE 'w' END)
              AND (polroles @> '{0}' OR EXISTS (
                  SELECT FROM unnest(polroles) AS granted WHERE granted <> 0 AND pg_has_role(api.oid, granted, 'USAGE'))))
    ) AS of (denied)
    WHERE relrowsecurity AND NOT bypasses_row_security AND (relforcerowsecurity OR NOT pg_has_role(api.oid, relowner, 'USAGE'))
      AND denied IS NOT NULL
) AS finding (rank, severity, kind, object, detail, difference, statement, may_run)
ORDER BY rank, object
