//! Statements that read the measurements of all instances in a time window from the schema `profile`: percentiles, the verdict on the target, and the
//! series for the charts of the performance page. `performance.rs` reads the report's other half from PostgreSQL's own statistics.

use super::report::{Section, Sections};
use super::{ALL, text};
use crate::db::{Access, Effect, Parameter, Statement};
use crate::profile::Target;
use crate::schema::performance::Window;
use crate::schema::time;

/// The duration in ms that a bin represents: 2γ^i/(γ+1) µs with γ = 1.01/0.99, or 0 for a bin below 0.
macro_rules! bin_ms {
    ($bin:literal) => {
        concat!(
            "round((CASE WHEN ",
            $bin,
            " >= 0 THEN 2 * power(101 / 99::float8, ",
            $bin,
            ") / (101 / 99::float8 + 1) / 1000 ELSE 0 END)::numeric, 3)"
        )
    };
}

/// Expressions for the percentiles and the maximum in ms. Each input row has a `bin`, the cumulative number of calls up to that bin (`reached`), and
/// the number of all calls (`calls`). src/profile/sketch.rs computes ranks in the same way.
macro_rules! percentiles {
    () => {
        concat!(
            bin_ms!("(min(bin) FILTER (WHERE reached > floor(0.5::float8 * (calls - 1))))"),
            " AS p50_ms, ",
            bin_ms!("(min(bin) FILTER (WHERE reached > floor(0.95::float8 * (calls - 1))))"),
            " AS p95_ms, ",
            bin_ms!("(min(bin) FILTER (WHERE reached > floor(0.99::float8 * (calls - 1))))"),
            " AS p99_ms, ",
            bin_ms!("max(bin)"),
            " AS max_ms"
        )
    };
}

/// CTEs for the measurements in the window of $1 seconds that match the condition `$of`. The CTE `one` has a row for each kind and name. The other
/// CTEs are inputs of `one`.
///
/// The rows of `profile.totals` are cumulative. So a window longer than a quarter of an hour is computed as the latest totals, minus the last totals
/// before the window, plus the minutes after the latest totals. The query looks up each minute by its time instead of a range of times, because the
/// planner can't know that a range of unknown length has few rows.
macro_rules! measured {
    ($of:literal) => {
        concat!(
        "WITH asked AS MATERIALIZED (
            SELECT now() - $1::int * interval '1 second' AS at, $1::int > 900 AS by_totals
        ), span AS MATERIALIZED (
            SELECT at, until, CASE WHEN until IS NOT NULL THEN since END AS since,
                   coalesce(until, date_trunc('minute', at)) AS minutes_from,
                   -- Begins at the oldest stored minute. Otherwise, without totals, looking up each of the 10,080 minutes of a week takes a second.
                   greatest(coalesce(until, date_trunc('minute', at)), oldest) AS first_minute
            FROM (SELECT at, least((SELECT min(began_at) FROM profile.minutes), (SELECT min(began_at) FROM profile.samples)) AS oldest,
                         CASE WHEN by_totals THEN (SELECT max(ended_at) FROM profile.totals WHERE ended_at > at) END AS until,
                         CASE WHEN by_totals THEN (SELECT max(ended_at) FROM profile.totals WHERE ended_at <= at) END AS since
                  FROM asked) AS found
        ), part AS MATERIALIZED (
            -- Gives each name a number, because PostgreSQL groups and sorts numbers faster than names.
            SELECT dense_rank() OVER (ORDER BY kind, name) AS id, part.* FROM (
                SELECT kind, name, 1 AS sign, count, errors, sum_us, target_us, within_target, query_count, bins, bin_counts
                FROM span, profile.totals WHERE ended_at = until AND ", $of, "
                UNION ALL
                SELECT kind, name, -1, count, errors, sum_us, target_us, within_target, query_count, bins, bin_counts
                FROM span, profile.totals WHERE ended_at = since AND ", $of, "
                UNION ALL
                SELECT kind, name, 1, count, errors, sum_us, target_us, within_target, query_count, bins, bin_counts
                FROM profile.gathered WHERE began_at = ANY (ARRAY(
                    SELECT generate_series(first_minute, now(), interval '1 minute') FROM span)) AND ", $of, ") AS part
        ), bin AS MATERIALIZED (
            -- Counts are float8, which is exact up to 2^53. A sum of bigint is numeric, which takes several times as long.
            SELECT id, bin, sum((sign * n)::float8) AS n
            FROM part, unnest(bins, bin_counts) AS one (bin, n)
            GROUP BY id, bin HAVING sum((sign * n)::float8) > 0
        ), whole AS MATERIALIZED (
            SELECT id, kind, name, sum(sign * count)::bigint AS count, sum(sign * errors)::bigint AS errors,
                   sum(sign * sum_us) AS sum_us, sum(sign * query_count) AS query_count
            FROM part GROUP BY id, kind, name
        ), one AS MATERIALIZED (
            SELECT id, kind, name, count, errors, sum_us, query_count, p50_ms, p95_ms, p99_ms, max_ms
            FROM whole JOIN (SELECT id, ",
        percentiles!(),
        " FROM (SELECT id, bin, sum(n) OVER (PARTITION BY id ORDER BY bin ROWS UNBOUNDED PRECEDING) AS reached FROM bin) AS running
                  JOIN (SELECT id, count::float8 AS calls FROM whole) AS every USING (id)
                  GROUP BY id) AS percentiles USING (id)
        )"
        )
    };
}

