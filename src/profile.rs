//! The profiler: what each request cost the database, told in headers and in the log.
//!
//! Knows neither HTTP routes nor SQL dialects of ours, so that any axum app on Spin could take it over:
//! [`ProfileLayer`] is a tower layer, [`RequestProfile`] what it measures into.

mod fleet;
mod headers;
mod layer;
mod log;
mod request;
mod sketch;

pub use fleet::{
    Batch, Fleet, FleetSettings, Flush, Flushed, Gathered, Key, Kind, SlowQuerySeen,
    after_response, now_us,
};
pub use headers::HEADERS;
pub use layer::ProfileLayer;
pub use log::{Level, LogFormat, Thresholds, line, set_log_format, slow_query};
pub use request::{
    CacheLookup, Repetition, RequestProfile, SlowQuery, StatementRun, Totals, elapsed_us,
};
pub use sketch::{Sketch, SketchTotals, TARGET_US};
