//! /api/stats

use serde_json::json;
use support::{Database, Edge};

use super::channel;

#[tokio::test]
async fn stats_return_exact_counts_of_small_tables() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let path = format!("/api/channels/{}/messages", channel(&edge, "general").await);
    edge.post(&path, &json!({"content": "one"})).await;
    edge.post("/api/tasks", &json!({"description": "one"}))
        .await;
    edge.post("/api/workflows", &json!({"description": "one"}))
        .await;
    assert_eq!(
        edge.get("/api/stats").await.json(),
        json!({
            "agents": {"total": 6, "active": 6, "busy": 0},
            "messages": {"total": 1, "is_estimate": false},
            "tasks": {"pending": 1},
            "workflows": {"pending": 1},
            "counted_at": null,
        })
    );
}

#[tokio::test]
async fn stats_estimate_the_message_count_of_a_large_table() {
    let database = Database::migrated().await;
    let client = database.client().await;
    client
        .batch_execute(
            "INSERT INTO messages (channel_id, author_type, author_name, content)
             SELECT id, 'user', 'u', 'x' FROM channels, generate_series(1, 40000) WHERE name <> 'general';
             ANALYZE messages",
        )
        .await
        .unwrap();
    let edge = Edge::start(&database).await;
    let messages = edge.get("/api/stats").await.json()["messages"].clone();
    assert_eq!(messages["is_estimate"], true);
    let total = messages["total"].as_f64().expect("a number");
    assert!(
        (114_000.0..126_000.0).contains(&total),
        "the estimate is {total}, but there are 120,000 messages"
    );
}
