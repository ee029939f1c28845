-- migrate: no-transaction
-- Partitions the table messages by month. Use this layout if a database has more messages than fit in memory, or to remove old messages
-- quickly. docs/operations.md explains how to apply and undo this migration. docs/benchmarks.md has its cost and its gain.
--
--   scripts/migrate optional messages_by_month      partitions messages while the API is in use; safe to run again after any interruption
--   scripts/migrate undo messages_by_month          moves messages back to one table, in the same way
--
-- The migration creates a second table, messages_mirror, in the new layout. Triggers on messages mirror each write in the transaction of
-- the write. The migration copies the existing rows in batches, compares the tables, and then swaps their names. After the swap, triggers
-- mirror each write in the other direction. So an undo only swaps the names again, until the mirror is dropped:
--
--   CALL messages_mirror_drop();                    drops the mirror and its triggers
--   CALL messages_add_months();                     creates partitions for the next three months; run it by cron, daily or monthly
--   CALL messages_detach_before('2025-06-01');      detaches the months before a date as separate tables, to be dumped or dropped
--
-- Some steps need a lock that blocks other sessions. An attempt to get such a lock ends after 200 ms, so that no session queues behind it
-- for longer. lock_timeout limits the total time of all attempts; 0 means no limit. These locks are kept for milliseconds only. Unlike in
-- the single table, ids are unique only within a month, and triggers replace the foreign key messages_thread_id_fkey.

-- Runs a step in one transaction. If the step doesn't get a lock, tries again later.
CREATE OR REPLACE PROCEDURE messages_try(step text) LANGUAGE plpgsql AS $$
DECLARE
    patience CONSTANT interval := nullif(current_setting('lock_timeout'), '0')::interval;
    began CONSTANT timestamptz := clock_timestamp();
BEGIN
    LOOP
        BEGIN
            SET LOCAL lock_timeout = '200ms';
            EXECUTE step;
            EXIT;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() > began + patience THEN
                RAISE;
            END IF;
        END;
        COMMIT;
        PERFORM pg_sleep(0.3 + random());
    END LOOP;
    COMMIT;
END
$$;

-- Returns the partitions of messages or of its mirror, oldest first. Parses the bounds from text. So this function, and others that convert
-- times to or from text, set DateStyle and TimeZone instead of using the session's settings.
CREATE OR REPLACE FUNCTION messages_partitions()
RETURNS TABLE (parent regclass, partition regclass, starts_at timestamptz, ends_at timestamptz)
LANGUAGE sql STABLE SET search_path = public, pg_temp SET DateStyle = 'ISO' SET TimeZone = 'UTC' AS $$
    SELECT inhparent::regclass, inhrelid::regclass,
           coalesce(substring(bounds FROM 'FROM \(''([^'']*)''\)')::timestamptz, '-infinity') AS starts_at,
           coalesce(substring(bounds FROM 'TO \(''([^'']*)''\)')::timestamptz, 'infinity')
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid, pg_get_expr(relpartbound, inhrelid) AS bounds
    WHERE inhparent IN (to_regclass('messages'), to_regclass('messages_mirror'))
    ORDER BY starts_at
$$;

-- Gives the table `target` exactly the privileges of the table `source`. Revokes privileges that `target` got from default privileges.
CREATE OR REPLACE FUNCTION messages_grant_as(target regclass, source regclass) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    given record;
BEGIN
    FOR given IN
        SELECT oid = target AS revoke, privilege_type, is_grantable,
               CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee
        FROM pg_class, aclexplode(relacl) AS acl
        WHERE oid IN (target, source) AND grantee <> relowner
        ORDER BY oid <> target
    LOOP
        IF given.revoke THEN
            EXECUTE format('REVOKE %s ON %s FROM %s', given.privilege_type, target, given.grantee);
        ELSE
            EXECUTE format('GRANT %s ON %s TO %s%s', given.privilege_type, target, given.grantee,
                CASE WHEN given.is_grantable THEN ' WITH GRANT OPTION' END);
        END IF;
    END LOOP;
