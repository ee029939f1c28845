//! A guest's database connections, with their permits, pools and sessions. The interface that guests call is in `interfaces/postgres.rs`.

mod permits;
mod pool;
mod session;

use std::sync::Arc;

pub use permits::Permits;
pub use pool::{CaRoot, Pools};
pub use session::Session;

/// A guest's connection, shared with the queries that run on it.
pub type Connection = Arc<Session>;

/// A guest's settings for a new connection.
#[derive(Clone)]
pub struct ConnectionBuilder {
    /// The address: a URL, or keywords and values.
    pub address: String,
    /// The root certificate to trust instead of the machine's certificates.
    pub ca_root: Option<CaRoot>,
}

impl ConnectionBuilder {
    /// Returns the settings for an address.
    pub fn new(address: String) -> Self {
        Self {
            address,
            ca_root: None,
        }
    }
}
