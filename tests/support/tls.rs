//! A TLS server in front of PostgreSQL. Its certificate is issued by a new authority that only the test trusts. The server answers an
//! `SSLRequest` like PostgreSQL (<https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL>), and forwards the
//! decrypted data to PostgreSQL.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::proxy::by_way_of;

/// The `SSLRequest` message: its length as four bytes, then the request code as four bytes.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// A server that requires TLS.
pub struct TlsServer {
    address: SocketAddr,
    authority: String,
}

impl TlsServer {
    /// Starts a server in front of a `host:port`, with a certificate for this name or address.
    pub async fn start(server: &str, name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are fine");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).expect("it signs itself").pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("the name is one");
        let certificate = params.signed_by(&key, &issuer).expect("it's signed");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key of a known kind");
        let config = ServerConfig::builder_with_provider(Arc::new(
            tokio_rustls::rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .expect("ring knows them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("the key is the certificate's");
        let acceptor = TlsAcceptor::from(Arc::new(config));

        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("the listener is bound");
        let server = server.to_owned();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, server) = (acceptor.clone(), server.clone());
                // Ignores errors here, because the component reports a failed handshake, and the test checks that report.
                tokio::spawn(async move { serve(client, acceptor, &server).await.ok() });
            }
        });
        Self { address, authority }
    }

    /// Returns the authority's certificate, as PEM.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns `database_url` with this server's `host:port`.
    #[must_use]
    pub fn url(&self, database_url: &str) -> String {
        by_way_of(self.address, database_url)
    }
}

async fn serve(mut client: TcpStream, acceptor: TlsAcceptor, server: &str) -> std::io::Result<()> {
    let mut request = [0; SSL_REQUEST.len()];
    client.read_exact(&mut request).await?;
    // A client that doesn't request TLS is disconnected.
    if request != SSL_REQUEST {
        return Ok(());
    }
    client.write_all(b"S").await?;
    let mut client = acceptor.accept(client).await?;
    let mut server = TcpStream::connect(server).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
