-- Lookups in the cache are gathered like statements and routes: by the statement that was sought, query_count counting
-- those that had to be sent.
-- Safe to run again. Applied by scripts/migrate, or by hand: psql -X -v ON_ERROR_STOP=1 --single-transaction -f FILE

ALTER TABLE profile.samples
    DROP CONSTRAINT IF EXISTS samples_kind_check,
    ADD CONSTRAINT samples_kind_check CHECK (kind IN ('statement', 'route', 'cache'));
