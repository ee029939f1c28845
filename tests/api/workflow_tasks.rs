//! /api/workflows/{id}/tasks and /api/workflow-tasks/claim

use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use support::{Database, Edge};

use super::{NOBODY, agent, each, faults, text};

async fn create(edge: &Edge, strategy: &str, tasks: Value) -> Value {
    let body = json!({"description": "w", "execution_strategy": strategy, "tasks": tasks});
    let answer = edge.post("/api/workflows", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()
}

async fn start(edge: &Edge, workflow: &Value) {
    let path = format!("/api/workflows/{}/start", text(workflow, "id"));
    assert_eq!(
        edge.request(Method::POST, &path).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn workflow_task_list_is_ordered_by_position_and_filters_by_status() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let workflow = create(
        &edge,
        "sequential",
        json!([{"description": "a"}, {"description": "b"}]),
    )
    .await;
    let path = format!("/api/workflows/{}/tasks", text(&workflow, "id"));
    let first = edge
        .post(&path, &json!({"description": "z", "order_index": 0}))
        .await;
    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    let last = edge.post(&path, &json!({"description": "last"})).await;
    assert_eq!(last.json()["order_index"], 2, "after all others");
    assert_eq!(edge.get(last.header("location")).await.json(), last.json());
    let descriptions = each(&edge.get(&path).await, "description");
    assert_eq!(descriptions.len(), 4);
    assert_eq!(descriptions[2..], ["b", "last"]);

    let mut seen = Vec::new();
    let mut next = Some(format!("{path}?limit=1"));
    while let Some(page) = next {
        let answer = edge.get(&page).await;
        seen.extend(each(&answer, "description"));
        next = answer.next();
    }
    assert_eq!(seen, descriptions);

    start(&edge, &workflow).await;
    let ready = edge.get(&format!("{path}?status=ready")).await;
    assert_eq!(each(&ready, "description"), descriptions[..1]);
    assert_eq!(
        each(
            &edge.get(&format!("{path}?status=pending")).await,
            "description"
        ),
        descriptions[1..]
    );
}

#[tokio::test]
async fn a_task_may_only_depend_on_tasks_of_its_workflow() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let workflow = create(&edge, "dag", json!([{"description": "a"}])).await;
    let other = create(&edge, "dag", json!([{"description": "b"}])).await;
    let path = format!("/api/workflows/{}/tasks", text(&workflow, "id"));
    let (ours, theirs) = (
        &workflow["workflow_tasks"][0]["id"],
        &other["workflow_tasks"][0]["id"],
    );
    let body =
        json!({"description": "c", "agent_id": NOBODY, "depends_on": [ours, theirs, NOBODY]});
    assert_eq!(
        faults(&edge.post(&path, &body).await),
        ["/agent_id", "/depends_on/1", "/depends_on/2"]
    );
    let answer = edge
        .post(&path, &json!({"description": "c", "depends_on": [ours]}))
        .await;
    assert_eq!(answer.json()["depends_on"], json!([ours]));
    let elsewhere = format!(
        "/api/workflows/{}/tasks/{}",
        text(&other, "id"),
        text(&answer.json(), "id")
    );
    assert_eq!(edge.get(&elsewhere).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn task_output_is_refused_until_the_task_is_in_progress() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let workflow = create(&edge, "sequential", json!([{"description": "a"}])).await;
    let task = text(&workflow["workflow_tasks"][0], "id");
    let path = format!("/api/workflows/{}/tasks/{task}", text(&workflow, "id"));
    let early = edge.patch(&path, &json!({"output": "half"})).await;
    assert_eq!(early.status, StatusCode::CONFLICT);
    start(&edge, &workflow).await;
    let task = edge
        .patch(&path, &json!({"status": "in_progress"}))
        .await
        .json();
    assert!(task["started_at"].is_string());
    let task = edge.patch(&path, &json!({"output": "half"})).await.json();
    assert_eq!(
        (&task["status"], &task["output"]),
        (&json!("in_progress"), &json!("half"))
    );
    let task = edge
        .patch(&path, &json!({"status": "failed", "error": "no disk left"}))
        .await
        .json();
    assert_eq!(
        (&task["status"], &task["error"]),
        (&json!("failed"), &json!("no disk left"))
    );
    assert!(task["completed_at"].is_string());
    let wrong = edge
        .patch(
            &path,
            &json!({"status": "ready", "output": 1, "agent_id": NOBODY}),
        )
        .await;
    assert_eq!(faults(&wrong), ["/status", "/output", "/agent_id"]);
}

#[tokio::test]
async fn claim_gives_own_tasks_first_then_anyones_then_none() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let (backend, qa) = (agent(&edge, "backend").await, agent(&edge, "qa").await);
    let tasks = json!([
        {"description": "anyone's"}, {"description": "qa's", "agent_id": qa},
        {"description": "backend's second", "agent_id": backend, "order_index": 3},
        {"description": "backend's first", "agent_id": backend, "order_index": 2},
    ]);
    let workflow = create(&edge, "parallel", tasks).await;
    let claim = async |body: Value| edge.post("/api/workflow-tasks/claim", &body).await;
    assert_eq!(
        claim(json!({"agent_id": backend})).await.status,
        StatusCode::NO_CONTENT,
        "nothing is ready"
    );
    start(&edge, &workflow).await;
    let other = create(&edge, "parallel", json!([])).await;
    let elsewhere = claim(json!({"agent_id": backend, "workflow_id": other["id"]})).await;
    assert_eq!(elsewhere.status, StatusCode::NO_CONTENT);
    for expected in ["backend's first", "backend's second", "anyone's"] {
        let answer = claim(json!({"agent_id": backend, "workflow_id": workflow["id"]})).await;
        assert_eq!(answer.status, StatusCode::OK);
        let task = answer.json();
        assert_eq!(task["description"], expected);
        assert_eq!(
            (&task["status"], &task["agent_id"]),
            (&json!("in_progress"), &json!(backend))
        );
    }
    assert_eq!(
        claim(json!({"agent_id": backend})).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        faults(&claim(json!({"agent_id": NOBODY})).await),
        ["/agent_id"]
    );
    for agent in [&backend, NOBODY] {
        let answer = claim(json!({"agent_id": agent, "workflow_id": NOBODY})).await;
        let expected = ["/agent_id", "/workflow_id"];
        let first = usize::from(agent != NOBODY);
        assert_eq!(faults(&answer), expected[first..]);
    }
    edge.request(Method::PATCH, &format!("/api/agents/{qa}/deactivate"))
        .await;
    let inactive = claim(json!({"agent_id": qa})).await;
    assert_eq!(inactive.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn sequential_workflow_keeps_one_ready_task_when_tasks_are_added() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let workflow = create(
        &edge,
        "sequential",
        json!([{"description": "a", "order_index": 5}]),
    )
    .await;
    let path = format!("/api/workflows/{}/tasks", text(&workflow, "id"));
    start(&edge, &workflow).await;
    edge.post(&path, &json!({"description": "before", "order_index": 1}))
        .await;
    let added = join_all((0..10).map(|n| {
        let body = json!({"description": format!("after {n}")});
        let (edge, path) = (&edge, &path);
        async move { edge.post(path, &body).await }
    }))
    .await;
    let places: HashSet<_> = added
        .iter()
        .map(|answer| answer.json()["order_index"].as_i64())
        .collect();
    assert_eq!(places.len(), 10, "each task must have its own order_index");
    let ready = edge.get(&format!("{path}?status=ready")).await;
    assert_eq!(each(&ready, "description"), ["before"]);
}

#[tokio::test]
async fn workflow_is_limited_to_order_index_100_000_and_1000_tasks() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let workflow = create(
        &edge,
        "parallel",
        json!([{"description": "a", "order_index": 100_000}]),
    )
    .await;
    let path = format!("/api/workflows/{}/tasks", text(&workflow, "id"));
    let after = edge.post(&path, &json!({"description": "b"})).await;
    assert_eq!(after.status, StatusCode::CONFLICT);
    assert_eq!(
        after.json()["detail"],
        "The last task of this workflow has order_index 100000, the maximum, so no task can be added after it. Send an order_index."
    );
    let before = json!({"description": "b", "order_index": 99_998});
    assert_eq!(edge.post(&path, &before).await.status, StatusCode::CREATED);
    let sql = "INSERT INTO workflow_tasks (workflow_id, description, order_index)
        SELECT id, 'x', n FROM workflows, generate_series(3, 995) AS n";
    database.client().await.batch_execute(sql).await.unwrap();
    let added = join_all((0..20).map(|_| {
        let (edge, path) = (&edge, &path);
        let body = json!({"description": "x", "order_index": 1});
        async move { edge.post(path, &body).await.status }
    }))
    .await;
    let created = added
        .iter()
        .filter(|status| **status == StatusCode::CREATED)
        .count();
    let refused = added
        .iter()
        .filter(|status| **status == StatusCode::CONFLICT)
        .count();
    assert_eq!((created, refused), (5, 15), "{added:?}");
}

#[tokio::test]
async fn cancel_skips_all_tasks_despite_concurrent_additions() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for _ in 0..10 {
        let workflow = create(&edge, "parallel", json!([{"description": "a"}])).await;
        let path = format!("/api/workflows/{}", text(&workflow, "id"));
        start(&edge, &workflow).await;
        let adds = join_all((0..15).map(|_| {
            let (edge, path) = (&edge, format!("{path}/tasks"));
            async move { edge.post(&path, &json!({"description": "x"})).await.status }
        }));
        let cancel_path = format!("{path}/cancel");
        let cancel = edge.request(Method::POST, &cancel_path);
        let (cancelled, added) = tokio::join!(cancel, adds);
        assert_eq!(cancelled.status, StatusCode::OK);
        assert!(
            added
                .iter()
                .all(|status| [201, 409].contains(&status.as_u16())),
            "{added:?}"
        );
        let tasks = edge.get(&format!("{path}/tasks")).await;
        let open: Vec<_> = each(&tasks, "status")
            .into_iter()
            .filter(|status| status != "skipped")
            .collect();
        assert_eq!(open, [""; 0]);
    }
}

