//! What holds for every route: methods, paths, errors, and headers on whatever is answered.

use http::{Method, StatusCode};
use support::{Database, Edge};

/// Every route, with a path that reaches its handler.
const PATHS: [&str; 6] = [
    "/api/health",
    "/api/health/ready",
    "/api/agents",
    "/api/agents/00000000-0000-0000-0000-000000000000",
    "/api/agents/name/orchestrator",
    "/api/performance/database",
];

#[tokio::test]
async fn an_unknown_path_is_404() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for path in [
        "/",
        "/api",
        "/api/nothing",
        "/api/agents/a/b/c",
        "//",
        "/api//agents",
    ] {
        let answer = edge.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.query_count(), 0);
    }
}

#[tokio::test]
async fn a_method_that_is_not_there_is_405_with_allow() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for path in PATHS {
        for method in ["DELETE", "PUT", "TRACE", "PROPFIND"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = edge.request(method, path).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
            assert_eq!(answer.header("allow"), "GET,HEAD,OPTIONS");
            assert_eq!(answer.query_count(), 0);
        }
    }
}

#[tokio::test]
async fn options_says_what_is_possible() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for path in PATHS {
        let answer = edge.request(Method::OPTIONS, path).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{path}");
        assert_eq!(answer.header("allow"), "GET,HEAD,OPTIONS");
        assert!(answer.body.is_empty());
    }
}

#[tokio::test]
async fn head_is_as_get_without_the_body() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for path in PATHS.into_iter().chain(["/nothing", "/api/agents?bogus=1"]) {
        let get = edge.get(path).await;
        let head = edge.request(Method::HEAD, path).await;
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.query_count(), get.query_count(), "{path}");
        assert_eq!(
            head.header("content-type"),
            get.header("content-type"),
            "{path}"
        );
        // Durations and ids differ from answer to answer, and with them the length of some bodies.
        if path == "/api/agents/name/orchestrator" {
            assert_eq!(head.header("content-length"), get.body.len().to_string());
        }
    }
}

#[tokio::test]
async fn a_trailing_slash_is_answered_as_the_path_without_it() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let answer = edge.get("/api/agents/?active_only=false").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json().as_array().map(Vec::len), Some(6));
}

#[tokio::test]
async fn what_no_client_would_send_is_answered_too() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let rest = "Host: localhost\r\nConnection: close\r\n\r\n";
    for (line, status) in [
        ("GET /api/agents/name/%00 HTTP/1.1", "422"),
        ("GET /api/agents/%zz HTTP/1.1", "422"),
        ("GET /api/agents?active_only=%zz HTTP/1.1", "422"),
        ("GET /api/agents?%00=1 HTTP/1.1", "422"),
        ("GET /api/agents?& HTTP/1.1", "200"),
        ("GET /api/agents? HTTP/1.0", "200"),
    ] {
        let answer = edge.raw(format!("{line}\r\n{rest}").as_bytes()).await;
        let first = answer.lines().next().unwrap_or_default();
        assert!(first.contains(status), "{line}: {answer}");
    }
}
