-- What the profiler gathers from every instance: schema profile. Safe to run again.
--
-- UNLOGGED: nothing here is worth a write to the log, and a crash may empty it.
--
-- A row holds a sketch (src/profile/sketch.rs): exact sums, and the counts of a DDSketch's bins as two arrays. One row for
-- each minute and name, not one for each bin: a tenth of the rows, and a twentieth of the size.

DO $$
BEGIN
    -- Not IF NOT EXISTS: that asks for the right to make it even where it's there.
    IF to_regnamespace('profile') IS NULL THEN
        CREATE SCHEMA profile;
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE EXCEPTION 'the schema profile is not there, and % may not make it', current_user
        USING HINT = format('An administrator runs: CREATE SCHEMA profile AUTHORIZATION %I;', current_user);
END
$$;

-- As instances flush them: flushes only ever add rows, so that none waits for another.
CREATE UNLOGGED TABLE IF NOT EXISTS profile.samples (
    -- The minute.
    began_at      timestamptz NOT NULL,
    -- statement: by its name in the registry; route: by method and pattern. Without a name: all of them together.
    kind          text        NOT NULL,
    name          text        NOT NULL,
    count         bigint      NOT NULL,
    errors        bigint      NOT NULL,
    sum_us        bigint      NOT NULL,
    max_us        bigint      NOT NULL,
    -- How many took less than 100 ms.
    within_target bigint      NOT NULL,
    -- Statements that were sent for a route's requests.
    query_count   bigint      NOT NULL,
    bins          integer[]   NOT NULL,
    bin_counts    bigint[]    NOT NULL,
    CONSTRAINT samples_kind_check CHECK (kind IN ('statement', 'route')),
    CONSTRAINT samples_bins_check CHECK (cardinality(bins) = cardinality(bin_counts))
);

CREATE INDEX IF NOT EXISTS samples_began_at_idx ON profile.samples (began_at);

-- Samples added up by minute, every few seconds.
CREATE UNLOGGED TABLE IF NOT EXISTS profile.minutes (
    LIKE profile.samples,
    CONSTRAINT minutes_pkey PRIMARY KEY (began_at, kind, name)
);

-- What there is of each minute, wherever it is by now.
CREATE OR REPLACE VIEW profile.gathered AS
SELECT * FROM profile.minutes UNION ALL SELECT * FROM profile.samples;

-- All that was gathered from the beginning until a time, every ten minutes: what came between two times is the one less
-- the other, however far apart they are.
CREATE UNLOGGED TABLE IF NOT EXISTS profile.totals (
    ended_at      timestamptz NOT NULL,
    kind          text        NOT NULL,
    name          text        NOT NULL,
    count         bigint      NOT NULL,
    errors        bigint      NOT NULL,
    sum_us        bigint      NOT NULL,
    within_target bigint      NOT NULL,
    query_count   bigint      NOT NULL,
    bins          integer[]   NOT NULL,
    bin_counts    bigint[]    NOT NULL,
    CONSTRAINT totals_pkey PRIMARY KEY (ended_at, kind, name)
);

-- How often each of the named indexes had been scanned at a time; PostgreSQL tells how often it has been by now.
CREATE UNLOGGED TABLE IF NOT EXISTS profile.index_scans (
    seen_at    timestamptz NOT NULL,
    index_name text        NOT NULL,
    scans      bigint      NOT NULL,
    CONSTRAINT index_scans_pkey PRIMARY KEY (seen_at, index_name)
);

-- The profiler's account of itself: a row for each flush, added up by minute when samples are. A sample is a statement or a request, weighted where only some are taken.
CREATE UNLOGGED TABLE IF NOT EXISTS profile.flushes (
    began_at  timestamptz NOT NULL,
    count     bigint      NOT NULL,
    gathered  bigint      NOT NULL,
    flushed   bigint      NOT NULL,
    lost      bigint      NOT NULL,
    -- What the flushes took in the database, together.
    sum_us    bigint      NOT NULL,
    -- One in so many requests was profiled.
    one_in    integer     NOT NULL
);

CREATE INDEX IF NOT EXISTS flushes_began_at_idx ON profile.flushes (began_at);

-- The slowest runs of each statement, with their plans.
CREATE UNLOGGED TABLE IF NOT EXISTS profile.slow_queries (
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    statement  text        NOT NULL,
    elapsed_us bigint      NOT NULL,
    route      text        NOT NULL,
    request_id text        NOT NULL,
    ran_at     timestamptz NOT NULL,
    plan       jsonb,
    CONSTRAINT slow_queries_pkey PRIMARY KEY (id)
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reznet_app') THEN
        GRANT USAGE ON SCHEMA profile TO reznet_app;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA profile TO reznet_app;
    ELSE
        RAISE WARNING 'the role reznet_app is not there: it has no rights on the schema profile'
            USING HINT = 'To have it, an administrator runs migrations/0005_roles.sql and then this file with psql.';
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reznet_migrate') THEN
        GRANT ALL ON SCHEMA profile TO reznet_migrate;
        GRANT ALL ON ALL TABLES IN SCHEMA profile TO reznet_migrate;
    END IF;
END
$$;
