//! Tests of `migrations/optional/stats_materialized.sql`. With this migration, GET /api/stats returns stored counts, with the time at
//! which they were counted.

use serde_json::{Value, json};
use support::{Database, Edge};

use super::{migrated, succeeds};

#[tokio::test]
async fn materialized_stats_show_the_last_refresh_until_undo() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let counted = async || edge.get("/api/stats").await.json();
    let task = json!({"description": "one"});
    edge.post("/api/tasks", &task).await;
    let before = counted().await;
    assert_eq!(before["counted_at"], Value::Null);

    // Applies the migration twice, because a second run must be safe.
    for _ in 0..2 {
        succeeds(&database, &["optional", "stats_materialized"]).await;
    }
    succeeds(&database, &["verify"]).await;
    edge.post("/api/tasks", &task).await;
    let kept = counted().await;
    assert_eq!(kept["tasks"], json!({"pending": 1}));
    let first = kept["counted_at"].as_str().expect("a time").to_owned();
    // The response doesn't change until the materialized view is refreshed.
    assert_eq!(counted().await, kept);

    let refresh = "REFRESH MATERIALIZED VIEW CONCURRENTLY stats_materialized";
    let client = database.client().await;
    client.batch_execute(refresh).await.unwrap();
    let fresh = counted().await;
    assert_eq!(fresh["tasks"], json!({"pending": 2}));
    let second = fresh["counted_at"].as_str().expect("a time");
    assert!(second > first.as_str(), "{second} after {first}");

    // A transaction that has read the view, and so holds a lock on it, doesn't block a refresh.
    let mut reader = database.client().await;
    let reading = reader.transaction().await.unwrap();
    reading.query("SELECT * FROM stats", &[]).await.unwrap();
    client.batch_execute(refresh).await.unwrap();
    reading.rollback().await.unwrap();

    // If an operator runs migrations/0009_stats.sql again, it must not replace the materialized view by the ordinary view.
    let migration = std::fs::read_to_string(support::project().join("migrations/0009_stats.sql"));
    client.batch_execute(&migration.unwrap()).await.unwrap();
    assert_ne!(counted().await["counted_at"], Value::Null);

    for _ in 0..2 {
        succeeds(&database, &["undo", "stats_materialized"]).await;
    }
    succeeds(&database, &["verify"]).await;
    let after = counted().await;
    assert_eq!(after["counted_at"], Value::Null);
    assert_eq!(after["tasks"], json!({"pending": 2}));
}

#[tokio::test]
async fn app_role_may_only_read_the_stats_view() {
    let database = Database::migrated().await;
    succeeds(&database, &["optional", "stats_materialized"]).await;
    let (app, connection) = tokio_postgres::connect(&database.app_url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    assert_eq!(
        app.query("SELECT * FROM stats", &[]).await.unwrap().len(),
        1
    );
    for forbidden in [
        "SELECT * FROM stats_materialized",
        "REFRESH MATERIALIZED VIEW stats_materialized",
        "DELETE FROM stats",
        "DROP VIEW stats",
    ] {
        let error = app.batch_execute(forbidden).await.expect_err(forbidden);
        let code = error.code().expect("the server refuses it").code();
        assert!(["42501", "55000"].contains(&code), "{forbidden}: {error:?}");
    }
}

#[tokio::test]
async fn unknown_or_premature_optional_migration_is_refused() {
    let database = Database::empty().await;
    for (arguments, says) in [
        (
            ["optional", "nonsense"],
            "there's no migrations/optional/nonsense.sql: give one of the existing ones (messages_by_month stats_materialized)",
        ),
        (["undo", "stats_materialized"], "0001_schema is pending"),
    ] {
        let output = migrated(&database, &arguments).await;
        assert!(!output.status.success(), "{output:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(says), "{error}");
    }
}
