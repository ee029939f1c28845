-- The API's functions find its tables in the schema public, regardless of the search_path of the role, the database, a connection
-- pooler or the session. The statements of the API name the schema themselves. Safe to run again.

ALTER FUNCTION public.workflow_settle(uuid) SET search_path = public, pg_temp;
ALTER FUNCTION public.workflow_starts() SET search_path = public, pg_temp;
ALTER FUNCTION public.workflow_changed() SET search_path = public, pg_temp;
ALTER FUNCTION public.workflow_task_ended() SET search_path = public, pg_temp;
ALTER FUNCTION public.workflow_task_added() SET search_path = public, pg_temp;
ALTER FUNCTION public.write_once(text, text, text, text[]) SET search_path = public, pg_temp;

-- PostgreSQL never inlines a function with its own search_path, and this one runs for each task, so it names the schema instead.
CREATE OR REPLACE FUNCTION public.workflow_task_can_start(task public.workflow_tasks, strategy text) RETURNS boolean
LANGUAGE sql STABLE AS $$
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

-- Runs a statement of the API's registry on one row, as a statement of its own inside another. It sees what was committed before
-- it begins, after the lock that the outer statement waited for, and its triggers have run when it returns. It has the rights
-- of its caller, who could run the statement as well.
CREATE OR REPLACE FUNCTION public.execute_now(statement text, id uuid, OUT "json" text, OUT note text)
LANGUAGE plpgsql VOLATILE SET search_path = public, pg_temp AS $$
BEGIN
    EXECUTE $1 INTO $3, $4 USING $2;
END
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reznet_app') THEN
        GRANT EXECUTE ON FUNCTION public.execute_now(text, uuid) TO reznet_app;
    END IF;
END
$$;
