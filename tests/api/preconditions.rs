//! Writes with `If-Match`. Such a write changes the row only if the row's entity tag is still the entity tag that the client received.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use support::contract::operations;
use support::{Answer, Database, Edge};

use super::{NOBODY, agent, channel, text};

/// A write request that accepts `If-Match`. Each value has its own row, so tests of several writes don't affect each other.
struct Write {
    method: Method,
    path: String,
    body: Option<Value>,
    /// The row's path. A GET of this path returns the entity tag.
    row: String,
    /// Another write, which changes the row's entity tag: method, path and body.
    other: (Method, String, Value),
}

async fn send(
    edge: &Edge,
    method: &Method,
    path: &str,
    body: Option<&Value>,
    headers: &[(&str, &str)],
) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", edge.url()));
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = body.map(ToString::to_string).unwrap_or_default();
    edge.send(request.body(body.into()).unwrap()).await
}

impl Write {
    async fn if_match(&self, edge: &Edge, tags: &str) -> Answer {
        let headers = [("if-match", tags)];
        send(edge, &self.method, &self.path, self.body.as_ref(), &headers).await
    }

    async fn change_otherwise(&self, edge: &Edge) {
        let (method, path, body) = &self.other;
        let answer = send(edge, method, path, Some(body), &[]).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }
}

async fn tag_of(edge: &Edge, row: &str) -> String {
    let answer = edge.get(row).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let tag = answer.header("etag");
    assert!(tag.starts_with('"'), "a row's tag is strong: {tag}");
    tag.to_owned()
}

/// Creates a workflow with two tasks, and returns its id.
async fn workflow(edge: &Edge) -> String {
    let tasks = json!([{"description": "a"}, {"description": "b"}]);
    let body = json!({"description": "w", "tasks": tasks});
    let created = edge.post("/api/workflows", &body).await;
    assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    text(&created.json(), "id").to_owned()
}

