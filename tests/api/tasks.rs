//! /api/tasks

use http::StatusCode;
use serde_json::json;
use support::{Database, Edge};

use super::{NOBODY, agent, each, faults};

#[tokio::test]
async fn task_list_is_newest_first_and_filters_by_status() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for description in ["a", "b", "c"] {
        let answer = edge
            .post("/api/tasks", &json!({"description": description}))
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        assert_eq!(
            edge.get(answer.header("location")).await.json(),
            answer.json()
        );
        if description == "b" {
            edge.patch(answer.header("location"), &json!({"status": "completed"}))
                .await;
        }
    }
    let list = async |query: &str| {
        each(
            &edge.get(&format!("/api/tasks{query}")).await,
            "description",
        )
    };
    assert_eq!(list("").await, ["c", "b", "a"]);
    assert_eq!(list("?status=pending").await, ["c", "a"]);
    assert_eq!(list("?status=completed").await, ["b"]);
    assert_eq!(
        faults(&edge.get("/api/tasks?status=done").await),
        ["status"]
    );
}

#[tokio::test]
async fn task_update_sets_start_and_end_times_by_status() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let backend = agent(&edge, "backend").await;
    let body =
        json!({"description": "a", "assigned_to": backend, "priority": 100, "context": {"k": "v"}});
    let answer = edge.post("/api/tasks", &body).await;
    let path = answer.header("location").to_owned();
    assert_eq!(answer.json()["assigned_to"], backend);
    assert_eq!(answer.json()["priority"], 100);
    let times =
        |task: &serde_json::Value| (task["started_at"].is_null(), task["completed_at"].is_null());
    assert_eq!(times(&answer.json()), (true, true));
    for (status, expected) in [
        ("in_progress", (false, true)),
        ("failed", (false, false)),
        ("pending", (true, true)),
        ("completed", (false, false)),
    ] {
        let task = edge.patch(&path, &json!({"status": status})).await.json();
        assert_eq!(task["status"], status);
        assert_eq!(times(&task), expected, "{task}");
    }
    let task = edge
        .patch(&path, &json!({"result": "done", "assigned_to": null}))
        .await
        .json();
    assert_eq!(task["result"], "done");
    assert!(task["assigned_to"].is_null());
    assert_eq!(task["status"], "completed");
    assert_eq!(task["context"], json!({"k": "v"}));
    for answer in [
        edge.patch(&path, &json!({"assigned_to": NOBODY})).await,
        edge.post(
            "/api/tasks",
            &json!({"description": "b", "assigned_to": NOBODY}),
        )
        .await,
    ] {
        assert_eq!(faults(&answer), ["/assigned_to"]);
    }
    let wrong = json!({"description": "", "priority": 101, "status": "ready", "context": 1});
    assert_eq!(
        faults(&edge.patch(&path, &wrong).await),
        ["/description", "/status", "/priority", "/context"]
    );
}

#[tokio::test]
async fn task_insert_suppressed_by_a_trigger_is_500_and_logs_the_cause() {
    let database = Database::migrated().await;
    let client = database.client().await;
    client
        .batch_execute(
            "CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
             CREATE TRIGGER nothing BEFORE INSERT ON public.tasks FOR EACH ROW EXECUTE FUNCTION public.nothing()",
        )
        .await
        .unwrap();
    let edge = Edge::start(&database).await;
    let answer = edge.post("/api/tasks", &json!({"description": "t"})).await;
    assert_eq!(
        answer.status,
        StatusCode::INTERNAL_SERVER_ERROR,
        "{answer:?}"
    );
    let id = answer.json()["request_id"].as_str().unwrap().to_owned();
    edge.log_line(&["INTERNAL ERROR", "trigger that returns NULL", &id])
        .await;
}
