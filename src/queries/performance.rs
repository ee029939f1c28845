//! What PostgreSQL's own statistics tell: connections, sizes, whether the named indexes are as they should be, and what
//! would be better otherwise. Reads catalogues and statistics views, no table of ours; `fleet_report.rs` reads those.

use serde_json::json;

use super::fleet_report::Use;
use super::health::NAMED_INDEXES;
use super::{ALL, names, sql, text};
use crate::config::{APPLICATION_NAME, Config};
use crate::db::{Access, Db, DbError, Parameter, Statement};

/// Foreign keys that have no index for a reason: nothing deletes the rows they refer to.
const UNINDEXED_KEYS: &[&str] = &[
    "messages_thread_id_fkey",
    "tasks_assigned_to_fkey",
    "workflow_tasks_agent_id_fkey",
    "workflows_orchestrator_id_fkey",
];

// Partitions are taken together: they're one table to us. Partial indexes may be unused: ours are on what's active, which
// there may be none of for days, and hold few rows.
pub(super) static PERFORMANCE_DATABASE: Statement = Statement {
    name: "performance_database",
    sql: sql!["WITH connections AS (
            SELECT count(*) FILTER (WHERE state = 'idle') AS checked_in,
                   count(*) FILTER (WHERE state IS DISTINCT FROM 'idle') AS checked_out,
                   count(*) AS total
            FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = $1::text
        ), usage AS MATERIALIZED (
            SELECT coalesce(pg_partition_root(relid), relid)::regclass AS \"table\",
                   coalesce(pg_partition_root(indexrelid), indexrelid)::regclass AS index,
                   sum(idx_scan)::bigint AS scans, sum(idx_tup_read) AS tuples_read, sum(idx_tup_fetch) AS tuples_fetched
            FROM pg_stat_user_indexes WHERE schemaname = 'public' GROUP BY 1, 2
        ), contract AS MATERIALIZED (
            SELECT named.*, relation.reltuples, index.indexrelid, scans,
                   CASE WHEN index.indexrelid IS NULL THEN 'missing'
                        WHEN NOT indisvalid THEN 'invalid'
                        WHEN replace(pg_get_indexdef(index.indexrelid), ' ON ONLY ', ' ON ') <> definition THEN 'changed'
                        WHEN calls >= 10 AND scans = 0 AND reltuples >= 10000 THEN 'unused'
                        ELSE 'ok' END AS state
            FROM (SELECT named.*, to_regclass('public.' || name) AS oid
                  FROM json_to_recordset($7::text::json) AS named (
                      name text, definition text, statements json, calls bigint, scans_before bigint)) AS named
            LEFT JOIN pg_index AS index ON index.indexrelid = named.oid
            LEFT JOIN pg_class AS relation ON relation.oid = index.indrelid
            LEFT JOIN LATERAL (
                SELECT CASE WHEN scans >= coalesce(scans_before, 0)
                            THEN scans - coalesce(scans_before, 0) ELSE scans END AS scans
                FROM usage WHERE usage.index = named.oid) AS used ON true
        ), index AS MATERIALIZED (
            SELECT i.indexrelid, i.indrelid, class.relname AS name, i.indisvalid, i.indisunique, i.indkey::text AS columns,
                   i.indkey::text || ' ' AS columns_then, i.indclass::text AS classes, i.indcollation::text AS collations,
                   i.indoption::text AS options, pg_get_expr(i.indexprs, i.indrelid) AS expressions,
                   pg_get_expr(i.indpred, i.indrelid) AS predicate, class.relam, i.indrelid::regclass::text AS on_table,
                   EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid) AS is_constraint,
                   EXISTS (SELECT FROM contract WHERE contract.indexrelid = i.indexrelid) AS is_named
            FROM pg_index AS i JOIN pg_class AS class ON class.oid = i.indexrelid
            WHERE class.relnamespace = 'public'::regnamespace AND NOT class.relispartition
        ), statistics AS (
            SELECT extract(day FROM now() - coalesce(stats_reset, pg_postmaster_start_time())) AS age_days,
                   blks_hit, blks_read
            FROM pg_stat_database WHERE datname = current_database()
        ), advice (name, level, detail, sql) AS (
            SELECT 'index_' || state, CASE state WHEN 'unused' THEN 'warning' ELSE 'error' END,
                   name || CASE state
                       WHEN 'missing' THEN ' is missing: the statements it is for scan or sort.'
                       WHEN 'invalid' THEN ' is invalid: it costs every write and serves no read.'
                       WHEN 'changed' THEN ' is not as it is declared, but: ' || pg_get_indexdef(indexrelid)
                       ELSE ' was not scanned once, although ' || calls || ' statements ran that are meant to use it.' END,
                   CASE state
                       WHEN 'missing' THEN replace(definition, 'INDEX ', 'INDEX CONCURRENTLY ')
                       WHEN 'invalid' THEN format('REINDEX INDEX CONCURRENTLY %I', name)
                       WHEN 'changed' THEN format('DROP INDEX CONCURRENTLY %I; ', name)
                                           || replace(definition, 'INDEX ', 'INDEX CONCURRENTLY ')
                       ELSE 'ANALYZE ' || substring(definition FROM 'ON (\\S+)') END || ';'
            FROM contract WHERE state <> 'ok'
            UNION ALL
            SELECT 'invalid_index', 'error', format('%s on %s is invalid: it costs every write and serves no read.', name, on_table),
                   format('REINDEX INDEX CONCURRENTLY %I;', name)
            FROM index WHERE NOT indisvalid AND NOT is_named
              AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index AS running WHERE running.index_relid = indexrelid)
            UNION ALL
            SELECT 'duplicate_index', 'warning', format('%s on %s is the same as %s.', spare.name, spare.on_table, kept.name),
                   CASE WHEN spare.is_constraint THEN
                       (SELECT format('ALTER TABLE %s DROP CONSTRAINT %I;', spare.on_table, conname)
                        FROM pg_constraint WHERE conindid = spare.indexrelid LIMIT 1)
                   ELSE format('DROP INDEX CONCURRENTLY %I;', spare.name) END
            FROM index AS spare JOIN index AS kept USING (indrelid, columns, classes, collations, options, relam)
            WHERE spare.expressions IS NOT DISTINCT FROM kept.expressions
              AND spare.predicate IS NOT DISTINCT FROM kept.predicate
              AND NOT spare.is_named AND spare.indisvalid AND kept.indisvalid
              AND (kept.is_named, kept.is_constraint, kept.indisunique, -kept.indexrelid::bigint)
                > (spare.is_named, spare.is_constraint, spare.indisunique, -spare.indexrelid::bigint)
            UNION ALL
            SELECT 'covered_index', 'info', format('%s on %s is the beginning of %s, which does for it.', spare.name, spare.on_table, min(kept.name)),
                   format('DROP INDEX CONCURRENTLY %I;', spare.name)
            FROM index AS spare JOIN index AS kept USING (indrelid, relam)
            WHERE starts_with(kept.columns, spare.columns_then) AND starts_with(kept.classes, spare.classes || ' ')
              AND starts_with(kept.collations, spare.collations || ' ') AND starts_with(kept.options, spare.options || ' ')
              AND spare.expressions IS NULL AND kept.expressions IS NULL AND kept.predicate IS NULL AND spare.predicate IS NULL
              AND relam = (SELECT oid FROM pg_am WHERE amname = 'btree')
              AND NOT spare.is_named AND NOT spare.indisunique AND spare.indisvalid AND kept.indisvalid
            GROUP BY spare.name, spare.on_table
            UNION ALL
            SELECT 'unused_index', 'info', format('%s on %s (%s) was not scanned once in %s days.',
                       name, on_table, pg_size_pretty(pg_relation_size(index.indexrelid)), age_days),
                   format('DROP INDEX CONCURRENTLY %I;', name)
            FROM statistics, index JOIN pg_stat_user_indexes AS used USING (indexrelid) JOIN pg_class AS relation ON relation.oid = indrelid
            WHERE age_days >= $9::int AND idx_scan = 0 AND relation.reltuples >= 1000
              AND NOT indisunique AND NOT is_constraint AND NOT is_named AND indisvalid AND predicate IS NULL
            UNION ALL
            SELECT 'unindexed_foreign_key', 'warning',
                   format('%s on %s has no index: deleting a row of %s scans it.', conname, conrelid::regclass, confrelid::regclass),
                   format('CREATE INDEX CONCURRENTLY ON %s (%s);', conrelid::regclass,
                       (SELECT string_agg(quote_ident(attname), ', ' ORDER BY place)
                        FROM unnest(conkey) WITH ORDINALITY AS key (attnum, place)
                        JOIN pg_attribute USING (attnum) WHERE attrelid = conrelid))
            FROM pg_constraint LEFT JOIN pg_stat_user_tables AS parent ON parent.relid = confrelid
            WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND conparentid = 0
              AND (conname <> ALL ($8::text[]) OR parent.n_tup_del > 0)
              AND NOT EXISTS (
                SELECT FROM index
                WHERE index.indrelid = conrelid AND indisvalid AND predicate IS NULL
                  AND (string_to_array(columns, ' ')::int2[])[1:cardinality(conkey)] @> conkey)
            UNION ALL
            SELECT 'sequential_scans', 'warning',
                   format('%s (%s rows) was scanned from one end to the other %s times.', relid::regclass, n_live_tup, seq_scan),
                   'EXPLAIN the statements below that read it, and add the index they miss: CREATE INDEX CONCURRENTLY ON '
                       || relid::regclass || ' (…);'
            FROM pg_stat_user_tables
            WHERE schemaname = 'public' AND n_live_tup >= 10000 AND seq_scan >= 50 AND seq_tup_read / seq_scan >= n_live_tup / 2
            UNION ALL
            SELECT 'cache_hit_ratio', 'warning',
                   format('%s %% of blocks were found in memory; 99 %% is usual.', round(100.0 * blks_hit / (blks_hit + blks_read), 1)),
                   'ALTER SYSTEM SET shared_buffers = ''…''; -- a quarter of the machine''s memory; then restart PostgreSQL'
            FROM statistics WHERE blks_hit + blks_read >= 1000000 AND blks_hit < 0.99 * (blks_hit + blks_read)
            UNION ALL
            SELECT 'long_running_query', 'warning',
                   format('process %s (%s, %s) has been running for %s s: %s', pid, usename, application_name,
                       round(extract(epoch FROM clock_timestamp() - query_start)), left(regexp_replace(query, '\\s+', ' ', 'g'), 200)),
                   format('SELECT pg_cancel_backend(%s);', pid)
            FROM pg_stat_activity
            WHERE datname = current_database() AND backend_type = 'client backend' AND state = 'active'
              AND pid <> pg_backend_pid() AND query_start < clock_timestamp() - $10::bigint * interval '1 millisecond'
            UNION ALL
            SELECT 'never_analysed', 'warning',
                   format('%s (%s rows) was never analysed: plans for it are guesses.', relid::regclass, n_live_tup),
                   format('ANALYZE %s;', relid::regclass)
            FROM pg_stat_user_tables
            WHERE schemaname = 'public' AND n_live_tup >= 1000 AND last_analyze IS NULL AND last_autoanalyze IS NULL
        )
        SELECT json_build_object(
            'connection_pool',
            (SELECT json_build_object(
                'pool_size', $2::int,
                'checked_in', checked_in,
                'checked_out', checked_out,
                'overflow', greatest(total - $2::int, 0),
                'total_connections', total,
                'source', 'pg_stat_activity, by application_name; pool_size is the variable db_pool_size')
             FROM connections),
            'index_usage',
            (SELECT coalesce(json_agg(index_row), '[]')
             FROM (SELECT * FROM usage ORDER BY scans DESC, index::text LIMIT 200) AS index_row),
            'table_sizes',
            (SELECT coalesce(json_agg(table_row), '[]')
             FROM (SELECT relname AS \"table\", pg_size_pretty(size_bytes) AS size, size_bytes
                   FROM (SELECT coalesce(pg_partition_root(relid), relid)::regclass AS relname,
                                sum(pg_total_relation_size(relid))::bigint AS size_bytes
                         FROM pg_stat_user_tables WHERE schemaname = 'public' GROUP BY 1) AS sized
                   ORDER BY size_bytes DESC, relname::text LIMIT 200) AS table_row),
            'slow_query_logging',
            json_build_object(
                'query_warn_ms', $3::bigint,
                'query_error_ms', $4::bigint,
                'request_warn_ms', $5::bigint,
                'request_error_ms', $6::bigint,
                'recommendations', array_remove(ARRAY[
                    'Find slow queries and requests in the component''s log: grep SLOW.',
                    CASE WHEN current_setting('log_min_duration_statement') = '-1'
                         THEN 'Let the server log them as well: ALTER SYSTEM SET log_min_duration_statement = '
                              || quote_literal($3::bigint || 'ms') || '; SELECT pg_reload_conf();' END,
                    CASE WHEN NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements')
                         THEN 'See the server''s own account of every statement: CREATE EXTENSION pg_stat_statements; '
                              || '(once it is in shared_preload_libraries).' END], NULL)),
            'nfr_target', '< 100ms per query (95th percentile)',
            'index_contract',
            (SELECT json_agg(json_build_object(
                'index', name, 'state', state, 'definition', definition, 'statements', statements,
                'calls', calls, 'scans', coalesce(scans, 0)) ORDER BY name)
             FROM contract),
            'advice',
            (SELECT coalesce(json_agg(json_build_object('name', name, 'level', level, 'detail', detail, 'sql', sql)
                ORDER BY position(level IN 'error warning info'), name, detail), '[]')
             FROM (SELECT * FROM advice LIMIT 200) AS advice),
            'top_statements', $11::text::json)::text"],
    access: Access::Scans("statistics views and the catalogue only"),
    max_rows: 200,
};

