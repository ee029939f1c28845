//! Tests of TLS to the database. The component accepts a certificate only if the configured authority has issued it for the server's name.

use http::StatusCode;
use reznet_edge::config::address::Address;
use support::{Database, Edge, TlsServer};

const ORCHESTRATOR: &str = "/api/agents/name/orchestrator";

async fn edge(database: &Database, server: &TlsServer, authority: &str) -> Edge {
    let address: Address = server.url(&database.app_url()).parse().unwrap();
    let verified = address.with_parameter("sslmode", "verify-full").unwrap();
    let (url, host) = (verified.to_url(), verified.host_port());
    let variables = [
        ("db_url", url.as_str()),
        ("db_host", host.as_str()),
        ("db_ca", authority),
    ];
    Edge::start_at(&variables, &[]).await
}

#[tokio::test]
async fn server_certificate_signed_by_db_ca_is_accepted() {
    let database = Database::migrated().await;
    let server = TlsServer::start(&database.host(), "127.0.0.1").await;
    let edge = edge(&database, &server, server.authority()).await;
    let answer = edge.get(ORCHESTRATOR).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", edge.log());
}

#[tokio::test]
async fn server_with_unverifiable_certificate_is_refused() {
    let database = Database::migrated().await;
    let server = TlsServer::start(&database.host(), "127.0.0.1").await;
    let other = TlsServer::start(&database.host(), "other.example").await;
    for (server, authority) in [
        // Each case must be refused: no configured authority, another authority than the certificate's, and a certificate for another name.
        (&server, ""),
        (&server, other.authority()),
        (&other, other.authority()),
    ] {
        let edge = edge(&database, server, authority).await;
        let answer = edge.get(ORCHESTRATOR).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        let id = answer.header("x-request-id");
        let line = edge.log_line(&["DATABASE UNAVAILABLE", id]).await;
        assert!(line.contains("certificate"), "{line}");
    }
}
