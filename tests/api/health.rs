//! /api/health and /api/health/ready

use http::StatusCode;
use support::{Database, Edge};

#[tokio::test]
async fn health_asks_the_database_nothing() {
    let database = Database::empty().await;
    let edge = Edge::start(&database).await;
    let answer = edge.get("/api/health").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.query_count(), 0);
    assert_eq!(answer.json()["status"], "healthy");
}

#[tokio::test]
async fn readiness_holds_on_a_migrated_database() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let answer = edge.get("/api/health/ready").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.query_count(), 1);
    assert_eq!(answer.json()["status"], "ready");
}

#[tokio::test]
async fn readiness_names_everything_an_empty_database_lacks() {
    let database = Database::empty().await;
    let edge = Edge::start(&database).await;
    let answer = edge.get("/api/health/ready").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let problem = answer.json();
    assert_eq!(problem["missing_migrations"][0], "0001_schema");
    assert_eq!(
        problem["missing_indexes"].as_array().map(Vec::len),
        Some(16)
    );
    let agents = edge.get("/api/agents").await;
    assert_eq!(agents.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(agents.json()["detail"], problem["detail"]);
    edge.log_line(&[
        "DATABASE NOT MIGRATED: agent_list_active",
        "run scripts/migrate",
    ])
    .await;
}

#[tokio::test]
async fn readiness_names_a_dropped_index_and_a_missing_migration() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let client = database.client().await;
    client
        .batch_execute(
            "DROP INDEX idx_messages_author_id;
             DELETE FROM migration_ledger WHERE name = '0002_indexes'",
        )
        .await
        .unwrap();
    let problem = edge.get("/api/health/ready").await.json();
    assert_eq!(problem["status"], 503);
    assert_eq!(
        problem["missing_indexes"],
        serde_json::json!(["idx_messages_author_id"])
    );
    assert_eq!(
        problem["missing_migrations"],
        serde_json::json!(["0002_indexes"])
    );
}
