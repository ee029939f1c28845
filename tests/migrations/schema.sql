CREATE SCHEMA profile;
CREATE FUNCTION public.execute_now(statement text, id uuid, OUT json text, OUT note text) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $_$
BEGIN
    EXECUTE $1 INTO $3, $4 USING $2;
END
$_$;
CREATE FUNCTION public.server_statements(max_rows integer) RETURNS SETOF jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    view_oid oid;
    view_path text;
BEGIN
    SELECT class.oid, format('%I.%I', nspname, relname) INTO view_oid, view_path
    FROM pg_extension JOIN pg_namespace AS space ON space.oid = extnamespace
    JOIN pg_class AS class ON relnamespace = space.oid AND relname = 'pg_stat_statements'
    WHERE extname = 'pg_stat_statements';
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT to_jsonb(statement) FROM %s AS statement
         WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY %I DESC LIMIT %s',
        view_path,
        -- Its name before version 1.8 was another.
        (SELECT min(attname) FROM pg_attribute
         WHERE attrelid = view_oid AND attname IN ('total_exec_time', 'total_time') AND NOT attisdropped),
        max_rows);
END
$$;
CREATE FUNCTION public.stats_count() RETURNS TABLE(agents json, messages json, tasks json, workflows json)
    LANGUAGE sql STABLE
    AS $$
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
CREATE FUNCTION public.workflow_changed() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF NEW.status = 'executing' THEN
        UPDATE workflow_tasks
        SET status = 'pending', output = NULL, error = NULL, started_at = NULL, completed_at = NULL,
            agent_id = CASE WHEN is_anyones THEN NULL ELSE agent_id END, is_anyones = false
        WHERE workflow_id = NEW.id AND status = 'failed';
        PERFORM workflow_settle(NEW.id);
    ELSE
        UPDATE workflow_tasks SET status = 'skipped', completed_at = now()
        WHERE workflow_id = NEW.id AND status IN ('pending', 'ready', 'in_progress');
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION public.workflow_settle(settled_id uuid) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    strategy text;
BEGIN
    SELECT execution_strategy INTO strategy
    FROM workflows WHERE id = settled_id AND status = 'executing' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM workflow_tasks WHERE workflow_id = settled_id AND status = 'failed') THEN
        UPDATE workflows SET status = 'failed', completed_at = now() WHERE id = settled_id;
        -- Nobody may take up what's left until the workflow is started again.
        UPDATE workflow_tasks SET status = 'pending' WHERE workflow_id = settled_id AND status = 'ready';
        RETURN;
    END IF;
    UPDATE workflow_tasks AS task SET status = 'ready'
    WHERE task.workflow_id = settled_id AND task.status = 'pending'
      AND workflow_task_can_start(task, strategy);
    -- A workflow without tasks waits for its first.
    IF NOT EXISTS (SELECT FROM workflow_tasks
                   WHERE workflow_id = settled_id AND status IN ('pending', 'ready', 'in_progress'))
       AND EXISTS (SELECT FROM workflow_tasks WHERE workflow_id = settled_id) THEN
        UPDATE workflows SET status = 'completed', completed_at = now() WHERE id = settled_id;
    END IF;
END
$$;
CREATE FUNCTION public.workflow_starts() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF EXISTS (SELECT FROM workflow_tasks WHERE workflow_id = NEW.id)
       AND NOT EXISTS (SELECT FROM workflow_tasks
                       WHERE workflow_id = NEW.id AND status NOT IN ('completed', 'skipped')) THEN
        NEW.status := 'completed';
        NEW.completed_at := now();
    END IF;
    RETURN NEW;
END
$$;
CREATE FUNCTION public.workflow_task_added() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    workflow workflows;
BEGIN
    SELECT * INTO workflow FROM workflows WHERE id = NEW.workflow_id FOR UPDATE;
    IF NOT FOUND THEN
        -- Made by this very statement, which gives its tasks their places: nothing is executing yet.
        RETURN NEW;
    END IF;
    IF (SELECT count(*) FROM workflow_tasks WHERE workflow_id = NEW.workflow_id) >= 1000 THEN
        RAISE EXCEPTION 'workflow % has 1000 tasks, which is the most there may be', NEW.workflow_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'workflow_tasks_count_check';
    END IF;
    IF NEW.order_index IS NULL THEN
        SELECT coalesce(max(order_index), -1) + 1 INTO NEW.order_index
        FROM workflow_tasks WHERE workflow_id = NEW.workflow_id;
    END IF;
    IF workflow.status = 'executing' AND NEW.status = 'pending'
       AND workflow_task_can_start(NEW, workflow.execution_strategy) THEN
        NEW.status := 'ready';
        IF workflow.execution_strategy = 'sequential' THEN
            -- One at a time: what was ready behind it waits for it now.
            UPDATE workflow_tasks SET status = 'pending' WHERE workflow_id = NEW.workflow_id AND status = 'ready';
        END IF;
    END IF;
    RETURN NEW;
