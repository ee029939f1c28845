-- A task without an order_index comes after all others of its workflow, or is refused by workflow_tasks_order_index_check where
-- another one has the last place there is. It used to share that place, in the order of random ids. Safe to run again.

CREATE OR REPLACE FUNCTION public.workflow_task_added() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
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