#[tokio::test]
async fn restart_restores_task_assignments_and_clears_output() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let (backend, qa) = (agent(&edge, "backend").await, agent(&edge, "qa").await);
    let tasks = json!([{"description": "anyone's"}, {"description": "qa's", "agent_id": qa}]);
    let workflow = create(&edge, "parallel", tasks).await;
    start(&edge, &workflow).await;
    let mut claimed = Vec::new();
    for agent_id in [&backend, &qa] {
        claimed.push(
            edge.post("/api/workflow-tasks/claim", &json!({"agent_id": agent_id}))
                .await
                .json(),
        );
    }
    for task in &claimed {
        let path = format!(
            "/api/workflows/{}/tasks/{}",
            text(&workflow, "id"),
            text(task, "id")
        );
        edge.patch(&path, &json!({"status": "failed", "output": "partial"}))
            .await;
    }
    start(&edge, &workflow).await;
    let tasks = edge
        .get(&format!("/api/workflows/{}/tasks", text(&workflow, "id")))
        .await
        .json();
    let agents: Vec<_> = tasks
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["agent_id"].clone())
        .collect();
    assert_eq!(agents, [json!(null), json!(qa)]);
    assert!(
        tasks[0]["output"].is_null(),
        "nothing of the first run may remain: {tasks}"
    );
}

