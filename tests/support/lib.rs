//! What the suites stand on: a database of one's own, a running host in front of it, and HTTP to talk to it.
//!
//! Everything here is real: PostgreSQL, the .wasm as it ships, the host's own process. Nothing is mocked.

pub mod contract;
mod database;
mod edge;
mod proxy;
mod tls;

pub use database::{Cluster, Database, database_variables, migrate};
pub use edge::{Answer, Edge};
pub use proxy::{Fault, Proxy};
pub use tls::TlsServer;

use std::path::PathBuf;

/// The project's folder.
#[must_use]
pub fn project() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
