//! /api/workflows

use http::{Method, StatusCode};
use serde_json::{Value, json};
use support::{Answer, Database, Edge};

use super::{NOBODY, agent, channel, each, faults, text};

async fn create(edge: &Edge, body: Value) -> Value {
    let answer = edge.post("/api/workflows", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()
}

async fn act(edge: &Edge, workflow: &Value, action: &str) -> Answer {
    edge.request(
        Method::POST,
        &format!("/api/workflows/{}/{action}", text(workflow, "id")),
    )
    .await
}

async fn get(edge: &Edge, workflow: &Value) -> Value {
    edge.get(&format!("/api/workflows/{}", text(workflow, "id")))
        .await
        .json()
}

fn statuses(workflow: &Value) -> Vec<&str> {
    let tasks = workflow["workflow_tasks"].as_array().expect("tasks");
    tasks.iter().map(|task| text(task, "status")).collect()
}

async fn report(edge: &Edge, workflow: &Value, index: usize, status: &str) -> Answer {
    let (id, task) = (text(workflow, "id"), &workflow["workflow_tasks"][index]);
    let path = format!("/api/workflows/{id}/tasks/{}", text(task, "id"));
    edge.patch(&path, &json!({"status": status})).await
}

/// Starts a ready task, and then sets it to the final status `status`.
async fn end(edge: &Edge, workflow: &Value, index: usize, status: &str) {
    for status in ["in_progress", status] {
        let answer = report(edge, workflow, index, status).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.json()["status"], status);
    }
}

#[tokio::test]
async fn workflow_create_stores_its_tasks_and_dependencies() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let (qa, general) = (agent(&edge, "qa").await, channel(&edge, "general").await);
    let body = json!({
        "description": "Ship", "channel_id": general, "execution_strategy": "dag",
        "tasks": [
            {"description": "a"}, {"description": "b", "depends_on": [0], "agent_id": qa},
            {"description": "c", "depends_on": [0, 1], "order_index": 7},
        ],
    });
    let answer = edge.post("/api/workflows", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let workflow = answer.json();
    assert_eq!(edge.get(answer.header("location")).await.json(), workflow);
    assert_eq!(workflow["status"], "pending");
    assert_eq!(
        workflow["orchestrator_id"],
        agent(&edge, "orchestrator").await,
        "the active orchestrator"
    );
    let tasks = workflow["workflow_tasks"].as_array().expect("tasks");
    let ids: Vec<_> = tasks.iter().map(|task| task["id"].clone()).collect();
    assert_eq!(tasks[1]["depends_on"], json!([ids[0]]));
    assert_eq!(tasks[2]["depends_on"], json!([ids[0], ids[1]]));
    assert_eq!(tasks[1]["agent_id"], qa);
    let orders: Vec<_> = tasks
        .iter()
        .map(|task| task["order_index"].as_i64())
        .collect();
    assert_eq!(orders, [Some(0), Some(1), Some(7)]);
}

#[tokio::test]
async fn workflow_create_reports_every_missing_reference() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let body = json!({
        "description": "x", "orchestrator_id": NOBODY, "channel_id": NOBODY,
        "tasks": [{"description": "a"}, {"description": "b", "agent_id": NOBODY}],
    });
    let answer = edge.post("/api/workflows", &body).await;
    assert_eq!(
        faults(&answer),
        ["/orchestrator_id", "/channel_id", "/tasks/1/agent_id"]
    );
    assert_eq!(
        answer.query_count(),
        2,
        "one query for the write, one that finds the missing references"
    );
    let body = json!({"execution_strategy": "later", "channel_id": NOBODY, "tasks": [
        {"description": "a", "depends_on": [0], "agent_id": NOBODY}, {"depends_on": "a"}, 1]});
    let expected = [
        "/description",
        "/execution_strategy",
        "/tasks/0/depends_on/0",
        "/tasks/1/description",
        "/tasks/1/depends_on",
        "/tasks/2",
        "/channel_id",
        "/tasks/0/agent_id",
    ];
    let answer = edge.post("/api/workflows", &body).await;
    assert_eq!(
        faults(&answer),
        expected,
        "one answer must list all field errors"
    );
    assert_eq!(
        answer.query_count(),
        1,
        "the query that finds missing references, but no write"
    );
    assert_eq!(
        edge.get("/api/workflows").await.json(),
        json!([]),
        "nothing half-done"
    );
}

#[tokio::test]
async fn workflow_create_requires_orchestrator_id_if_none_is_active() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let orchestrator = agent(&edge, "orchestrator").await;
    edge.request(
        Method::PATCH,
        &format!("/api/agents/{orchestrator}/deactivate"),
    )
    .await;
    let answer = edge
        .post("/api/workflows", &json!({"description": "x"}))
        .await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    let named = create(
        &edge,
        json!({"description": "x", "orchestrator_id": orchestrator}),
    )
    .await;
    assert_eq!(named["orchestrator_id"], orchestrator);
}

