//! Tests with statements that PostgreSQL refuses. The response depends on the error's SQLSTATE, not on its message.

use std::time::{Duration, Instant};

use http::StatusCode;
use reznet_edge::db::{Failure, MEANINGS, OTHER, Repeat};
use support::{Database, Edge};

use crate::{assert_unavailable, create_task, line_about, run};

/// Creates a trigger that refuses new tasks with a SQLSTATE from a table, and a counter of attempts that survives rollbacks.
async fn refuse_tasks(database: &Database) {
    run(
        database,
        "CREATE SEQUENCE attempts; GRANT USAGE ON SEQUENCE attempts TO PUBLIC;
         CREATE TABLE refusal (sqlstate text); INSERT INTO refusal VALUES ('00000'); GRANT SELECT ON refusal TO PUBLIC;
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             PERFORM nextval('public.attempts');
             RAISE EXCEPTION 'bitte später' USING ERRCODE = (SELECT sqlstate FROM public.refusal);
         END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION refuse();",
    )
    .await;
}

#[tokio::test]
async fn each_sqlstate_gets_the_status_and_retry_of_the_table() {
    let database = Database::migrated().await;
    refuse_tasks(&database).await;
    let edge = Edge::start(&database).await.letting_statements_repeat();
    let client = database.client().await;
    let mut seen = 0;
    for meaning in MEANINGS.iter().chain([&OTHER]) {
        let sqlstate = match meaning.sqlstate {
            "any other" => "P0001".to_owned(),
            code => format!("{code:0<5}"),
        };
        for key in [None, Some(format!("key-{sqlstate}"))] {
            client
                .batch_execute(&format!(
                    "UPDATE refusal SET sqlstate = '{sqlstate}'; ALTER SEQUENCE attempts RESTART"
                ))
                .await
                .unwrap();
            let answer = create_task(&edge, key.as_deref()).await;
            // A SQLSTATE for a missing object means that migrations are missing, but only if a migration creates the object. The error of
            // this test's trigger names no such object, so the component must report an internal error.
            let failure = match meaning.failure {
                Failure::NotMigrated => Failure::Failed,
                other => other,
            };
            let (status, words) = match failure {
                Failure::Unavailable => (503, "DATABASE UNAVAILABLE: "),
                Failure::NotPermitted => (503, "DATABASE NOT PERMITTED: "),
                Failure::TimedOut => (504, "QUERY TIMEOUT: "),
                _ => (500, "INTERNAL ERROR: "),
            };
            assert_eq!(answer.status, status, "{sqlstate}: {}", edge.log());
            let has_retry_after = answer.headers.contains_key("retry-after");
            assert_eq!(has_retry_after, status == 503, "{sqlstate}: {answer:?}");
            let line = line_about(&edge, &answer).await;
            assert!(
                line.contains(words) && line.contains("bitte später"),
                "{line}"
            );
            assert!(
                line.contains("refuse()"),
                "the line must name the function: {line}"
            );
            let attempts: i64 = client
                .query_one("SELECT last_value FROM attempts", &[])
                .await
                .unwrap()
                .get(0);
            let repeated = match meaning.repeat {
                Repeat::Always => true,
                Repeat::IfHarmless => key.is_some(),
                Repeat::Never => false,
            };
            assert_eq!(attempts, 1 + i64::from(repeated), "{sqlstate}, key {key:?}");
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen}");
}

#[tokio::test]
async fn lock_timeout_is_503_and_changes_nothing() {
    let database = Database::migrated().await;
    run(
        &database,
        &format!(
            "ALTER DATABASE {} SET lock_timeout = '300ms'",
            database.name()
        ),
    )
    .await;
    let edge = Edge::start(&database).await;
    let mut holder = database.client().await;
    let lock = holder.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let clock = Instant::now();
    for key in [None, Some("a-key")] {
        let answer = create_task(&edge, key).await;
        assert_unavailable(
            &edge,
            &answer,
            &[
                "DATABASE UNAVAILABLE: ",
                "SQLSTATE 55P03",
                "pg_blocking_pids",
            ],
        )
        .await;
    }
    let read = edge.get("/api/tasks").await;
    assert_unavailable(&edge, &read, &["SQLSTATE 55P03"]).await;
    assert!(
        clock.elapsed() < Duration::from_secs(3),
        "{:?}",
        clock.elapsed()
    );
    lock.rollback().await.unwrap();
    assert_eq!(
        edge.get("/api/tasks").await.json().as_array().map(Vec::len),
        Some(0)
    );
    assert_eq!(
        create_task(&edge, Some("a-key")).await.status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn sessions_closed_by_idle_timeout_are_replaced_without_error() {
    let database = Database::migrated().await;
    run(
        &database,
        &format!(
            "ALTER DATABASE {} SET idle_session_timeout = '100ms'",
            database.name()
        ),
    )
    .await;
    let edge = Edge::start(&database).await.letting_statements_repeat();
    for _ in 0..5 {
        assert_eq!(
            edge.get("/api/agents").await.status,
            StatusCode::OK,
            "{}",
            edge.log()
        );
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

#[tokio::test]
async fn read_only_database_answers_reads_and_refuses_writes_with_503() {
    let database = Database::migrated().await;
    run(
        &database,
        &format!(
            "ALTER DATABASE {} SET default_transaction_read_only = on",
            database.name()
        ),
    )
    .await;
    let edge = Edge::start(&database).await;
    assert_eq!(edge.get("/api/agents").await.status, StatusCode::OK);
    let written = create_task(&edge, None).await;
    assert_unavailable(
        &edge,
        &written,
        &["SQLSTATE 25006", "end what makes the server read-only"],
    )
    .await;
}