END
$$;
CREATE TABLE public.workflow_tasks (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    workflow_id uuid NOT NULL,
    description text NOT NULL,
    agent_id uuid,
    is_anyones boolean DEFAULT false NOT NULL,
    order_index integer NOT NULL,
    depends_on uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    output text,
    error text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    completed_at timestamp with time zone,
    CONSTRAINT workflow_tasks_completed_at_check CHECK (((completed_at IS NOT NULL) = (status = ANY (ARRAY['completed'::text, 'failed'::text, 'skipped'::text])))),
    CONSTRAINT workflow_tasks_depends_on_check CHECK (((cardinality(depends_on) <= 100) AND (array_position(depends_on, id) IS NULL))),
    CONSTRAINT workflow_tasks_description_check CHECK (((char_length(description) >= 1) AND (char_length(description) <= 10000))),
    CONSTRAINT workflow_tasks_error_check CHECK ((char_length(error) <= 10000)),
    CONSTRAINT workflow_tasks_order_index_check CHECK (((order_index >= 0) AND (order_index <= 100000))),
    CONSTRAINT workflow_tasks_output_check CHECK ((char_length(output) <= 100000)),
    CONSTRAINT workflow_tasks_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'ready'::text, 'in_progress'::text, 'completed'::text, 'failed'::text, 'skipped'::text]))),
    CONSTRAINT workflow_tasks_times_check CHECK (((created_at >= to_timestamp(('-62135596800'::bigint)::double precision)) AND (created_at < to_timestamp(('253402300800'::bigint)::double precision)) AND (started_at >= to_timestamp(('-62135596800'::bigint)::double precision)) AND (started_at < to_timestamp(('253402300800'::bigint)::double precision)) AND (completed_at >= to_timestamp(('-62135596800'::bigint)::double precision)) AND (completed_at < to_timestamp(('253402300800'::bigint)::double precision))))
);
CREATE FUNCTION public.workflow_task_can_start(task public.workflow_tasks, strategy text) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
    SELECT CASE strategy
        WHEN 'parallel' THEN true
        WHEN 'dag' THEN NOT EXISTS (
            SELECT FROM public.workflow_tasks AS needed
            WHERE needed.id = ANY (task.depends_on) AND needed.status NOT IN ('completed', 'skipped'))
        ELSE NOT EXISTS (
            SELECT FROM public.workflow_tasks AS earlier
            WHERE earlier.workflow_id = task.workflow_id
              AND (earlier.order_index, earlier.id) < (task.order_index, task.id)
              AND earlier.status NOT IN ('completed', 'skipped'))
    END
$$;
CREATE FUNCTION public.workflow_task_ended() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM workflow_settle(NEW.workflow_id);
    RETURN NULL;
END
$$;
CREATE FUNCTION public.write_once(key text, name text, statement text, parameters text[], OUT json text, OUT note text) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $_$
#variable_conflict use_column
DECLARE
    asked CONSTANT bytea := sha256(convert_to(concat_ws(' ', $2, $4::text), 'UTF8'));
    first idempotency_keys;
