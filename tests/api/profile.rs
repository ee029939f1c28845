//! The cost of each request, in the response's headers and in the log.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use http::{Request, StatusCode};
use http_body_util::Full;
use support::{Database, Edge};

const ORCHESTRATOR: &str = "/api/agents/name/orchestrator";

/// Runs `work` while the table agents is locked for `duration`. The lock blocks reads, like the lock of a migration.
async fn held_up<T>(database: &Database, duration: Duration, work: impl Future<Output = T>) -> T {
    let client = database.client().await;
    client
        .batch_execute("BEGIN; LOCK TABLE agents IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let release = async {
        tokio::time::sleep(duration).await;
        client.batch_execute("COMMIT").await.unwrap();
    };
    tokio::join!(work, release).0
}

#[tokio::test]
async fn a_slow_query_is_in_header_and_log() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let answer = held_up(
        &database,
        Duration::from_millis(300),
        edge.get(ORCHESTRATOR),
    )
    .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.query_ms() > 150.0, "{answer:?}");
    let id = answer.header("x-request-id");

    let query = edge.log_line(&["SLOW QUERY", id]).await;
    assert!(query.starts_with("WARNING - SLOW QUERY ("), "{query}");
    assert!(query.contains("ms): agent_get_by_name: SELECT "), "{query}");
    assert!(
        query.contains(" route=GET /api/agents/name/{name} "),
        "{query}"
    );
    assert!(
        !query.contains("orchestrator"),
        "a parameter in the log: {query}"
    );
    let request = edge.log_line(&["SLOW REQUEST", id]).await;
    assert!(
        request.starts_with("WARNING - SLOW REQUEST: GET /api/agents/name/{name} - Total: "),
        "{request}"
    );
    assert!(
        request.contains("ms, Queries: 1, Query Time: "),
        "{request}"
    );
}

#[tokio::test]
async fn thresholds_are_configurable_and_fast_requests_are_not_logged() {
    let database = Database::migrated().await;
    let variables = [
        ("slow_query_warn_ms", "50"),
        ("slow_query_error_ms", "100"),
        ("slow_request_warn_ms", "5000"),
        ("slow_request_error_ms", "5000"),
    ];
    let edge = Edge::start_with(&database, &variables, &[]).await;
    let fast = edge.get("/api/health").await;
    let answer = held_up(
        &database,
        Duration::from_millis(300),
        edge.get(ORCHESTRATOR),
    )
    .await;
    let line = edge
        .log_line(&["SLOW QUERY", answer.header("x-request-id")])
        .await;
    assert!(line.starts_with("ERROR - SLOW QUERY ("), "{line}");
    assert!(!edge.log().contains("SLOW REQUEST"), "{}", edge.log());
    assert!(!edge.log().contains(fast.header("x-request-id")));
}

#[tokio::test]
async fn statement_over_its_time_limit_is_504_and_counted() {
    let database = Database::migrated().await;
    let edge = Edge::start_with(&database, &[("db_statement_timeout_ms", "200")], &[]).await;
    let answer = held_up(
        &database,
        Duration::from_millis(1500),
        edge.get(ORCHESTRATOR),
    )
    .await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(answer.query_count(), 1);
    assert!((150.0..1400.0).contains(&answer.query_ms()), "{answer:?}");
    let line = edge
        .log_line(&["QUERY TIMEOUT", answer.header("x-request-id")])
        .await;
    assert!(line.contains("agent_get_by_name"), "{line}");
    assert_eq!(edge.get(ORCHESTRATOR).await.status, StatusCode::OK);
}

#[tokio::test]
async fn trace_id_of_traceparent_becomes_the_request_id() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let with = |traceparent: &'static str| {
        Request::get(format!("{}/api/health", edge.url()))
            .header("traceparent", traceparent)
            .body(Full::default())
            .unwrap()
    };
    let valid = with("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let answer = edge.send(valid).await;
    assert_eq!(
        answer.header("x-request-id"),
        "4bf92f3577b34da6a3ce929d0e0e4736"
    );
    let (first, second) = (
        edge.send(with("nonsense")).await,
        edge.get("/api/health").await,
    );
    assert_eq!(first.header("x-request-id").len(), 32);
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}

/// Concurrent requests to one instance must each report only their own queries.
#[tokio::test]
async fn requests_that_share_an_instance_have_separate_query_counts() {
    let database = Database::migrated().await;
    let flags = [
        "--max-instance-reuse-count",
        "100000",
        "--max-instance-concurrent-reuse-count",
        "100",
    ];
    let edge = Edge::start_test_build(&database, &flags).await;
    let requests = (0..1000_u32).map(|n| (n * 7) % 23).map(async |times| {
        let answer = edge.get(&format!("/test/agent-loop?times={times}")).await;
        (times, answer)
    });
    let answers: Vec<_> = stream::iter(requests).buffer_unordered(16).collect().await;
    assert_eq!(answers.len(), 1000);
    for (times, answer) in answers {
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.query_count(), times, "{answer:?}");
        assert_eq!(answer.query_ms() > 0.0, times > 0, "{answer:?}");
    }
}

#[tokio::test]
async fn n_plus_1_queries_are_logged_with_their_route() {
    let database = Database::migrated().await;
    let edge = Edge::start_test_build(&database, &[]).await;
    let four = edge.get("/test/agent-loop?times=4").await;
    let five = edge.get("/test/agent-loop?times=5").await;
    let line = edge
        .log_line(&["REPEATED QUERY", five.header("x-request-id")])
        .await;
    assert!(
        line.starts_with(
            "WARNING - REPEATED QUERY: agent_get ran 5 times in one request (N+1?) \
             route=GET /test/agent-loop request="
        ),
        "{line}"
    );
    // Four executions of one query exceed the query budget, but the log warns of an N+1 pattern only from five on.
    let id = four.header("x-request-id").to_owned();
    edge.log_line(&["OVER BUDGET: 4 queries", &id]).await;
    let log = edge.log();
    assert!(
        !log.lines()
            .any(|line| line.contains("REPEATED") && line.contains(&id)),
        "{log}"
    );
}
