//! The connection pools of one component: one for each address and root certificate, created on first use. Callers check the address
//! beforehand, and decide how long a guest keeps a connection.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
};

use anyhow::{Context as _, Result};
use deadpool::managed::QueueMode;
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio_postgres::{Config, NoTls, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::lock::lock;

/// The maximum number of connections in a pool, as in Spin.
const POOL_SIZE: usize = 64;
/// The maximum number of pools, as in Spin.
const MAX_POOLS: usize = 16;

/// The root certificates that the machine trusts, read once, and only if a connection may use TLS.
static SYSTEM_ROOTS: LazyLock<Vec<CertificateDer<'static>>> =
    LazyLock::new(|| rustls_native_certs::load_native_certs().certs);

/// A root certificate from a guest.
#[derive(Clone)]
pub struct CaRoot {
    pem: String,
    certificate: CertificateDer<'static>,
}

impl CaRoot {
    /// Parses a certificate in PEM format.
    pub fn parse(pem: String) -> Result<Self, String> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes());
        let certificate = certificate.map_err(|e| format!("invalid root certificate: {e}"))?;
        // Reports an invalid certificate now instead of at the first handshake.
        RootCertStore::empty()
            .add(certificate.clone())
            .map_err(|e| format!("invalid root certificate: {e}"))?;
        Ok(Self { pem, certificate })
    }
}

/// The pools of one component.
#[derive(Debug, Default)]
pub struct Pools(Mutex<HashMap<(String, Option<String>), Pool>>);

impl Pools {
    /// Returns a connection to the address. Waits if all of the pool's connections are in use.
    pub async fn get(
        &self,
        address: &str,
        config: Config,
        ca_root: Option<CaRoot>,
    ) -> Result<Object> {
        let pool = self
            .pool(address, config, ca_root)
            .context("establishing PostgreSQL connection pool")?;
        Ok(pool.get().await?)
    }

    fn pool(&self, address: &str, config: Config, ca_root: Option<CaRoot>) -> Result<Pool> {
        let key = (
            address.to_owned(),
            ca_root.as_ref().map(|ca_root| ca_root.pem.clone()),
        );
        let mut pools = lock(&self.0);
        if let Some(pool) = pools.get(&key) {
            return Ok(pool.clone());
        }
        if pools.len() >= MAX_POOLS
            && let Some(oldest) = pools.keys().next().cloned()
        {
            // Removes an arbitrary pool. The pool's connections in use stay open until their guests drop them.
            pools.remove(&oldest);
        }
        let pool = Pool::builder(manager(config, ca_root)?)
            .max_size(POOL_SIZE)
            // Prefers the connection that was used last, because it has prepared statements and a warm server process. Spin uses the connections
            // in turn.
            .queue_mode(QueueMode::Lifo)
            .build()?;
        pools.insert(key, pool.clone());
        Ok(pool)
    }
}

fn manager(config: Config, ca_root: Option<CaRoot>) -> Result<Manager> {
    // The pool needn't reset sessions (`Fast`), because `session.rs` resets them before they return to the pool.
    let recycling = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    if config.get_ssl_mode() == SslMode::Disable {
        return Ok(Manager::from_config(config, NoTls, recycling));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(SYSTEM_ROOTS.iter().cloned());
    if let Some(ca_root) = ca_root {
        roots.add(ca_root.certificate)?;
    }
    let tls =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
    Ok(Manager::from_config(
        config,
        MakeRustlsConnect::new(tls),
        recycling,
    ))
}
