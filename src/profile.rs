//! The profiler: what each request cost the database, told in headers and in the log.
//!
//! Knows neither HTTP routes nor SQL dialects of ours, so that any axum app on Spin could take it over:
//! [`ProfileLayer`] is a tower layer, [`RequestProfile`] what it measures into.

mod headers;
mod layer;
mod log;
mod request;

pub use layer::ProfileLayer;
pub use log::{Level, Thresholds, line, slow_query};
pub use request::{RequestProfile, StatementRun, Totals, elapsed_us};
