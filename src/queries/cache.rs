//! The tables whose reads are cached in the key-value store until a write changes them, and the report on cache hits. The module doesn't depend
//! on HTTP.

use super::fleet_report::{bin_ms, measured, percentiles, window_from};
use super::text;
use crate::db::{Access, Db, DbError, Effect, Parameter, Statement};
use crate::schema::performance::Window;
use crate::schema::time;

/// A table whose reads are cached.
pub const AGENTS: &str = "agents";
/// See [`AGENTS`].
pub const CHANNELS: &str = "channels";

/// All tables whose reads are cached.
pub const TABLES: &[&str] = &[AGENTS, CHANNELS];

/// Returns true if a statement of this request may have changed a cached table.
#[must_use]
pub fn has_changed(db: &Db) -> bool {
    let writes = db.writes();
    writes
        .iter()
        .any(|write| TABLES.iter().any(|table| write.changes(table)))
}

pub(super) static PERFORMANCE_CACHE: Statement = Statement {
    name: "performance_cache",
    sql: constcat::concat![
        measured!("kind = 'cache'"),
        ", counted AS (
            SELECT name, count AS lookups, count - query_count AS hits, round((count - query_count) / count, 6) AS hit_rate,
                   errors, p50_ms, p95_ms, p99_ms, max_ms
            FROM one WHERE count > 0
        )
        SELECT json_build_object(
            'window', $2::text, 'from', ",
        time!(window_from!()),
        ", 'to', ",
        time!("now()"),
        ", 'cache_seconds', $3::bigint,
            'total', json_build_object(
                'lookups', coalesce(max(lookups), 0), 'hits', coalesce(max(hits), 0), 'hit_rate', max(hit_rate),
                'errors', coalesce(max(errors), 0), 'p50_ms', max(p50_ms), 'p95_ms', max(p95_ms), 'p99_ms', max(p99_ms),
                'max_ms', max(max_ms)),
            'statements', (SELECT coalesce(json_agg(counted ORDER BY lookups DESC, name), '[]') FROM counted WHERE name <> ''))::text
        FROM counted WHERE name = ''"
    ],
    effect: Effect::Reads,
    access: Access::Scans("some totals, and the minutes since the last of them"),
    max_rows: 1,
};

/// Returns the counts, hit rates and durations of cache lookups in the window as a JSON object.
pub async fn performance_cache(db: &Db, window: Window) -> Result<String, DbError> {
    let ttl_s = i64::try_from(db.config().cache_ttl.as_secs()).unwrap_or(i64::MAX);
    let (name, seconds, _) = window.parts();
    let parameters = vec![
        Parameter::Int32(seconds),
        text(name),
        Parameter::Int64(ttl_s),
    ];
    let answer = db.answer(&PERFORMANCE_CACHE, parameters).await?;
    Ok(answer.json.unwrap_or_default())
}
