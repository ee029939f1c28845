//! What's kept in the key-value store: what's read of agents and of channels, until they're written to. And how often it was
//! found there. Knows nothing of requests.

use super::fleet_report::{Window, bin_ms, measured, percentiles, window_from};
use super::sql::time;
use super::{sql, text, writes_sent};
use crate::db::{Access, Db, DbError, Parameter, Statement};

/// The tables whose reads are kept.
pub const AGENTS: &str = "agents";
/// See [`AGENTS`].
pub const CHANNELS: &str = "channels";

/// All of them.
pub const TABLES: &[&str] = &[AGENTS, CHANNELS];

/// Whether anything was sent for this request that may have changed what's kept.
#[must_use]
pub fn has_changed(db: &Db) -> bool {
    writes_sent(db).any(|statement| TABLES.iter().any(|table| statement.changes(table)))
}

pub(super) static PERFORMANCE_CACHE: Statement = Statement {
    name: "performance_cache",
    sql: sql![
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
    access: Access::Scans("some totals, and the minutes since the last of them"),
    max_rows: 1,
};

/// How often what was sought in the cache was there, as a JSON object.
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
