//! One component's connections: a pool for each address and certificate, made when first asked for.
//! Who may reach an address is decided before; how long a guest keeps a connection is not known here.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
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

/// Spin's constants.
const POOL_SIZE: usize = 64;
const MAX_POOLS: usize = 16;

/// Certificates that the machine trusts; read once, and only if a database may want TLS.
static SYSTEM_ROOTS: LazyLock<Vec<CertificateDer<'static>>> =
    LazyLock::new(|| rustls_native_certs::load_native_certs().certs);

/// A root certificate that a guest brought.
#[derive(Clone)]
pub struct CaRoot {
    pem: String,
    certificate: CertificateDer<'static>,
}

impl CaRoot {
    /// Takes a certificate as PEM.
    pub fn parse(pem: String) -> Result<Self, String> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes());
        let certificate = certificate.map_err(|e| format!("invalid root certificate: {e}"))?;
        // Refused here rather than at the first handshake.
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
    /// A connection to the address; waits for one if all are out.
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
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&key) {
            return Ok(pool.clone());
        }
        if pools.len() >= MAX_POOLS
            && let Some(oldest) = pools.keys().next().cloned()
        {
            // Connections still out live until their guests drop them.
            pools.remove(&oldest);
        }
        let pool = Pool::builder(manager(config, ca_root)?)
            .max_size(POOL_SIZE)
            // The one used last has its statements prepared and its server process at hand; Spin takes them in turn.
            .queue_mode(QueueMode::Lifo)
            .build()?;
        pools.insert(key, pool.clone());
        Ok(pool)
    }
}

fn manager(config: Config, ca_root: Option<CaRoot>) -> Result<Manager> {
    // Sessions are reset before they come back: session.rs.
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
