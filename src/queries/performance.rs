//! Combines PostgreSQL's own statistics, the measurements of all instances (`fleet_report.rs`) and the section on indexes (`index_report.rs`)
//! into one JSON object, the report.
//!
//! `report.rs` handles sources that are missing, hidden or locked on some servers.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::fleet_report::{self, FLEET};
use super::health::NAMED_INDEXES;
use super::index_report::{EXEMPT_KEYS, INDEXES, PERFORMANCE_INDEXES};
use super::report::{Advice, Level, Section, Sections, Unavailable};
use super::{ALL, text};
use crate::config::{APPLICATION_NAME, Config};
use crate::db::{Access, Db, DbError, Effect, Statement};
use crate::schema::performance::Window;

/// The largest number of advice items in a report.
const MAX_ADVICE: usize = 200;

const SETTINGS: &str = "WITH asked AS MATERIALIZED (
            SELECT * FROM json_to_record($1::text::json) AS asked (
                query_warn_ms bigint, query_error_ms bigint, request_warn_ms bigint, request_error_ms bigint)
        ), extension AS MATERIALIZED (
            SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements') AS is_there
        )
        SELECT json_build_object(
            'members', json_build_object('slow_query_logging', json_build_object(
                'query_warn_ms', query_warn_ms,
                'query_error_ms', query_error_ms,
                'request_warn_ms', request_warn_ms,
                'request_error_ms', request_error_ms,
                'recommendations', array_remove(ARRAY[
                    'Find slow queries and requests in the component''s log: grep SLOW.',
                    CASE WHEN current_setting('log_min_duration_statement') = '-1'
                         THEN 'Let the server log them as well: ALTER SYSTEM SET log_min_duration_statement = '
                              || quote_literal(query_warn_ms || 'ms') || '; SELECT pg_reload_conf();' END,
                    CASE WHEN NOT is_there
                         THEN 'See the server''s own account of every statement: CREATE EXTENSION pg_stat_statements; '
                              || '(once it is in shared_preload_libraries).' END], NULL))),
            'facts', json_build_object('has_statements', is_there))
        FROM asked, extension";

// Without the privileges of pg_read_all_stats, a role can't see the state and query of other roles' sessions.
const CONNECTIONS: &str = "WITH asked AS MATERIALIZED (
            SELECT * FROM json_to_record($1::text::json) AS asked (
                application_name text, pool_size int, long_running_ms bigint)
        ), session AS MATERIALIZED (
            SELECT pid, usename, session.application_name, state, query, query_start, backend_type,
                   session.application_name = asked.application_name AS is_ours,
                   query = '<insufficient privilege>' AS is_hidden
            FROM pg_stat_activity AS session, asked WHERE datname = current_database()
        ), connections AS MATERIALIZED (
            SELECT count(*) FILTER (WHERE state = 'idle') AS checked_in,
                   count(*) FILTER (WHERE state NOT IN ('idle', 'disabled')) AS checked_out,
                   count(*) FILTER (WHERE state IS NULL OR state = 'disabled') AS unknown,
                   count(*) AS total
            FROM session WHERE is_ours
        ), advice (level, name, detail, sql) AS (
            SELECT 'warning', 'long_running_query',
                   format('process %s (%s, %s) has been running for %s s: %s', pid, usename, session.application_name,
                       round(extract(epoch FROM clock_timestamp() - query_start)), left(regexp_replace(query, '\\s+', ' ', 'g'), 200)),
                   format('SELECT pg_cancel_backend(%s);', pid)
            FROM session, asked
            WHERE backend_type = 'client backend' AND state = 'active' AND pid <> pg_backend_pid()
              AND query_start < clock_timestamp() - long_running_ms * interval '1 millisecond'
            LIMIT 200
        ), missing (section, reason) AS (
            SELECT 'connection_pool', format('The state of %s of %s connections is hidden from the role %s, or track_activities is '
                       || 'off for them. An administrator runs: GRANT pg_read_all_stats TO %I;', unknown, total, current_user, current_user)
            FROM connections WHERE unknown > 0
            UNION ALL
            SELECT 'advice', format('There is no advice on the long-running queries of %s sessions of other roles: they are hidden from '
                       || 'the role %s. An administrator runs: GRANT pg_read_all_stats TO %I;', count(*), current_user, current_user)
            FROM session WHERE is_hidden AND NOT is_ours HAVING count(*) > 0
        )
        SELECT json_build_object(
            'members', json_build_object('connection_pool', json_build_object(
                'pool_size', pool_size,
                'checked_in', checked_in,
                'checked_out', checked_out,
                'overflow', greatest(total - pool_size, 0),
                'total_connections', total,
                'source', 'pg_stat_activity, by application_name; pool_size is the variable db_pool_size')),
            'advice', (SELECT coalesce(json_agg(advice), '[]') FROM advice),
            'unavailable', (SELECT coalesce(json_agg(missing), '[]') FROM missing))
        FROM connections, asked";