END
$$;

-- Creates a partition, named by its first month. Queries reach partitions through messages and need only the privileges on messages, so
-- the partition gets no privileges.
CREATE OR REPLACE FUNCTION messages_make_partition(parent regclass, month timestamptz, starts_at text, ends_at text)
RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp SET DateStyle = 'ISO' SET TimeZone = 'UTC' AS $$
DECLARE
    name CONSTANT text := 'messages_' || to_char(month AT TIME ZONE 'UTC', 'YYYY_MM');
BEGIN
    EXECUTE format('CREATE TABLE %I PARTITION OF %s FOR VALUES FROM (%s) TO (%s)', name, parent, starts_at, ends_at);
    PERFORM messages_grant_as(name::regclass, NULL);
END
$$;

-- Returns the start of the month in UTC that is `later` months after the month of the time `at`.
CREATE OR REPLACE FUNCTION messages_month(at timestamptz, later integer DEFAULT 0) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS $$
    SELECT (date_trunc('month', at AT TIME ZONE 'UTC') + later * interval '1 month') AT TIME ZONE 'UTC'
$$;

-- Replaces the foreign key from thread_id to the first message of a thread. A message can join a thread only if the first message exists.
-- The first message can't be deleted while the thread has other messages. A thread whose first message was detached with its partition
-- still accepts messages. The function runs with the privileges of the table's owner, like the check of a foreign key.
CREATE OR REPLACE FUNCTION messages_thread_check() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    missing uuid;
BEGIN
    IF TG_OP = 'DELETE' THEN
        SELECT gone.id INTO missing FROM gone JOIN messages ON messages.thread_id = gone.id LIMIT 1;
        IF FOUND THEN
            RAISE foreign_key_violation USING CONSTRAINT = 'messages_thread_id_fkey', TABLE = 'messages', SCHEMA = 'public',
                MESSAGE = 'message ' || missing || ' began a thread that others are in';
        END IF;
        RETURN NULL;
    END IF;
    -- Locks the first message until the transaction ends, so that no other session deletes it meanwhile.
    PERFORM FROM messages WHERE id = NEW.thread_id FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE foreign_key_violation USING CONSTRAINT = 'messages_thread_id_fkey', TABLE = 'messages', SCHEMA = 'public',
            MESSAGE = 'message ' || NEW.thread_id || ', which a thread would begin with, is not there';
    END IF;
    RETURN NULL;
END
$$;

