//! What holds for every route: methods, paths, errors, and headers on whatever is answered.

use http::{Method, StatusCode};
use support::contract::operations;
use support::{Database, Edge};

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
async fn head_is_as_get_without_the_body() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let gets = operations()
        .into_iter()
        .filter(|operation| operation.method == Method::GET);
    let paths = gets.map(|operation| operation.path_with("00000000-0000-0000-0000-000000000000"));
    let others = [
        "/api/agents/name/orchestrator",
        "/nothing",
        "/api/agents?bogus=1",
    ]
    .map(str::to_owned);
    for path in paths.chain(others) {
        let path = path.as_str();
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
