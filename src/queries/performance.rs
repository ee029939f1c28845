//! What PostgreSQL's statistics views tell of connections, indexes and sizes. Reads no table of ours.

use crate::config::{APPLICATION_NAME, Config};
use crate::db::{Access, Db, DbError, Parameter, Statement};

pub(super) static PERFORMANCE_DATABASE: Statement = Statement {
    name: "performance_database",
    sql: "WITH connections AS (
            SELECT count(*) FILTER (WHERE state = 'idle') AS checked_in,
                   count(*) FILTER (WHERE state IS DISTINCT FROM 'idle') AS checked_out,
                   count(*) AS total
            FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = $1::text
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
             FROM (SELECT relname AS \"table\", indexrelname AS index, idx_scan AS scans,
                          idx_tup_read AS tuples_read, idx_tup_fetch AS tuples_fetched
                   FROM pg_stat_user_indexes
                   WHERE schemaname = 'public'
                   ORDER BY idx_scan DESC, indexrelname LIMIT 200) AS index_row),
            'table_sizes',
            (SELECT coalesce(json_agg(table_row), '[]')
             FROM (SELECT relname AS \"table\", pg_size_pretty(size_bytes) AS size, size_bytes
                   FROM (SELECT relname, pg_total_relation_size(relid) AS size_bytes
                         FROM pg_stat_user_tables WHERE schemaname = 'public') AS sized
                   ORDER BY size_bytes DESC, relname LIMIT 200) AS table_row),
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
            'nfr_target', '< 100ms per query (95th percentile)')::text",
    access: Access::Scans("statistics views and the catalogue only"),
    max_rows: 200,
};

/// The report of `/api/performance/database` as a JSON object.
pub async fn performance_database(db: &Db) -> Result<String, DbError> {
    let Config {
        db_pool_size,
        thresholds,
        ..
    } = db.config();
    let ms = |us: u64| Parameter::Int64(i64::try_from(us / 1000).unwrap_or(i64::MAX));
    let parameters = vec![
        Parameter::Str(APPLICATION_NAME.to_owned()),
        Parameter::Int32(i32::try_from(*db_pool_size).unwrap_or(i32::MAX)),
        ms(thresholds.query_warn_us),
        ms(thresholds.query_error_us),
        ms(thresholds.request_warn_us),
        ms(thresholds.request_error_us),
    ];
    let answer = db.answer(&PERFORMANCE_DATABASE, parameters).await?;
    Ok(answer.json.unwrap_or_default())
}
