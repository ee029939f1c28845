-- migrate: no-transaction
-- Checks the times of the rows that are older than 0012_times.sql, a table at a time, while the tables are in use. Fails at the
-- first table that has a time outside the years 1 to 9999, or infinity. Such rows are found by the constraint's condition, and
-- have to be corrected by hand: nobody but their owner knows what was meant. Safe to run again.

ALTER TABLE public.agents VALIDATE CONSTRAINT agents_times_check;
ALTER TABLE public.channels VALIDATE CONSTRAINT channels_times_check;
ALTER TABLE public.messages VALIDATE CONSTRAINT messages_times_check;
ALTER TABLE public.tasks VALIDATE CONSTRAINT tasks_times_check;
ALTER TABLE public.workflows VALIDATE CONSTRAINT workflows_times_check;
ALTER TABLE public.workflow_tasks VALIDATE CONSTRAINT workflow_tasks_times_check;
