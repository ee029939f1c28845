//! Writes with an Idempotency-Key. The component executes such a write once, even if the client sends it several times.

use futures_util::future::join_all;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use support::{Answer, Database, Edge};

use crate::{agent, channel, text};

async fn send(edge: &Edge, method: Method, path: &str, key: &str, body: &Value) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", edge.url()))
        .header("content-type", "application/json")
        .header("idempotency-key", key)
        .body(Full::from(body.to_string()))
        .expect("the request is valid");
    edge.send(request).await
}

async fn post(edge: &Edge, path: &str, key: &str, body: &Value) -> Answer {
    send(edge, Method::POST, path, key, body).await
}

#[tokio::test]
async fn twenty_concurrent_requests_with_one_key_create_one_message() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let path = format!("/api/channels/{}/messages", channel(&edge, "general").await);
    let body = json!({"content": "once"});
    let answers = join_all((0..20).map(|_| post(&edge, &path, "one-key", &body))).await;
    for answer in &answers {
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        assert_eq!(answer.body, answers[0].body);
        assert_eq!(answer.query_count(), 1);
    }
    let messages = edge.get(&path).await.json();
    assert_eq!(messages.as_array().map(Vec::len), Some(1));
    // Another key creates another message.
    let other = post(&edge, &path, "another-key", &body).await;
    assert_ne!(other.body, answers[0].body);
}

#[tokio::test]
async fn every_kind_of_write_accepts_an_idempotency_key() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let agent = agent(&edge, "backend").await;
    let general = channel(&edge, "general").await;
    let workflow = json!({"description": "w", "channel_id": general,
        "tasks": [{"description": "a", "agent_id": agent}, {"description": "b"}]});
    let created = post(&edge, "/api/workflows", "w", &workflow).await;
    assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    let workflow_path = format!("/api/workflows/{}", text(&created.json(), "id"));
    let claim = json!({"agent_id": agent});
    let agents = json!({"name": "writer", "agent_type": "writer"});
    let writes = [
        (Method::POST, workflow_path.clone() + "/start", Value::Null),
        (Method::POST, "/api/workflow-tasks/claim".to_owned(), claim),
        (
            Method::POST,
            workflow_path.clone() + "/tasks",
            json!({"description": "c", "order_index": 7}),
        ),
        (Method::POST, workflow_path.clone() + "/cancel", Value::Null),
        (Method::DELETE, workflow_path, Value::Null),
        (Method::POST, "/api/agents".to_owned(), agents),
        (
            Method::PATCH,
            format!("/api/agents/{agent}"),
            json!({"is_busy": true}),
        ),
        (
            Method::PATCH,
            format!("/api/agents/{agent}/deactivate"),
            Value::Null,
        ),
        (
            Method::POST,
            "/api/channels".to_owned(),
            json!({"name": "new"}),
        ),
        (
            Method::PATCH,
            format!("/api/channels/{general}"),
            json!({"topic": "t"}),
        ),
        (
            Method::POST,
            format!("/api/channels/{general}/clear"),
            Value::Null,
        ),
        (
            Method::DELETE,
            format!("/api/channels/{general}"),
            Value::Null,
        ),
        (
            Method::POST,
            "/api/tasks".to_owned(),
            json!({"description": "t", "priority": 3}),
        ),
    ];
    for (n, (method, path, body)) in writes.into_iter().enumerate() {
        let key = format!("key-{n}");
        let first = send(&edge, method.clone(), &path, &key, &body).await;
        assert!(first.status.is_success(), "{method} {path}: {first:?}");
        let repeat = send(&edge, method.clone(), &path, &key, &body).await;
        assert_eq!(repeat.status, first.status, "{method} {path}: {repeat:?}");
        assert_eq!(repeat.body, first.body, "{method} {path}");
    }
}

#[tokio::test]
async fn key_reused_for_another_request_is_refused() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let general = channel(&edge, "general").await;
    let path = format!("/api/channels/{general}/messages");
    assert_eq!(
        post(&edge, &path, "k", &json!({"content": "a"}))
            .await
            .status,
        201
    );
    let elsewhere = format!(
        "/api/channels/{}/messages",
        channel(&edge, "planning").await
    );
    for (path, content) in [(&path, "b"), (&elsewhere, "a")] {
        let answer = post(&edge, path, "k", &json!({ "content": content })).await;
        assert_eq!(crate::faults(&answer), ["idempotency-key"], "{answer:?}");
    }
}

#[tokio::test]
async fn failed_write_is_not_stored_under_its_key() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let body = json!({"name": "writer", "agent_type": "writer"});
    let made = edge.post("/api/agents", &body).await;
    let taken = post(&edge, "/api/agents", "k", &body).await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    let rename = json!({"name": "editor"});
    let path = format!("/api/agents/{}", text(&made.json(), "id"));
    assert_eq!(edge.patch(&path, &rename).await.status, StatusCode::OK);
    assert_eq!(
        post(&edge, "/api/agents", "k", &body).await.status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn write_without_effect_is_not_stored_under_its_key() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let planning = format!("/api/channels/{}", channel(&edge, "planning").await);
    let archived = edge.request(Method::DELETE, &planning).await;
    assert_eq!(archived.status, StatusCode::OK);
    let path = format!("{planning}/messages");
    let body = json!({"content": "late"});
    let refused = post(&edge, &path, "k", &body).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
    let sql = "UPDATE channels SET is_archived = false WHERE name = 'planning'";
    let client = database.client().await;
    client
        .execute(sql, &[])
        .await
        .expect("the channel can be reopened");
    let written = post(&edge, &path, "k", &body).await;
    assert_eq!(written.status, StatusCode::CREATED, "{written:?}");
    assert_eq!(post(&edge, &path, "k", &body).await.body, written.body);
}

#[tokio::test]
async fn invalid_key_is_reported_with_other_field_errors() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for key in ["", "with space", &"k".repeat(256), "k\u{e9}"] {
        let answer = post(&edge, "/api/channels", key, &json!({"name": 1})).await;
        assert_eq!(
            crate::faults(&answer),
            ["/name", "idempotency-key"],
            "{key}"
        );
    }
}

#[tokio::test]
async fn idempotency_keys_expire_after_a_day() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let path = format!("/api/channels/{}/messages", channel(&edge, "general").await);
    let body = json!({"content": "again"});
    let first = post(&edge, &path, "old", &body).await;
    let client = database.client().await;
    let kept = async |key: &str| -> bool {
        let sql = "SELECT EXISTS (SELECT FROM idempotency_keys WHERE key = $1)";
        client
            .query_one(sql, &[&key])
            .await
            .expect("the keys can be read")
            .get(0)
    };
    assert!(kept("old").await);
    let age = "UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'";
    client
        .execute(age, &[])
        .await
        .expect("the keys can be aged");
    post(&edge, &path, "new", &body).await;
    assert!(!kept("old").await && kept("new").await);
    assert_ne!(post(&edge, &path, "old", &body).await.body, first.body);
}