/// Creates a row, and returns a `Write` that runs `operation` on this row. The write isn't sent yet.
async fn write(edge: &Edge, operation: &str) -> Write {
    static NAMES: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let name = NAMES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let created = async |path: &str, body: Value| {
        let answer = edge.post(path, &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        format!("{path}/{}", text(&answer.json(), "id"))
    };
    let simple = |method, row: String, action: &str, body: Option<Value>, change: Value| Write {
        method,
        path: format!("{row}{action}"),
        body,
        other: (Method::PATCH, row.clone(), change),
        row,
    };
    let (prefix, action) = operation.split_once('_').unwrap();
    match (prefix, action) {
        ("agent", action) => {
            let body = json!({"name": format!("writer-{name}"), "agent_type": "writer"});
            let row = created("/api/agents", body).await;
            let change = json!({"config": {"changed": true}});
            match action {
                "update" => simple(
                    Method::PATCH,
                    row,
                    "",
                    Some(json!({"is_busy": true})),
                    change,
                ),
                _ => simple(Method::PATCH, row, &format!("/{action}"), None, change),
            }
        }
        ("channel", action) => {
            let row = created("/api/channels", json!({"name": format!("channel {name}")})).await;
            let change = json!({"topic": "changed"});
            match action {
                "update" => simple(
                    Method::PATCH,
                    row,
                    "",
                    Some(json!({"channel_type": "private"})),
                    change,
                ),
                "archive" => simple(Method::DELETE, row, "", None, change),
                _ => simple(Method::POST, row, "/clear", None, change),
            }
        }
        ("task", "update") => {
            let row = created("/api/tasks", json!({"description": "t"})).await;
            let change = json!({"result": "changed"});
            simple(Method::PATCH, row, "", Some(json!({"priority": 7})), change)
        }
        ("workflow", "task_update") => {
            let id = workflow(edge).await;
            edge.request(Method::POST, &format!("/api/workflows/{id}/start"))
                .await;
            let claim = json!({"agent_id": agent(edge, "backend").await, "workflow_id": id});
            let task = edge.post("/api/workflow-tasks/claim", &claim).await;
            assert_eq!(task.status, StatusCode::OK, "{task:?}");
            let row = format!("/api/workflows/{id}/tasks/{}", text(&task.json(), "id"));
            assert_eq!(task.header("etag"), tag_of(edge, &row).await);
            let body = json!({"status": "completed", "output": "done"});
            simple(
                Method::PATCH,
                row,
                "",
                Some(body),
                json!({"output": "half"}),
            )
        }
        ("workflow", action) => {
            let id = workflow(edge).await;
            let row = format!("/api/workflows/{id}");
            let (method, path) = match action {
                "delete" => (Method::DELETE, row.clone()),
                _ => (Method::POST, format!("{row}/{action}")),
            };
            if action == "cancel" {
                edge.request(Method::POST, &format!("{row}/start")).await;
            }
            // Adds a task to the workflow. This changes the workflow's ETag, because the ETag also depends on the workflow's tasks.
            let other = (
                Method::POST,
                format!("{row}/tasks"),
                json!({"description": "c"}),
            );
            Write {
                method,
                path,
                body: None,
                row,
                other,
            }
        }
        _ => panic!("{operation} depends on If-Match and has no test here"),
    }
}

/// Returns the id of every operation for which openapi.json lists the status 412.
fn conditional() -> Vec<String> {
    let operations = operations().into_iter();
    let conditional = operations.filter(|operation| operation.statuses().contains(&412));
    let conditional: Vec<_> = conditional.map(|operation| operation.id).collect();
    assert_eq!(conditional.len(), 11, "{conditional:?}");
    conditional
}

#[tokio::test]
async fn every_operation_that_changes_one_row_documents_412() {
    let changes: BTreeSet<_> = operations()
        .into_iter()
        .filter(|operation| {
            let acts = ["/start", "/cancel", "/clear"];
            [Method::PATCH, Method::DELETE].contains(&operation.method)
                || acts.iter().any(|action| operation.path.ends_with(action))
        })
        .map(|operation| operation.id)
        .collect();
    assert_eq!(changes, conditional().into_iter().collect());
}

#[tokio::test]
async fn write_with_mismatched_if_match_is_412_and_changes_nothing() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for operation in conditional() {
        let write = write(&edge, &operation).await;
        let old = tag_of(&edge, &write.row).await;
        write.change_otherwise(&edge).await;
        let before = edge.get(&write.row).await;
        let current = before.header("etag").to_owned();
        assert_ne!(old, current, "{operation}");
        let weak = format!("W/{current}");
        let bare = current.trim_matches('"');
        let of_two = format!("{old}, {weak}");
        for tags in [
            &old,
            "\"0000000000000000\"",
            &weak,
            bare,
            "",
            "\"*\"",
            &of_two,
            "*, *",
        ] {
            let refused = write.if_match(&edge, tags).await;
            assert_eq!(
                refused.status,
                StatusCode::PRECONDITION_FAILED,
                "{operation}: {tags}: {refused:?}"
            );
            assert_eq!(refused.header("etag"), current, "{operation}");
            assert!(
                text(&refused.json(), "detail").contains(bare),
                "{refused:?}"
            );
            assert_eq!(refused.query_count(), 1, "{operation}");
        }
        let after = edge.get(&write.row).await;
        assert_eq!(after.body, before.body, "{operation}");
        assert_eq!(after.header("etag"), current, "{operation}");
    }
}