// Reports the scans of each index, and recommends dropping unused indexes. The scans of a table's partitions are added up. The scans of the named
// indexes are compared with the calls of their statements in Rust (`contract_rows`). Indexes that a foreign key needs, and partial indexes, are never
// reported as unused. Partial indexes are excluded because ours contain only active rows, and for days there may be no active rows.
const INDEX_USAGE: &str = "WITH asked AS MATERIALIZED (
            SELECT unused_index_days, exempt_keys, ARRAY(SELECT name FROM json_to_recordset(named) AS of (name text)) AS named
            FROM json_to_record($1::text::json) AS asked (unused_index_days int, exempt_keys text[], named json)
        ), statistics AS MATERIALIZED (
            SELECT current_setting('track_counts') = 'on' AS are_collected,
                   extract(day FROM now() - coalesce(pg_stat_get_db_stat_reset_time(oid), pg_postmaster_start_time())) AS age_days
            FROM pg_database WHERE datname = current_database()
        ), counted AS MATERIALIZED (
            SELECT coalesce(pg_partition_root(relid), relid) AS table_oid,
                   coalesce(pg_partition_root(indexrelid), indexrelid) AS index_oid,
                   sum(idx_scan)::bigint AS scans, sum(idx_tup_read) AS tuples_read, sum(idx_tup_fetch) AS tuples_fetched
            FROM pg_stat_user_indexes GROUP BY 1, 2
        ), usage AS MATERIALIZED (
            SELECT on_table.relname AS \"table\", index.relname AS index, scans, tuples_read, tuples_fetched, index_oid, table_oid,
                   on_table.reltuples, index.relpages, index.relkind
            FROM counted JOIN pg_class AS index ON index.oid = index_oid JOIN pg_class AS on_table ON on_table.oid = table_oid
            JOIN pg_namespace ON pg_namespace.oid = on_table.relnamespace WHERE nspname = 'public'
        ), advice (level, name, detail, sql) AS (
            SELECT 'info', 'unused_index', format('%s on %s (about %s) was not scanned once in %s days.', index, \"table\",
                       pg_size_pretty(relpages * current_setting('block_size')::bigint), age_days),
                   format('DROP INDEX CONCURRENTLY public.%I;', index)
            FROM asked, statistics, usage JOIN pg_index ON indexrelid = index_oid
            WHERE are_collected AND age_days >= unused_index_days AND scans = 0 AND reltuples >= 1000 AND relkind = 'i'
              AND index <> ALL (named) AND indisvalid AND indpred IS NULL AND NOT indisunique AND NOT indisexclusion AND NOT indisreplident
              AND NOT EXISTS (SELECT FROM pg_depend WHERE refclassid = 'pg_class'::regclass AND refobjid = index_oid AND deptype = 'n')
              AND NOT EXISTS (
                SELECT FROM pg_constraint WHERE contype = 'f' AND conrelid = table_oid AND conname <> ALL (exempt_keys)
                  AND conkey <@ (string_to_array(indkey::text, ' ')::int2[])[:indnkeyatts])
            ORDER BY index LIMIT 200
        )
        SELECT json_build_object(
            'members', json_build_object('index_usage', (
                SELECT coalesce(json_agg(json_build_object('table', \"table\", 'index', index, 'scans', scans,
                    'tuples_read', tuples_read, 'tuples_fetched', tuples_fetched)), '[]')
                FROM (SELECT * FROM usage ORDER BY scans DESC, index LIMIT 200) AS most)),
            'facts', json_build_object(
                'scans', (SELECT coalesce(json_object_agg(index, scans), '{}') FROM usage),
                'scans_are_counted', are_collected),
            'advice', (SELECT coalesce(json_agg(advice), '[]') FROM advice),
            'unavailable', CASE WHEN are_collected THEN '[]' ELSE json_build_array(json_build_object('section', 'index_usage', 'reason',
                'The counts are not updated, so the report gives no advice based on them: track_counts is off. ALTER DATABASE '
                || quote_ident(current_database()) || ' RESET track_counts, or set it to on in postgresql.conf.')) END)
        FROM statistics";

