-- Writes that a client may repeat. What comes with an Idempotency-Key is done once: its answer is kept for a day, in the
-- same transaction, and a repeat gets that. So a client that lost its connection can ask again without doing it twice.
-- Safe to run again. Applied by scripts/migrate, or by hand: psql -X -v ON_ERROR_STOP=1 --single-transaction -f FILE

CREATE TABLE IF NOT EXISTS idempotency_keys (
    key        text        NOT NULL,
    -- Of what was asked for: the same key for something else is an error of the client's.
    request    bytea       NOT NULL,
    json       text,
    note       text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (key),
    CONSTRAINT idempotency_keys_key_check CHECK (char_length(key) BETWEEN 1 AND 255)
);

CREATE INDEX IF NOT EXISTS idempotency_keys_created_at_idx ON idempotency_keys (created_at);

-- Runs a statement of the API's registry, whose parameters are cast in its text, unless that was done under this key.
-- Whoever calls it could as well run the statement: it has no other rights than its caller.
-- json in quotes: since PostgreSQL 17 that word can't name a parameter.
CREATE OR REPLACE FUNCTION write_once(key text, name text, statement text, parameters text[], OUT "json" text, OUT note text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    asked CONSTANT bytea := sha256(convert_to(concat_ws(' ', $2, $4::text), 'UTF8'));
    first idempotency_keys;
BEGIN
    LOOP
        -- Waits for a request under the same key that's still at it.
        INSERT INTO idempotency_keys (key, request) VALUES ($1, asked) ON CONFLICT DO NOTHING;
        EXIT WHEN FOUND;
        SELECT * INTO first FROM idempotency_keys AS kept WHERE kept.key = $1;
        IF FOUND THEN
            IF first.request <> asked THEN
                RAISE EXCEPTION 'the key was used for another request'
                    USING ERRCODE = 'check_violation', CONSTRAINT = 'idempotency_keys_request_check';
            END IF;
            $5 := first.json;
            $6 := first.note;
            RETURN;
        END IF;
        -- It was too old, and has gone in between.
    END LOOP;
    EXECUTE $3 INTO $5, $6 USING $4[1], $4[2], $4[3], $4[4], $4[5], $4[6], $4[7], $4[8];
    IF $5 IS NULL THEN
        -- Nothing was done, as a state forbade it or a row was missing: a repeat tries again.
        DELETE FROM idempotency_keys AS kept WHERE kept.key = $1;
    ELSE
        UPDATE idempotency_keys AS kept SET json = $5, note = $6 WHERE kept.key = $1;
    END IF;
    -- A few of the old ones go with each: more than come.
    DELETE FROM idempotency_keys AS kept WHERE kept.key IN (
        SELECT old.key FROM idempotency_keys AS old WHERE old.created_at < now() - interval '1 day'
        ORDER BY old.created_at LIMIT 4 FOR UPDATE SKIP LOCKED);
END
$$;