#[tokio::test]
async fn write_with_matching_if_match_returns_the_new_etag() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for operation in conditional() {
        for form in ["TAG", "\"other\", TAG", "TAG,W/\"x\"", "*", "GZIP", "none"] {
            let write = write(&edge, &operation).await;
            let tag = tag_of(&edge, &write.row).await;
            let zipped = format!("{}-gzip\"", tag.trim_end_matches('"'));
            let tags = form.replace("TAG", &tag).replace("GZIP", &zipped);
            let done = if form == "none" {
                send(&edge, &write.method, &write.path, write.body.as_ref(), &[]).await
            } else {
                write.if_match(&edge, &tags).await
            };
            assert_eq!(done.status, StatusCode::OK, "{operation}: {tags}: {done:?}");
            assert_eq!(done.query_count(), 1, "{operation}");
            let now = edge.get(&write.row).await;
            if operation == "workflow_delete" {
                assert_eq!(now.status, StatusCode::NOT_FOUND);
                assert!(!done.headers.contains_key("etag"));
            } else {
                assert_eq!(done.header("etag"), now.header("etag"), "{operation}");
                // Every write must change the ETag, even the activation of an active agent, which changes only `updated_at`.
                assert_ne!(now.header("etag"), tag, "{operation}");
            }
        }
    }
}

#[tokio::test]
async fn create_returns_the_same_etag_as_get() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let messages = format!("/api/channels/{}/messages", channel(&edge, "general").await);
    let workflow = workflow(&edge).await;
    let tasks = format!("/api/workflows/{workflow}/tasks");
    for (path, body) in [
        (
            "/api/agents",
            json!({"name": "new", "agent_type": "writer"}),
        ),
        ("/api/channels", json!({"name": "new"})),
        (
            messages.as_str(),
            json!({"content": "x", "metadata": {"a": [1.0, "\u{1F980}"]}}),
        ),
        (
            "/api/tasks",
            json!({"description": "x", "context": {"n": 1e3}}),
        ),
        (
            "/api/workflows",
            json!({"description": "x", "tasks": [{"description": "b", "order_index": 5}, {"description": "a", "order_index": 1}]}),
        ),
        (tasks.as_str(), json!({"description": "x"})),
    ] {
        let created = edge.post(path, &body).await;
        assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
        let found = edge.get(created.header("location")).await;
        assert_eq!(found.body, created.body, "{path}");
        assert_eq!(found.header("etag"), created.header("etag"), "{path}");
    }
    let dm = format!("/api/agents/{}/dm-channel", agent(&edge, "backend").await);
    let made = edge.get(&dm).await;
    let row = format!("/api/channels/{}", text(&made.json(), "id"));
    assert_eq!(made.header("etag"), tag_of(&edge, &row).await);
}

#[tokio::test]
async fn status_404_precedes_412_and_412_precedes_409() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let stale = [("if-match", "\"0000000000000000\"")];
    for operation in conditional() {
        let write = write(&edge, &operation).await;
        let id = write.row.rsplit('/').next().unwrap();
        let path = write.path.replace(id, NOBODY);
        let answer = send(&edge, &write.method, &path, write.body.as_ref(), &stale).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{operation}");
    }
    let workflow = format!("/api/workflows/{}", workflow(&edge).await);
    let cancel = format!("{workflow}/cancel");
    let tag = tag_of(&edge, &workflow).await;
    let refused = edge.request_with(Method::POST, &cancel, &stale).await;
    assert_eq!(refused.status, StatusCode::PRECONDITION_FAILED);
    let current = [("if-match", tag.as_str())];
    let refused = edge.request_with(Method::POST, &cancel, &current).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);

    let agent = format!("/api/agents/{}", agent(&edge, "backend").await);
    let taken = json!({"name": "orchestrator"});
    let tag = tag_of(&edge, &agent).await;
    let refused = send(&edge, &Method::PATCH, &agent, Some(&taken), &stale).await;
    assert_eq!(refused.status, StatusCode::PRECONDITION_FAILED);
    let current = [("if-match", tag.as_str())];
    let refused = send(&edge, &Method::PATCH, &agent, Some(&taken), &current).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert_eq!(tag_of(&edge, &agent).await, tag);
}