const TABLES: &str = "WITH counted AS MATERIALIZED (
            SELECT relid, relname, format('%I.%I', schemaname, relname) AS path, n_live_tup, seq_scan, seq_tup_read, n_tup_del,
                   last_analyze, last_autoanalyze
            FROM pg_stat_user_tables WHERE schemaname = 'public' AND current_setting('track_counts') = 'on'
        ), advice (level, name, detail, sql) AS (
            SELECT 'warning', 'sequential_scans',
                   format('%s (%s rows) was scanned from one end to the other %s times. EXPLAIN the statements that read it, and create '
                          || 'the index that they miss.', relname, n_live_tup, seq_scan), NULL
            FROM counted WHERE n_live_tup >= 10000 AND seq_scan >= 50 AND seq_tup_read / seq_scan >= n_live_tup / 2
            UNION ALL
            SELECT 'warning', 'never_analysed', format('%s (%s rows) was never analysed: plans for it are guesses.', relname, n_live_tup),
                   format('ANALYZE %s;', path)
            FROM counted WHERE n_live_tup >= 1000 AND last_analyze IS NULL AND last_autoanalyze IS NULL
        )
        SELECT json_build_object(
            'members', '{}'::json,
            'facts', json_build_object('deleted_from', (
                SELECT coalesce(json_agg(DISTINCT coalesce(pg_partition_root(relid), relid)::oid::bigint), '[]') FROM counted WHERE n_tup_del > 0)),
            'advice', (SELECT coalesce(json_agg(advice), '[]') FROM (SELECT * FROM advice LIMIT 200) AS advice))";

const CACHE_HITS: &str = "WITH advice (level, name, detail, sql) AS (
            SELECT 'warning', 'cache_hit_ratio',
                   format('%s %% of blocks were found in memory; 99 %% is usual. Set shared_buffers to a quarter of the machine''s memory, '
                          || 'and restart PostgreSQL.', round(100.0 * blks_hit / (blks_hit + blks_read), 1)), NULL
            FROM pg_stat_database
            WHERE datname = current_database() AND blks_hit + blks_read >= 1000000 AND blks_hit < 0.99 * (blks_hit + blks_read)
        )
        SELECT json_build_object('members', '{}'::json, 'advice', (SELECT coalesce(json_agg(advice), '[]') FROM advice))";

const INDEX_BUILDS: &str =
    "SELECT json_build_object('members', '{}'::json, 'facts', json_build_object('building', (
            SELECT coalesce(json_agg(index_relid::bigint), '[]') FROM pg_stat_progress_create_index
            WHERE datname = current_database())))";