BEGIN
    LOOP
        -- Waits for a request under the same key that's still at it.
        INSERT INTO idempotency_keys (key, request) VALUES ($1, asked) ON CONFLICT DO NOTHING;
        EXIT WHEN FOUND;
        SELECT * INTO first FROM idempotency_keys AS kept WHERE kept.key = $1;
        IF FOUND THEN
            IF first.request <> asked THEN
                RAISE EXCEPTION 'the key was used for another request'
                    USING ERRCODE = 'check_violation', CONSTRAINT = 'idempotency_keys_request_check';
            END IF;
            $5 := first.json;
            $6 := first.note;
            RETURN;
        END IF;
        -- It was too old, and has gone in between.
    END LOOP;
    EXECUTE $3 INTO $5, $6 USING $4[1], $4[2], $4[3], $4[4], $4[5], $4[6], $4[7], $4[8];
    IF $5 IS NULL THEN
        -- Nothing was done, as a state forbade it or a row was missing: a repeat tries again.
        DELETE FROM idempotency_keys AS kept WHERE kept.key = $1;
    ELSE
        UPDATE idempotency_keys AS kept SET json = $5, note = $6 WHERE kept.key = $1;
    END IF;
    -- A few of the old ones go with each: more than come.
    DELETE FROM idempotency_keys AS kept WHERE kept.key IN (
        SELECT old.key FROM idempotency_keys AS old WHERE old.created_at < now() - interval '1 day'
        ORDER BY old.created_at LIMIT 4 FOR UPDATE SKIP LOCKED);
END
$_$;
CREATE UNLOGGED TABLE profile.flushes (
    began_at timestamp with time zone NOT NULL,
    count bigint NOT NULL,
    gathered bigint NOT NULL,
    flushed bigint NOT NULL,
    lost bigint NOT NULL,
    sum_us bigint NOT NULL,
    one_in integer NOT NULL
);
CREATE UNLOGGED TABLE profile.minutes (
    began_at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    count bigint NOT NULL,
    errors bigint NOT NULL,
    sum_us bigint NOT NULL,
    max_us bigint NOT NULL,
    within_target bigint NOT NULL,
    query_count bigint NOT NULL,
    bins integer[] NOT NULL,
    bin_counts bigint[] NOT NULL,
    target_us bigint DEFAULT 100000 NOT NULL
);
CREATE UNLOGGED TABLE profile.samples (
    began_at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    count bigint NOT NULL,
    errors bigint NOT NULL,
    sum_us bigint NOT NULL,
    max_us bigint NOT NULL,
    within_target bigint NOT NULL,
    query_count bigint NOT NULL,
    bins integer[] NOT NULL,
    bin_counts bigint[] NOT NULL,
    target_us bigint DEFAULT 100000 NOT NULL,
    CONSTRAINT samples_bins_check CHECK ((cardinality(bins) = cardinality(bin_counts))),
    CONSTRAINT samples_kind_check CHECK ((kind = ANY (ARRAY['statement'::text, 'route'::text, 'cache'::text])))
);
CREATE VIEW profile.gathered AS
 SELECT minutes.began_at,
    minutes.kind,
    minutes.name,
    minutes.count,
    minutes.errors,
    minutes.sum_us,
    minutes.max_us,
    minutes.within_target,
    minutes.query_count,
    minutes.bins,
    minutes.bin_counts,
    minutes.target_us
   FROM profile.minutes
UNION ALL
 SELECT samples.began_at,
    samples.kind,
    samples.name,
    samples.count,
    samples.errors,
    samples.sum_us,
    samples.max_us,
    samples.within_target,
    samples.query_count,
    samples.bins,
    samples.bin_counts,
    samples.target_us
   FROM profile.samples;