#[tokio::test]
async fn repeat_with_same_key_returns_the_first_response_and_etag() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for operation in conditional() {
        let write = write(&edge, &operation).await;
        let tag = tag_of(&edge, &write.row).await;
        let (old, key) = ("\"0000000000000000\"", format!("key-{operation}"));
        let keyed = async |tags: &str| {
            let headers = [("if-match", tags), ("idempotency-key", &key)];
            let body = write.body.as_ref();
            send(&edge, &write.method, &write.path, body, &headers).await
        };
        // A 412 response isn't stored under the idempotency key, so the client can repeat the write with the same key and another tag.
        let refused = keyed(old).await;
        assert_eq!(refused.status, StatusCode::PRECONDITION_FAILED);
        assert_eq!(refused.header("etag"), tag);
        let done = keyed(&tag).await;
        assert_eq!(done.status, StatusCode::OK, "{operation}: {done:?}");
        let again = keyed(&tag).await;
        assert_eq!(again.status, StatusCode::OK, "{operation}: {again:?}");
        assert_eq!(again.body, done.body, "{operation}");
        assert_eq!(again.headers.get("etag"), done.headers.get("etag"));
        assert_eq!(again.query_count(), 1, "{operation}");
        let other = keyed("\"1111111111111111\"").await;
        assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY, "{other:?}");
    }
}

const ROUNDS: usize = 50;
const CLIENTS: usize = 64;

/// Sends many writes with the same `If-Match` at once. Exactly one must succeed. Every response must have the entity tag that the row has
/// after the successful write. Returns this entity tag.
async fn race(edge: &Edge, row: &str, path: &str, method: Method, body: Option<Value>) -> String {
    let tag = tag_of(edge, row).await;
    let headers = [("if-match", tag.as_str())];
    let writes = (0..CLIENTS).map(|_| send(edge, &method, path, body.as_ref(), &headers));
    let answers = join_all(writes).await;
    let current = tag_of(edge, row).await;
    assert_ne!(current, tag);
    let done = |answer: &&Answer| answer.status == StatusCode::OK;
    assert_eq!(answers.iter().filter(done).count(), 1, "{answers:?}");
    for answer in &answers {
        let status = answer.status;
        let expected = [StatusCode::OK, StatusCode::PRECONDITION_FAILED];
        assert!(expected.contains(&status), "{answer:?}");
        assert_eq!(answer.header("etag"), current, "{status}");
    }
    current
}

#[tokio::test]
async fn one_of_64_clients_with_the_same_etag_changes_an_agent_or_task() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let agent = format!("/api/agents/{}", agent(&edge, "backend").await);
    let task = edge.post("/api/tasks", &json!({"description": "t"})).await;
    let task = format!("/api/tasks/{}", text(&task.json(), "id"));
    for round in 0..ROUNDS {
        let body = json!({"config": {"round": round}});
        race(&edge, &agent, &agent, Method::PATCH, Some(body)).await;
        let body = json!({"result": round.to_string()});
        race(&edge, &task, &task, Method::PATCH, Some(body)).await;
    }
}

#[tokio::test]
async fn one_of_64_clients_with_the_same_etag_changes_a_workflow_or_its_task() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let agent = agent(&edge, "backend").await;
    for _ in 0..ROUNDS / 2 {
        let id = workflow(&edge).await;
        let row = format!("/api/workflows/{id}");
        race(&edge, &row, &format!("{row}/start"), Method::POST, None).await;
        let claim = json!({"agent_id": agent, "workflow_id": id});
        let task = edge.post("/api/workflow-tasks/claim", &claim).await.json();
        let task = format!("{row}/tasks/{}", text(&task, "id"));
        let before = tag_of(&edge, &row).await;
        let body = json!({"output": "x"});
        race(&edge, &task, &task, Method::PATCH, Some(body)).await;
        assert_ne!(
            tag_of(&edge, &row).await,
            before,
            "a workflow's tag covers its tasks"
        );
        race(&edge, &row, &format!("{row}/cancel"), Method::POST, None).await;
    }
}