// PostgreSQL's function for a table's size locks the table and its indexes, so the function isn't called while another session has an exclusive
// lock.
const TABLE_SIZES: &str = "WITH locked AS MATERIALIZED (
            SELECT relation FROM pg_locks
            WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock' AND pid IS DISTINCT FROM pg_backend_pid()
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        ), part AS MATERIALIZED (
            SELECT oid, coalesce(pg_partition_root(oid), oid) AS root,
                   EXISTS (SELECT FROM locked WHERE relation IN (oid, reltoastrelid) OR relation IN (
                       SELECT indexrelid FROM pg_index WHERE indrelid = oid)) AS is_locked
            FROM pg_class WHERE relkind IN ('r', 'p', 'm')
        ), sized AS MATERIALIZED (
            SELECT relname, bool_or(is_locked) AS is_locked,
                   CASE WHEN NOT bool_or(is_locked)
                        THEN sum(CASE WHEN NOT is_locked THEN pg_total_relation_size(part.oid) END)::bigint END AS size_bytes
            FROM part JOIN pg_class AS whole ON whole.oid = root JOIN pg_namespace ON pg_namespace.oid = relnamespace
            WHERE nspname = 'public' GROUP BY relname
        ), profile AS MATERIALIZED (
            SELECT bool_or(is_locked) AS is_locked,
                   CASE WHEN NOT bool_or(is_locked)
                        THEN sum(CASE WHEN NOT is_locked THEN pg_total_relation_size(part.oid) END)::bigint END AS size_bytes
            FROM part JOIN pg_class AS class ON class.oid = part.oid JOIN pg_namespace ON pg_namespace.oid = relnamespace
            WHERE nspname = 'profile'
        )
        SELECT json_build_object(
            'members', json_build_object('table_sizes', (
                SELECT coalesce(json_agg(json_build_object('table', relname, 'size', pg_size_pretty(size_bytes), 'size_bytes', size_bytes)), '[]')
                FROM (SELECT * FROM sized ORDER BY size_bytes DESC NULLS FIRST, relname LIMIT 200) AS largest)),
            'facts', json_build_object('profiler_bytes', (SELECT size_bytes FROM profile)),
            'unavailable', (
                SELECT coalesce(json_agg(json_build_object('section', section, 'reason',
                    format('The size of %s is missing: another session has an exclusive lock on it.', name))), '[]')
                FROM (SELECT 'table_sizes' AS section, relname::text AS name FROM sized WHERE is_locked
                      UNION ALL SELECT 'profiler', 'the schema profile' FROM profile WHERE is_locked) AS unknown))";

pub(super) static PERFORMANCE_DATABASE: Statement = Statement {
    name: "performance_database",
    sql: constcat::concat![
        "SELECT json_build_array((",
        SETTINGS,
        "), (",
        CONNECTIONS,
        "), (",
        INDEX_USAGE,
        "), (",
        TABLES,
        "), (",
        CACHE_HITS,
        "), (",
        INDEX_BUILDS,
        "), (",
        TABLE_SIZES,
        "), (",
        INDEXES,
        "))::text"
    ],
    effect: Effect::Reads,
    access: Access::Scans("statistics views and the catalogue only"),
    max_rows: 200,
};

pub(super) static PERFORMANCE_SETTINGS: Statement = Statement {
    name: "performance_settings",
    sql: constcat::concat!["SELECT (", SETTINGS, ")::text"],
    effect: Effect::Reads,
    access: Access::Scans("settings and a few extensions"),
    max_rows: 1,
};

pub(super) static PERFORMANCE_CONNECTIONS: Statement = Statement {
    name: "performance_connections",
    sql: constcat::concat!["SELECT (", CONNECTIONS, ")::text"],
    effect: Effect::Reads,
    access: Access::Scans("a view on the server's memory"),
    max_rows: 200,
};

pub(super) static PERFORMANCE_INDEX_USAGE: Statement = Statement {
    name: "performance_index_usage",
    sql: constcat::concat!["SELECT (", INDEX_USAGE, ")::text"],
    effect: Effect::Reads,
    access: Access::Scans("statistics views and the catalogue only"),
    max_rows: 200,
};

