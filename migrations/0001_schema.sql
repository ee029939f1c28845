-- The tables of RezNet AI: agents that talk in channels and work through workflows.
-- Safe to run again. Applied by scripts/migrate, or by hand: psql -X -v ON_ERROR_STOP=1 --single-transaction -f FILE
--
-- States and types are text with a CHECK, not enums: a value more is one constraint, not a type change under lock.
-- Constraints have names because error messages and the profiler's advice speak of them.
-- Lengths are limited here too, so that no writer but the API can store what the API would refuse.

CREATE TABLE IF NOT EXISTS agents (
    id          uuid        NOT NULL DEFAULT gen_random_uuid(),
    name        text        NOT NULL,
    agent_type  text        NOT NULL,
    -- {role, goal, backstory, capabilities[]}: read and written as a whole, never searched.
    persona     jsonb       NOT NULL DEFAULT '{}',
    config      jsonb       NOT NULL DEFAULT '{}',
    is_active   boolean     NOT NULL DEFAULT true,
    is_busy     boolean     NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT agents_pkey PRIMARY KEY (id),
    -- Mentions are written @name: a name has the @, and nothing that would end a mention or need escaping in a path.
    CONSTRAINT agents_name_check CHECK (name ~ '^@[A-Za-z0-9_.-]{1,99}$'),
    CONSTRAINT agents_agent_type_check CHECK (agent_type ~ '^[a-z][a-z0-9_]{0,49}$'),
    CONSTRAINT agents_persona_check CHECK (jsonb_typeof(persona) = 'object'),
    CONSTRAINT agents_config_check CHECK (jsonb_typeof(config) = 'object')
);

CREATE TABLE IF NOT EXISTS channels (
    id                  uuid        NOT NULL DEFAULT gen_random_uuid(),
    name                text        NOT NULL,
    topic               text,
    channel_type        text        NOT NULL DEFAULT 'public',
    -- The one agent a direct-message channel belongs to.
    dm_agent_id         uuid,
    is_archived         boolean     NOT NULL DEFAULT false,
    -- Messages before this time are hidden from the history, not deleted.
    context_cleared_at  timestamptz,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT channels_pkey PRIMARY KEY (id),
    CONSTRAINT channels_dm_agent_id_key UNIQUE (dm_agent_id),
    CONSTRAINT channels_name_check CHECK (char_length(name) BETWEEN 1 AND 100),
    CONSTRAINT channels_topic_check CHECK (char_length(topic) <= 500),
    CONSTRAINT channels_channel_type_check CHECK (channel_type IN ('public', 'private', 'dm')),
    CONSTRAINT channels_dm_check CHECK ((channel_type = 'dm') = (dm_agent_id IS NOT NULL)),
    CONSTRAINT channels_dm_agent_id_fkey FOREIGN KEY (dm_agent_id) REFERENCES agents (id)
);

-- Not among direct-message channels: those are told apart by their agent, and nobody may take their names beforehand.
CREATE UNIQUE INDEX IF NOT EXISTS channels_name_key ON channels (name) WHERE dm_agent_id IS NULL;

CREATE TABLE IF NOT EXISTS messages (
    id           uuid        NOT NULL DEFAULT gen_random_uuid(),
    channel_id   uuid        NOT NULL,
    -- A user's id comes from outside, an agent's from agents: so no foreign key.
    author_id    uuid,
    author_type  text        NOT NULL,
    author_name  text        NOT NULL,
    content      text        NOT NULL,
    -- The message that a thread began with.
    thread_id    uuid,
    metadata     jsonb       NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT messages_pkey PRIMARY KEY (id),
    CONSTRAINT messages_author_type_check CHECK (author_type IN ('user', 'agent')),
    CONSTRAINT messages_author_name_check CHECK (char_length(author_name) BETWEEN 1 AND 100),
    CONSTRAINT messages_content_check CHECK (char_length(content) BETWEEN 1 AND 100000),
    CONSTRAINT messages_metadata_check CHECK (jsonb_typeof(metadata) = 'object'),
    CONSTRAINT messages_channel_id_fkey FOREIGN KEY (channel_id) REFERENCES channels (id),
    CONSTRAINT messages_thread_id_fkey FOREIGN KEY (thread_id) REFERENCES messages (id)
);