/// Sends 10,000 claims, with 20 concurrent clients.
#[tokio::test(flavor = "multi_thread")]
async fn claim_never_gives_a_task_to_two() {
    const TASKS: usize = 10_000;
    let database = Database::migrated().await;
    let client = database.client().await;
    client
        .batch_execute(&format!(
            "WITH workflow AS (
                INSERT INTO workflows (description, execution_strategy, status)
                SELECT 'w' || n, 'parallel', 'executing' FROM generate_series(1, 100) AS n RETURNING id)
             INSERT INTO workflow_tasks (workflow_id, description, order_index, status)
             SELECT id, 't' || n, n, 'ready' FROM workflow, generate_series(1, {TASKS} / 100) AS n;
             ANALYZE"
        ))
        .await
        .unwrap();
    let edge = Edge::start(&database).await;
    let names = ["orchestrator", "backend", "frontend", "qa"];
    let mut agents = Vec::new();
    for name in names {
        agents.push(agent(&edge, name).await);
    }
    let claimed = join_all((0..20).map(async |n| {
        let body = json!({"agent_id": agents[n % agents.len()]});
        let mut ids = Vec::new();
        loop {
            let answer = edge.post("/api/workflow-tasks/claim", &body).await;
            match answer.status {
                StatusCode::OK => ids.push(text(&answer.json(), "id").to_owned()),
                StatusCode::NO_CONTENT => return ids,
                _ => panic!("{answer:?}"),
            }
        }
    }))
    .await;
    let all: Vec<_> = claimed.into_iter().flatten().collect();
    let distinct: HashSet<_> = all.iter().collect();
    assert_eq!(all.len(), TASKS);
    assert_eq!(distinct.len(), TASKS);
}