pub(super) static PERFORMANCE_TABLES: Statement = Statement {
    name: "performance_tables",
    sql: constcat::concat!["SELECT (", TABLES, ")::text"],
    effect: Effect::Reads,
    access: Access::Scans("statistics views only"),
    max_rows: 200,
};

pub(super) static PERFORMANCE_CACHE_HITS: Statement = Statement {
    name: "performance_cache_hits",
    sql: constcat::concat!["SELECT (", CACHE_HITS, ")::text"],
    effect: Effect::Reads,
    access: Access::Scans("statistics views only"),
    max_rows: 1,
};

pub(super) static PERFORMANCE_INDEX_BUILDS: Statement = Statement {
    name: "performance_index_builds",
    sql: constcat::concat!["SELECT (", INDEX_BUILDS, ")::text"],
    effect: Effect::Reads,
    access: Access::Scans("a view on the server's memory"),
    max_rows: 1,
};

pub(super) static PERFORMANCE_TABLE_SIZES: Statement = Statement {
    name: "performance_table_sizes",
    sql: constcat::concat!["SELECT (", TABLE_SIZES, ")::text"],
    effect: Effect::Reads,
    access: Access::Scans("the catalogue, and the sizes of files"),
    max_rows: 200,
};

/// The sections that are read from the catalogue and the server's statistics.
static DATABASE: Sections = Sections {
    all: &PERFORMANCE_DATABASE,
    each: &[
        Section {
            statement: &PERFORMANCE_SETTINGS,
            source: "pg_settings",
            is_ours: false,
            members: &["slow_query_logging"],
            needed_by: &[],
        },
        Section {
            statement: &PERFORMANCE_CONNECTIONS,
            source: "pg_stat_activity",
            is_ours: false,
            members: &["connection_pool"],
            needed_by: &[("advice", "advice on long-running queries")],
        },
        Section {
            statement: &PERFORMANCE_INDEX_USAGE,
            source: "pg_stat_user_indexes",
            is_ours: false,
            members: &["index_usage"],
            needed_by: &[
                ("index_contract", "count of an index's scans"),
                ("advice", "advice on unused indexes"),
            ],
        },
        Section {
            statement: &PERFORMANCE_TABLES,
            source: "pg_stat_user_tables",
            is_ours: false,
            members: &[],
            needed_by: &[(
                "advice",
                "advice on sequential scans and tables that were never analysed",
            )],
        },
        Section {
            statement: &PERFORMANCE_CACHE_HITS,
            source: "pg_stat_database",
            is_ours: false,
            members: &[],
            needed_by: &[("advice", "advice on the server's memory")],
        },
        Section {
            statement: &PERFORMANCE_INDEX_BUILDS,
            source: "pg_stat_progress_create_index",
            is_ours: false,
            members: &[],
            needed_by: &[(
                "advice",
                "telling indexes that are just being built from invalid ones",
            )],
        },
        Section {
            statement: &PERFORMANCE_TABLE_SIZES,
            source: "pg_total_relation_size",
            is_ours: false,
            members: &["table_sizes"],
            needed_by: &[("profiler", "size of its tables")],
        },
        Section {
            statement: &PERFORMANCE_INDEXES,
            source: "pg_index",
            is_ours: false,
            members: &["index_contract"],
            needed_by: &[("advice", "advice on indexes")],
        },
    ],
};

