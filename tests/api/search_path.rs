//! The API uses its tables in the schema public, regardless of the `search_path` of the role or the database.

use http::{Method, Request, StatusCode};
use serde_json::json;
use support::{Database, Edge};

use super::{agent, channel, text};

/// Creates tables, a view and functions with the API's names in another schema. No statement of the API may use them.
const DECOYS: &str = "
    CREATE SCHEMA app;
    CREATE TABLE app.agents (LIKE public.agents INCLUDING ALL);
    CREATE TABLE app.channels (LIKE public.channels INCLUDING ALL);
    CREATE TABLE app.messages (LIKE public.messages INCLUDING ALL);
    CREATE TABLE app.tasks (LIKE public.tasks INCLUDING ALL);
    CREATE TABLE app.workflows (LIKE public.workflows INCLUDING ALL);
    CREATE TABLE app.workflow_tasks (LIKE public.workflow_tasks INCLUDING ALL);
    CREATE TABLE app.idempotency_keys (LIKE public.idempotency_keys INCLUDING ALL);
    CREATE TABLE app.migration_ledger (name text);
    CREATE TABLE app.stats (nothing int);
    GRANT USAGE ON SCHEMA app TO PUBLIC;
    GRANT ALL ON ALL TABLES IN SCHEMA app TO PUBLIC;
    CREATE FUNCTION app.workflow_settle(uuid) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'a decoy'; END $$;
    CREATE FUNCTION app.workflow_task_can_start(app.workflow_tasks, text) RETURNS boolean
        LANGUAGE plpgsql AS $$ BEGIN RAISE 'a decoy'; END $$;
    CREATE FUNCTION app.write_once(text, text, text, text[], OUT \"json\" text, OUT note text)
        LANGUAGE plpgsql AS $$ BEGIN RAISE 'a decoy'; END $$;
    CREATE FUNCTION app.execute_now(text, uuid, OUT \"json\" text, OUT note text)
        LANGUAGE plpgsql AS $$ BEGIN RAISE 'a decoy'; END $$;";

#[tokio::test]
async fn only_the_schema_public_is_read_and_written() {
    for search_path in ["app, public", "app", "''"] {
        let database = Database::migrated().await;
        let client = database.client().await;
        let name = database.name();
        let set = format!("{DECOYS} ALTER DATABASE {name} SET search_path = {search_path}");
        client.batch_execute(&set).await.unwrap();
        let edge = Edge::start(&database).await;
        use_everything(&edge).await;
        for table in [
            "agents",
            "channels",
            "messages",
            "tasks",
            "workflows",
            "workflow_tasks",
            "idempotency_keys",
        ] {
            let count = async |schema: &str| -> i64 {
                let sql = format!("SELECT count(*) FROM {schema}.{table}");
                client.query_one(&sql, &[]).await.unwrap().get(0)
            };
            assert_eq!(count("app").await, 0, "{search_path}: {table}");
            assert!(count("public").await > 0, "{search_path}: {table}");
        }
    }
}

/// Sends requests that use all tables and functions, and expects each request to succeed.
async fn use_everything(edge: &Edge) {
    let ready = edge.get("/api/health/ready").await;
    assert_eq!(ready.status, StatusCode::OK, "{ready:?}");
    let agent = agent(edge, "orchestrator").await;
    let messages = format!("/api/channels/{}/messages", channel(edge, "general").await);
    let keyed = Request::post(format!("{}{messages}", edge.url()))
        .header("content-type", "application/json")
        .header("idempotency-key", "k")
        .body(
            json!({"content": "x", "author_type": "agent", "author_id": agent})
                .to_string()
                .into(),
        )
        .unwrap();
    let written = edge.send(keyed).await;
    assert_eq!(written.status, StatusCode::CREATED, "{written:?}");
    let task = edge.post("/api/tasks", &json!({"description": "t"})).await;
    assert_eq!(task.status, StatusCode::CREATED, "{task:?}");
    for strategy in ["sequential", "parallel", "dag"] {
        let tasks = json!([{"description": "a"}, {"description": "b", "depends_on": [0]}]);
        let body = json!({"description": "w", "execution_strategy": strategy, "tasks": tasks});
        let workflow = edge.post("/api/workflows", &body).await;
        assert_eq!(workflow.status, StatusCode::CREATED, "{workflow:?}");
        let row = workflow.header("location").to_owned();
        let start = format!("{row}/start");
        let headers = [("if-match", workflow.header("etag"))];
        let started = edge.request_with(Method::POST, &start, &headers).await;
        assert_eq!(started.status, StatusCode::OK, "{started:?}");
        for _ in 0..2 {
            let claim = json!({"agent_id": agent, "workflow_id": text(&workflow.json(), "id")});
            let task = edge.post("/api/workflow-tasks/claim", &claim).await;
            assert_eq!(task.status, StatusCode::OK, "{task:?}");
            let path = format!("{row}/tasks/{}", text(&task.json(), "id"));
            let done = edge.patch(&path, &json!({"status": "completed"})).await;
            assert_eq!(done.status, StatusCode::OK, "{done:?}");
        }
        let done = edge.get(&row).await;
        assert_eq!(done.json()["status"], "completed", "{done:?}");
    }
    let wrong = json!({"description": "w", "channel_id": super::NOBODY});
    let wrong = edge.post("/api/workflows", &wrong).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong:?}");
    for path in [
        "/api/agents",
        "/api/channels",
        "/api/messages",
        "/api/tasks",
        "/api/workflows",
        "/api/stats",
        "/api/performance/database",
        "/api/performance/cache",
        "/api/performance/metrics",
    ] {
        let answer = edge.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
}
