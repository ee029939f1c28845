-- migrate: no-transaction
-- Undoes messages_by_month.sql while the API is in use. Messages are in one table again, as in migrations/0001_schema.sql. If the mirror
-- still exists, only swaps the names again. If it was dropped, first creates a single table and fills it while triggers mirror writes. Safe
-- to run again after any interruption, and on a database without messages_by_month.
--
-- Fails if a thread's first message was detached with its partition, because the foreign key of threads requires this message in the table.
-- This statement removes such references:
--   UPDATE messages SET thread_id = NULL WHERE thread_id IS NOT NULL
--   AND NOT EXISTS (SELECT FROM messages AS first WHERE first.id = messages.thread_id);

SELECT to_regprocedure('public.messages_move(boolean)') IS NOT NULL AS is_applied \gset
\if :is_applied
CALL messages_move(by_month => false);
CALL messages_mirror_drop();
DO $$
DECLARE
    made text;
BEGIN
    FOR made IN SELECT oid::regprocedure FROM pg_proc
                WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'messages\_%' LOOP
        EXECUTE format('DROP ROUTINE %s', made);
    END LOOP;
END
$$;
\endif
