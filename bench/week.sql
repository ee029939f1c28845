-- Creates a week of profile data like the data of a busy fleet: each of 92 statements and routes ran in every minute. `scripts/bench report`
-- runs this file on a separate database, because the file replaces the profiler's data.
--
-- A sketch counts durations in bins. Each minute has 45 bins. Each total has 200 bins, because the durations of a week fall into about 200.

TRUNCATE profile.samples, profile.minutes, profile.totals, profile.index_scans, profile.flushes;

CREATE TEMPORARY TABLE names AS
SELECT n, CASE WHEN n <= 54 THEN 'statement' ELSE 'route' END AS kind,
       CASE n WHEN 1 THEN '' WHEN 55 THEN '' ELSE 'name ' || n END AS name
FROM generate_series(1, 92) AS n;

-- Inserts the minutes of the last two days, because the profiler deletes older minutes.
INSERT INTO profile.minutes (began_at, kind, name, count, errors, sum_us, max_us, within_target, query_count, bins, bin_counts)
SELECT began_at, kind, name, 45 * 10, 0, 45 * 10 * 3000, 20000, 45 * 10, 45 * 10,
       (SELECT array_agg(first + i ORDER BY i) FROM generate_series(0, 44) AS i), array_fill(10::bigint, ARRAY[45])
FROM generate_series(date_trunc('minute', now()) - interval '2 days', date_trunc('minute', now()), interval '1 minute') AS began_at,
     names, LATERAL (SELECT 250 + (n * 7 + extract(epoch FROM began_at)::bigint / 60 * 13) % 155 AS first) AS start;

-- Inserts cumulative totals, for every ten minutes of the last two days and for every hour before. The last total ends at the last multiple
-- of ten minutes that is at least five minutes ago, which is the time up to which a real rollup would have summed the minutes.
INSERT INTO profile.totals (ended_at, kind, name, count, errors, sum_us, within_target, query_count, bins, bin_counts)
SELECT ended_at, kind, name, 200 * step, 0, 200 * step * 3000, 200 * step, 200 * step,
       (SELECT array_agg(250 + i ORDER BY i) FROM generate_series(0, 199) AS i), array_fill(step, ARRAY[200])
FROM (SELECT ended_at, (extract(epoch FROM ended_at - now() + interval '8 days') / 60)::bigint AS step
      FROM generate_series(date_trunc('hour', now()) - interval '7 days 1 hour',
                           to_timestamp(floor(extract(epoch FROM now() - interval '5 minutes') / 600) * 600),
                           interval '10 minutes') AS ended_at
      WHERE ended_at > now() - interval '2 days' OR extract(minute FROM ended_at) = 0) AS steps, names;

INSERT INTO profile.flushes (began_at, count, gathered, flushed, lost, sum_us, one_in)
SELECT began_at, 60, 40000, 40000, 0, 60000, 1
FROM generate_series(date_trunc('minute', now()) - interval '7 days', now(), interval '1 minute') AS began_at;

ANALYZE profile.minutes, profile.totals, profile.flushes;
