//! Rules that apply to every route: allowed methods, paths, error bodies and response headers.

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
async fn head_matches_get_without_the_body() {
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
        // Some bodies contain durations or request ids, so their length may differ between GET and HEAD. This body is always the same.
        if path == "/api/agents/name/orchestrator" {
            assert_eq!(head.header("content-length"), get.body.len().to_string());
        }
    }
}

#[tokio::test]
async fn trailing_slash_of_a_path_is_ignored() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let answer = edge.get("/api/agents/?active_only=false").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json().as_array().map(Vec::len), Some(6));
}

#[tokio::test]
async fn nul_and_invalid_percent_encoding_are_422_and_empty_query_is_200() {
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

#[tokio::test]
async fn a_request_id_from_a_proxy_is_returned_and_logged() {
    let database = Database::migrated().await;
    let variables = [("slow_request_warn_ms", "0")];
    let edge = Edge::start_with(&database, &variables, &[]).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
    let proxy = "Root=1-67891233-abcdef012345678912345678";
    for (headers, expected) in [
        (&[("x-request-id", proxy)][..], Some(proxy)),
        (
            &[("x-request-id", "a"), ("traceparent", &traceparent)],
            Some("a"),
        ),
        (&[("traceparent", &traceparent)], Some(trace)),
        (
            &[("x-request-id", "a b"), ("traceparent", &traceparent)],
            Some(trace),
        ),
        (&[("x-request-id", "a\"b")], None),
        (&[("x-request-id", "a"), ("x-request-id", "b")], None),
        (&[("x-request-id", &"a".repeat(129))], None),
    ] {
        let answer = edge
            .request_with(Method::GET, "/api/nothing", headers)
            .await;
        let id = answer.header("x-request-id");
        assert_eq!(answer.json()["request_id"], id);
        match expected {
            Some(expected) => assert_eq!(id, expected),
            None => assert!(
                id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
                "{id}"
            ),
        }
    }
    let headers = [("x-request-id", proxy)];
    edge.request_with(Method::GET, "/api/agents", &headers)
        .await;
    edge.log_line(&["SLOW REQUEST", &format!("request={proxy}")])
        .await;
}

#[tokio::test]
async fn link_and_location_headers_are_absolute_paths() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let agent = serde_json::json!({"name": "located", "agent_type": "qa"});
    let created = edge.post("/api/agents/", &agent).await;
    assert!(created.header("location").starts_with("/api/agents/"));
    let page = edge.get("/api/agents/?limit=1").await;
    assert!(
        page.next()
            .is_some_and(|next| next.starts_with("/api/agents?limit=1&cursor="))
    );
}
