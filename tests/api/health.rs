//! /api/health and /api/health/ready

use http::StatusCode;
use support::{Database, Edge};

#[tokio::test]
async fn health_runs_no_query() {
    let database = Database::empty().await;
    let edge = Edge::start(&database).await;
    let answer = edge.get("/api/health").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.query_count(), 0);
    assert_eq!(answer.json()["status"], "healthy");
}

#[tokio::test]
async fn migrated_database_is_ready() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let answer = edge.get("/api/health/ready").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.query_count(), 1);
    assert_eq!(answer.json()["status"], "ready");
}

#[tokio::test]
async fn readiness_of_empty_database_reports_missing_migrations_and_indexes() {
    let database = Database::empty().await;
    let edge = Edge::start(&database).await;
    let answer = edge.get("/api/health/ready").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let problem = answer.json();
    assert_eq!(problem["missing_migrations"][0], "0001_schema");
    assert_eq!(
        problem["missing_indexes"].as_array().map(Vec::len),
        Some(16)
    );
    let agents = edge.get("/api/agents").await;
    assert_eq!(agents.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(agents.json()["detail"], problem["detail"]);
    edge.log_line(&[
        "DATABASE NOT MIGRATED: agent_list_active",
        "run scripts/migrate",
    ])
    .await;
}

#[tokio::test]
async fn readiness_names_a_dropped_index_and_a_missing_migration() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let client = database.client().await;
    client
        .batch_execute(
            "DROP INDEX idx_messages_author_id;
             DELETE FROM migration_ledger WHERE name = '0002_indexes'",
        )
        .await
        .unwrap();
    let problem = edge.get("/api/health/ready").await.json();
    assert_eq!(problem["status"], 503);
    assert_eq!(
        problem["missing_indexes"],
        serde_json::json!(["idx_messages_author_id"])
    );
    assert_eq!(
        problem["missing_migrations"],
        serde_json::json!(["0002_indexes"])
    );
}

/// Requests /api/health/ready. Returns the affected objects of all problems of this kind, and the complete body.
async fn problems(edge: &Edge, kind: &str) -> (Vec<String>, serde_json::Value) {
    let answer = edge.get("/api/health/ready").await;
    assert_eq!(answer.query_count(), 1);
    let body = answer.json();
    let objects = match body["problems"].as_array() {
        Some(problems) => problems
            .iter()
            .filter(|problem| problem["kind"] == kind)
            .map(|problem| problem["object"].as_str().unwrap_or_default().to_owned())
            .collect(),
        None => Vec::new(),
    };
    (objects, body)
}

#[tokio::test]
async fn readiness_lists_missing_privileges_and_migrate_grant_fixes_them() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let client = database.client().await;
    client
        .batch_execute(
            "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM reznet_app;
             REVOKE INSERT ON profile.flushes FROM reznet_app;
             REVOKE EXECUTE ON FUNCTION write_once FROM PUBLIC",
        )
        .await
        .unwrap();
    let (objects, body) = problems(&edge, "privilege").await;
    assert_eq!(body["status"], 503);
    assert_eq!(
        objects,
        [
            "profile.flushes",
            "public.agents",
            "public.channels",
            "public.idempotency_keys",
            "public.messages",
            "public.migration_ledger",
            "public.stats",
            "public.tasks",
            "public.workflow_tasks",
            "public.workflows",
            "public.write_once",
        ]
    );
    let detail = body["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("scripts/migrate grant"), "{detail}");
    // If the component can't read the migration ledger, it reports no missing migration and no missing index.
    assert_eq!(body["missing_migrations"], serde_json::json!([]));
    assert_eq!(body["missing_indexes"], serde_json::json!([]));
    assert_eq!(
        body["problems"][0]["detail"],
        "INSERT on profile.flushes is not granted"
    );
    let text = body.to_string();
    assert!(!text.contains("reznet_a"), "no role is named: {text}");

    client
        .batch_execute("REVOKE USAGE ON SCHEMA profile FROM reznet_app")
        .await
        .unwrap();
    let (objects, _) = problems(&edge, "privilege").await;
    assert!(
        objects.contains(&"schema profile".to_owned()),
        "{objects:?}"
    );

    database.migrate("grant").await;
    let ready = edge.get("/api/health/ready").await;
    assert_eq!(ready.status, StatusCode::OK, "{ready:?}");
}

#[tokio::test]
async fn readiness_names_foreign_objects_without_their_details() {
    let database = Database::empty().await;
    let client = database.client().await;
    client
        .batch_execute(
            "CREATE TABLE tasks (id serial PRIMARY KEY, confidential text);
             CREATE TYPE secret AS ENUM ('a');
             CREATE TABLE agents (id secret, name text);
             CREATE SCHEMA profile; CREATE TABLE profile.users (id int);
             CREATE FUNCTION write_once(confidential int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        )
        .await
        .unwrap();
    let edge = Edge::start(&database).await;
    let (objects, body) = problems(&edge, "foreign").await;
    assert_eq!(body["status"], 503);
    assert_eq!(
        objects,
        [
            "profile",
            "public.agents",
            "public.tasks",
            "public.write_once"
        ]
    );
    let detail = body["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("scripts/migrate plan"), "{detail}");
    let text = body.to_string();
    for theirs in ["confidential", "secret", "users"] {
        assert!(!text.contains(theirs), "{theirs}: {text}");
    }
}

#[tokio::test]
async fn readiness_reports_an_unsupported_database_encoding() {
    let options = "ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'";
    let database = Database::empty_with(options).await;
    let edge = Edge::start(&database).await;
    let (objects, body) = problems(&edge, "encoding").await;
    assert_eq!(body["status"], 503);
    assert_eq!(objects, ["database"]);
}

#[tokio::test]
async fn readiness_names_changed_tables_disabled_triggers_and_row_level_security() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let client = database.client().await;
    for (sql, kind, object) in [
        (
            "ALTER TABLE tasks ALTER result TYPE varchar(9)",
            "differs",
            "public.tasks",
        ),
        (
            "ALTER TABLE tasks ALTER result TYPE text; ALTER TABLE workflows DISABLE TRIGGER workflows_changed",
            "trigger",
            "public.workflows.workflows_changed",
        ),
        (
            "ALTER TABLE workflows ENABLE TRIGGER workflows_changed; DROP TRIGGER workflow_tasks_added ON workflow_tasks",
            "missing",
            "trigger workflow_tasks_added",
        ),
        (
            "CREATE TRIGGER workflow_tasks_added BEFORE INSERT ON workflow_tasks FOR EACH ROW EXECUTE FUNCTION workflow_task_added();
             ALTER TABLE tasks ENABLE ROW LEVEL SECURITY",
            "row_security",
            "public.tasks",
        ),
    ] {
        client.batch_execute(sql).await.unwrap();
        let (objects, body) = problems(&edge, kind).await;
        assert_eq!(body["status"], 503, "{sql}");
        assert_eq!(objects, [object], "{sql}: {body}");
        let all = body["problems"].as_array().map(Vec::len);
        assert_eq!(all, Some(1), "{sql}: {body}");
        let detail = body["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("scripts/migrate verify"), "{detail}");
    }
    client
        .batch_execute("CREATE POLICY everything ON tasks USING (true)")
        .await
        .unwrap();
    let ready = edge.get("/api/health/ready").await;
    assert_eq!(ready.status, StatusCode::OK, "{ready:?}");
}
