//! Tests of attacks by clients. During and after an attack, other clients must be served, and the stored data must stay usable.

mod bodies;
mod clients;
mod log;
mod names;
mod numbers;
mod rows;
mod strangers;

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use support::contract::{OPENAPI, Operation, operations};
use support::{Answer, Edge};

/// An id that no row has.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// Sends a body unchanged.
async fn send(edge: &Edge, method: &Method, path: &str, body: impl Into<String>) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", edge.url()))
        .header("content-type", "application/json");
    let body = Full::from(body.into());
    edge.send(request.body(body).expect("the request is valid"))
        .await
}

/// Returns the operations that take a body, and the members of each body with their schemas.
fn bodies() -> Vec<(Operation, Vec<(String, Value)>)> {
    let of = |operation: Operation| {
        let schema = &operation.described["requestBody"]["content"]["application/json"]["schema"];
        let schema = OPENAPI.pointer(&schema["$ref"].as_str()?[1..])?;
        let members = schema["properties"].as_object()?.clone();
        Some((operation, members.into_iter().collect()))
    };
    let found: Vec<_> = operations().into_iter().filter_map(of).collect();
    assert!(
        found.len() >= 9,
        "only {} operations take a body",
        found.len()
    );
    found
}

/// Returns an object's text with the member `name` set to the text `value`.
fn with_member(object: &Value, name: &str, value: &str) -> String {
    let mut object = object.clone();
    let members = object.as_object_mut().expect("an object");
    members.remove(name);
    let others = object.to_string();
    let others = others.strip_suffix('}').expect("an object");
    let comma = if others == "{" { "" } else { "," };
    format!("{others}{comma}{}:{value}}}", json!(name))
}

/// Creates a row and returns its id.
async fn create(edge: &Edge, path: &str, body: Value) -> String {
    let created = edge.post(path, &body).await;
    assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    created.json()["id"].as_str().expect("an id").to_owned()
}