CREATE UNLOGGED TABLE profile.index_scans (
    seen_at timestamp with time zone NOT NULL,
    index_name text NOT NULL,
    scans bigint NOT NULL
);
CREATE UNLOGGED TABLE profile.slow_queries (
    id bigint NOT NULL,
    statement text NOT NULL,
    elapsed_us bigint NOT NULL,
    route text NOT NULL,
    request_id text NOT NULL,
    ran_at timestamp with time zone NOT NULL,
    plan jsonb
);
ALTER TABLE profile.slow_queries ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME profile.slow_queries_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE UNLOGGED TABLE profile.totals (
    ended_at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    count bigint NOT NULL,
    errors bigint NOT NULL,
    sum_us bigint NOT NULL,
    within_target bigint NOT NULL,
    query_count bigint NOT NULL,
    bins integer[] NOT NULL,
    bin_counts bigint[] NOT NULL,
    target_us bigint DEFAULT 100000 NOT NULL
);
CREATE TABLE public.agents (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    agent_type text NOT NULL,
    persona jsonb DEFAULT '{}'::jsonb NOT NULL,
    config jsonb DEFAULT '{}'::jsonb NOT NULL,
    is_active boolean DEFAULT true NOT NULL,
    is_busy boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT agents_agent_type_check CHECK ((agent_type ~ '^[a-z][a-z0-9_]{0,49}$'::text)),
    CONSTRAINT agents_config_check CHECK ((jsonb_typeof(config) = 'object'::text)),
    CONSTRAINT agents_name_check CHECK ((name ~ '^@[A-Za-z0-9_.-]{1,99}$'::text)),
    CONSTRAINT agents_persona_check CHECK ((jsonb_typeof(persona) = 'object'::text)),
    CONSTRAINT agents_times_check CHECK (((created_at >= to_timestamp(('-62135596800'::bigint)::double precision)) AND (created_at < to_timestamp(('253402300800'::bigint)::double precision)) AND (updated_at >= to_timestamp(('-62135596800'::bigint)::double precision)) AND (updated_at < to_timestamp(('253402300800'::bigint)::double precision))))
);
CREATE TABLE public.channels (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    topic text,
    channel_type text DEFAULT 'public'::text NOT NULL,
    dm_agent_id uuid,
    is_archived boolean DEFAULT false NOT NULL,
    context_cleared_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT channels_channel_type_check CHECK ((channel_type = ANY (ARRAY['public'::text, 'private'::text, 'dm'::text]))),
    CONSTRAINT channels_dm_check CHECK (((channel_type = 'dm'::text) = (dm_agent_id IS NOT NULL))),
    CONSTRAINT channels_name_check CHECK (((char_length(name) >= 1) AND (char_length(name) <= 100))),
    CONSTRAINT channels_times_check CHECK (((context_cleared_at >= to_timestamp(('-62135596800'::bigint)::double precision)) AND (context_cleared_at < to_timestamp(('253402300800'::bigint)::double precision)) AND (created_at >= to_timestamp(('-62135596800'::bigint)::double precision)) AND (created_at < to_timestamp(('253402300800'::bigint)::double precision)) AND (updated_at >= to_timestamp(('-62135596800'::bigint)::double precision)) AND (updated_at < to_timestamp(('253402300800'::bigint)::double precision)))),
    CONSTRAINT channels_topic_check CHECK ((char_length(topic) <= 500))
);
CREATE TABLE public.idempotency_keys (
    key text NOT NULL,
    request bytea NOT NULL,
    json text,
    note text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT idempotency_keys_key_check CHECK (((char_length(key) >= 1) AND (char_length(key) <= 255)))
);
CREATE TABLE public.messages (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    channel_id uuid NOT NULL,
    author_id uuid,
    author_type text NOT NULL,
    author_name text NOT NULL,
    content text NOT NULL,
    thread_id uuid,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT messages_author_name_check CHECK (((char_length(author_name) >= 1) AND (char_length(author_name) <= 100))),
    CONSTRAINT messages_author_type_check CHECK ((author_type = ANY (ARRAY['user'::text, 'agent'::text]))),
    CONSTRAINT messages_content_check CHECK (((char_length(content) >= 1) AND (char_length(content) <= 100000))),
    CONSTRAINT messages_metadata_check CHECK ((jsonb_typeof(metadata) = 'object'::text)),
    CONSTRAINT messages_times_check CHECK (((created_at >= to_timestamp(('-62135596800'::bigint)::double precision)) AND (created_at < to_timestamp(('253402300800'::bigint)::double precision))))
);
CREATE TABLE public.migration_ledger (
    name text NOT NULL,
    sha256 text NOT NULL,
    duration_ms integer NOT NULL,
    applied_by text DEFAULT CURRENT_USER NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE VIEW public.stats AS
 SELECT stats_count.agents,
    stats_count.messages,
    stats_count.tasks,
    stats_count.workflows,
    NULL::timestamp with time zone AS counted_at
   FROM public.stats_count() stats_count(agents, messages, tasks, workflows);
CREATE TABLE public.tasks (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    description text NOT NULL,
    assigned_to uuid,
    status text DEFAULT 'pending'::text NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    context jsonb DEFAULT '{}'::jsonb NOT NULL,
    result text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    completed_at timestamp with time zone,
    CONSTRAINT tasks_context_check CHECK ((jsonb_typeof(context) = 'object'::text)),
    CONSTRAINT tasks_description_check CHECK (((char_length(description) >= 1) AND (char_length(description) <= 10000))),
    CONSTRAINT tasks_priority_check CHECK (((priority >= 0) AND (priority <= 100))),
    CONSTRAINT tasks_result_check CHECK ((char_length(result) <= 100000)),
    CONSTRAINT tasks_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'in_progress'::text, 'completed'::text, 'failed'::text]))),
    CONSTRAINT tasks_times_check CHECK (((created_at >= to_timestamp(('-62135596800'::bigint)::double precision)) AND (created_at < to_timestamp(('253402300800'::bigint)::double precision)) AND (started_at >= to_timestamp(('-62135596800'::bigint)::double precision)) AND (started_at < to_timestamp(('253402300800'::bigint)::double precision)) AND (completed_at >= to_timestamp(('-62135596800'::bigint)::double precision)) AND (completed_at < to_timestamp(('253402300800'::bigint)::double precision))))
);
CREATE TABLE public.workflows (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    description text NOT NULL,
    orchestrator_id uuid,
    channel_id uuid,
    status text DEFAULT 'pending'::text NOT NULL,
    execution_strategy text DEFAULT 'sequential'::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    completed_at timestamp with time zone,
    CONSTRAINT workflows_completed_at_check CHECK (((completed_at IS NOT NULL) = (status = ANY (ARRAY['completed'::text, 'failed'::text, 'cancelled'::text])))),
    CONSTRAINT workflows_description_check CHECK (((char_length(description) >= 1) AND (char_length(description) <= 10000))),
    CONSTRAINT workflows_execution_strategy_check CHECK ((execution_strategy = ANY (ARRAY['sequential'::text, 'parallel'::text, 'dag'::text]))),
    CONSTRAINT workflows_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'planning'::text, 'executing'::text, 'completed'::text, 'failed'::text, 'cancelled'::text]))),
    CONSTRAINT workflows_times_check CHECK (((created_at >= to_timestamp(('-62135596800'::bigint)::double precision)) AND (created_at < to_timestamp(('253402300800'::bigint)::double precision)) AND (started_at >= to_timestamp(('-62135596800'::bigint)::double precision)) AND (started_at < to_timestamp(('253402300800'::bigint)::double precision)) AND (completed_at >= to_timestamp(('-62135596800'::bigint)::double precision)) AND (completed_at < to_timestamp(('253402300800'::bigint)::double precision))))
);
ALTER TABLE ONLY profile.index_scans
    ADD CONSTRAINT index_scans_pkey PRIMARY KEY (seen_at, index_name);
