//! Tests of network faults between the component and the database. Connections break, stall or are refused.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use support::{Answer, Database, Edge, Fault, Proxy, database_variables};

const AGENTS: &str = "/api/agents";

/// Starts a proxy in front of the database, and a host whose component connects through the proxy. Profiling is off, so that the
/// component uses the database only for requests.
async fn behind_a_proxy(database: &Database, variables: &[(&str, &str)]) -> (Proxy, Edge) {
    behind_a_proxy_with(database, variables, &[]).await
}

async fn behind_a_proxy_with(
    database: &Database,
    variables: &[(&str, &str)],
    flags: &[&str],
) -> (Proxy, Edge) {
    let proxy = Proxy::start(&database.host()).await;
    let url = proxy.url(&database.app_url());
    let mut all = database_variables(&url).to_vec();
    all.push(("profiling", "off"));
    all.extend(variables);
    let edge = Edge::start_at(&all, flags).await;
    (proxy, edge.letting_statements_repeat())
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
    let request = request
        .body(Full::from(body))
        .expect("the request is valid");
    edge.send(request).await
}

async fn count(database: &Database, content: &str) -> i64 {
    let sql = "SELECT count(*) FROM messages WHERE content = $1";
    let row = database.client().await.query_one(sql, &[&content]).await;
    row.expect("the messages can be counted").get(0)
}

#[tokio::test]
async fn read_is_retried_if_its_connection_breaks_mid_result() {
    let database = Database::migrated().await;
    let (proxy, edge) = behind_a_proxy(&database, &[]).await;
    let whole = edge.get(AGENTS).await;
    assert_eq!(whole.query_count(), 1);
    assert!(whole.body.len() > 1000);
    // The first request has prepared the statement. So the server's next bytes are the statement's result, and the cut is in the middle of it.
    proxy.set(Fault::CutAfter(300));
    let again = edge.get(AGENTS).await;
    assert_eq!(proxy.fault(), Fault::None, "no connection was cut");
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
async fn write_without_key_is_not_retried_if_its_connection_breaks() {
    let database = Database::migrated().await;
    let (proxy, edge) = behind_a_proxy(&database, &[]).await;
    let path = channel(&edge).await;
    assert_eq!(write(&edge, &path, "first", None).await.status, 201);
    // The server sends the first byte of its answer only after it has executed the write.
    proxy.set(Fault::CutAfter(1));
    let cut = write(&edge, &path, "cut", None).await;
    assert_eq!(proxy.fault(), Fault::None, "no connection was cut");
    assert_eq!(cut.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(cut.query_count(), 1);
    assert_eq!(count(&database, "cut").await, 1);
}

#[tokio::test]
async fn write_with_a_key_runs_once_if_its_connection_breaks() {
    let database = Database::migrated().await;
    let (proxy, edge) = behind_a_proxy(&database, &[]).await;
    let path = channel(&edge).await;
    assert_eq!(
        write(&edge, &path, "first", Some("first")).await.status,
        201
    );
    proxy.set(Fault::CutAfter(1));
    let cut = write(&edge, &path, "cut", Some("a-key")).await;
    assert_eq!(proxy.fault(), Fault::None, "no connection was cut");
    assert_eq!(cut.status, StatusCode::CREATED, "{cut:?}");
    assert_eq!(cut.query_count(), 2);
    let repeat = write(&edge, &path, "cut", Some("a-key")).await;
    assert_eq!(repeat.status, StatusCode::CREATED);
    assert_eq!(repeat.body, cut.body);
    assert_eq!(repeat.header("location"), cut.header("location"));
    assert_eq!(count(&database, "cut").await, 1);
}

#[tokio::test]
async fn unanswered_statement_is_504_or_503_and_later_requests_succeed() {
    let database = Database::migrated().await;
    let limits = [("db_statement_timeout_ms", "500")];
    let (proxy, edge) = behind_a_proxy(&database, &limits).await;
    assert_eq!(edge.get(AGENTS).await.status, StatusCode::OK);
    proxy.set(Fault::Stall);
    let clock = Instant::now();
    let stuck = edge.get(AGENTS).await;
    // The statement timeout is 500 ms. The component waits up to a second longer for the server's error. After that, the request may
    // also wait for a new connection.
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
async fn refused_and_cut_connections_are_503_until_the_network_recovers() {
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
async fn network_delay_increases_query_time_without_errors() {
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

#[tokio::test]
async fn overloaded_pool_answers_or_refuses_every_request_within_4_s() {
    let database = Database::migrated().await;
    let config = std::env::temp_dir().join(format!("reznet-crowd-{}.toml", std::process::id()));
    std::fs::write(&config, "[outbound_pg]\nmax_connections = 2\n")
        .expect("the file can be written");
    let flags = ["--runtime-config-file", config.to_str().expect("a path")];
    let (proxy, edge) = behind_a_proxy_with(&database, &[], &flags).await;
    assert_eq!(edge.get(AGENTS).await.status, StatusCode::OK);
    proxy.set(Fault::Delay(Duration::from_millis(60)));
    // Starts sixty clients. Each client sends requests one after the other for four seconds.
    let until = Instant::now() + Duration::from_secs(4);
    let clients = (0..60).map(|_| async {
        let mut answers = Vec::new();
        while Instant::now() < until {
            let answer = edge.get(AGENTS).await;
            if answer.status != StatusCode::OK {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answers.push(answer);
        }
        answers
    });
    let answers: Vec<_> = join_all(clients).await.into_iter().flatten().collect();
    let (succeeded, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 200);
    assert!(succeeded.len() > 20, "{}", succeeded.len());
    // `Edge::get` checks that each 503 has Retry-After.
    for answer in &refused {
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    }
    for answer in &answers {
        assert!(answer.elapsed < Duration::from_secs(4), "{answer:?}");
    }
    let at_once = |answer: &&&Answer| answer.elapsed < Duration::from_millis(500);
    assert!(
        refused.iter().filter(at_once).count() > 20,
        "{} refused",
        refused.len()
    );
    edge.log_line(&["too many requests wait for a connection"])
        .await;
    std::fs::remove_file(&config).expect("the file exists");
}

#[tokio::test]
async fn dropped_packets_are_5xx_and_at_most_two_later_requests_fail() {
    let database = Database::migrated().await;
    let limits = [("db_statement_timeout_ms", "500")];
    let (proxy, edge) = behind_a_proxy(&database, &limits).await;
    // Opens about sixteen connections, with slow responses so that requests don't share one. Later the proxy drops all packets, so the
    // component isn't notified that these connections are dead.
    proxy.set(Fault::Delay(Duration::from_millis(20)));
    let statuses = join_all((0..16).map(|_| edge.get(AGENTS))).await;
    assert!(statuses.iter().all(|answer| answer.status == 200));
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'reznet-edge'";
    let row = database.client().await.query_one(sql, &[]).await;
    let sessions: i64 = row.expect("the sessions can be counted").get(0);
    assert!(sessions >= 8, "only {sessions}");
    proxy.set(Fault::Drop);
    let swallowed = edge.get(AGENTS).await;
    assert!(swallowed.status.is_server_error(), "{swallowed:?}");
    proxy.set(Fault::None);
    let mut failed = 0;
    while edge.get(AGENTS).await.status != StatusCode::OK {
        failed += 1;
    }
    // The component must discard the other dead connections instead of failing one request on each.
    assert!(failed <= 2, "{failed} more failed:\n{}", edge.log());
}
