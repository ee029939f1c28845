//! The cache of agents and channels in the key-value store. A cache hit runs no query and returns the same body as a miss. A client
//! always sees its own writes. It sees the writes of other clients after `cache_seconds` at most.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use support::{Answer, Database, Edge};
use tokio::time::sleep;

use super::{NOBODY, agent, channel, each, text};

async fn cached(database: &Database, seconds: &str) -> Edge {
    Edge::start_with(database, &[("cache_seconds", seconds)], &[]).await
}

fn is_hit(answer: &Answer) -> bool {
    let says_so = answer
        .header("server-timing")
        .contains("read;desc=\"cache\"");
    assert_eq!(answer.query_count() == 0, says_so, "{answer:?}");
    says_so
}

/// Repeats a request until the cache answers it. The component stores a response in the cache only after sending the response, so the
/// second request may still be a miss.
async fn until_hit(edge: &Edge, path: &str) -> Answer {
    let patience = Instant::now() + Duration::from_secs(5);
    loop {
        let answer = edge.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        if is_hit(&answer) {
            return answer;
        }
        assert!(Instant::now() < patience, "{path} never becomes a hit");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn cache_hit_runs_no_query_and_returns_the_same_response() {
    let database = Database::migrated().await;
    let edge = cached(&database, "3600").await;
    let (agent, channel) = (agent(&edge, "qa").await, channel(&edge, "general").await);
    let paths = [
        "/api/agents".to_owned(),
        "/api/agents?limit=2&agent_type=backend".to_owned(),
        "/api/agents?limit=2&offset=1&active_only=false".to_owned(),
        format!("/api/agents/{agent}"),
        format!("/api/agents/{agent}/status"),
        "/api/agents/name/backend".to_owned(),
        "/api/channels?limit=1".to_owned(),
        format!("/api/channels/{channel}"),
    ];
    let plain = Edge::start(&database).await;
    for path in &paths {
        let expected = plain.get(path).await;
        assert_eq!(expected.query_count(), 1, "the cache is off by default");
        for answer in [edge.get(path).await, until_hit(&edge, path).await] {
            assert_eq!(answer.body, expected.body, "{path}");
            for header in ["etag", "link", "cache-control", "content-type"] {
                let values = [&answer, &expected].map(|answer| answer.headers.get(header));
                assert_eq!(values[0], values[1], "{path}: {header}");
            }
        }
        let held = [("if-none-match", expected.header("etag"))];
        let unchanged = edge.request_with(Method::GET, path, &held).await;
        assert_eq!(unchanged.status, StatusCode::NOT_MODIFIED, "{path}");
        assert!(is_hit(&unchanged), "{path}");
    }
    // A 404 response isn't cached, because another host may create the row at any moment.
    for absent in [
        format!("/api/agents/{NOBODY}"),
        "/api/agents/name/no".to_owned(),
    ] {
        for _ in 0..3 {
            let answer = edge.get(&absent).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND);
            assert_eq!(answer.query_count(), 1);
        }
    }
}

#[tokio::test]
async fn every_write_invalidates_the_shared_cache_at_once() {
    let database = Database::migrated().await;
    let edge = cached(&database, "3600").await;
    let agents = "/api/agents?active_only=false&limit=200";
    let by_name = "/api/agents/name/backend".to_owned();
    let agent = format!("/api/agents/{}", agent(&edge, "backend").await);
    let general = format!("/api/channels/{}", channel(&edge, "general").await);
    let new_agent = json!({"name": "new", "agent_type": "new"});
    let writes = [
        (Method::POST, "/api/agents".to_owned(), new_agent, agents),
        (
            Method::PATCH,
            agent.clone(),
            json!({"is_busy": true}),
            &by_name,
        ),
        (
            Method::PATCH,
            agent.clone() + "/deactivate",
            Value::Null,
            "/api/agents",
        ),
        (
            Method::PATCH,
            agent.clone() + "/activate",
            Value::Null,
            "/api/agents",
        ),
        (
            Method::POST,
            "/api/channels".to_owned(),
            json!({"name": "new"}),
            "/api/channels",
        ),
        (
            Method::PATCH,
            general.clone(),
            json!({"topic": "new"}),
            &general,
        ),
        (
            Method::POST,
            general.clone() + "/clear",
            Value::Null,
            &general,
        ),
        (
            Method::GET,
            agent + "/dm-channel",
            Value::Null,
            "/api/channels",
        ),
        (
            Method::DELETE,
            general.clone(),
            Value::Null,
            "/api/channels",
        ),
    ];
    for (method, path, body, seen_at) in writes {
        let before = until_hit(&edge, seen_at).await;
        let written = if body.is_null() {
            edge.request(method, &path).await
        } else {
            edge.send_json(method, &path, &body).await
        };
        assert!(written.status.is_success(), "{path}: {written:?}");
        assert_eq!(written.header("x-written"), "latest", "{path}");
        let after = edge.get(seen_at).await;
        assert_ne!(after.body, before.body, "{path}");
        assert_eq!(after.query_count(), 1, "{path}");
    }
    // Writes to other tables invalidate neither the list of agents nor the list of channels.
    let message = json!({"content": "new"});
    let random = format!("/api/channels/{}/messages", channel(&edge, "new").await);
    for path in ["/api/agents", "/api/channels"] {
        until_hit(&edge, path).await;
        let written = edge.post(&random, &message).await;
        assert_eq!(written.status, StatusCode::CREATED, "{written:?}");
        assert!(!written.headers.contains_key("x-written"));
        assert!(is_hit(&edge.get(path).await), "{path}");
    }
}

#[tokio::test]
async fn other_host_serves_stale_rows_at_most_cache_seconds_never_to_writer() {
    let database = Database::migrated().await;
    // Each host has its own key-value store, so a write through one host doesn't invalidate the cache of the other.
    let (here, elsewhere) = (cached(&database, "3").await, cached(&database, "3").await);
    let path = format!("/api/agents/{}", agent(&here, "qa").await);
    until_hit(&elsewhere, &path).await;
    let written = here.patch(&path, &json!({"is_busy": true})).await;
    let acknowledged = Instant::now();
    assert_eq!(written.header("x-written"), "latest");
    let cookie = written.header("set-cookie");
    assert!(
        cookie.ends_with("; Max-Age=63; Path=/api; HttpOnly; SameSite=Lax"),
        "the cookie must last a minute longer than cache entries: {cookie}"
    );
    let cookie = cookie.split(';').next().unwrap_or_default();
    let mut stale_count = 0;
    loop {
        for own in [("x-written", "latest"), ("cookie", cookie)] {
            let own = elsewhere.request_with(Method::GET, &path, &[own]).await;
            assert_eq!(own.json()["is_busy"], true);
            assert_eq!(own.query_count(), 1);
        }
        let asked_after = acknowledged.elapsed();
        let other = elsewhere.get(&path).await;
        if other.json()["is_busy"] == true {
            break;
        }
        assert!(is_hit(&other));
        assert!(
            asked_after < Duration::from_secs(3),
            "stale after {asked_after:?}"
        );
        stale_count += 1;
        sleep(Duration::from_millis(100)).await;
    }
    assert!(
        stale_count > 0,
        "the other host served no stale row, so its cache was never used"
    );
}

#[tokio::test]
async fn concurrent_reads_are_never_older_than_acknowledged_writes() {
    let database = Database::migrated().await;
    let edge = cached(&database, "3600").await;
    let path = format!("/api/channels/{}", channel(&edge, "general").await);
    let number = |answer: &Answer| -> u64 {
        let topic = answer.json()["topic"].as_str().map(str::to_owned);
        topic.and_then(|topic| topic.parse().ok()).unwrap_or(0)
    };
    let acknowledged = std::sync::atomic::AtomicU64::new(0);
    let order = std::sync::atomic::Ordering::SeqCst;
    let write = async {
        for topic in 1..=100_u64 {
            let written = edge
                .patch(&path, &json!({"topic": topic.to_string()}))
                .await;
            assert_eq!(written.status, StatusCode::OK, "{written:?}");
            acknowledged.store(topic, order);
            sleep(Duration::from_millis(10)).await;
        }
    };
    let read = async |_| {
        let mut hits = 0;
        while acknowledged.load(order) < 100 {
            let expected = acknowledged.load(order);
            let answer = edge.get(&path).await;
            assert!(number(&answer) >= expected, "{expected}: {answer:?}");
            hits += u32::from(is_hit(&answer));
        }
        hits
    };
    let (hits, ()) = futures_util::future::join(join_all((0..8).map(read)), write).await;
    assert!(
        hits.iter().sum::<u32>() > 100,
        "too few cache hits: {hits:?}"
    );
}

/// Locks a row of agents until the returned session is dropped.
async fn lock(database: &Database, id: &str) -> tokio_postgres::Client {
    let client = database.client().await;
    client.batch_execute("BEGIN").await.unwrap();
    let sql = format!("SELECT FROM agents WHERE id = '{id}' FOR UPDATE");
    client.batch_execute(&sql).await.unwrap();
    client
}

#[tokio::test]
async fn rows_are_not_cached_during_a_write_nor_stale_after_its_timeout() {
    let database = Database::migrated().await;
    let variables = [("cache_seconds", "3600")];
    let edge = Edge::start_with(&database, &variables, &["--request-timeout", "1s"]).await;
    let id = agent(&edge, "qa").await;
    let path = format!("/api/agents/{id}");
    let other = format!("/api/agents/{}", agent(&edge, "orchestrator").await);
    until_hit(&edge, &path).await;
    let locked = lock(&database, &id).await;
    let request = Request::builder()
        .method(Method::PATCH)
        .uri(format!("{}{path}", edge.url()))
        .header("content-type", "application/json")
        .body(Full::from(json!({"is_busy": true}).to_string()))
        .unwrap();
    // The row is locked, so this write exceeds the host's request timeout. The response then has no read-your-writes token.
    let given_up = edge.exchange(request);
    let read = async {
        sleep(Duration::from_millis(300)).await;
        // A write to another agent ends while the write to the locked agent is still running.
        let written = edge.patch(&other, &json!({"is_busy": true})).await;
        assert_eq!(written.status, StatusCode::OK, "{written:?}");
        for _ in 0..10 {
            let answer = edge.get(&path).await;
            assert_eq!(
                answer.query_count(),
                1,
                "the write may commit at any moment, so the cache must not be used"
            );
            sleep(Duration::from_millis(20)).await;
        }
    };
    let (given_up, ()) = futures_util::future::join(given_up, read).await;
    assert_eq!(given_up.unwrap().status, StatusCode::INTERNAL_SERVER_ERROR);
    edge.get(&path).await;
    locked.batch_execute("COMMIT").await.unwrap();
    // As soon as the database shows the committed write, the API must return it too.
    let client = database.client().await;
    let sql = format!("SELECT is_busy FROM agents WHERE id = '{id}'");
    for _ in 0..20 {
        let before: bool = client.query_one(&sql, &[]).await.unwrap().get(0);
        let seen = edge.get(&path).await.json()["is_busy"] == true;
        assert!(seen >= before, "the committed write is not visible");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn databases_that_share_a_store_have_separate_cache_entries() {
    let (database, other) = (Database::migrated().await, Database::migrated().await);
    let sql = "UPDATE agents SET is_busy = true WHERE name = '@qa'";
    other.client().await.batch_execute(sql).await.unwrap();
    let edge = Edge::start_changed(&database, &[("cache_seconds", "60")], &[], |manifest| {
        let (before, component) = manifest
            .split_once("[component.reznet-edge]")
            .expect("a component");
        let of_other = component
            .replace("[component.reznet-edge.", "[component.other.")
            .replace("{{ db_url }}", &other.app_url());
        format!(
            "{before}[[trigger.http]]\nroute = \"/api/agents/name/qa\"\ncomponent = \"other\"\n
            [component.reznet-edge]{component}\n[component.other]{of_other}"
        )
    })
    .await;
    // The agent exists in both databases, and is busy only in `other`. The manifest routes only the path without @ to the component that
    // uses `other`.
    for (path, is_busy) in [
        ("/api/agents/name/qa", true),
        ("/api/agents/name/@qa", false),
    ] {
        let first = edge.get(path).await;
        for answer in [first, until_hit(&edge, path).await] {
            assert_eq!(answer.json()["is_busy"], is_busy, "{path}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn cache_report_shows_the_hit_rate_of_all_instances() {
    let database = Database::migrated().await;
    let edge = Edge::start_with(
        &database,
        &[("cache_seconds", "60"), ("profiling_flush_ms", "50")],
        &["--max-instance-reuse-count", "8"],
    )
    .await;
    let path = "/api/performance/cache?window=15m";
    let nothing = edge.get(path).await.json();
    assert_eq!(nothing["total"]["lookups"], 0, "{nothing}");
    assert_eq!(nothing["total"]["hit_rate"], Value::Null);
    assert_eq!(nothing["cache_seconds"], 60);
    let (mut lookups, mut hits) = (0, 0_u32);
    for _ in 0..50 {
        for path in ["/api/agents/name/qa", "/api/channels"] {
            lookups += 1;
            hits += u32::from(is_hit(&edge.get(path).await));
        }
    }
    assert!(hits > 0);
    // A request with a read-your-writes token skips the cache, so it doesn't count as a lookup.
    let token = [("x-written", "latest")];
    edge.request_with(Method::GET, "/api/channels", &token)
        .await;
    let patience = Instant::now() + Duration::from_secs(20);
    let report = loop {
        let report = edge.get(path).await.json();
        if report["total"]["lookups"] == lookups {
            break report;
        }
        assert!(Instant::now() < patience, "{lookups} lookups: {report}");
        sleep(Duration::from_millis(100)).await;
    };
    let total = &report["total"];
    assert_eq!(total["hits"], hits, "{report}");
    let rate = total["hit_rate"].as_f64().expect("a number");
    let expected = f64::from(hits) / f64::from(lookups);
    assert!((rate - expected).abs() < 1e-6, "{report}");
    assert_eq!(total["errors"], 0);
    assert!(total["p50_ms"].as_f64() > Some(0.0), "{report}");
    let statements = report["statements"].as_array().expect("a list");
    let mut names: Vec<_> = statements.iter().map(|one| text(one, "name")).collect();
    names.sort_unstable();
    assert_eq!(names, ["agent_get_by_name", "channel_list"]);
    assert!(
        statements.iter().all(|one| one["lookups"] == 50),
        "{report}"
    );
    // A cache lookup counts neither as a query nor as a request, so the database report has one entry for the one miss.
    let performance = edge.get("/api/performance/database").await.json();
    let of = |list: &str, member: &str, name: &str| {
        let rows = performance[list].as_array().expect("a list");
        rows.iter().filter(|row| row[member] == name).count()
    };
    assert_eq!(of("statements", "name", "channel_list"), 1, "{performance}");
    assert_eq!(
        of("routes", "route", "GET /api/channels"),
        1,
        "{performance}"
    );
    assert_eq!(performance["profiler"]["lost"], 0);
}

#[tokio::test]
async fn cache_hit_requires_the_api_token() {
    let database = Database::migrated().await;
    let token = "0123456789abcdef";
    let variables = [("cache_seconds", "60"), ("api_token", token)];
    let edge = Edge::start_with(&database, &variables, &[]).await;
    let bearer = format!("Bearer {token}");
    let bearer = [("authorization", bearer.as_str())];
    let mut hit = false;
    for _ in 0..100 {
        hit |= is_hit(&edge.request_with(Method::GET, "/api/agents", &bearer).await);
    }
    assert!(hit);
    let stranger = edge.get("/api/agents").await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn missing_store_falls_back_to_the_database_and_is_logged_once() {
    let database = Database::migrated().await;
    let stores = "key_value_stores = [\"default\"]\n";
    let edge = Edge::start_changed(&database, &[("cache_seconds", "60")], &[], |manifest| {
        assert!(manifest.contains(stores), "spin.toml names another store");
        manifest.replace(stores, "")
    })
    .await;
    let agents = edge.get("/api/agents?limit=1").await;
    let path = format!("/api/agents/{}", each(&agents, "id")[0]);
    for _ in 0..20 {
        assert_eq!(edge.get(&path).await.query_count(), 1);
    }
    let written = edge.patch(&path, &json!({"is_busy": true})).await;
    assert_eq!(written.status, StatusCode::OK, "{written:?}");
    assert_eq!(edge.get(&path).await.json()["is_busy"], true);
    edge.log_line(&["CACHE FAILED", "cache_seconds"]).await;
    assert_eq!(
        edge.log().matches("CACHE FAILED").count(),
        1,
        "{}",
        edge.log()
    );
}