#[tokio::test]
async fn workflow_list_is_newest_first_and_filters_by_status_and_channel() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let general = channel(&edge, "general").await;
    create(&edge, json!({"description": "a"})).await;
    let b = create(&edge, json!({"description": "b", "channel_id": general})).await;
    create(&edge, json!({"description": "c", "channel_id": general})).await;
    act(&edge, &b, "start").await;
    let list = async |query: &str| {
        each(
            &edge.get(&format!("/api/workflows{query}")).await,
            "description",
        )
    };
    assert_eq!(list("").await, ["c", "b", "a"]);
    assert_eq!(list("?status=pending").await, ["c", "a"]);
    assert_eq!(list(&format!("?channel_id={general}")).await, ["c", "b"]);
    assert_eq!(
        list(&format!("?channel_id={general}&status=executing")).await,
        ["b"]
    );
    assert_eq!(list(&format!("?channel_id={NOBODY}")).await, [""; 0]);
    assert_eq!(
        faults(&edge.get("/api/workflows?status=done&channel_id=x").await),
        ["status", "channel_id"]
    );
}

#[tokio::test]
async fn sequential_workflow_runs_its_tasks_one_by_one() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let tasks = json!([{"description": "a"}, {"description": "b"}, {"description": "c"}]);
    let workflow = create(&edge, json!({"description": "w", "tasks": tasks})).await;
    assert_eq!(statuses(&workflow), ["pending"; 3]);
    let started = act(&edge, &workflow, "start").await;
    assert_eq!(started.status, StatusCode::OK);
    assert_eq!(started.json()["status"], "executing");
    assert!(started.json()["started_at"].is_string());
    assert_eq!(
        statuses(&get(&edge, &workflow).await),
        ["ready", "pending", "pending"]
    );
    for (index, after) in [
        ["completed", "ready", "pending"],
        ["completed", "completed", "ready"],
        ["completed", "completed", "completed"],
    ]
    .into_iter()
    .enumerate()
    {
        end(&edge, &workflow, index, "completed").await;
        assert_eq!(statuses(&get(&edge, &workflow).await), after);
    }
    let workflow = get(&edge, &workflow).await;
    assert_eq!(workflow["status"], "completed");
    assert!(workflow["completed_at"].is_string());
}

#[tokio::test]
async fn parallel_workflow_makes_all_tasks_ready_at_start() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let tasks = json!([{"description": "a"}, {"description": "b"}]);
    let body = json!({"description": "w", "execution_strategy": "parallel", "tasks": tasks});
    let workflow = create(&edge, body).await;
    act(&edge, &workflow, "start").await;
    assert_eq!(statuses(&get(&edge, &workflow).await), ["ready", "ready"]);
    let path = format!("/api/workflows/{}/tasks", text(&workflow, "id"));
    let added = edge.post(&path, &json!({"description": "c"})).await;
    assert_eq!(
        added.json()["status"],
        "ready",
        "a task that is added to a running parallel workflow is ready at once"
    );
}

#[tokio::test]
async fn dag_task_becomes_ready_after_its_dependencies() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let tasks = json!([
        {"description": "a"}, {"description": "b"},
        {"description": "c", "depends_on": [0, 1]}, {"description": "d", "depends_on": [2]},
    ]);
    let body = json!({"description": "w", "execution_strategy": "dag", "tasks": tasks});
    let workflow = create(&edge, body).await;
    act(&edge, &workflow, "start").await;
    assert_eq!(
        statuses(&get(&edge, &workflow).await),
        ["ready", "ready", "pending", "pending"]
    );
    end(&edge, &workflow, 0, "completed").await;
    assert_eq!(
        statuses(&get(&edge, &workflow).await),
        ["completed", "ready", "pending", "pending"]
    );
    end(&edge, &workflow, 1, "skipped").await;
    assert_eq!(
        statuses(&get(&edge, &workflow).await),
        ["completed", "skipped", "ready", "pending"]
    );
    end(&edge, &workflow, 2, "completed").await;
    end(&edge, &workflow, 3, "completed").await;
    assert_eq!(get(&edge, &workflow).await["status"], "completed");
}