pub(super) static PERFORMANCE_TOP_STATEMENTS: Statement = Statement {
    name: "performance_top_statements",
    // A statement of its own: where the extension isn't installed there's no such view to name.
    sql: sql!["SELECT coalesce(json_agg(json_build_object(
                'query', left(regexp_replace(query, '\\s+', ' ', 'g'), 200), 'calls', calls,
                'total_ms', round(total_exec_time::numeric, 3), 'mean_ms', round(mean_exec_time::numeric, 3),
                'max_ms', round(max_exec_time::numeric, 3), 'rows', rows) ORDER BY total_exec_time DESC), '[]')::text
             FROM (SELECT * FROM pg_stat_statements
                   WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                   ORDER BY total_exec_time DESC LIMIT 10) AS top"],
    access: Access::Scans("a view on the server's memory"),
    max_rows: 10,
};

/// The database's half of the report as a JSON object. `used` is what the fleet's half knows of the window.
pub async fn performance_database(db: &Db, used: &Use) -> Result<String, DbError> {
    let Config {
        db_pool_size,
        thresholds,
        db_statement_timeout,
        unused_index_days,
        ..
    } = db.config();
    let int64 = |number: u128| Parameter::Int64(i64::try_from(number).unwrap_or(i64::MAX));
    let int32 = |number: u32| Parameter::Int32(i32::try_from(number).unwrap_or(i32::MAX));
    let ms = |us: u64| int64(u128::from(us / 1000));
    let top_statements = if used.has_statements {
        let answer = db.answer(&PERFORMANCE_TOP_STATEMENTS, vec![]).await?;
        answer.json.map_or(Parameter::DbNull, Parameter::Str)
    } else {
        Parameter::DbNull
    };
    let parameters = vec![
        text(APPLICATION_NAME),
        int32(*db_pool_size),
        ms(thresholds.query_warn_us),
        ms(thresholds.query_error_us),
        ms(thresholds.request_warn_us),
        ms(thresholds.request_error_us),
        text(contract(used)),
        names(UNINDEXED_KEYS),
        int32(*unused_index_days),
        int64(db_statement_timeout.as_millis()),
        top_statements,
    ];
    let answer = db.answer(&PERFORMANCE_DATABASE, parameters).await?;
    Ok(answer.json.unwrap_or_default())
}

/// What's promised of each named index, as JSON: what it's made by, the statements that need it, how often those ran.
fn contract(used: &Use) -> String {
    let indexes = NAMED_INDEXES.iter().map(|index| {
        let statements: Vec<_> = ALL
            .iter()
            .filter(|statement| statement.access.indexes().contains(&index.name))
            .map(|statement| statement.name)
            .collect();
        let calls = statements.iter().filter_map(|name| used.calls.get(*name));
        json!({
            "name": index.name,
            "definition": index.definition,
            "calls": calls.sum::<i64>(),
            "scans_before": used.scans_before.get(index.name),
            "statements": statements,
        })
    });
    serde_json::Value::Array(indexes.collect()).to_string()
}
