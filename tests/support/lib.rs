//! Support for the suites: a database for each test, a running host with the component, and an HTTP client.
//!
//! The suites use no mocks. They run a real PostgreSQL server, the release build of the component (.wasm), and a host process.

pub mod contract;
mod database;
mod edge;
mod lists;
mod proxy;
mod tls;

pub use database::{Cluster, Database, database_variables, migrate};
pub use edge::{Answer, Edge};
pub use lists::list_paths;
pub use proxy::{Fault, Proxy};
pub use tls::TlsServer;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::Output;

/// Returns the project's folder.
#[must_use]
pub fn project() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Appends a script's output to the log `scripts`. When all suites have run, `scripts/test` searches all logs for passwords.
pub fn keep_output(output: &Output) {
    keep("scripts", &output.stdout);
    keep("scripts", &output.stderr);
}

/// Appends bytes to a log in the folder that the variable `REZNET_TEST_LOGS` names, if it's set. Each process has its own logs.
fn keep(name: &str, bytes: &[u8]) {
    let Some(folder) = std::env::var_os("REZNET_TEST_LOGS") else {
        return;
    };
    let path = PathBuf::from(folder).join(format!("{name}-{}.log", std::process::id()));
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let kept = file.and_then(|mut file| file.write_all(bytes));
    kept.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