pub(super) static PERFORMANCE_TOP_STATEMENTS: Statement = Statement {
    name: "performance_top_statements",
    // The function of migrations/0014_server_statements.sql finds the view, because the extension may be in any schema. The function returns
    // JSON, because the columns have other names before version 1.8.
    sql: constcat::concat![
        "WITH top AS MATERIALIZED (
            SELECT regexp_replace(row->>'query', '\\s+', ' ', 'g') AS query, (row->>'calls')::bigint AS calls,
                   round(coalesce(row->>'total_exec_time', row->>'total_time')::numeric, 3) AS total_ms,
                   round(coalesce(row->>'mean_exec_time', row->>'mean_time')::numeric, 3) AS mean_ms,
                   round(coalesce(row->>'max_exec_time', row->>'max_time')::numeric, 3) AS max_ms,
                   (row->>'rows')::bigint AS rows
            FROM public.server_statements(10) AS row
        )
        SELECT json_build_object(
            'members', json_build_object('top_statements', (
                SELECT coalesce(json_agg(json_build_object('query', left(query, 200), 'calls', calls, 'total_ms', total_ms,
                    'mean_ms', mean_ms, 'max_ms', max_ms, 'rows', rows) ORDER BY total_ms DESC), '[]') FROM top)),
            'unavailable', (
                SELECT coalesce(json_agg(json_build_object('section', 'top_statements', 'reason', format(
                    'The texts of %s statements of other roles are hidden from the role %s. An administrator runs: '
                    || 'GRANT pg_read_all_stats TO %I;', hidden, current_user, current_user))), '[]')
                FROM (SELECT count(*) AS hidden FROM top WHERE query = '<insufficient privilege>') AS counted
                WHERE hidden > 0))::text"
    ],
    effect: Effect::Reads,
    access: Access::Scans("a view on the server's memory"),
    max_rows: 10,
};

/// The server's own statistics on statements, which a separate statement reads if the extension is installed.
static TOP_STATEMENTS: Section = Section {
    statement: &PERFORMANCE_TOP_STATEMENTS,
    source: "pg_stat_statements",
    is_ours: false,
    members: &["top_statements"],
    needed_by: &[],
};

/// Facts that one section reports to others. `None` means that the fact is unknown, because the section can't be read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Facts {
    /// The named indexes (`health::NAMED_INDEXES`) that exist.
    contract: Option<Vec<FoundIndex>>,
    /// How often each index was scanned since the statistics were last reset.
    scans: Option<BTreeMap<String, i64>>,
    /// Whether the server counts scans at all.
    scans_are_counted: bool,
    /// How often each named index had been scanned when the window began.
    scans_before: Option<BTreeMap<String, i64>>,
    /// How often each statement ran in the window.
    calls: Option<BTreeMap<String, i64>>,
    /// Tables from which rows were deleted.
    deleted_from: Option<Vec<i64>>,
    /// Indexes that are being built.
    building: Vec<i64>,
    /// Whether the extension `pg_stat_statements` is installed.
    has_statements: Option<bool>,
    /// The profiler's own measurements.
    profiler: Option<Map<String, Value>>,
    /// The size of the profiler's tables.
    profiler_bytes: Option<i64>,
}

/// A named index as found in the catalogue.
#[derive(Deserialize)]
struct FoundIndex {
    index: String,
    state: String,
    definition: String,
    /// The approximate number of rows in its table.
    rows: Option<i64>,
}

/// Returns the report as a JSON object.
pub async fn performance_database(db: &Db, window: Window) -> Result<String, DbError> {
    let target = db.config().target;
    let mut parts = DATABASE.read(db, &[text(asked(db.config()))]).await?;
    parts.append(
        match FLEET
            .read(db, &fleet_report::parameters(window, target))
            .await
        {
            Ok(fleet) => fleet,
            Err(error) => FLEET.missing(db, &error),
        },
    );
    let facts = Value::Object(std::mem::take(&mut parts.facts));
    let mut facts = Facts::deserialize(facts).map_err(|error| DbError::Decode {
        statement: PERFORMANCE_DATABASE.name,
        found: error.to_string(),
    })?;
    if facts.has_statements == Some(false) {
        parts.add(json!({"top_statements": null}));
        parts.unavailable.push(Unavailable {
            section: "top_statements".to_owned(),
            reason: "The extension pg_stat_statements is not installed in this database."
                .to_owned(),
        });
    } else {
        parts.append(TOP_STATEMENTS.read(db, &[]).await);
    }
    if let Some(mut profiler) = facts.profiler.take() {
        profiler.insert("size_bytes".to_owned(), facts.profiler_bytes.into());
        parts.add(json!({"profiler": profiler}));
    }
    let contract = facts.contract.take();
    let contract = contract.map(|found| contract_rows(found, &facts, &mut parts.advice));
    if let Some(rows) = contract {
        parts.add(json!({"index_contract": rows}));
    }
    let advice = chosen(std::mem::take(&mut parts.advice), &facts);
    parts.unavailable.sort();
    let unavailable = std::mem::take(&mut parts.unavailable);
    let (window, ..) = window.parts();
    parts.add(json!({
        "nfr_target": target.to_string(),
        "window": window,
        "advice": advice,
        "unavailable": unavailable,
    }));
    Ok(Value::Object(parts.members).to_string())
}

