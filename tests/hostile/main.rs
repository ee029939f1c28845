//! Tests with malicious input. One test sends SQL injections in every part of a request, and checks the database's log. Another sends
//! random requests. The suite checks that each request gets a response without a 5xx status, but not the content of responses.

mod injection;
mod requests;
mod values;

use std::collections::BTreeMap;
use std::time::Duration;

use http::{Method, Request};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::{Value, json};
use support::Edge;
use support::contract::Operation;
use tokio::time::timeout;

/// The size above which the server refuses a body before reading it, and closes the connection.
const MOST_BODY_BYTES: usize = 1 << 20;

const PATIENCE: Duration = Duration::from_secs(20);

/// An id that no row has. Requests use it if they would otherwise delete rows that other requests need.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// The ids of existing rows, by table. Requests use them because with random ids most requests would end with 404.
#[derive(Debug)]
struct Rows(BTreeMap<&'static str, String>);

impl Rows {
    async fn create(edge: &Edge) -> Self {
        let id = async |path: &str, body: Value| -> String {
            let created = edge.post(path, &body).await;
            assert_eq!(created.status, 201, "{created:?}");
            created.json()["id"].as_str().expect("an id").to_owned()
        };
        let agent = id(
            "/api/agents",
            json!({"name": "@target", "agent_type": "target"}),
        )
        .await;
        let channel = id("/api/channels", json!({"name": "target"})).await;
        let messages = format!("/api/channels/{channel}/messages");
        let message = id(&messages, json!({"content": "first"})).await;
        let task = id("/api/tasks", json!({"description": "target"})).await;
        let workflow = id("/api/workflows", json!({"description": "target"})).await;
        let tasks = format!("/api/workflows/{workflow}/tasks");
        let workflow_task = id(&tasks, json!({"description": "target"})).await;
        Self(BTreeMap::from([
            ("agents", agent),
            ("channels", channel),
            ("messages", message),
            ("tasks", task),
            ("workflows", workflow),
            ("task_id", workflow_task),
            ("name", "target".to_owned()),
        ]))
    }

    /// Returns a value for a parameter of this operation's path. `{id}` is a row of the table that the path names first.
    fn in_path(&self, operation: &Operation, parameter: &str) -> &str {
        if operation.method == Method::DELETE {
            return NOBODY;
        }
        let table = operation.path.split('/').nth(2).unwrap_or_default();
        let row = self.0.get(parameter).or_else(|| self.0.get(table));
        row.map_or("none", String::as_str)
    }
}

/// Percent-encodes a text for a path or a query.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes it");
        }
    }
    encoded
}

/// Sends a request and returns its status, which must be below 500. Returns 0 if the body is so long that the connection was closed
/// before the response was read. Doesn't check the response's body.
async fn send(edge: &Edge, request: Request<Full<Bytes>>, what: &str) -> u16 {
    let shown = || what.chars().take(4_000).collect::<String>();
    let outcome = timeout(PATIENCE, edge.exchange(request)).await;
    match outcome.unwrap_or_else(|_| panic!("no answer within {PATIENCE:?}: {}", shown())) {
        Ok(answer) => {
            let status = answer.status.as_u16();
            assert!(status < 500, "{answer:?}: {}", shown());
            // If the request has an invalid Host header, the host itself answers, and its response has no X-Query-Count.
            let by_the_component = answer.headers.contains_key("x-query-count");
            let has_answer = by_the_component || what.contains("\nhost: ");
            assert!(has_answer, "{answer:?}: {}", shown());
            status
        }
        Err(error) => {
            assert!(what.len() > MOST_BODY_BYTES, "{error}: {}", shown());
            0
        }
    }
}
