//! Tests with a streaming replica. A client sees its own writes, and reads use the primary if the replica is behind or down.

use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use http::{Method, StatusCode};
use serde_json::json;
use support::{Answer, Cluster, Edge, Fault, Proxy, database_variables, migrate};
use tokio::time::sleep;

const ORCHESTRATOR: &str = "/api/agents/name/orchestrator";
const REPLICA: &str = "replica";
const JUST_WRITTEN: &str = "primary: the replica has not replayed the client's write";
const BEHIND: &str = "primary: the replica is too far behind";
const GONE: &str = "primary: the replica is gone";

/// Starts a primary, its replica, and a host. Permits one more statement for each request, because the component sometimes queries the
/// replica's WAL position first.
async fn replicated(max_lag_ms: &str) -> (Cluster, Cluster, Edge) {
    let primary = Cluster::start();
    migrate(&primary.url()).expect("the new cluster can be migrated");
    let replica = primary.replica();
    let edge = edge(&primary, &replica.app_url(), max_lag_ms).await;
    // Writes a message and waits until the replica has replayed it. Without a replayed transaction, the replica's lag is unknown.
    let path = messages_path(&edge).await;
    let written = edge.post(&path, &json!({"content": "first"})).await;
    until_caught_up(&edge, &path, written.header("x-written")).await;
    (primary, replica, edge)
}

/// Starts the API with the replica at this address.
async fn edge(primary: &Cluster, read_url: &str, max_lag_ms: &str) -> Edge {
    let url = primary.app_url();
    let [_, (_, read_host)] = database_variables(read_url);
    let mut variables = database_variables(&url).to_vec();
    variables.extend([
        ("db_read_url", read_url),
        ("db_read_host", read_host),
        ("db_read_max_lag_ms", max_lag_ms),
    ]);
    let edge = Edge::start_at(&variables, &[]).await;
    edge.letting_statements_repeat()
}

/// Returns the name of the server that executed the read. The name is in the header `Server-Timing`.
fn read_from(answer: &Answer) -> &str {
    let timing = answer.header("server-timing");
    let (_, rest) = timing.split_once("read;desc=\"").expect(timing);
    rest.split('"').next().unwrap_or_default()
}

async fn replay(replica: &Cluster, what: &str) {
    let sql = format!("SELECT pg_wal_replay_{what}()");
    let superuser = replica.superuser().await;
    superuser.batch_execute(&sql).await.expect(what);
}

async fn messages_path(edge: &Edge) -> String {
    let channels = edge.get("/api/channels").await.json();
    let id = channels[0]["id"].as_str().expect("a channel");
    format!("/api/channels/{id}/messages")
}

async fn get_with(edge: &Edge, path: &str, header: &str, value: &str) -> Answer {
    edge.request_with(Method::GET, path, &[(header, value)])
        .await
}

fn holds(answer: &Answer, content: &str) -> bool {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let rows = answer.json();
    let rows = rows.as_array().expect("a list");
    rows.iter().any(|message| message["content"] == content)
}