#[tokio::test]
async fn a_failed_task_fails_its_workflow_which_can_be_started_again() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let tasks = json!([{"description": "a"}, {"description": "b"}, {"description": "c"}]);
    let body = json!({"description": "w", "execution_strategy": "parallel", "tasks": tasks});
    let workflow = create(&edge, body).await;
    act(&edge, &workflow, "start").await;
    end(&edge, &workflow, 0, "completed").await;
    end(&edge, &workflow, 1, "failed").await;
    let failed = get(&edge, &workflow).await;
    assert_eq!(failed["status"], "failed");
    assert!(failed["completed_at"].is_string());
    assert_eq!(
        statuses(&failed),
        ["completed", "failed", "pending"],
        "after a failure, no remaining task may be claimed"
    );

    let again = act(&edge, &workflow, "start").await;
    assert_eq!(again.json()["status"], "executing");
    assert!(again.json()["completed_at"].is_null());
    assert_eq!(
        statuses(&get(&edge, &workflow).await),
        ["completed", "ready", "ready"]
    );
    end(&edge, &workflow, 1, "completed").await;
    end(&edge, &workflow, 2, "completed").await;
    assert_eq!(get(&edge, &workflow).await["status"], "completed");
}

#[tokio::test]
async fn invalid_workflow_and_task_transitions_are_409() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let tasks = json!([{"description": "a"}, {"description": "b"}]);
    let workflow = create(&edge, json!({"description": "w", "tasks": tasks})).await;
    let path = format!("/api/workflows/{}", text(&workflow, "id"));
    let refused = async |answer: Answer, state: &str| {
        assert_eq!(answer.status, StatusCode::CONFLICT, "{answer:?}");
        assert!(text(&answer.json(), "detail").contains(state), "{answer:?}");
    };

    refused(act(&edge, &workflow, "cancel").await, "pending").await;
    for status in ["in_progress", "completed", "failed"] {
        refused(report(&edge, &workflow, 0, status).await, "pending").await;
    }
    act(&edge, &workflow, "start").await;
    refused(act(&edge, &workflow, "start").await, "executing").await;
    refused(edge.request(Method::DELETE, &path).await, "executing").await;
    refused(report(&edge, &workflow, 0, "completed").await, "ready").await;
    refused(report(&edge, &workflow, 1, "in_progress").await, "pending").await;
    end(&edge, &workflow, 0, "completed").await;
    for status in ["in_progress", "completed", "failed", "skipped"] {
        refused(report(&edge, &workflow, 0, status).await, "completed").await;
    }

    let cancelled = act(&edge, &workflow, "cancel").await;
    assert_eq!(cancelled.json()["status"], "cancelled");
    assert_eq!(
        statuses(&get(&edge, &workflow).await),
        ["completed", "skipped"]
    );
    refused(act(&edge, &workflow, "cancel").await, "cancelled").await;
    refused(act(&edge, &workflow, "start").await, "cancelled").await;
    refused(
        edge.post(&format!("{path}/tasks"), &json!({"description": "c"}))
            .await,
        "cancelled",
    )
    .await;

    let deleted = edge.request(Method::DELETE, &path).await;
    assert_eq!(deleted.status, StatusCode::OK);
    assert_eq!(deleted.json()["status"], "cancelled");
    assert_eq!(edge.get(&path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn workflow_with_all_tasks_skipped_completes_at_start() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let workflow = create(
        &edge,
        json!({"description": "w", "tasks": [{"description": "a"}, {"description": "b"}]}),
    )
    .await;
    for index in [0, 1] {
        let skipped = report(&edge, &workflow, index, "skipped").await;
        assert_eq!(skipped.status, StatusCode::OK);
    }
    let started = act(&edge, &workflow, "start").await.json();
    assert_eq!(started["status"], "completed");
    assert!(text(&started, "message").ends_with(" is completed."));
    assert!(started["completed_at"].is_string());
    assert_eq!(get(&edge, &workflow).await["status"], "completed");
}

/// Each output has 100,000 characters, and JSON escapes each character as six bytes. So ten tasks have 6 MB, which exceeds a page.
#[tokio::test]
async fn workflow_with_long_outputs_links_to_its_remaining_tasks() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let tasks: Vec<_> = (0..10)
        .map(|n| json!({"description": format!("{n}")}))
        .collect();
    let workflow = create(&edge, json!({"description": "w", "tasks": tasks})).await;
    assert_eq!(
        edge.get(&format!("/api/workflows/{}", text(&workflow, "id")))
            .await
            .next(),
        None
    );
    let client = database.client().await;
    client
        .execute(
            "UPDATE workflow_tasks SET output = repeat(chr(1), 100000)",
            &[],
        )
        .await
        .unwrap();
    let first = edge
        .get(&format!("/api/workflows/{}", text(&workflow, "id")))
        .await;
    let mut seen: Vec<_> = first.json()["workflow_tasks"]
        .as_array()
        .expect("tasks")
        .iter()
        .map(|task| text(task, "description").to_owned())
        .collect();
    assert!((1..10).contains(&seen.len()), "{seen:?}");
    let mut next = first.next();
    while let Some(page) = next {
        let answer = edge.get(&page).await;
        seen.extend(each(&answer, "description"));
        next = answer.next();
    }
    let all: Vec<_> = (0..10).map(|n| n.to_string()).collect();
    assert_eq!(seen, all);
}
