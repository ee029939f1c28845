//! Tests of the API over HTTP. Each test has its own database and its own running host. Files such as agents.rs test the paths of one
//! resource. The other files test one rule on many paths.

mod access;
mod agents;
mod bodies;
mod cache;
mod channels;
mod conditional;
mod framing;
mod health;
mod http;
mod idempotency;
mod messages;
mod names;
mod openapi;
mod paging;
mod performance;
mod preconditions;
mod profile;
mod search_path;
mod stats;
mod tasks;
mod times;
mod workflow_tasks;
mod workflows;

use serde_json::Value;
use support::{Answer, Edge};

/// An id that no row has.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// Returns a member of an object as text. Fails if the member is missing or isn't a string.
fn text<'a>(row: &'a Value, member: &str) -> &'a str {
    row[member]
        .as_str()
        .unwrap_or_else(|| panic!("no {member}: {row}"))
}

/// Returns the member `member` of each row in a response that is a list.
fn each(answer: &Answer, member: &str) -> Vec<String> {
    let rows = answer.json();
    let rows = rows
        .as_array()
        .unwrap_or_else(|| panic!("a list is a bare array: {rows}"));
    rows.iter()
        .map(|row| text(row, member).to_owned())
        .collect()
}

/// Returns the location of each field error in a 422 response: a JSON pointer into the body, or a parameter's name.
fn faults(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 422, "{answer:?}");
    let problem = answer.json();
    let errors = problem["errors"].as_array().expect("errors");
    errors
        .iter()
        .map(|fault| {
            fault["pointer"]
                .as_str()
                .or(fault["parameter"].as_str())
                .expect("a pointer or a parameter")
                .to_owned()
        })
        .collect()
}

/// Returns the id of an agent that the migrations have inserted.
async fn agent(edge: &Edge, name: &str) -> String {
    text(
        &edge.get(&format!("/api/agents/name/{name}")).await.json(),
        "id",
    )
    .to_owned()
}

/// Returns the id of a channel that the migrations have inserted.
async fn channel(edge: &Edge, name: &str) -> String {
    let channels = edge.get("/api/channels").await.json();
    let channels = channels.as_array().expect("a list");
    let channel = channels.iter().find(|channel| channel["name"] == name);
    text(channel.expect("the channel is there"), "id").to_owned()
}