/// The time at which the data of the window begins.
macro_rules! window_from {
    () => {
        "(SELECT coalesce(since, CASE WHEN until IS NULL THEN minutes_from ELSE at END) FROM span)"
    };
}

pub(super) use {bin_ms, measured, percentiles, window_from};

// $1: the window's length in seconds. $2: the step of the series in seconds. $3: the names of all statements with their declared indexes, as JSON.
// $4: how many of 100 queries must be within the target. $5: the target in microseconds. Samples that were compared with another target count in all
// figures except the verdict and the shares within the target.
const MEASURED: &str = concat!(
        measured!("kind <> 'cache'"),
        ", judged AS MATERIALIZED (
            SELECT id, sum(sign * count)::bigint AS judged, sum(sign * within_target) AS within_target
            FROM part WHERE target_us = $5::bigint GROUP BY id HAVING sum(sign * count) > 0
        ), busiest AS MATERIALIZED (
            SELECT id, name FROM one WHERE kind = 'route' AND name NOT LIKE '(%' ORDER BY name <> '', count DESC, name LIMIT 5
        ), step AS MATERIALIZED (
            SELECT began_at, began_at + $2::int * interval '1 second' AS ended_at,
                   CASE WHEN $2::int >= 600 THEN (SELECT max(ended_at) FROM profile.totals WHERE ended_at <= began_at) END AS since,
                   CASE WHEN $2::int >= 600 THEN (SELECT max(ended_at) FROM profile.totals
                        WHERE ended_at <= began_at + $2::int * interval '1 second') END AS until
            FROM asked, generate_series(to_timestamp(ceil(extract(epoch FROM at) / $2::int) * $2::int), now(),
                                        $2::int * interval '1 second') AS began_at
        ), point AS (
            SELECT began_at, id, max(calls)::bigint AS count, ",
        percentiles!(),
        "
            FROM (SELECT began_at, id, bin, sum(n) OVER (PARTITION BY began_at, id ORDER BY bin ROWS UNBOUNDED PRECEDING) AS reached,
                         sum(n) OVER (PARTITION BY began_at, id) AS calls
                  FROM (SELECT began_at, id, bin, sum((sign * n)::float8) AS n
                        FROM (SELECT step.began_at, name, 1 AS sign, bins, bin_counts
                              FROM step JOIN profile.totals ON totals.ended_at = step.until
                              WHERE totals.ended_at = ANY (ARRAY(SELECT until FROM step WHERE until IS DISTINCT FROM since))
                                AND step.until IS DISTINCT FROM step.since
                                AND kind = 'route' AND name = ANY (ARRAY(SELECT name FROM busiest))
                              UNION ALL
                              SELECT step.began_at, name, -1, bins, bin_counts
                              FROM step JOIN profile.totals ON totals.ended_at = step.since
                              WHERE totals.ended_at = ANY (ARRAY(SELECT since FROM step WHERE until IS DISTINCT FROM since))
                                AND step.until IS DISTINCT FROM step.since
                                AND kind = 'route' AND name = ANY (ARRAY(SELECT name FROM busiest))
                              UNION ALL
                              SELECT step.began_at, name, 1, bins, bin_counts
                              FROM step JOIN profile.gathered
                                ON gathered.began_at >= step.began_at AND gathered.began_at < step.ended_at
                              WHERE gathered.began_at = ANY (ARRAY(
                                  SELECT generate_series(CASE WHEN $2::int >= 600 THEN first_minute ELSE date_trunc('minute', at) END,
                                                         now(), interval '1 minute') FROM span))
                                AND kind = 'route' AND name = ANY (ARRAY(SELECT name FROM busiest))
                             ) AS part JOIN busiest USING (name), unnest(bins, bin_counts) AS one (bin, n)
                        GROUP BY began_at, id, bin HAVING sum((sign * n)::float8) > 0) AS bin) AS running
            GROUP BY began_at, id
        )
        SELECT json_build_object('members', json_build_object(
            'from', ",
        time!(window_from!()),
        ", 'to', ",
        time!("now()"),
        ",
            'nfr', (
                SELECT json_build_object(
                    'verdict', CASE WHEN coalesce(sum(judged), 0) < 100 THEN 'insufficient_data'
                                    WHEN 100 * sum(within_target) >= $4::int * sum(judged) THEN 'pass' ELSE 'fail' END,
                    'target_ms', $5::bigint / 1000, 'target_percent', $4::int,
                    'queries', coalesce(sum(judged), 0),
                    'within_target', round(sum(within_target) / sum(judged), 6),
                    'p50_ms', max(p50_ms), 'p95_ms', max(p95_ms), 'p99_ms', max(p99_ms))
                FROM one LEFT JOIN judged USING (id) WHERE kind = 'statement' AND name = ''),
            'statements', (
                SELECT coalesce(json_agg(json_build_object(
                    'name', name, 'calls', count, 'errors', errors, 'p50_ms', p50_ms, 'p95_ms', p95_ms, 'p99_ms', p99_ms,
                    'max_ms', max_ms, 'total_ms', round(sum_us / 1000, 3), 'within_target', round(within_target / judged, 6),
                    'indexes', coalesce(indexes, '[]')) ORDER BY sum_us DESC, name), '[]')
                FROM one LEFT JOIN judged USING (id) LEFT JOIN json_to_recordset($3::text::json) AS declared (name text, indexes json) USING (name)
                WHERE kind = 'statement' AND name <> ''),
            'routes', (
                SELECT coalesce(json_agg(json_build_object(
                    'route', name, 'requests', count, 'errors', errors, 'p50_ms', p50_ms, 'p95_ms', p95_ms, 'p99_ms', p99_ms,
                    'max_ms', max_ms, 'total_ms', round(sum_us / 1000, 3),
                    'queries_per_request', round(query_count / count, 3)) ORDER BY sum_us DESC, name), '[]')
                FROM one WHERE kind = 'route' AND name <> ''),
            'histogram', (
                SELECT coalesce(json_agg(json_build_object('from_ms', ",
        bin_ms!("10 * tenth - 1"),
        ", 'to_ms', ",
        bin_ms!("10 * tenth + 9"),
        ", 'queries', n) ORDER BY tenth), '[]')
                FROM (SELECT ceil(bin / 10.0)::int AS tenth, sum(n)::bigint AS n FROM bin
                      WHERE id = (SELECT id FROM one WHERE kind = 'statement' AND name = '') GROUP BY tenth) AS tenths),
            'series', (
                SELECT coalesce(json_agg(json_build_object('route', name, 'points', points) ORDER BY name), '[]')
                FROM (SELECT name, json_agg(json_build_object('at', ",
        time!("began_at"),
        ", 'requests', count, 'p50_ms', p50_ms,
                                            'p95_ms', p95_ms, 'p99_ms', p99_ms) ORDER BY began_at) AS points
                      FROM point JOIN busiest USING (id) GROUP BY name) AS lines)),
            'facts', json_build_object('calls', (
                SELECT coalesce(json_object_agg(name, count), '{}') FROM one WHERE kind = 'statement' AND name <> '')))"
);

/// The three slowest runs and the newest run of each statement. Above 60 runs, the slowest run of each statement is kept first, then the newest.
const SLOW_QUERIES: &str = concat!(
    "SELECT json_build_object('members', json_build_object('slow_queries', (
            SELECT coalesce(json_agg(json_build_object(
                'statement', statement, 'elapsed_ms', round(elapsed_us / 1000.0, 3), 'route', route, 'request', request_id, 'at', ",
    time!("ran_at"),
    ", 'plan', plan) ORDER BY elapsed_us DESC, id), '[]')
            FROM (SELECT * FROM (
                    SELECT *, row_number() OVER (PARTITION BY statement ORDER BY elapsed_us DESC, id) AS slowness,
                           row_number() OVER (PARTITION BY statement ORDER BY ran_at DESC, id DESC) AS newness
                    FROM profile.slow_queries WHERE ran_at >= now() - $1::int * interval '1 second') AS ranked
                  WHERE slowness <= 3 OR newness = 1 ORDER BY slowness > 1, newness > 1, elapsed_us DESC, id LIMIT 60) AS shown)))"
);

const PROFILER: &str = "SELECT json_build_object('members', '{}'::json, 'facts', json_build_object('profiler', json_build_object(
            'gathered', coalesce(sum(gathered), 0), 'flushed', coalesce(sum(flushed), 0),
            'lost', coalesce(sum(lost), 0), 'flushes', coalesce(sum(count), 0),
            'flush_ms', round(sum(sum_us) / nullif(sum(count), 0) / 1000, 3),
            'sampling', coalesce(round(1.0 / max(one_in), 6), 1))))
        FROM profile.flushes WHERE began_at >= date_trunc('minute', now() - $1::int * interval '1 second')";

