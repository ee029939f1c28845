//! Tests that the profiler counts refused requests under a separate name, so that they don't change the figures of a route.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::{Method, StatusCode};
use support::{Answer, Database, Edge};

const TOKEN: &str = "an-api-token-of-25-letters";

async fn sum(client: &tokio_postgres::Client, condition: &str) -> i64 {
    let sql = format!(
        "SELECT coalesce(sum(count), 0)::bigint FROM profile.gathered WHERE kind = 'route' AND {condition}"
    );
    client
        .query_one(&sql, &[])
        .await
        .expect("the sum can be read")
        .get(0)
}

/// Waits up to 20 s until the profile has the expected number of requests under this condition.
async fn soon(client: &tokio_postgres::Client, condition: &str, expected: i64) {
    for _ in 0..200 {
        if sum(client, condition).await == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(sum(client, condition).await, expected, "{condition}");
}

async fn ask(
    edge: &Edge,
    method: Method,
    path: &str,
    token: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers: Vec<_> = headers
        .iter()
        .copied()
        .chain([("authorization", bearer.as_str())])
        .collect();
    edge.request_with(method, path, &headers).await
}

#[tokio::test]
async fn refused_requests_do_not_change_a_routes_figures() {
    let database = Database::migrated().await;
    let edge = Edge::start_with(&database, &[("api_token", TOKEN)], &[]).await;
    for _ in 0..50 {
        let answer = ask(&edge, Method::GET, "/api/agents", TOKEN, &[]).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    for _ in 0..40 {
        let strangers = (0..50).map(async |n| {
            let path = if n % 2 == 0 {
                "/api/agents"
            } else {
                "/api/agents?limit=x"
            };
            ask(&edge, Method::GET, path, "a-wrong-token-of-any-length", &[])
                .await
                .status
        });
        for status in join_all(strangers).await {
            assert_eq!(status, StatusCode::UNAUTHORIZED);
        }
    }
    let evil = [("origin", "https://evil.example")];
    for (path, headers, expected) in [
        ("/api/agents", &evil[..], StatusCode::FORBIDDEN),
        ("/api/agents", &[], StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("/api/nothing", &[], StatusCode::NOT_FOUND),
    ] {
        for _ in 0..3 {
            let answer = ask(&edge, Method::POST, path, TOKEN, headers).await;
            assert_eq!(answer.status, expected, "{answer:?}");
        }
    }
    for _ in 0..3 {
        let answer = ask(&edge, Method::GET, "/api/agents?limit=x", TOKEN, &[]).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let client = database.client().await;
    for (condition, expected) in [
        ("name = 'GET /api/agents'", 50),
        ("name = 'POST /api/agents'", 0),
        ("name = '(refused 401)'", 2000),
        ("name = '(refused 403)'", 3),
        ("name = '(refused 415)'", 3),
        ("name = '(refused 422)'", 3),
        ("name = '(no route)'", 3),
        // The row with an empty name is the total of all routes. It doesn't count refused requests.
        ("name = ''", 50),
    ] {
        soon(&client, condition, expected).await;
    }
    let metrics = ask(&edge, Method::GET, "/api/performance/metrics", TOKEN, &[]).await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let count = |method: &str, route: &str| {
        format!(
            "http_server_request_duration_seconds_count{{http_request_method=\"{method}\",http_route=\"{route}\"}} "
        )
    };
    for line in [
        count("GET", "/api/agents") + "50\n",
        count("_OTHER", "(refused 401)") + "2000\n",
    ] {
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    // The report lists refused requests among the routes, but its chart series must not contain them.
    let report = ask(&edge, Method::GET, "/api/performance/database", TOKEN, &[])
        .await
        .json();
    assert!(
        report["routes"].to_string().contains("(refused 401)"),
        "{report}"
    );
    assert!(
        !report["series"].to_string().contains("(refused"),
        "{report}"
    );
    let lost: i64 = client
        .query_one("SELECT sum(lost)::bigint FROM profile.flushes", &[])
        .await
        .expect("a row")
        .get(0);
    assert_eq!(lost, 0);
}

/// An instance that has only refused requests to store writes at most once each second, even if `profiling_flush_ms` is 0.
#[tokio::test]
async fn refused_requests_are_stored_at_most_once_per_second() {
    let database = Database::migrated().await;
    let variables = [("api_token", TOKEN), ("profiling_flush_ms", "0")];
    let edge = Edge::start_with(
        &database,
        &variables,
        &["--max-instance-concurrent-reuse-count", "64"],
    )
    .await;
    let clock = Instant::now();
    for _ in 0..100 {
        edge.get("/api/agents").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let most = 1 + i64::try_from(clock.elapsed().as_secs()).expect("a small number");
    let client = database.client().await;
    soon(&client, "name = '(refused 401)'", 100).await;
    let flushes: i64 = client
        .query_one("SELECT sum(count)::bigint FROM profile.flushes", &[])
        .await
        .expect("a row")
        .get(0);
    assert!(flushes <= most, "{flushes} writes for 100 refused requests");
    // Refused requests delay the figures of served requests by at most one second.
    edge.get("/api/agents").await;
    assert_eq!(
        ask(&edge, Method::GET, "/api/agents", TOKEN, &[])
            .await
            .status,
        StatusCode::OK
    );
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(sum(&client, "name = 'GET /api/agents'").await, 1);
}
