//! Tests in which the database stops and restarts, ends the component's sessions, or becomes read-only.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::json;
use support::{Answer, Cluster, Database, Edge, database_variables, migrate};

const ORCHESTRATOR: &str = "/api/agents/name/orchestrator";

#[tokio::test]
async fn stopped_database_is_503_within_3_s_and_200_after_restart() {
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
        // The query count is 1 if the component sent the statement over a dead connection, and 0 if it could open no connection.
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
async fn terminated_session_does_not_fail_the_next_request() {
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
async fn wrong_database_address_is_logged_in_one_line_with_advice() {
    let database = Database::migrated().await;
    let (url, host) = (database.app_url(), database.host());
    let (before, rest) = url.split_once("reznet_api:").expect("the URL has a user");
    let (_, after) = rest.split_once('@').expect("the URL has a password");
    let wrong_password = format!("{before}reznet_api:hunter2@{after}");
    assert_ne!(wrong_password, url);
    let wrong_database = format!("{url}_not");
    for (db_url, db_host, advice) in [
        (
            &wrong_password,
            host.as_str(),
            "check the user and the password; else check that",
        ),
        (
            &wrong_database,
            host.as_str(),
            "create the database, or check its name; else check that",
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

/// Ends the component's sessions in this database.
async fn end_sessions(database: &Database) {
    let sql = "SELECT count(pg_terminate_backend(pid, 1000)) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'reznet-edge'";
    let client = database.client().await;
    client
        .batch_execute(sql)
        .await
        .expect("the sessions can be ended");
}

async fn write(edge: &Edge) -> Answer {
    let channels = edge.get("/api/channels").await.json();
    let id = channels[0]["id"].as_str().expect("a channel");
    let path = format!("/api/channels/{id}/messages");
    edge.post(&path, &json!({"content": "written"})).await
}

#[tokio::test]
async fn writes_are_503_on_a_read_only_server_and_succeed_after_failover() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await.letting_statements_repeat();
    assert_eq!(write(&edge).await.status, StatusCode::CREATED);
    // Makes the database read-only, like the old primary after a failover. The setting applies only to new sessions, so the old sessions are
    // ended.
    let name = database.name();
    let client = database.client().await;
    let set = |to: &str| format!("ALTER DATABASE {name} SET default_transaction_read_only = {to}");
    client.batch_execute(&set("on")).await.unwrap();
    end_sessions(&database).await;
    for _ in 0..3 {
        assert_eq!(edge.get(ORCHESTRATOR).await.status, StatusCode::OK);
        let refused = write(&edge).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        let line = ["DATABASE UNAVAILABLE", refused.header("x-request-id")];
        let line = edge.log_line(&line).await;
        assert!(line.contains("read-only transaction"), "{line}");
    }
    // Makes the database writable, like the new primary at the same address. The component must not use its read-only sessions again.
    let mut client = database.client().await;
    let transaction = client
        .build_transaction()
        .read_only(false)
        .start()
        .await
        .unwrap();
    transaction.batch_execute(&set("off")).await.unwrap();
    transaction.commit().await.unwrap();
    write(&edge).await;
    let written = write(&edge).await;
    assert_eq!(written.status, StatusCode::CREATED, "{}", edge.log());
}

#[tokio::test]
async fn exhausted_server_connections_are_503_with_logged_advice() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let name = database.name();
    let client = database.client().await;
    let limit = |to: i32| format!("ALTER DATABASE {name} CONNECTION LIMIT {to}");
    client.batch_execute(&limit(0)).await.unwrap();
    let refused = edge.get(ORCHESTRATOR).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    let line = ["DATABASE UNAVAILABLE", refused.header("x-request-id")];
    let line = edge.log_line(&line).await;
    assert!(line.contains("allow PostgreSQL more connections"), "{line}");
    client.batch_execute(&limit(-1)).await.unwrap();
    assert_eq!(edge.get(ORCHESTRATOR).await.status, StatusCode::OK);
}