const SCANS_BEFORE: &str = "SELECT json_build_object('members', '{}'::json, 'facts', json_build_object('scans_before', (
            SELECT coalesce(json_object_agg(index_name, scans), '{}') FROM profile.index_scans
            WHERE seen_at = (
                SELECT coalesce(max(seen_at) FILTER (WHERE seen_at <= now() - $1::int * interval '1 second'), min(seen_at))
                FROM profile.index_scans))))";

pub(super) static PERFORMANCE_FLEET: Statement = Statement {
    name: "performance_fleet",
    sql: constcat::concat![
        "SELECT json_build_array((",
        SCANS_BEFORE,
        "), (",
        PROFILER,
        "), (",
        SLOW_QUERIES,
        "), (",
        MEASURED,
        "))::text"
    ],
    effect: Effect::Reads,
    access: Access::Scans("some totals, and the minutes since the last of them"),
    max_rows: 1,
};

pub(super) static PERFORMANCE_INDEX_SCANS: Statement = Statement {
    name: "performance_index_scans",
    sql: constcat::concat!["SELECT (", SCANS_BEFORE, ")::text"],
    effect: Effect::Reads,
    access: Access::Scans("a few rows for each hour"),
    max_rows: 1,
};

pub(super) static PERFORMANCE_PROFILER: Statement = Statement {
    name: "performance_profiler",
    sql: constcat::concat!["SELECT (", PROFILER, ")::text"],
    effect: Effect::Reads,
    access: Access::Scans("a row for each minute"),
    max_rows: 1,
};

