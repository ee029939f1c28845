//! Input that means harm: injections into all that a client may send, with the database's log as the judge, and requests
//! made up at random. What it's answered is none of this suite's business, but that it's answered, and never by a 5xx.

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

/// Above this a body is refused before it's read, and the connection with it.
const MOST_BODY_BYTES: usize = 1 << 20;

const PATIENCE: Duration = Duration::from_secs(20);

/// No row has it: for what would delete one that others need.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// Rows that are there: without them most requests would end at "no such row".
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

    /// What stands in the place of a parameter of this operation's path: `{id}` is a row of the table that it names first.
    fn in_path(&self, operation: &Operation, parameter: &str) -> &str {
        if operation.method == Method::DELETE {
            return NOBODY;
        }
        let table = operation.path.split('/').nth(2).unwrap_or_default();
        let row = self.0.get(parameter).or_else(|| self.0.get(table));
        row.map_or("none", String::as_str)
    }
}

/// As it may stand in a path or a query.
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

/// Its status, which isn't one of the server's; 0 where a body is so long that the connection was closed before the answer
/// was read. Bodies that echo what was sent are none of its business.
async fn send(edge: &Edge, request: Request<Full<Bytes>>, what: &str) -> u16 {
    let shown = || what.chars().take(4_000).collect::<String>();
    let outcome = timeout(PATIENCE, edge.exchange(request)).await;
    match outcome.unwrap_or_else(|_| panic!("no answer within {PATIENCE:?}: {}", shown())) {
        Ok(answer) => {
            let status = answer.status.as_u16();
            assert!(status < 500, "{answer:?}: {}", shown());
            // The host itself answers where it can't tell for whom a request is.
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
