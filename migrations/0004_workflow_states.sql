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

CREATE OR REPLACE FUNCTION workflow_started() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM workflow_settle(NEW.id);
    RETURN NULL;
END
$$;

DROP TRIGGER IF EXISTS workflows_started ON workflows;
CREATE TRIGGER workflows_started AFTER UPDATE OF status ON workflows
    FOR EACH ROW WHEN (NEW.status = 'executing' AND OLD.status <> 'executing')
    EXECUTE FUNCTION workflow_started();

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

-- A task added to a workflow that's executing may be ready at once; its row says so from the beginning.
CREATE OR REPLACE FUNCTION workflow_task_added() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    strategy text;
BEGIN
    SELECT execution_strategy INTO strategy
    FROM workflows WHERE id = NEW.workflow_id AND status = 'executing' FOR UPDATE;
    IF FOUND AND NEW.status = 'pending' AND workflow_task_can_start(NEW, strategy) THEN
        NEW.status := 'ready';
    END IF;
    RETURN NEW;
END
$$;

DROP TRIGGER IF EXISTS workflow_tasks_added ON workflow_tasks;
CREATE TRIGGER workflow_tasks_added BEFORE INSERT ON workflow_tasks
    FOR EACH ROW EXECUTE FUNCTION workflow_task_added();
