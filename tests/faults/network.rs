//! What happens between the component and the database: connections that break, stall and are refused.

use std::time::{Duration, Instant};

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use support::{Answer, Database, Edge, Fault, Proxy, database_variables};

const AGENTS: &str = "/api/agents";

/// Served by way of a proxy, and nothing but requests goes to the database.
async fn behind_a_proxy(database: &Database, variables: &[(&str, &str)]) -> (Proxy, Edge) {
    let proxy = Proxy::start(&database.host()).await;
    let url = proxy.url(&database.app_url());
    let mut all = database_variables(&url).to_vec();
    all.push(("profiling", "off"));
    all.extend(variables);
    let edge = Edge::start_at(&all, &[]).await.letting_statements_repeat();
    (proxy, edge)
}

async fn channel(edge: &Edge) -> String {
    let channels = edge.get("/api/channels").await.json();
    let id = channels[0]["id"].as_str().expect("a channel").to_owned();
    format!("/api/channels/{id}/messages")
}

async fn write(edge: &Edge, path: &str, content: &str, key: Option<&str>) -> Answer {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("{}{path}", edge.url()))
        .header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let body = serde_json::json!({ "content": content }).to_string();
    let request = request.body(Full::from(body)).expect("it's valid");
    edge.send(request).await
}

async fn count(database: &Database, content: &str) -> i64 {
    let sql = "SELECT count(*) FROM messages WHERE content = $1";
    let row = database.client().await.query_one(sql, &[&content]).await;
    row.expect("it can be counted").get(0)
}

#[tokio::test]
async fn a_read_whose_connection_breaks_amid_its_rows_is_tried_again() {
    let database = Database::migrated().await;
    let (proxy, edge) = behind_a_proxy(&database, &[]).await;
    let whole = edge.get(AGENTS).await;
    assert_eq!(whole.query_count(), 1);
    assert!(whole.body.len() > 1000);
    // Prepared by now: what comes next is the answer.
    proxy.set(Fault::CutAfter(300));
    let again = edge.get(AGENTS).await;
    assert_eq!(proxy.fault(), Fault::None, "nothing was cut");
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.body, whole.body);
    assert_eq!(again.query_count(), 2);
    let id = again.header("x-request-id");
    let line = edge
        .log_line(&["TRIED AGAIN: agent_list_active: ", id])
        .await;
    assert!(line.starts_with("WARNING - "), "{line}");
}

#[tokio::test]
async fn a_write_whose_connection_breaks_is_not_tried_again() {
    let database = Database::migrated().await;
    let (proxy, edge) = behind_a_proxy(&database, &[]).await;
    let path = channel(&edge).await;
    assert_eq!(write(&edge, &path, "first", None).await.status, 201);
    // The server has done it when its answer comes.
    proxy.set(Fault::CutAfter(1));
    let cut = write(&edge, &path, "cut", None).await;
    assert_eq!(proxy.fault(), Fault::None, "nothing was cut");
    assert_eq!(cut.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(cut.query_count(), 1);
    assert_eq!(count(&database, "cut").await, 1);
}

#[tokio::test]
async fn a_write_with_a_key_is_done_once_whatever_breaks() {
    let database = Database::migrated().await;
    let (proxy, edge) = behind_a_proxy(&database, &[]).await;
    let path = channel(&edge).await;
    assert_eq!(
        write(&edge, &path, "first", Some("first")).await.status,
        201
    );
    proxy.set(Fault::CutAfter(1));
    let cut = write(&edge, &path, "cut", Some("a-key")).await;
    assert_eq!(proxy.fault(), Fault::None, "nothing was cut");
    assert_eq!(cut.status, StatusCode::CREATED, "{cut:?}");
    assert_eq!(cut.query_count(), 2);
    let repeat = write(&edge, &path, "cut", Some("a-key")).await;
    assert_eq!(repeat.status, StatusCode::CREATED);
    assert_eq!(repeat.body, cut.body);
    assert_eq!(repeat.header("location"), cut.header("location"));
    assert_eq!(count(&database, "cut").await, 1);
}

#[tokio::test]
async fn a_statement_that_is_never_answered_is_504_and_holds_up_nobody_else() {
    let database = Database::migrated().await;
    let limits = [("db_statement_timeout_ms", "500")];
    let (proxy, edge) = behind_a_proxy(&database, &limits).await;
    assert_eq!(edge.get(AGENTS).await.status, StatusCode::OK);
    proxy.set(Fault::Stall);
    let clock = Instant::now();
    let stuck = edge.get(AGENTS).await;
    // A second after its limit, for the server's own error to come; a connection of its own may be waited for before.
    assert!(clock.elapsed() < Duration::from_secs(5), "{stuck:?}");
    let expected = [StatusCode::GATEWAY_TIMEOUT, StatusCode::SERVICE_UNAVAILABLE];
    assert!(expected.contains(&stuck.status), "{stuck:?}");
    proxy.set(Fault::None);
    for _ in 0..5 {
        let answer = edge.get(AGENTS).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", edge.log());
    }
}

#[tokio::test]
async fn refused_and_cut_connections_are_503_until_they_are_not() {
    let database = Database::migrated().await;
    let (proxy, edge) = behind_a_proxy(&database, &[]).await;
    assert_eq!(edge.get(AGENTS).await.status, StatusCode::OK);
    for _ in 0..3 {
        proxy.set(Fault::Cut);
        tokio::time::sleep(Duration::from_millis(50)).await;
        proxy.set(Fault::Refuse);
        let answer = edge.get(AGENTS).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        proxy.set(Fault::None);
        assert_eq!(edge.get(AGENTS).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_slow_network_shows_in_the_headers_and_breaks_nothing() {
    let database = Database::migrated().await;
    let (proxy, edge) = behind_a_proxy(&database, &[]).await;
    proxy.set(Fault::Delay(Duration::from_millis(60)));
    let answer = edge.get(AGENTS).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.query_ms() > 100.0, "{answer:?}");
    let Value::Array(agents) = answer.json() else {
        panic!("{answer:?}")
    };
    assert_eq!(agents.len(), 6);
}
