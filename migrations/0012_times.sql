-- Restricts times to the years 1 to 9999, the only ones that RFC 3339 can write; it has no form for infinity either. The limits
-- are seconds since 1970, so that no session setting changes them. New rows are checked from now on. Old ones are checked by
-- 0013_times_checked.sql, which doesn't keep writers waiting. Safe to run again, and then 0013 too.

ALTER TABLE public.agents DROP CONSTRAINT IF EXISTS agents_times_check;
ALTER TABLE public.agents ADD CONSTRAINT agents_times_check CHECK (
    created_at >= to_timestamp(-62135596800) AND created_at < to_timestamp(253402300800)
    AND updated_at >= to_timestamp(-62135596800) AND updated_at < to_timestamp(253402300800)
) NOT VALID;

ALTER TABLE public.channels DROP CONSTRAINT IF EXISTS channels_times_check;
ALTER TABLE public.channels ADD CONSTRAINT channels_times_check CHECK (
    context_cleared_at >= to_timestamp(-62135596800) AND context_cleared_at < to_timestamp(253402300800)
    AND created_at >= to_timestamp(-62135596800) AND created_at < to_timestamp(253402300800)
    AND updated_at >= to_timestamp(-62135596800) AND updated_at < to_timestamp(253402300800)
) NOT VALID;

ALTER TABLE public.messages DROP CONSTRAINT IF EXISTS messages_times_check;
ALTER TABLE public.messages ADD CONSTRAINT messages_times_check CHECK (
    created_at >= to_timestamp(-62135596800) AND created_at < to_timestamp(253402300800)
) NOT VALID;

ALTER TABLE public.tasks DROP CONSTRAINT IF EXISTS tasks_times_check;
ALTER TABLE public.tasks ADD CONSTRAINT tasks_times_check CHECK (
    created_at >= to_timestamp(-62135596800) AND created_at < to_timestamp(253402300800)
    AND started_at >= to_timestamp(-62135596800) AND started_at < to_timestamp(253402300800)
    AND completed_at >= to_timestamp(-62135596800) AND completed_at < to_timestamp(253402300800)
) NOT VALID;

ALTER TABLE public.workflows DROP CONSTRAINT IF EXISTS workflows_times_check;
ALTER TABLE public.workflows ADD CONSTRAINT workflows_times_check CHECK (
    created_at >= to_timestamp(-62135596800) AND created_at < to_timestamp(253402300800)
    AND started_at >= to_timestamp(-62135596800) AND started_at < to_timestamp(253402300800)
    AND completed_at >= to_timestamp(-62135596800) AND completed_at < to_timestamp(253402300800)
) NOT VALID;

ALTER TABLE public.workflow_tasks DROP CONSTRAINT IF EXISTS workflow_tasks_times_check;
ALTER TABLE public.workflow_tasks ADD CONSTRAINT workflow_tasks_times_check CHECK (
    created_at >= to_timestamp(-62135596800) AND created_at < to_timestamp(253402300800)
    AND started_at >= to_timestamp(-62135596800) AND started_at < to_timestamp(253402300800)
    AND completed_at >= to_timestamp(-62135596800) AND completed_at < to_timestamp(253402300800)
) NOT VALID;
