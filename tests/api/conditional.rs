//! Reads that the client has already: `ETag` and `If-None-Match`, on every one of them.

use http::{Method, StatusCode};
use serde_json::json;
use support::contract::operations;
use support::{Answer, Database, Edge};

use super::{agent, channel, text};

/// What tells something new each time it's asked.
const CHANGING: [&str; 4] = [
    "performance_cache",
    "performance_database",
    "performance_metrics",
    "readiness",
];

async fn get_unless(edge: &Edge, method: Method, path: &str, held: &str) -> Answer {
    edge.request_with(method, path, &[("if-none-match", held)])
        .await
}

#[tokio::test]
async fn what_the_client_holds_is_304_without_a_body_on_every_read() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let agent = agent(&edge, "orchestrator").await;
    let channel = channel(&edge, "general").await;
    let path = format!("/api/channels/{channel}/messages");
    let message = edge.post(&path, &json!({"content": "one"})).await.json();
    let tasks = json!([{"description": "a", "agent_id": agent}]);
    let workflow = json!({"description": "w", "tasks": tasks});
    let workflow = edge.post("/api/workflows", &workflow).await.json();
    let task = edge.post("/api/tasks", &json!({"description": "t"})).await;
    let mut count = 0;
    for operation in operations() {
        if operation.method != Method::GET {
            continue;
        }
        let id = match operation.path.split('/').nth(2) {
            Some("channels") => channel.clone(),
            Some("messages") => text(&message, "id").to_owned(),
            Some("workflows") => text(&workflow, "id").to_owned(),
            Some("tasks") => text(&task.json(), "id").to_owned(),
            _ => agent.clone(),
        };
        let path = operation
            .path
            .replace("{id}", &id)
            .replace("{task_id}", text(&workflow["workflow_tasks"][0], "id"))
            .replace("{name}", "orchestrator");
        let whole = edge.get(&path).await;
        assert_eq!(whole.status, StatusCode::OK, "{path}: {whole:?}");
        assert_eq!(whole.header("cache-control"), "no-cache", "{path}");
        let tag = whole.header("etag");
        let held = if CHANGING.contains(&operation.id.as_str()) {
            "*".to_owned()
        } else {
            format!("\"another\", W/{tag}")
        };
        for method in [Method::GET, Method::HEAD] {
            let unchanged = get_unless(&edge, method, &path, &held).await;
            assert_eq!(unchanged.status, StatusCode::NOT_MODIFIED, "{path}");
            assert!(unchanged.body.is_empty(), "{path}");
            assert!(!unchanged.headers.contains_key("content-length"), "{path}");
            assert_eq!(unchanged.query_count(), whole.query_count(), "{path}");
            assert_eq!(unchanged.header("cache-control"), "no-cache", "{path}");
            if held != "*" {
                assert_eq!(unchanged.header("etag"), tag, "{path}");
            }
        }
        let other = get_unless(&edge, Method::GET, &path, "\"0123456789abcdef\"").await;
        assert_eq!(other.status, StatusCode::OK, "{path}");
        count += 1;
    }
    assert!(count > 20, "only {count} reads");
}

#[tokio::test]
async fn a_change_is_seen_by_who_holds_what_was_before() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let agent = format!("/api/agents/{}", agent(&edge, "orchestrator").await);
    let messages = format!("/api/channels/{}/messages", channel(&edge, "general").await);
    for path in [agent.as_str(), "/api/agents", messages.as_str()] {
        let before = edge.get(path).await;
        let held = before.header("etag");
        let unchanged = get_unless(&edge, Method::GET, path, held).await;
        assert_eq!(unchanged.status, StatusCode::NOT_MODIFIED, "{path}");
        if path == messages {
            edge.post(path, &json!({"content": "new"})).await;
        } else {
            let busy = json!({"is_busy": path == agent});
            edge.send_json(Method::PATCH, &agent, &busy).await;
        }
        let changed = get_unless(&edge, Method::GET, path, held).await;
        assert_eq!(changed.status, StatusCode::OK, "{path}");
        assert_ne!(changed.header("etag"), held, "{path}");
        assert_ne!(changed.body, before.body, "{path}");
    }
}

#[tokio::test]
async fn errors_and_writes_are_never_304() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for path in ["/api/agents/name/nobody", "/api/agents?bogus=1", "/nothing"] {
        let error = get_unless(&edge, Method::GET, path, "*").await;
        assert!(error.status.is_client_error(), "{path}: {error:?}");
        assert!(!error.headers.contains_key("etag"), "{path}");
    }
    let path = format!("/api/channels/{}/clear", channel(&edge, "general").await);
    let written = get_unless(&edge, Method::POST, &path, "*").await;
    assert_eq!(written.status, StatusCode::OK);
    assert!(!written.headers.contains_key("etag"));
}
