//! Tests with the configurations and databases of operators: database URLs in every form, servers that refuse statements, and tables and
//! triggers of other applications. In each case, the response or the log line must tell the operator the cause.

mod absent_objects;
mod addresses;
mod privileges;
mod secrets;
mod sqlstates;

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use reznet_edge::config::address::Address;
use serde_json::json;
use support::{Answer, Database, Edge};

/// Creates a task, with `key` as its idempotency key.
async fn create_task(edge: &Edge, key: Option<&str>) -> Answer {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("{}/api/tasks", edge.url()))
        .header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let body = json!({"description": "a task"}).to_string();
    edge.send(
        request
            .body(Full::from(body))
            .expect("the request is valid"),
    )
    .await
}

/// Returns the database's URL for the component's login role, in its parts.
fn address(database: &Database) -> Address {
    database.app_url().parse().expect("the URL is valid")
}

/// Starts the API with this value of `db_url`.
async fn edge_at(database: &Database, db_url: &str) -> Edge {
    let host = database.host();
    let variables = [("db_url", db_url), ("db_host", host.as_str())];
    let edge = Edge::start_at(&variables, &[]).await;
    edge.letting_statements_repeat()
}

/// Returns the error line in the log that has the request id of this response.
async fn line_about(edge: &Edge, answer: &Answer) -> String {
    let id = answer.header("x-request-id");
    edge.log_line(&["ERROR - ", id]).await
}

/// Fails unless the answer is 503 with `Retry-After`, and the log line contains `parts`.
async fn assert_unavailable(edge: &Edge, answer: &Answer, parts: &[&str]) {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(answer.status, status, "{}", edge.log());
    assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
    let line = line_about(edge, answer).await;
    for part in parts {
        assert!(line.contains(part), "{part}: {line}");
    }
}

/// Runs SQL as the tables' owner.
async fn run(database: &Database, sql: &str) {
    let client = database.client().await;
    let done = client.batch_execute(sql).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}
