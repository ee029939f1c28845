//! The profiler: measures how each request uses the database, and reports the measurements in response headers and in the log.
//!
//! The module depends neither on our routes nor on our SQL, so that any axum app on Spin could use the profiler. [`ProfileLayer`] is a tower
//! layer that records its measurements in a [`RequestProfile`].

mod fleet;
mod headers;
mod layer;
mod log;
mod request;
mod sketch;
mod target;

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
pub use sketch::{Sketch, SketchTotals};
pub use target::Target;