/// Repeats a read until `Server-Timing` names the expected server. Returns that response.
async fn until_read_from(edge: &Edge, path: &str, expected: &str) -> Answer {
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = edge.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        if read_from(&answer) == expected {
            return answer;
        }
        assert!(Instant::now() < patience, "not {expected}: {answer:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Repeats a read that requires this WAL position, until the replica has replayed the position and answers the read.
async fn until_caught_up(edge: &Edge, path: &str, position: &str) {
    let patience = Instant::now() + Duration::from_secs(10);
    while read_from(&get_with(edge, path, "x-written", position).await) != REPLICA {
        assert!(Instant::now() < patience, "the replica never catches up");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn writer_reads_its_write_at_once_and_others_after_replay() {
    let (_primary, replica, edge) = replicated("3600000").await;
    let path = messages_path(&edge).await;
    let first = edge.get(&path).await;
    assert_eq!(read_from(&first), REPLICA);
    let sessions = replica.client().await;
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'reznet-edge'";
    let sessions: i64 = sessions.query_one(sql, &[]).await.unwrap().get(0);
    assert!(
        sessions > 0,
        "the component must have sessions on the replica"
    );

    replay(&replica, "pause").await;
    let written = edge.post(&path, &json!({"content": "new"})).await;
    assert_eq!(written.status, StatusCode::CREATED, "{written:?}");
    let position = written.header("x-written").to_owned();
    assert!(position.parse::<u64>().is_ok(), "{position}");
    let cookie = written.header("set-cookie").to_owned();
    assert!(
        cookie.ends_with("; Max-Age=3660; Path=/api; HttpOnly; SameSite=Lax"),
        "the cookie must last a minute longer than the permitted lag: {cookie}"
    );
    let cookie = cookie.split(';').next().unwrap_or_default();

    let other = edge.get(&path).await;
    assert_eq!(read_from(&other), REPLICA);
    assert!(!holds(&other, "new"), "the replica's replay is paused");
    for (header, value) in [
        ("x-written", position.as_str()),
        ("cookie", cookie),
        ("x-written", "latest"),
        ("x-written", "no position at all"),
    ] {
        let own = get_with(&edge, &path, header, value).await;
        assert!(holds(&own, "new"), "{header}: {value}");
        assert_eq!(read_from(&own), JUST_WRITTEN);
    }
    let earlier = get_with(&edge, &path, "x-written", "1").await;
    assert_eq!(read_from(&earlier), REPLICA, "it has replayed position 1");

    replay(&replica, "resume").await;
    until_caught_up(&edge, &path, &position).await;
    assert!(holds(&edge.get(&path).await, "new"));
}

#[tokio::test]
async fn conditional_list_works_on_both_servers_and_shows_own_writes() {
    let (_primary, replica, edge) = replicated("3600000").await;
    let path = messages_path(&edge).await;
    let from_primary = get_with(&edge, &path, "x-written", "latest").await;
    let held = from_primary.header("etag").to_owned();
    let unchanged = get_with(&edge, &path, "if-none-match", &held).await;
    assert_eq!(unchanged.status, StatusCode::NOT_MODIFIED, "{unchanged:?}");
    assert_eq!(read_from(&unchanged), REPLICA);

    replay(&replica, "pause").await;
    let written = edge.post(&path, &json!({"content": "new"})).await;
    let position = written.header("x-written").to_owned();
    let others = get_with(&edge, &path, "if-none-match", &held).await;
    assert_eq!(
        others.status,
        StatusCode::NOT_MODIFIED,
        "the replica's replay is paused"
    );
    let both = [("if-none-match", held.as_str()), ("x-written", &position)];
    let own = edge.request_with(Method::GET, &path, &both).await;
    assert!(holds(&own, "new"));
    assert_eq!(read_from(&own), JUST_WRITTEN);

    replay(&replica, "resume").await;
    until_caught_up(&edge, &path, &position).await;
    let own = edge.request_with(Method::GET, &path, &both).await;
    assert!(holds(&own, "new"));
    assert_eq!(read_from(&own), REPLICA);
    let log = edge.log();
    assert!(!log.contains("DUPLICATE QUERY"), "{log}");
    assert!(!log.contains("OVER BUDGET"), "{log}");
}

#[tokio::test]
async fn reads_with_a_token_include_own_writes_during_replication() {
    let (_primary, _replica, edge) = replicated("3600000").await;
    let path = messages_path(&edge).await;
    let mut position = String::new();
    for number in 0..100 {
        let content = format!("message {number}");
        let written = edge.post(&path, &json!({"content": content})).await;
        written.header("x-written").clone_into(&mut position);
        let seen = get_with(&edge, &path, "x-written", &position).await;
        assert!(holds(&seen, &content), "{content}: {seen:?}");
    }
    until_caught_up(&edge, &path, &position).await;
    // A GET that creates a row also returns a token.
    let agent = edge.get(ORCHESTRATOR).await.json();
    let id = agent["id"].as_str().expect("an id");
    let made = edge.get(&format!("/api/agents/{id}/dm-channel")).await;
    assert_eq!(made.status, StatusCode::OK, "{made:?}");
    assert!(made.headers.contains_key("x-written"));
    // After an error, the component doesn't know the write's WAL position. The token "latest" sends the client's next reads to the primary.
    let taken = json!({"name": "@orchestrator", "agent_type": "a"});
    let refused = edge.post("/api/agents", &taken).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert_eq!(refused.header("x-written"), "latest");
}

#[tokio::test]
async fn lagging_replica_is_skipped_until_it_catches_up() {
    let (_primary, replica, edge) = replicated("500").await;
    let path = messages_path(&edge).await;
    until_read_from(&edge, &path, REPLICA).await;
    replay(&replica, "pause").await;
    edge.post(&path, &json!({"content": "new"})).await;
    let behind = until_read_from(&edge, &path, BEHIND).await;
    assert!(holds(&behind, "new"));
    edge.log_line(&["REPLICA BEHIND", "the primary is read"])
        .await;
    replay(&replica, "resume").await;
    let caught_up = until_read_from(&edge, &path, REPLICA).await;
    assert!(holds(&caught_up, "new"));
}

#[tokio::test]
async fn unavailable_replica_fails_no_request() {
    let (primary, replica, edge) = replicated("3600000").await;
    until_read_from(&edge, ORCHESTRATOR, REPLICA).await;
    replica.stop();
    for _ in 0..3 {
        let answer = edge.get(ORCHESTRATOR).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(read_from(&answer), GONE);
    }
    let line = edge.log_line(&["REPLICA GONE", "db_read_url"]).await;
    assert!(!line.contains("://"), "no address with a password: {line}");
    let ready = edge.get("/api/health/ready").await;
    assert_eq!(
        ready.status,
        StatusCode::OK,
        "readiness depends only on the primary"
    );
    replica.resume();
    until_read_from(&edge, ORCHESTRATOR, REPLICA).await;

    // The replica's connection breaks in the middle of an answer.
    let proxy = Proxy::start(&replica.host()).await;
    let edge = self::edge(&primary, &proxy.url(&replica.app_url()), "3600000").await;
    until_read_from(&edge, ORCHESTRATOR, REPLICA).await;
    proxy.set(Fault::CutAfter(40));
    let answer = edge.get(ORCHESTRATOR).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_ne!(read_from(&answer), REPLICA);
    until_read_from(&edge, ORCHESTRATOR, REPLICA).await;

    // The replica stops responding. Reads wait for the replica only briefly, and writes don't wait at all.
    proxy.set(Fault::Stall);
    let path = messages_path(&edge).await;
    let clock = Instant::now();
    let crowd = (0..64).map(|_| edge.get(ORCHESTRATOR));
    let message = json!({"content": "new"});
    let (answers, written) = join(join_all(crowd), edge.post(&path, &message)).await;
    for answer in answers {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_ne!(read_from(&answer), REPLICA);
    }
    assert_eq!(written.status, StatusCode::CREATED, "{written:?}");
    // The requests that were sent at first wait up to a second for the replica. The rest of the limit is for the detection that the
    // replica is down.
    assert!(
        clock.elapsed() < Duration::from_secs(4),
        "{:?}",
        clock.elapsed()
    );
    proxy.set(Fault::None);
    until_read_from(&edge, ORCHESTRATOR, REPLICA).await;
}

/// The component doesn't read from a promoted replica, because the primary still runs and the data of the two may differ.
#[tokio::test]
async fn promoted_replica_is_not_read() {
    let (_primary, replica, edge) = replicated("3600000").await;
    until_read_from(&edge, ORCHESTRATOR, REPLICA).await;
    let superuser = replica.superuser().await;
    superuser
        .batch_execute("SELECT pg_promote()")
        .await
        .expect("the replica can be promoted");
    until_read_from(&edge, ORCHESTRATOR, BEHIND).await;
    edge.log_line(&["REPLICA BEHIND: 1000000000 ms"]).await;
}