ALTER TABLE ONLY profile.minutes
    ADD CONSTRAINT minutes_pkey PRIMARY KEY (began_at, kind, name);
ALTER TABLE ONLY profile.slow_queries
    ADD CONSTRAINT slow_queries_pkey PRIMARY KEY (id);
ALTER TABLE ONLY profile.totals
    ADD CONSTRAINT totals_pkey PRIMARY KEY (ended_at, kind, name, target_us);
ALTER TABLE ONLY public.agents
    ADD CONSTRAINT agents_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.channels
    ADD CONSTRAINT channels_dm_agent_id_key UNIQUE (dm_agent_id);
ALTER TABLE ONLY public.channels
    ADD CONSTRAINT channels_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.migration_ledger
    ADD CONSTRAINT migration_ledger_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.workflow_tasks
    ADD CONSTRAINT workflow_tasks_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.workflows
    ADD CONSTRAINT workflows_pkey PRIMARY KEY (id);
CREATE INDEX flushes_began_at_idx ON profile.flushes USING btree (began_at);
CREATE INDEX samples_began_at_idx ON profile.samples USING btree (began_at);
CREATE INDEX agents_created_at_idx ON public.agents USING btree (created_at NULLS FIRST, id NULLS FIRST);
CREATE INDEX channels_active_idx ON public.channels USING btree (created_at, id) WHERE (NOT is_archived);
CREATE UNIQUE INDEX channels_name_key ON public.channels USING btree (name) WHERE (dm_agent_id IS NULL);
CREATE INDEX idempotency_keys_created_at_idx ON public.idempotency_keys USING btree (created_at);
CREATE INDEX idx_agents_active ON public.agents USING btree (is_active, created_at, id);
CREATE UNIQUE INDEX idx_agents_name ON public.agents USING btree (name);
CREATE INDEX idx_agents_type ON public.agents USING btree (agent_type, created_at, id);
CREATE INDEX idx_agents_type_active ON public.agents USING btree (agent_type, is_active, created_at, id);
CREATE INDEX idx_messages_author_id ON public.messages USING btree (author_id, author_type, created_at, id);
CREATE INDEX idx_messages_channel_created ON public.messages USING btree (channel_id, created_at);
CREATE INDEX idx_messages_channel_id ON public.messages USING btree (channel_id);
CREATE INDEX idx_messages_created_at ON public.messages USING btree (created_at, id);
CREATE INDEX idx_workflow_tasks_order ON public.workflow_tasks USING btree (order_index);
CREATE INDEX idx_workflow_tasks_status ON public.workflow_tasks USING btree (status, agent_id, order_index NULLS FIRST, id NULLS FIRST);
CREATE INDEX idx_workflow_tasks_workflow_id ON public.workflow_tasks USING btree (workflow_id, order_index, id);
CREATE INDEX idx_workflow_tasks_workflow_status ON public.workflow_tasks USING btree (workflow_id, status, order_index, id);
CREATE INDEX idx_workflows_channel_id ON public.workflows USING btree (channel_id, created_at, id);
CREATE INDEX idx_workflows_created_at ON public.workflows USING btree (created_at, id);
CREATE INDEX idx_workflows_status ON public.workflows USING btree (status);
CREATE INDEX idx_workflows_status_created ON public.workflows USING btree (status, created_at);
CREATE INDEX tasks_created_at_idx ON public.tasks USING btree (created_at, id);
CREATE INDEX tasks_status_created_at_idx ON public.tasks USING btree (status, created_at, id);
CREATE INDEX workflow_tasks_ready_idx ON public.workflow_tasks USING btree (workflow_id, agent_id, order_index NULLS FIRST, id NULLS FIRST) WHERE (status = 'ready'::text);
CREATE INDEX workflows_channel_status_idx ON public.workflows USING btree (channel_id, status, created_at, id);
CREATE TRIGGER workflow_tasks_added BEFORE INSERT ON public.workflow_tasks FOR EACH ROW EXECUTE FUNCTION public.workflow_task_added();
CREATE TRIGGER workflow_tasks_ended AFTER UPDATE OF status ON public.workflow_tasks FOR EACH ROW WHEN (((new.status = ANY (ARRAY['completed'::text, 'failed'::text, 'skipped'::text])) AND (old.status <> new.status))) EXECUTE FUNCTION public.workflow_task_ended();
CREATE TRIGGER workflows_changed AFTER UPDATE OF status ON public.workflows FOR EACH ROW WHEN (((new.status = ANY (ARRAY['executing'::text, 'cancelled'::text])) AND (old.status <> new.status))) EXECUTE FUNCTION public.workflow_changed();
CREATE TRIGGER workflows_starts BEFORE UPDATE OF status ON public.workflows FOR EACH ROW WHEN (((new.status = 'executing'::text) AND (old.status <> new.status))) EXECUTE FUNCTION public.workflow_starts();
ALTER TABLE ONLY public.channels
    ADD CONSTRAINT channels_dm_agent_id_fkey FOREIGN KEY (dm_agent_id) REFERENCES public.agents(id);
ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_channel_id_fkey FOREIGN KEY (channel_id) REFERENCES public.channels(id);
ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_thread_id_fkey FOREIGN KEY (thread_id) REFERENCES public.messages(id);
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_assigned_to_fkey FOREIGN KEY (assigned_to) REFERENCES public.agents(id);
ALTER TABLE ONLY public.workflow_tasks
    ADD CONSTRAINT workflow_tasks_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES public.agents(id);
ALTER TABLE ONLY public.workflow_tasks
    ADD CONSTRAINT workflow_tasks_workflow_id_fkey FOREIGN KEY (workflow_id) REFERENCES public.workflows(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.workflows
    ADD CONSTRAINT workflows_channel_id_fkey FOREIGN KEY (channel_id) REFERENCES public.channels(id);
ALTER TABLE ONLY public.workflows
    ADD CONSTRAINT workflows_orchestrator_id_fkey FOREIGN KEY (orchestrator_id) REFERENCES public.agents(id);
