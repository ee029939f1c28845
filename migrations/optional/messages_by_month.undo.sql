-- migrate: no-transaction
-- Undoes messages_by_month.sql: messages in one table again, as migrations/0001_schema.sql has it, while the API is in use.
-- Where the mirror is still there, the two change names again; otherwise the one table is made, and filled, as the months
-- were. Safe to run again after any interruption, also where it was never applied.
--
-- It ends with an error where a thread's first message went with its month, since a foreign key can't be to nothing:
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