-- Repeats a write to messages on the mirror. A trigger calls this function once per statement and not per row. So a statement that
-- inserts or deletes a complete thread doesn't violate the mirror's foreign key of threads.
CREATE OR REPLACE FUNCTION messages_mirror_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO messages_mirror SELECT * FROM made ON CONFLICT DO NOTHING;
    ELSIF TG_OP = 'UPDATE' THEN
        UPDATE messages_mirror AS mirror
        SET channel_id = made.channel_id, author_id = made.author_id, author_type = made.author_type,
            author_name = made.author_name, content = made.content, thread_id = made.thread_id,
            metadata = made.metadata, created_at = made.created_at
        FROM gone JOIN made USING (id) WHERE mirror.id = gone.id AND mirror.created_at = gone.created_at;
        -- Updated messages that aren't copied yet don't exist in the mirror, so inserts them.
        INSERT INTO messages_mirror SELECT * FROM made ON CONFLICT DO NOTHING;
    ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM messages_mirror AS mirror USING gone
        WHERE mirror.id = gone.id AND mirror.created_at = gone.created_at;
    ELSE
        TRUNCATE messages_mirror;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION messages_mirror_triggers(source regclass) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER messages_mirror_insert AFTER INSERT ON %s REFERENCING NEW TABLE AS made
        FOR EACH STATEMENT EXECUTE FUNCTION messages_mirror_write()', source);
    EXECUTE format('CREATE TRIGGER messages_mirror_update AFTER UPDATE ON %s REFERENCING OLD TABLE AS gone NEW TABLE AS made
        FOR EACH STATEMENT EXECUTE FUNCTION messages_mirror_write()', source);
    EXECUTE format('CREATE TRIGGER messages_mirror_delete AFTER DELETE ON %s REFERENCING OLD TABLE AS gone
        FOR EACH STATEMENT EXECUTE FUNCTION messages_mirror_write()', source);
    EXECUTE format('CREATE TRIGGER messages_mirror_truncate AFTER TRUNCATE ON %s
        FOR EACH STATEMENT EXECUTE FUNCTION messages_mirror_write()', source);
END
$$;

-- Returns a list of the objects that an operator has added to messages, because the swap would leave them on the old table. NULL if there
-- are none.
CREATE OR REPLACE FUNCTION messages_attached() RETURNS text
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT string_agg(found, ', ') FROM (
        SELECT 'the trigger ' || tgname FROM pg_trigger
        WHERE tgrelid = 'messages'::regclass AND NOT tgisinternal AND tgname NOT LIKE 'messages\_thread\_%'
        UNION ALL
        SELECT 'the foreign key ' || conname || ' of ' || conrelid::regclass FROM pg_constraint
        WHERE contype = 'f' AND confrelid = 'messages'::regclass AND conrelid <> confrelid AND conparentid = 0
        UNION ALL
        SELECT 'the unique index ' || indexrelid::regclass FROM pg_index
        WHERE indrelid = 'messages'::regclass AND indisunique AND NOT indisprimary
        UNION ALL
        SELECT DISTINCT 'the view or rule of ' || ev_class::regclass FROM pg_depend JOIN pg_rewrite ON pg_rewrite.oid = objid
        WHERE classid = 'pg_rewrite'::regclass AND refobjid = 'messages'::regclass
        UNION ALL
        SELECT 'the policy ' || polname FROM pg_policy WHERE polrelid = 'messages'::regclass
        UNION ALL
        SELECT 'the publication ' || pubname FROM pg_publication_rel JOIN pg_publication ON pg_publication.oid = prpubid
        WHERE prrelid = 'messages'::regclass
        UNION ALL
        SELECT 'rights on the column ' || attname FROM pg_attribute
        WHERE attrelid = 'messages'::regclass AND attacl IS NOT NULL
        UNION ALL
        SELECT 'the column ' || attname FROM pg_attribute
        WHERE attrelid = 'messages'::regclass AND attnum > 0 AND NOT attisdropped AND attname NOT IN ('id', 'channel_id',
            'author_id', 'author_type', 'author_name', 'content', 'thread_id', 'metadata', 'created_at')
    ) AS attached (found)
$$;

-- Creates the mirror in the layout that messages doesn't have, and the triggers that mirror writes. Runs in one transaction.
CREATE OR REPLACE FUNCTION messages_mirror_begin() RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp SET DateStyle = 'ISO' SET TimeZone = 'UTC' SET client_min_messages = warning AS $$
DECLARE
    by_month CONSTANT boolean := (SELECT relkind = 'r' FROM pg_class WHERE oid = 'messages'::regclass);
    attached CONSTANT text := messages_attached();
    definition record;
    month timestamptz;
    ending timestamptz;
BEGIN
    IF attached IS NOT NULL THEN
        RAISE EXCEPTION 'messages has what would be lost: %', attached
            USING HINT = 'Drop it, and make it anew afterwards.';
    END IF;
    EXECUTE 'CREATE TABLE messages_mirror (LIKE messages INCLUDING ALL EXCLUDING INDEXES)'
        || CASE WHEN by_month THEN ' PARTITION BY RANGE (created_at)' ELSE '' END;
    EXECUTE format('ALTER TABLE messages_mirror ADD CONSTRAINT messages_pkey_mirror PRIMARY KEY (id%s)',
        CASE WHEN by_month THEN ', created_at' END);
    FOR definition IN
        SELECT relname, substring(pg_get_indexdef(indexrelid) FROM ' USING .*') AS text
        FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE indrelid = 'messages'::regclass AND NOT indisprimary
    LOOP
        EXECUTE format('CREATE INDEX %I ON messages_mirror%s', definition.relname || '_mirror', definition.text);
    END LOOP;

    IF by_month THEN
        -- Creates partitions for the months from the oldest message to three months from now. Starts five years ago if the oldest message is
        -- older. The first partition also takes all older messages, and the last all newer ones, so that no message is refused.
        SELECT messages_month(least(greatest(min(created_at), now() - interval '5 years'), now())) INTO month FROM messages;
        ending := messages_month(now(), 3);
        PERFORM messages_make_partition('messages_mirror', month, 'MINVALUE', quote_literal(messages_month(month, 1)));
        WHILE month < ending LOOP
            month := messages_month(month, 1);
            PERFORM messages_make_partition('messages_mirror', month, quote_literal(month),
                CASE WHEN month < ending THEN quote_literal(messages_month(month, 1)) ELSE 'MAXVALUE' END);
        END LOOP;
    END IF;
    PERFORM messages_grant_as('messages_mirror', 'messages');
    EXECUTE format('ALTER TABLE messages_mirror OWNER TO %I',
        (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'messages'::regclass));

    CREATE TABLE messages_mirroring (
        -- The last copied message. Messages are copied in the order of created_at and id.
        created_at  timestamptz NOT NULL DEFAULT '-infinity',
        id          uuid        NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
        copied      bigint      NOT NULL DEFAULT 0,
        expected    bigint      NOT NULL,
        is_copied   boolean     NOT NULL DEFAULT false,
        is_compared boolean     NOT NULL DEFAULT false
    );
    PERFORM messages_grant_as('messages_mirroring', NULL);
    INSERT INTO messages_mirroring (expected)
    SELECT coalesce(sum(reltuples), 0) FROM pg_class
    WHERE reltuples > 0 AND relkind = 'r' AND (oid = 'messages'::regclass
        OR oid IN (SELECT partition FROM messages_partitions() WHERE parent = 'messages'::regclass));

    -- Locks the tables only now, because the locks block writes. Uses the order in which the API's statements lock these tables.
    LOCK TABLE channels IN SHARE ROW EXCLUSIVE MODE;
    LOCK TABLE messages IN SHARE ROW EXCLUSIVE MODE;
    FOR definition IN
        SELECT conname, pg_get_constraintdef(oid) AS text FROM pg_constraint
        WHERE conrelid = 'messages'::regclass AND contype = 'f' AND confrelid <> conrelid
    LOOP
        EXECUTE format('ALTER TABLE messages_mirror ADD CONSTRAINT %I %s', definition.conname, definition.text);
    END LOOP;
    IF by_month THEN
        CREATE TRIGGER messages_thread_join AFTER INSERT OR UPDATE OF thread_id ON messages_mirror
            FOR EACH ROW WHEN (NEW.thread_id IS NOT NULL) EXECUTE FUNCTION messages_thread_check();
        CREATE TRIGGER messages_thread_keep AFTER DELETE ON messages_mirror REFERENCING OLD TABLE AS gone
            FOR EACH STATEMENT EXECUTE FUNCTION messages_thread_check();
    END IF;
    PERFORM messages_mirror_triggers('messages');
END
$$;

-- Copies the next messages to the mirror, and locks their rows against changes until the transaction ends. So a change before the copy is
-- copied, and the triggers mirror a change after it.
CREATE OR REPLACE FUNCTION messages_mirror_copy(batch integer) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp SET synchronous_commit = off AS $$
DECLARE
    until record;
    last record;
BEGIN
    SELECT * INTO STRICT until FROM messages_mirroring FOR UPDATE;
    WITH next AS MATERIALIZED (
        SELECT * FROM messages WHERE (created_at, id) > (until.created_at, until.id)
        ORDER BY created_at, id LIMIT batch FOR SHARE
    ), copied AS (
        INSERT INTO messages_mirror SELECT * FROM next ON CONFLICT DO NOTHING
    )
    SELECT created_at, id, count(*) OVER () AS count INTO last FROM next ORDER BY created_at DESC, id DESC LIMIT 1;
    IF FOUND THEN
        UPDATE messages_mirroring SET created_at = last.created_at, id = last.id, copied = copied + last.count;
    ELSE
        UPDATE messages_mirroring SET is_copied = true;
    END IF;
END
$$;

-- Adds the foreign key messages_thread_id_fkey to a mirror that isn't partitioned. Called after all rows are copied.
CREATE OR REPLACE FUNCTION messages_mirror_thread_key() RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_class WHERE oid = 'messages_mirror'::regclass AND relkind = 'r')
       AND NOT EXISTS (SELECT FROM pg_constraint
                       WHERE conrelid = 'messages_mirror'::regclass AND conname = 'messages_thread_id_fkey') THEN
        ALTER TABLE messages_mirror ADD CONSTRAINT messages_thread_id_fkey
            FOREIGN KEY (thread_id) REFERENCES messages_mirror (id) NOT VALID;
    END IF;
END
$$;

-- Fails if messages and the mirror differ in the rows between two times. One statement reads both tables, so it uses one snapshot.
CREATE OR REPLACE FUNCTION messages_mirror_compare(starts_at timestamptz, ends_at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    here record;
BEGIN
    SELECT * INTO here FROM
        (SELECT count(*) AS messages, coalesce(sum(hashtextextended(m::text, 0)), 0) AS hash FROM messages AS m
         WHERE created_at >= starts_at AND (created_at < ends_at OR ends_at = 'infinity')) AS one,
        (SELECT count(*) AS mirrored, coalesce(sum(hashtextextended(m::text, 0)), 0) AS mirror_hash FROM messages_mirror AS m
         WHERE created_at >= starts_at AND (created_at < ends_at OR ends_at = 'infinity')) AS other;
    IF here.messages <> here.mirrored OR here.hash <> here.mirror_hash THEN
        RAISE EXCEPTION 'messages and messages_mirror differ from % to %: % and % rows',
            starts_at, ends_at, here.messages, here.mirrored
            USING HINT = 'Find out who wrote to one of them only; then CALL messages_mirror_drop() and begin anew.';
    END IF;
END
$$;

-- Swaps the names of messages and the mirror, and of their indexes. After the swap, triggers mirror writes in the other direction.
CREATE OR REPLACE FUNCTION messages_mirror_swap() RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    name text;
BEGIN
    LOCK TABLE messages IN ACCESS EXCLUSIVE MODE;
    LOCK TABLE messages_mirror IN ACCESS EXCLUSIVE MODE;
    IF NOT (SELECT is_copied AND is_compared FROM messages_mirroring) OR 4 <> (
        SELECT count(*) FROM pg_trigger
        WHERE tgrelid = 'messages'::regclass AND tgname LIKE 'messages\_mirror\_%' AND tgenabled = 'O') THEN
        RAISE EXCEPTION 'messages_mirror is not what messages is'
            USING HINT = 'CALL messages_mirror_drop() and begin anew.';
    END IF;
    DROP TRIGGER messages_mirror_insert ON messages;
    DROP TRIGGER messages_mirror_update ON messages;
    DROP TRIGGER messages_mirror_delete ON messages;
    DROP TRIGGER messages_mirror_truncate ON messages;
    FOR name IN SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
                WHERE indrelid = 'messages'::regclass
    LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', name, name || '_swapped');
        EXECUTE format('ALTER INDEX %I RENAME TO %I', name || '_mirror', name);
        EXECUTE format('ALTER INDEX %I RENAME TO %I', name || '_swapped', name || '_mirror');
    END LOOP;
    ALTER TABLE messages RENAME TO messages_swapped;
    ALTER TABLE messages_mirror RENAME TO messages;
    ALTER TABLE messages_swapped RENAME TO messages_mirror;
    PERFORM messages_mirror_triggers('messages');
    UPDATE messages_mirroring SET is_compared = false;
END
$$;

-- Runs all steps that move messages to partitions by month, or back to one table.
CREATE OR REPLACE PROCEDURE messages_move(by_month boolean) LANGUAGE plpgsql AS $$
DECLARE
    state record;
    part record;
    told integer := 0;
BEGIN
    SET search_path = public, pg_temp;
    SET DateStyle = 'ISO';
    SET TimeZone = 'UTC';
    IF by_month = (SELECT relkind = 'p' FROM pg_class WHERE oid = 'messages'::regclass) THEN
        RETURN;
    END IF;
    IF to_regclass('messages_mirror') IS NULL THEN
        CALL messages_try('SELECT messages_mirror_begin()');
    END IF;
    LOOP
        SELECT * INTO STRICT state FROM messages_mirroring;
        EXIT WHEN state.is_copied;
        IF state.copied * 20 / greatest(state.expected, 1) > told THEN
            -- Reports the progress in application_name, which scripts/migrate prints.
            told := state.copied * 20 / greatest(state.expected, 1);
            PERFORM set_config('application_name', 'scripts/migrate: copied ' || state.copied || ' messages', false);
        END IF;
        CALL messages_try('SELECT messages_mirror_copy(2000)');
    END LOOP;
    CALL messages_try('SELECT messages_mirror_thread_key()');
    IF NOT by_month THEN
        CALL messages_try('ALTER TABLE messages_mirror VALIDATE CONSTRAINT messages_thread_id_fkey');
    END IF;
    IF NOT state.is_compared THEN
        ANALYZE messages_mirror;
        COMMIT;
        FOR part IN SELECT * FROM messages_partitions() LOOP
            PERFORM set_config('application_name', 'scripts/migrate: comparing ' || part.partition, false);
            PERFORM messages_mirror_compare(part.starts_at, part.ends_at);
            COMMIT;
        END LOOP;
        UPDATE messages_mirroring SET is_compared = true;
        COMMIT;
    END IF;
    CALL messages_try('SELECT messages_mirror_swap()');
    IF by_month THEN
        RAISE WARNING 'messages_mirror is the table as it was before, and has every write since'
            USING HINT = 'When all is well: CALL messages_mirror_drop(); until then each message is written twice.';
    END IF;
END
$$;

CREATE OR REPLACE PROCEDURE messages_mirror_drop() LANGUAGE plpgsql AS $$
BEGIN
    CALL messages_try($step$
        DO $do$ BEGIN
            IF to_regclass('public.messages_mirror') IS NOT NULL THEN
                LOCK TABLE public.channels IN ACCESS EXCLUSIVE MODE;
                LOCK TABLE public.messages IN ACCESS EXCLUSIVE MODE;
                DROP TRIGGER messages_mirror_insert ON public.messages;
                DROP TRIGGER messages_mirror_update ON public.messages;
                DROP TRIGGER messages_mirror_delete ON public.messages;
                DROP TRIGGER messages_mirror_truncate ON public.messages;
                DROP TABLE public.messages_mirror, public.messages_mirroring;
            END IF;
        END $do$ $step$);
END
$$;

-- Ends the last partition at the start of a month, and creates a partition for later messages.
CREATE OR REPLACE FUNCTION messages_split(month timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp SET DateStyle = 'ISO' SET TimeZone = 'UTC' SET client_min_messages = warning AS $$
DECLARE
    last record;
BEGIN
    LOCK TABLE channels IN ACCESS EXCLUSIVE MODE;
    SELECT * INTO STRICT last FROM messages_partitions() WHERE ends_at = 'infinity';
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', last.parent);
    EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', last.parent, last.partition);
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%L)', last.parent, last.partition,
        CASE last.starts_at WHEN '-infinity' THEN 'MINVALUE' ELSE quote_literal(last.starts_at) END, month);
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS messages_ends_check', last.partition);
    PERFORM messages_make_partition(last.parent, month, quote_literal(month), 'MAXVALUE');
END
$$;

-- Creates partitions for the coming months. If the last call is too long ago, the last partition, which has no end, already contains
-- messages of several months. Then it gets an end after these months. A CHECK constraint proves this end beforehand, so that PostgreSQL
-- needs no scan of the rows while it locks the table.
CREATE OR REPLACE PROCEDURE messages_add_months(ahead integer DEFAULT 3) LANGUAGE plpgsql AS $$
DECLARE
    last record;
    newest timestamptz;
    month timestamptz;
BEGIN
    SET search_path = public, pg_temp;
    SET DateStyle = 'ISO';
    SET TimeZone = 'UTC';
    LOOP
        SELECT * INTO STRICT last FROM messages_partitions() WHERE ends_at = 'infinity';
        EXIT WHEN last.starts_at >= messages_month(now(), ahead);
        EXECUTE format('SELECT max(created_at) FROM %s', last.partition) INTO newest;
        IF newest > now() + interval '1 month' THEN
            RAISE EXCEPTION '% has a message of %, which is yet to come', last.partition, newest
                USING HINT = 'Correct its created_at, or delete it.';
        END IF;
        IF newest IS NULL THEN
            month := messages_month(last.starts_at, 1);
        ELSE
            -- Chooses a month that begins more than a day from now, because the CHECK refuses newer messages until the partition ends there.
            month := messages_month(greatest(newest, now() + interval '1 day'), 1);
            CALL messages_try(format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS messages_ends_check,
                ADD CONSTRAINT messages_ends_check CHECK (created_at < %L) NOT VALID', last.partition, month));
            CALL messages_try(format('ALTER TABLE %s VALIDATE CONSTRAINT messages_ends_check', last.partition));
        END IF;
        CALL messages_try(format('SELECT messages_split(%L)', month));
    END LOOP;
END
$$;

-- Detaches a partition, which becomes a separate table of the same name.
CREATE OR REPLACE FUNCTION messages_detach(leaving regclass) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    LOCK TABLE channels IN ACCESS EXCLUSIVE MODE;
    LOCK TABLE messages IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('ALTER TABLE messages DETACH PARTITION %s', leaving);
    -- Drops the foreign key, so that dropping the detached table later doesn't lock channels.
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT messages_channel_id_fkey', leaving);
END
$$;

CREATE OR REPLACE PROCEDURE messages_detach_before(month date) LANGUAGE plpgsql AS $$
DECLARE
    part record;
BEGIN
    SET search_path = public, pg_temp;
    SET DateStyle = 'ISO';
    SET TimeZone = 'UTC';
    IF to_regclass('messages_mirror') IS NOT NULL THEN
        RAISE EXCEPTION 'messages_mirror would keep what messages loses'
            USING HINT = 'First: CALL messages_mirror_drop();';
    END IF;
    FOR part IN SELECT * FROM messages_partitions() WHERE ends_at <= month::timestamp AT TIME ZONE 'UTC' LOOP
        CALL messages_try(format('SELECT messages_detach(%L)', part.partition));
        RAISE WARNING '% is a table of its own now', part.partition;
    END LOOP;
END
$$;

-- Only the owner may call these functions and procedures.
DO $$
DECLARE
    made text;
BEGIN
    FOR made IN SELECT oid::regprocedure FROM pg_proc
                WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'messages\_%' LOOP
        EXECUTE format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', made);
    END LOOP;
END
$$;

CALL messages_move(by_month => true);

-- Shows `scripts/migrate verify` how this migration changes the declared schema. psql skips these statements because of \if false.
\if false
ALTER TABLE messages DROP CONSTRAINT messages_thread_id_fkey, DROP CONSTRAINT messages_pkey;
ALTER TABLE messages ADD CONSTRAINT messages_pkey PRIMARY KEY (id, created_at);
\endif
