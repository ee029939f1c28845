-- What follows from a change to a workflow's tasks, kept by the database, whoever makes the change:
-- tasks become ready, and the workflow completes or fails, exactly once.
-- Safe to run again.
--
-- In a function each statement sees what was committed before it began. So the workflow's row is locked first, and all
-- that's read after it is up to date: of two writers that finish the last two tasks, the second sees the first one's.
-- Statements that change tasks lock that row themselves before any task's, so that no two wait for each other.

-- Makes ready what can be, or ends the workflow. Only while it's executing.
CREATE OR REPLACE FUNCTION workflow_settle(settled_id uuid) RETURNS void
LANGUAGE plpgsql AS $$
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

-- Whether nothing it waits for is open: in a sequential workflow all before it, in a dag what it depends on.
CREATE OR REPLACE FUNCTION workflow_task_can_start(task workflow_tasks, strategy text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT CASE strategy
        WHEN 'parallel' THEN true
        WHEN 'dag' THEN NOT EXISTS (
            SELECT FROM workflow_tasks AS needed
            WHERE needed.id = ANY (task.depends_on) AND needed.status NOT IN ('completed', 'skipped'))
        ELSE NOT EXISTS (
            SELECT FROM workflow_tasks AS earlier
            WHERE earlier.workflow_id = task.workflow_id
              AND (earlier.order_index, earlier.id) < (task.order_index, task.id)
              AND earlier.status NOT IN ('completed', 'skipped'))
    END
$$;

-- A workflow that's started with nothing left to do is completed at once, and says so in its answer.
CREATE OR REPLACE FUNCTION workflow_starts() RETURNS trigger
LANGUAGE plpgsql AS $$
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

DROP TRIGGER IF EXISTS workflows_starts ON workflows;
CREATE TRIGGER workflows_starts BEFORE UPDATE OF status ON workflows
    FOR EACH ROW WHEN (NEW.status = 'executing' AND OLD.status <> NEW.status)
    EXECUTE FUNCTION workflow_starts();

-- A workflow that starts again tries again what failed; one that's cancelled skips what's open.
CREATE OR REPLACE FUNCTION workflow_changed() RETURNS trigger
LANGUAGE plpgsql AS $$
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

DROP TRIGGER IF EXISTS workflows_changed ON workflows;
CREATE TRIGGER workflows_changed AFTER UPDATE OF status ON workflows
    FOR EACH ROW WHEN (NEW.status IN ('executing', 'cancelled') AND OLD.status <> NEW.status)
    EXECUTE FUNCTION workflow_changed();

CREATE OR REPLACE FUNCTION workflow_task_ended() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM workflow_settle(NEW.workflow_id);
    RETURN NULL;
END
$$;

DROP TRIGGER IF EXISTS workflow_tasks_ended ON workflow_tasks;
CREATE TRIGGER workflow_tasks_ended AFTER UPDATE OF status ON workflow_tasks
    FOR EACH ROW WHEN (NEW.status IN ('completed', 'failed', 'skipped') AND OLD.status <> NEW.status)
    EXECUTE FUNCTION workflow_task_ended();

-- A task takes its place, after all others where none is given; in a workflow that's executing it may be ready at once.
CREATE OR REPLACE FUNCTION workflow_task_added() RETURNS trigger
LANGUAGE plpgsql AS $$
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
        SELECT least(coalesce(max(order_index), -1) + 1, 100000) INTO NEW.order_index
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

DROP TRIGGER IF EXISTS workflow_tasks_added ON workflow_tasks;
CREATE TRIGGER workflow_tasks_added BEFORE INSERT ON workflow_tasks
    FOR EACH ROW EXECUTE FUNCTION workflow_task_added();