/// 20 clients complete tasks of DAG workflows at the same time. Each workflow must complete exactly once, and no request may hang.
#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_completes_exactly_once_whoever_ends_its_last_tasks() {
    const WORKFLOWS: usize = 30;
    let database = Database::migrated().await;
    let client = database.client().await;
    client
        .batch_execute(
            "CREATE TABLE ended (id uuid, status text);
             CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN INSERT INTO ended VALUES (NEW.id, NEW.status); RETURN NULL; END $$;
             CREATE TRIGGER note_end AFTER UPDATE OF status ON workflows FOR EACH ROW
                WHEN (NEW.status IN ('completed', 'failed')) EXECUTE FUNCTION note_end()",
        )
        .await
        .unwrap();
    let edge = Edge::start(&database).await;
    let backend = agent(&edge, "backend").await;
    // The workflow has eight parallel tasks, then eight tasks that each depend on all of the first eight, then a last task.
    let layer: Vec<usize> = (0..8).collect();
    let mut tasks: Vec<Value> = layer
        .iter()
        .map(|n| json!({"description": format!("a{n}")}))
        .collect();
    tasks.extend(
        layer
            .iter()
            .map(|n| json!({"description": format!("b{n}"), "depends_on": layer})),
    );
    tasks.push(json!({"description": "c", "depends_on": (8..16).collect::<Vec<_>>()}));
    for _ in 0..WORKFLOWS {
        let workflow = create(&edge, "dag", json!(tasks)).await;
        start(&edge, &workflow).await;
    }
    let done = join_all((0..20).map(async |_| {
        let mut done = 0;
        let mut idle = 0;
        while idle < 50 {
            let answer = edge
                .post("/api/workflow-tasks/claim", &json!({"agent_id": backend}))
                .await;
            if answer.status == StatusCode::NO_CONTENT {
                idle += 1;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                continue;
            }
            idle = 0;
            let task = answer.json();
            let path = format!(
                "/api/workflows/{}/tasks/{}",
                text(&task, "workflow_id"),
                text(&task, "id")
            );
            let answer = edge.patch(&path, &json!({"status": "completed"})).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            done += 1;
        }
        done
    }))
    .await;
    assert_eq!(done.iter().sum::<usize>(), WORKFLOWS * tasks.len());
    let ended = client
        .query("SELECT id::text, status FROM ended", &[])
        .await
        .unwrap();
    let mut times: HashMap<String, usize> = HashMap::new();
    for row in &ended {
        assert_eq!(row.get::<_, &str>(1), "completed");
        *times.entry(row.get(0)).or_default() += 1;
    }
    assert_eq!(times.len(), WORKFLOWS);
    assert!(times.values().all(|&times| times == 1), "{times:?}");
}