/// Returns the parameter of the statements in [`DATABASE`], a JSON object.
fn asked(config: &Config) -> String {
    let thresholds = &config.thresholds;
    let named: Vec<_> = NAMED_INDEXES
        .iter()
        .map(|index| json!({"name": index.name, "definition": index.definition}))
        .collect();
    json!({
        "application_name": APPLICATION_NAME,
        "pool_size": config.db_pool_size,
        "query_warn_ms": thresholds.query_warn_us / 1000,
        "query_error_ms": thresholds.query_error_us / 1000,
        "request_warn_ms": thresholds.request_warn_us / 1000,
        "request_error_ms": thresholds.request_error_us / 1000,
        "long_running_ms": u64::try_from(config.db_statement_timeout.as_millis()).unwrap_or(u64::MAX),
        "unused_index_days": config.unused_index_days,
        "exempt_keys": EXEMPT_KEYS,
        "named": named,
    })
    .to_string()
}

/// Returns the named indexes with the statements that need them, and adds advice on unused ones.
fn contract_rows(found: Vec<FoundIndex>, facts: &Facts, advice: &mut Vec<Advice>) -> Vec<Value> {
    let rows = found.into_iter().map(|mut index| {
        let statements: Vec<_> = ALL
            .iter()
            .filter(|statement| statement.access.indexes().contains(&index.index.as_str()))
            .map(|statement| statement.name)
            .collect();
        let calls = facts.calls.as_ref().map(|calls| {
            let calls = statements.iter().filter_map(|name| calls.get(*name));
            calls.sum::<i64>()
        });
        let scans = scans_in_window(&index.index, facts);
        let is_unused = index.state == "ok"
            && calls >= Some(10)
            && scans == Some(0)
            && facts.scans_are_counted
            && index.rows >= Some(10_000);
        if is_unused {
            "unused".clone_into(&mut index.state);
            advice.push(unused(&index, calls.unwrap_or_default()));
        }
        json!({
            "index": index.index,
            "state": index.state,
            "definition": index.definition,
            "statements": statements,
            "calls": calls,
            "scans": scans,
        })
    });
    rows.collect()
}

fn scans_in_window(index: &str, facts: &Facts) -> Option<i64> {
    let scans = facts
        .scans
        .as_ref()?
        .get(index)
        .copied()
        .unwrap_or_default();
    let before = facts.scans_before.as_ref()?.get(index).copied();
    let before = before.unwrap_or_default();
    // A lower count means that the statistics were reset in the window, and restarted at 0.
    Some(if scans >= before {
        scans - before
    } else {
        scans
    })
}

fn unused(index: &FoundIndex, calls: i64) -> Advice {
    // "CREATE INDEX name ON public.agents USING …"
    let mut words = index.definition.split(' ').skip_while(|word| *word != "ON");
    let table = words.nth(1).unwrap_or_default();
    Advice {
        level: Level::Warning,
        name: "index_unused".to_owned(),
        detail: format!(
            "{} was not scanned once, although {calls} statements ran that are meant to use it.",
            index.index
        ),
        sql: Some(format!("ANALYZE {table};")),
        unless_building: None,
        if_deleted_from: None,
    }
}