pub(super) static PERFORMANCE_SLOW_QUERIES: Statement = Statement {
    name: "performance_slow_queries",
    sql: constcat::concat!["SELECT (", SLOW_QUERIES, ")::text"],
    effect: Effect::Reads,
    access: Access::Scans("there are 121 rows for each statement at most"),
    max_rows: 60,
};

pub(super) static PERFORMANCE_MEASURED: Statement = Statement {
    name: "performance_measured",
    sql: constcat::concat!["SELECT (", MEASURED, ")::text"],
    effect: Effect::Reads,
    access: Access::Scans("some totals, and the minutes since the last of them"),
    max_rows: 1,
};

/// The sections with the measurements of all instances.
pub(super) static FLEET: Sections = Sections {
    all: &PERFORMANCE_FLEET,
    each: &[
        Section {
            statement: &PERFORMANCE_INDEX_SCANS,
            source: "profile.index_scans",
            is_ours: true,
            members: &[],
            needed_by: &[("index_contract", "count of an index's scans in the window")],
        },
        Section {
            statement: &PERFORMANCE_PROFILER,
            source: "profile.flushes",
            is_ours: true,
            members: &["profiler"],
            needed_by: &[],
        },
        Section {
            statement: &PERFORMANCE_SLOW_QUERIES,
            source: "profile.slow_queries",
            is_ours: true,
            members: &["slow_queries"],
            needed_by: &[],
        },
        Section {
            statement: &PERFORMANCE_MEASURED,
            source: "profile.totals, profile.minutes or profile.samples",
            is_ours: true,
            members: &[
                "from",
                "to",
                "nfr",
                "statements",
                "routes",
                "histogram",
                "series",
            ],
            needed_by: &[("index_contract", "count of an index's calls")],
        },
    ],
};

/// Returns the parameters `$1` to `$5` of the statements in [`FLEET`].
#[must_use]
pub(super) fn parameters(window: Window, target: Target) -> Vec<Parameter> {
    let (_, seconds, step_seconds) = window.parts();
    let declared: Vec<_> = ALL
        .iter()
        .map(|statement| serde_json::json!({"name": statement.name, "indexes": statement.access.indexes()}))
        .collect();
    vec![
        Parameter::Int32(seconds),
        Parameter::Int32(step_seconds),
        text(serde_json::Value::Array(declared).to_string()),
        Parameter::Int32(i32::try_from(target.percent).unwrap_or(i32::MAX)),
        Parameter::Int64(i64::try_from(target.limit_us).unwrap_or(i64::MAX)),
    ]
}
