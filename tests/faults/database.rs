//! The database goes away and comes back.

use std::time::{Duration, Instant};

use http::StatusCode;
use support::{Cluster, Database, Edge, database_variables, migrate};

const ORCHESTRATOR: &str = "/api/agents/name/orchestrator";

#[tokio::test]
async fn a_stopped_database_is_503_within_3_s_and_a_started_one_200() {
    let cluster = Cluster::start();
    migrate(&cluster.url()).expect("the new cluster can be migrated");
    let edge = Edge::start_at(&database_variables(&cluster.app_url()), &[]).await;
    assert_eq!(edge.get(ORCHESTRATOR).await.status, StatusCode::OK);

    cluster.stop();
    for path in [
        ORCHESTRATOR,
        "/api/agents",
        "/api/health/ready",
        "/api/performance/database",
    ] {
        let clock = Instant::now();
        let answer = edge.get(path).await;
        assert!(
            clock.elapsed() < Duration::from_secs(3),
            "{path}: {:?}",
            clock.elapsed()
        );
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(answer.headers.contains_key("retry-after"));
        // Either the connection was refused, or the statement found it dead.
        assert!(answer.query_count() <= 1);
        let line = edge
            .log_line(&["DATABASE UNAVAILABLE", answer.header("x-request-id")])
            .await;
        assert!(
            line.contains("check that PostgreSQL runs at the address in db_url"),
            "{line}"
        );
    }
    assert_eq!(edge.get("/api/health").await.status, StatusCode::OK);

    cluster.resume();
    assert_eq!(edge.get(ORCHESTRATOR).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_session_that_was_ended_does_not_spoil_the_next_request() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    assert_eq!(edge.get(ORCHESTRATOR).await.status, StatusCode::OK);
    let client = database.client().await;
    let ended = client
        .query(
            "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'reznet-edge'",
            &[],
        )
        .await
        .unwrap();
    assert!(!ended.is_empty(), "the edge has a session");
    assert_eq!(edge.get(ORCHESTRATOR).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_wrong_with_the_address_is_said_in_one_line_of_the_log() {
    let database = Database::migrated().await;
    let (url, host) = (database.app_url(), database.host());
    let wrong_password = url.replacen(":reznet_api@", ":hunter2@", 1);
    assert_ne!(wrong_password, url);
    let wrong_database = format!("{url}_not");
    for (db_url, db_host, advice) in [
        (
            &wrong_password,
            host.as_str(),
            "check the user and the password in db_url",
        ),
        (
            &wrong_database,
            host.as_str(),
            "create the database, or check its name in db_url",
        ),
        (
            &url,
            "127.0.0.1:1",
            "set db_host to the host:port that db_url names",
        ),
    ] {
        let edge = Edge::start_at(&[("db_url", db_url), ("db_host", db_host)], &[]).await;
        let answer = edge.get("/api/agents").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        let line = edge
            .log_line(&["DATABASE UNAVAILABLE", answer.header("x-request-id")])
            .await;
        assert!(line.contains(advice), "{line}");
        assert!(
            !edge.log().contains("hunter2"),
            "a password in the log:\n{}",
            edge.log()
        );
    }
}