/// Returns the advice whose conditions are met, the most severe first. Of several items with the same SQL, keeps only the most severe.
fn chosen(mut advice: Vec<Advice>, facts: &Facts) -> Vec<Advice> {
    let is_building = |index: &i64| facts.building.contains(index);
    let is_deleted_from = |table: &i64| {
        let tables = facts.deleted_from.as_ref();
        tables.is_some_and(|tables| tables.contains(table))
    };
    advice.retain(|one| {
        !one.unless_building.as_ref().is_some_and(is_building)
            && one.if_deleted_from.as_ref().is_none_or(is_deleted_from)
    });
    advice.sort();
    let mut seen = std::collections::BTreeSet::new();
    advice.retain(|one| one.sql.clone().is_none_or(|sql| seen.insert(sql)));
    advice.truncate(MAX_ADVICE);
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(level: Level, sql: Option<&str>) -> Advice {
        Advice {
            level,
            name: "n".to_owned(),
            detail: "d".to_owned(),
            sql: sql.map(str::to_owned),
            unless_building: None,
            if_deleted_from: None,
        }
    }

    #[test]
    fn advice_requires_its_conditions_and_repeats_no_sql() {
        let facts = Facts {
            deleted_from: Some(vec![1]),
            building: vec![7],
            ..Facts::default()
        };
        let on_key = |table| Advice {
            if_deleted_from: Some(table),
            ..advice(Level::Warning, Some("CREATE INDEX"))
        };
        let on_index = |index| Advice {
            unless_building: Some(index),
            ..advice(Level::Error, Some("REINDEX"))
        };
        let all = vec![
            advice(Level::Info, Some("DROP")),
            advice(Level::Warning, Some("DROP")),
            advice(Level::Warning, None),
            advice(Level::Warning, None),
            on_key(2),
            on_index(7),
        ];
        let chosen_sql: Vec<_> = chosen(all.clone(), &facts)
            .into_iter()
            .map(|one| (one.level, one.sql))
            .collect();
        let expected = [
            (Level::Warning, None),
            (Level::Warning, None),
            (Level::Warning, Some("DROP".to_owned())),
        ];
        assert_eq!(chosen_sql, expected);
        let unknown = Facts::default();
        assert!(chosen(vec![on_key(1)], &unknown).is_empty());
        assert_eq!(chosen(vec![on_key(1), on_index(8)], &facts).len(), 2);
    }

    #[test]
    fn an_index_is_unused_only_if_scans_and_calls_are_known() {
        let found = || {
            vec![FoundIndex {
                index: "idx_agents_name".to_owned(),
                state: "ok".to_owned(),
                definition:
                    "CREATE UNIQUE INDEX idx_agents_name ON public.agents USING btree (name)"
                        .to_owned(),
                rows: Some(10_000),
            }]
        };
        let known = || Facts {
            scans: Some([("idx_agents_name".to_owned(), 5)].into()),
            scans_are_counted: true,
            scans_before: Some([("idx_agents_name".to_owned(), 5)].into()),
            calls: Some([("agent_get_by_name".to_owned(), 10)].into()),
            ..Facts::default()
        };
        let mut advice = Vec::new();
        let rows = contract_rows(found(), &known(), &mut advice);
        assert_eq!(rows[0]["state"], "unused");
        assert_eq!(advice[0].sql.as_deref(), Some("ANALYZE public.agents;"));
        for facts in [
            Facts {
                scans: None,
                ..known()
            },
            Facts {
                scans_are_counted: false,
                ..known()
            },
            Facts {
                scans_before: None,
                ..known()
            },
            Facts {
                calls: None,
                ..known()
            },
        ] {
            let mut advice = Vec::new();
            let rows = contract_rows(found(), &facts, &mut advice);
            assert_eq!(rows[0]["state"], "ok");
            assert!(advice.is_empty());
        }
    }
}
