-- Stores beside each sample the target that judged it, so that the verdict never adds up counts that different targets judged.
-- Versions of the component from before this migration can run before, during and after it. They judge by 100 ms, which is the
-- default here. The key of minutes stays, because their ON CONFLICT names it. Safe to run again.

-- A duration below target_us is within the target. 0: the row adds up samples of several targets, so its within_target means nothing.
ALTER TABLE profile.samples ADD COLUMN IF NOT EXISTS target_us bigint NOT NULL DEFAULT 100000;
ALTER TABLE profile.minutes ADD COLUMN IF NOT EXISTS target_us bigint NOT NULL DEFAULT 100000;
ALTER TABLE profile.totals ADD COLUMN IF NOT EXISTS target_us bigint NOT NULL DEFAULT 100000;

-- Totals grow for as long as the database exists, so each target has its own row.
ALTER TABLE profile.totals DROP CONSTRAINT IF EXISTS totals_pkey,
    ADD CONSTRAINT totals_pkey PRIMARY KEY (ended_at, kind, name, target_us);

CREATE OR REPLACE VIEW profile.gathered AS
SELECT * FROM profile.minutes UNION ALL SELECT * FROM profile.samples;
