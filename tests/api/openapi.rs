//! /api/openapi.json, and checks of every operation in it.

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::{Value, json};
use support::contract::{OPENAPI, Operation, operations};
use support::{Answer, Database, Edge};

use super::{NOBODY, faults};

/// Sends a request with this body and this content type.
async fn send(
    edge: &Edge,
    operation: &Operation,
    content_type: &str,
    body: impl Into<Bytes>,
) -> Answer {
    let request = Request::builder()
        .method(operation.method.clone())
        .uri(format!("{}{}", edge.url(), operation.path_with(NOBODY)))
        .header("content-type", content_type)
        .body(Full::new(body.into()))
        .unwrap();
    edge.send(request).await
}

async fn send_example(edge: &Edge, operation: &Operation, path: &str) -> Answer {
    match operation.example() {
        Some(body) => edge.send_json(operation.method.clone(), path, &body).await,
        None => edge.request(operation.method.clone(), path).await,
    }
}

#[tokio::test]
async fn served_openapi_document_equals_the_committed_one() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let answer = edge.get("/api/openapi.json").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json(), *OPENAPI);
}

#[tokio::test]
async fn every_operation_refuses_an_unknown_query_parameter() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for operation in operations() {
        let path = format!("{}?bogus=1", operation.path_with(NOBODY));
        let answer = send_example(&edge, &operation, &path).await;
        // Some examples in openapi.json refer to rows that don't exist. For each such reference, the response has another error.
        let references = faults(&answer).split_off(1);
        assert_eq!(faults(&answer)[0], "bogus", "{}", operation.id);
        assert!(references.iter().all(|place| place.starts_with('/')));
        assert_eq!(answer.query_count() == 1, !references.is_empty());
    }
}

#[tokio::test]
async fn invalid_id_is_422_and_unknown_id_is_404() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let mut count = 0;
    for operation in operations()
        .into_iter()
        .filter(|operation| operation.path.contains("id}"))
    {
        let wrong = send_example(&edge, &operation, &operation.path_with("not-a-uuid")).await;
        assert!(!faults(&wrong).is_empty(), "{}", operation.id);
        let unknown = send_example(&edge, &operation, &operation.path_with(NOBODY)).await;
        assert_eq!(
            unknown.status,
            StatusCode::NOT_FOUND,
            "{}: {unknown:?}",
            operation.id
        );
        count += 1;
    }
    assert!(count > 15, "only {count} operations with an id");
}

#[tokio::test]
async fn every_operation_refuses_an_invalid_body() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let nested = "[".repeat(100_000);
    let huge = format!("{{\"content\": \"{}\"}}", "a".repeat(1024 * 1024));
    let mut count = 0;
    for operation in operations() {
        let Some(example) = operation.example() else {
            continue;
        };
        let json = "application/json";
        for (content_type, body, status) in [
            (json, "", 400),
            (json, "{\"a\": ", 400),
            (json, "{\"a\": \"\\ud800\"}", 400),
            (json, "\u{0}", 400),
            ("text/plain", "{}", 415),
            ("application/json; charset=utf-16", "{}", 415),
            (json, huge.as_str(), 413),
            (json, "[]", 422),
            (json, nested.as_str(), 422),
            (json, "null", 422),
            (json, "{\"bogus\": 1}", 422),
        ] {
            let answer = send(&edge, &operation, content_type, body.to_owned()).await;
            let beginning: String = body.chars().take(20).collect();
            assert_eq!(
                answer.status, status,
                "{} {beginning}: {answer:?}",
                operation.id
            );
            assert_eq!(answer.query_count(), 0);
        }
        let not_utf8 = send(&edge, &operation, json, &b"{\"a\": \"\xff\"}"[..]).await;
        assert_eq!(not_utf8.status, StatusCode::BAD_REQUEST);
        every_member_of_another_type(&edge, &operation, &example).await;
        count += 1;
    }
    assert!(count > 10, "only {count} operations with a body");
}

async fn every_member_of_another_type(edge: &Edge, operation: &Operation, example: &Value) {
    let schema =
        operation.described["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            .as_str();
    let schema = OPENAPI
        .pointer(schema.unwrap().trim_start_matches('#'))
        .unwrap();
    let members: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
    let mut body = example.clone();
    for member in &members {
        body[member.as_str()] = json!(1.5);
    }
    let answer = edge
        .send_json(
            operation.method.clone(),
            &operation.path_with(NOBODY),
            &body,
        )
        .await;
    let mut expected: Vec<_> = members.iter().map(|member| format!("/{member}")).collect();
    let mut found = faults(&answer);
    expected.sort();
    found.sort();
    assert_eq!(
        found, expected,
        "{}: one answer must list all field errors",
        operation.id
    );
}

/// Without a Content-Length, a body must be refused as soon as it exceeds the limit, not at its end.
#[tokio::test]
async fn oversized_chunked_body_is_413_before_its_end() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
    let head = "POST /api/channels HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    // Sends 17 chunks of 64 KiB but no end, so a server that waits for the end waits forever.
    let answer = edge
        .raw(format!("{head}{}", chunk.repeat(17)).as_bytes())
        .await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("x-query-count: 0"), "{answer}");
}

#[tokio::test]
async fn allowed_methods_match_openapi_plus_head_and_options() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let all = operations();
    for operation in &all {
        let mut allowed: Vec<_> = all
            .iter()
            .filter(|other| other.path == operation.path)
            .map(|other| other.method.to_string())
            .chain(["OPTIONS".to_owned()])
            .collect();
        if allowed.iter().any(|method| method == "GET") {
            allowed.push("HEAD".to_owned());
        }
        allowed.sort();
        let path = operation.path_with(NOBODY);
        for method in ["TRACE", "PUT", "PROPFIND"] {
            let answer = edge
                .request(Method::from_bytes(method.as_bytes()).unwrap(), &path)
                .await;
            assert_eq!(
                answer.status,
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}"
            );
        }
        let answer = edge.request(Method::OPTIONS, &path).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{path}");
        let mut methods: Vec<_> = answer.header("allow").split(',').collect();
        methods.sort_unstable();
        assert_eq!(methods, allowed, "{path}");
    }
}

/// A client that sends only one byte of its body must not occupy one of the host's admission permits forever.
#[tokio::test]
async fn a_body_that_does_not_arrive_is_408() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let head = "POST /api/channels HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                content-type: application/json\r\ncontent-length: 30\r\n\r\n{";
    let answer = edge.raw(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("x-query-count: 0"), "{answer}");
}