-- Work outside any workflow.
CREATE TABLE IF NOT EXISTS tasks (
    id            uuid        NOT NULL DEFAULT gen_random_uuid(),
    description   text        NOT NULL,
    assigned_to   uuid,
    status        text        NOT NULL DEFAULT 'pending',
    priority      integer     NOT NULL DEFAULT 0,
    context       jsonb       NOT NULL DEFAULT '{}',
    result        text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    started_at    timestamptz,
    completed_at  timestamptz,
    CONSTRAINT tasks_pkey PRIMARY KEY (id),
    CONSTRAINT tasks_description_check CHECK (char_length(description) BETWEEN 1 AND 10000),
    CONSTRAINT tasks_status_check CHECK (status IN ('pending', 'in_progress', 'completed', 'failed')),
    CONSTRAINT tasks_priority_check CHECK (priority BETWEEN 0 AND 100),
    CONSTRAINT tasks_context_check CHECK (jsonb_typeof(context) = 'object'),
    CONSTRAINT tasks_result_check CHECK (char_length(result) <= 100000),
    CONSTRAINT tasks_assigned_to_fkey FOREIGN KEY (assigned_to) REFERENCES agents (id)
);

CREATE TABLE IF NOT EXISTS workflows (
    id                  uuid        NOT NULL DEFAULT gen_random_uuid(),
    description         text        NOT NULL,
    orchestrator_id     uuid,
    channel_id          uuid,
    status              text        NOT NULL DEFAULT 'pending',
    execution_strategy  text        NOT NULL DEFAULT 'sequential',
    created_at          timestamptz NOT NULL DEFAULT now(),
    started_at          timestamptz,
    completed_at        timestamptz,
    CONSTRAINT workflows_pkey PRIMARY KEY (id),
    CONSTRAINT workflows_description_check CHECK (char_length(description) BETWEEN 1 AND 10000),
    CONSTRAINT workflows_status_check
        CHECK (status IN ('pending', 'planning', 'executing', 'completed', 'failed', 'cancelled')),
    CONSTRAINT workflows_execution_strategy_check
        CHECK (execution_strategy IN ('sequential', 'parallel', 'dag')),
    CONSTRAINT workflows_completed_at_check
        CHECK ((completed_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))),
    CONSTRAINT workflows_orchestrator_id_fkey FOREIGN KEY (orchestrator_id) REFERENCES agents (id),
    CONSTRAINT workflows_channel_id_fkey FOREIGN KEY (channel_id) REFERENCES channels (id)
);

CREATE TABLE IF NOT EXISTS workflow_tasks (
    id            uuid        NOT NULL DEFAULT gen_random_uuid(),
    workflow_id   uuid        NOT NULL,
    description   text        NOT NULL,
    agent_id      uuid,
    -- Meant for nobody, and claimed by agent_id: free again when it's tried again.
    is_anyones    boolean     NOT NULL DEFAULT false,
    -- After all others where it isn't given: workflow_task_added (0004) sees to that.
    order_index   integer     NOT NULL,
    -- Ids of tasks of the same workflow; the statements that write it see to that.
    depends_on    uuid[]      NOT NULL DEFAULT '{}',
    status        text        NOT NULL DEFAULT 'pending',
    output        text,
    error         text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    started_at    timestamptz,
    completed_at  timestamptz,
    CONSTRAINT workflow_tasks_pkey PRIMARY KEY (id),
    CONSTRAINT workflow_tasks_description_check CHECK (char_length(description) BETWEEN 1 AND 10000),
    CONSTRAINT workflow_tasks_order_index_check CHECK (order_index BETWEEN 0 AND 100000),
    CONSTRAINT workflow_tasks_depends_on_check
        CHECK (cardinality(depends_on) <= 100 AND array_position(depends_on, id) IS NULL),
    CONSTRAINT workflow_tasks_status_check
        CHECK (status IN ('pending', 'ready', 'in_progress', 'completed', 'failed', 'skipped')),
    CONSTRAINT workflow_tasks_completed_at_check
        CHECK ((completed_at IS NOT NULL) = (status IN ('completed', 'failed', 'skipped'))),
    CONSTRAINT workflow_tasks_output_check CHECK (char_length(output) <= 100000),
    CONSTRAINT workflow_tasks_error_check CHECK (char_length(error) <= 10000),
    -- A workflow's tasks go with it.
    CONSTRAINT workflow_tasks_workflow_id_fkey FOREIGN KEY (workflow_id) REFERENCES workflows (id) ON DELETE CASCADE,
    CONSTRAINT workflow_tasks_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents (id)
);
