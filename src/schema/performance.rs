//! The reports of the profiler.

use super::{FieldType, Schema, members};

/// The period that a report covers, up to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// A quarter of an hour, read from the data of each minute.
    QuarterHour,
    /// An hour. Like longer windows, it is read from totals, so it may cover ten minutes more. Its series are read from minutes.
    Hour,
    /// A day.
    Day,
    /// A week. The window may cover up to an hour more, because only hourly totals are kept after two days.
    Week,
}

impl Window {
    /// The windows' names in requests and reports.
    pub const NAMES: &[&str] = &["15m", "1h", "24h", "7d"];

    /// Returns the window with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "15m" => Some(Self::QuarterHour),
            "1h" => Some(Self::Hour),
            "24h" => Some(Self::Day),
            "7d" => Some(Self::Week),
            _ => None,
        }
    }

    /// Returns the window's name, and the window's length and the step of its series in seconds.
    pub(crate) fn parts(self) -> (&'static str, i32, i32) {
        match self {
            Self::QuarterHour => ("15m", 900, 60),
            Self::Hour => ("1h", 3600, 180),
            Self::Day => ("24h", 86_400, 3600),
            Self::Week => ("7d", 604_800, 21_600),
        }
    }
}

/// The performance of all instances and of the database.
pub static PERFORMANCE_DATABASE: Schema = Schema {
    name: "PerformanceDatabase",
    members: members! {
        connection_pool: FieldType::Object, Nullable, "Open connections of the component by state, and the configured pool size.";
        index_usage: FieldType::List { of: &FieldType::Object, max: 200 }, Nullable, "Number of scans of each index since the database's statistics were reset, the most scanned first.";
        table_sizes: FieldType::List { of: &FieldType::Object, max: 200 }, Nullable, "Size of each table, including its indexes, the largest first.";
        slow_query_logging: FieldType::Object, Nullable, "Thresholds in milliseconds from which queries and requests are logged as slow, and recommendations for finding slow queries in the logs and in pg_stat_statements.";
        nfr_target: FieldType::Text { min: 1, max: 100 }, Required, "The performance requirement, as text.";
        index_contract: FieldType::List { of: &FieldType::Object, max: 16 }, Nullable, "The state of each named index compared to its definition, the statements that need the index, and the numbers of scans and calls in the period.";
        advice: FieldType::List { of: &FieldType::Object, max: 200 }, Required, "Errors and possible improvements, the most severe first. The member sql can be run as it is, one statement at a time and outside a transaction.";
        unavailable: FieldType::List { of: &FieldType::Object, max: 200 }, Required, "Sections that are missing (their value is null) or incomplete, each with the reason.";
        top_statements: FieldType::List { of: &FieldType::Object, max: 10 }, Nullable, "The ten statements with the largest total duration, from pg_stat_statements.";
        window: FieldType::OneOf(Window::NAMES), Required, "Period that the measurements cover, up to now.";
        from: FieldType::Time, Nullable, "Start of the period.";
        to: FieldType::Time, Nullable, "End of the period.";
        nfr: FieldType::Object, Nullable, "Verdict on the requirement: pass, fail, or insufficient_data if fewer than 100 queries were measured against the configured target. target_ms and target_percent repeat this target. The percentiles also include queries that were measured against another target.";
        statements: FieldType::List { of: &FieldType::Object, max: 1000 }, Nullable, "Durations of each statement, the largest total duration first.";
        routes: FieldType::List { of: &FieldType::Object, max: 1000 }, Nullable, "Durations of each route's requests, the largest total duration first.";
        histogram: FieldType::List { of: &FieldType::Object, max: 1000 }, Nullable, "Number of queries by duration.";
        series: FieldType::List { of: &FieldType::Object, max: 10 }, Nullable, "Percentiles of request durations over time, for all routes together and for each of the busiest routes.";
        slow_queries: FieldType::List { of: &FieldType::Object, max: 60 }, Nullable, "The slowest queries, with their plans: for each statement, the three slowest runs and the newest run.";
        profiler: FieldType::Object, Nullable, "Numbers of measurements that the profiler recorded, wrote and lost, and the cost of writing them.";
    },
    example: r#"{"connection_pool": {"pool_size": 64, "checked_in": 8, "checked_out": 2, "overflow": 0, "total_connections": 10}, "index_usage": [{"table": "agents", "index": "idx_agents_name", "scans": 1523, "tuples_read": 1523, "tuples_fetched": 1523}], "table_sizes": [{"table": "messages", "size": "2048 kB", "size_bytes": 2097152}], "slow_query_logging": {"recommendations": []}, "nfr_target": "< 100ms per query (95th percentile)", "index_contract": [], "advice": [], "unavailable": [{"section": "top_statements", "reason": "The extension pg_stat_statements is not installed in this database."}], "top_statements": null, "window": "15m", "from": "2026-01-31T12:00:00.000000Z", "to": "2026-01-31T12:15:00.000000Z", "nfr": {"verdict": "pass", "target_ms": 100, "target_percent": 95, "queries": 18231, "within_target": 0.9987, "p50_ms": 0.5, "p95_ms": 3.1, "p99_ms": 9.8}, "statements": [], "routes": [], "histogram": [], "series": [], "slow_queries": [], "profiler": {"gathered": 40211, "flushed": 40211, "lost": 0, "flushes": 71, "flush_ms": 1.9, "sampling": 1, "size_bytes": 98304}}"#,
};

/// The hits and misses of the cache.
pub static PERFORMANCE_CACHE: Schema = Schema {
    name: "PerformanceCache",
    members: members! {
        window: FieldType::OneOf(Window::NAMES), Required, "Period that the measurements cover, up to now.";
        from: FieldType::Time, Nullable, "Start of the period.";
        to: FieldType::Time, Required, "End of the period.";
        cache_seconds: FieldType::Integer { min: 0, max: 3600 }, Required, "How long cached data stays valid, in seconds; 0 if nothing is cached.";
        total: FieldType::Object, Required, "Numbers of cache lookups, hits and errors, the hit rate, and the durations of lookups in milliseconds.";
        statements: FieldType::List { of: &FieldType::Object, max: 1000 }, Required, "The same numbers for each statement, sorted by lookups in descending order.";
    },
    example: r#"{"window": "15m", "from": "2026-01-31T12:00:00.000000Z", "to": "2026-01-31T12:15:00.000000Z", "cache_seconds": 10, "total": {"lookups": 18231, "hits": 17935, "hit_rate": 0.983764, "errors": 0, "p50_ms": 0.04, "p95_ms": 0.09, "p99_ms": 0.21, "max_ms": 1.3}, "statements": [{"name": "agent_get", "lookups": 18231, "hits": 17935, "hit_rate": 0.983764, "errors": 0, "p50_ms": 0.04, "p95_ms": 0.09, "p99_ms": 0.21, "max_ms": 1.3}]}"#,
};
