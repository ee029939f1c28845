//! Conditional reads: `ETag` and `If-None-Match` on every read.

use http::{Method, StatusCode};
use reznet_edge::queries::ALL;
use reznet_edge::schema::Filter;
use serde_json::{Value, json};
use support::contract::operations;
use support::{Answer, Database, Edge, list_paths};

use super::{agent, channel, text};

/// Operations whose response changes with every request.
const CHANGING: [&str; 4] = [
    "performance_cache",
    "performance_database",
    "performance_metrics",
    "readiness",
];

/// The admin token. With it, the test can read a performance report that lists the executed statements.
const ADMIN_TOKEN: &str = "a-token-for-administrators";

async fn get_unless(edge: &Edge, method: Method, path: &str, held: &str) -> Answer {
    let token = format!("Bearer {ADMIN_TOKEN}");
    let headers = [
        ("if-none-match", held),
        ("x-profile", "1"),
        ("authorization", &token),
    ];
    edge.request_with(method, path, &headers).await
}

#[tokio::test]
async fn every_read_with_matching_if_none_match_is_304_without_body() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let agent = agent(&edge, "orchestrator").await;
    let channel = channel(&edge, "general").await;
    let path = format!("/api/channels/{channel}/messages");
    let message = edge.post(&path, &json!({"content": "one"})).await.json();
    let tasks = json!([{"description": "a", "agent_id": agent}]);
    let workflow = json!({"description": "w", "tasks": tasks});
    let workflow = edge.post("/api/workflows", &workflow).await.json();
    let task = edge.post("/api/tasks", &json!({"description": "t"})).await;
    let mut count = 0;
    for operation in operations() {
        if operation.method != Method::GET {
            continue;
        }
        let id = match operation.path.split('/').nth(2) {
            Some("channels") => channel.clone(),
            Some("messages") => text(&message, "id").to_owned(),
            Some("workflows") => text(&workflow, "id").to_owned(),
            Some("tasks") => text(&task.json(), "id").to_owned(),
            _ => agent.clone(),
        };
        let path = operation
            .path
            .replace("{id}", &id)
            .replace("{task_id}", text(&workflow["workflow_tasks"][0], "id"))
            .replace("{name}", "orchestrator");
        let whole = edge.get(&path).await;
        assert_eq!(whole.status, StatusCode::OK, "{path}: {whole:?}");
        assert_eq!(whole.header("cache-control"), "no-cache", "{path}");
        let tag = whole.header("etag");
        let held = if CHANGING.contains(&operation.id.as_str()) {
            "*".to_owned()
        } else {
            format!("\"another\", W/{}", tag.trim_start_matches("W/"))
        };
        for method in [Method::GET, Method::HEAD] {
            let unchanged = get_unless(&edge, method, &path, &held).await;
            assert_eq!(unchanged.status, StatusCode::NOT_MODIFIED, "{path}");
            assert!(unchanged.body.is_empty(), "{path}");
            assert!(!unchanged.headers.contains_key("content-length"), "{path}");
            assert_eq!(unchanged.query_count(), whole.query_count(), "{path}");
            assert_eq!(unchanged.header("cache-control"), "no-cache", "{path}");
            if held != "*" {
                assert_eq!(unchanged.header("etag"), tag, "{path}");
            }
        }
        let other = get_unless(&edge, Method::GET, &path, "\"0123456789abcdef\"").await;
        assert_eq!(other.status, StatusCode::OK, "{path}");
        count += 1;
    }
    assert!(count > 20, "only {count} reads");
}

#[tokio::test]
async fn stale_if_none_match_is_200_with_the_new_body() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let agent = format!("/api/agents/{}", agent(&edge, "orchestrator").await);
    let messages = format!("/api/channels/{}/messages", channel(&edge, "general").await);
    for path in [agent.as_str(), "/api/agents", messages.as_str()] {
        let before = edge.get(path).await;
        let held = before.header("etag");
        let unchanged = get_unless(&edge, Method::GET, path, held).await;
        assert_eq!(unchanged.status, StatusCode::NOT_MODIFIED, "{path}");
        if path == messages {
            edge.post(path, &json!({"content": "new"})).await;
        } else {
            let busy = json!({"is_busy": path == agent});
            edge.send_json(Method::PATCH, &agent, &busy).await;
        }
        let changed = get_unless(&edge, Method::GET, path, held).await;
        assert_eq!(changed.status, StatusCode::OK, "{path}");
        assert_ne!(changed.header("etag"), held, "{path}");
        assert_ne!(changed.body, before.body, "{path}");
    }
}

#[tokio::test]
async fn errors_and_writes_are_never_304() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for path in ["/api/agents/name/nobody", "/api/agents?bogus=1", "/nothing"] {
        let error = get_unless(&edge, Method::GET, path, "*").await;
        assert!(error.status.is_client_error(), "{path}: {error:?}");
        assert!(!error.headers.contains_key("etag"), "{path}");
    }
    let path = format!("/api/channels/{}/clear", channel(&edge, "general").await);
    let written = get_unless(&edge, Method::POST, &path, "*").await;
    assert_eq!(written.status, StatusCode::OK);
    assert!(!written.body.is_empty());
}

/// Returns every combination of a list and its filters, as the name of the statement and the path.
fn lists(agent: &str, channel: &str, workflow: &str) -> Vec<(&'static str, String)> {
    let parent = |table: &str| match table {
        "agents" => agent.to_owned(),
        "channels" => channel.to_owned(),
        _ => workflow.to_owned(),
    };
    let value = |table: &str, filter: &Filter| match (table, filter.column) {
        (_, "agent_type") => "writer".to_owned(),
        (_, "channel_id") => channel.to_owned(),
        ("workflow_tasks", "status") => "ready".to_owned(),
        (_, "status") => "pending".to_owned(),
        _ => agent.to_owned(),
    };
    let paths = list_paths(parent, value).into_iter();
    let limited = paths.map(|(statement, path)| {
        let limit = match statement {
            "agent_message_list" => "&limit=3",
            "channel_list" | "task_list" => "&limit=2",
            "channel_message_list" => "&limit=3&offset=1",
            "message_list" => "&limit=200",
            _ => "",
        };
        (statement, path + limit)
    });
    limited.collect()
}

/// Sends write `n` of a cycle of all writes that can change a list.
async fn write(edge: &Edge, n: usize, agent: &str, channel: &str, workflow: &str) {
    let (agents, channels) = (
        format!("/api/agents/{agent}"),
        format!("/api/channels/{channel}"),
    );
    let workflows = format!("/api/workflows/{workflow}");
    let (create, change) = (Method::POST, Method::PATCH);
    let written = match n % 16 {
        0 => (
            create,
            "/api/agents".into(),
            json!({"name": format!("a{n}"), "agent_type": "writer"}),
        ),
        1 => (change, agents, json!({"config": {"n": n}})),
        2 => (change, agents + "/deactivate", Value::Null),
        3 => (change, agents + "/activate", Value::Null),
        4 => (
            create,
            "/api/channels".into(),
            json!({"name": format!("c{n}")}),
        ),
        5 => (change, channels, json!({"topic": format!("{n}")})),
        6 => (
            create,
            channels + "/messages",
            json!({"content": "by nobody"}),
        ),
        7 => (
            create,
            channels + "/messages",
            json!({"content": "x", "author_type": "agent", "author_id": agent}),
        ),
        8 if n > 32 => (create, channels + "/clear", Value::Null),
        8 | 9 => (
            create,
            "/api/tasks".into(),
            json!({"description": "t", "assigned_to": agent}),
        ),
        10 => (
            create,
            "/api/workflows".into(),
            json!({"description": "w", "channel_id": channel}),
        ),
        11 => (
            create,
            workflows + "/tasks",
            json!({"description": format!("{n}"), "order_index": n}),
        ),
        12 => (create, workflows + "/start", Value::Null),
        13 => (
            create,
            "/api/workflow-tasks/claim".into(),
            json!({"agent_id": agent, "workflow_id": workflow}),
        ),
        14 => (create, workflows + "/cancel", Value::Null),
        // A read, which changes nothing.
        _ => (Method::GET, agents, Value::Null),
    };
    let (method, path, body) = written;
    let answer = if body.is_null() {
        edge.request(method, &path).await
    } else {
        edge.send_json(method, &path, &body).await
    };
    assert!(!answer.status.is_server_error(), "{path}: {answer:?}");
}

#[tokio::test]
async fn conditional_list_runs_tag_query_and_is_304_only_if_unchanged() {
    let database = Database::migrated().await;
    let edge = Edge::start_with(&database, &[("admin_token", ADMIN_TOKEN)], &[]).await;
    let agent = agent(&edge, "orchestrator").await;
    let channel = channel(&edge, "general").await;
    let workflow =
        json!({"description": "w", "channel_id": channel, "tasks": [{"description": "a"}]});
    let workflow = edge.post("/api/workflows", &workflow).await.json();
    let workflow = text(&workflow, "id");
    let lists = lists(&agent, &channel, workflow);
    let tags = ALL
        .iter()
        .filter(|statement| statement.name.ends_with("_tag"));
    assert_eq!(lists.len(), tags.count());
    let mut held = Vec::new();
    for (_, path) in &lists {
        held.push(edge.get(path).await);
    }
    let mut changes = vec![0; lists.len()];
    for n in 0..64 {
        write(&edge, n, &agent, &channel, workflow).await;
        for (i, (statement, path)) in lists.iter().enumerate() {
            let asked = get_unless(&edge, Method::GET, path, held[i].header("etag")).await;
            let whole = edge.get(path).await;
            let is_same = whole.body == held[i].body && whole.next() == held[i].next();
            let timing = asked.header("server-timing");
            let ran = |name: &str| timing.contains(&format!("{name};"));
            assert!(ran(&format!("{statement}_tag")), "{path}: {timing}");
            if is_same {
                assert_eq!(asked.status, StatusCode::NOT_MODIFIED, "{n}: {path}");
                assert_eq!(asked.query_count(), 1, "{path}");
            } else {
                assert_eq!(asked.status, StatusCode::OK, "{n}: {path}");
                assert_eq!(asked.query_count(), 2, "{path}");
                assert!(ran(statement), "{path}: {timing}");
                assert_eq!(asked.body, whole.body, "{path}");
                changes[i] += 1;
            }
            for answer in [&asked, &whole] {
                let tag = answer.header("etag");
                assert_eq!(tag == held[i].header("etag"), is_same, "{n}: {path}: {tag}");
            }
            held[i] = whole;
        }
    }
    for ((statement, _), changes) in lists.iter().zip(changes) {
        assert!(changes > 1, "{statement} has changed {changes} times");
    }
}

#[tokio::test]
async fn conditional_list_of_a_deleted_parent_is_404() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let workflow = json!({"description": "w"});
    let workflow = edge.post("/api/workflows", &workflow).await.json();
    let path = format!("/api/workflows/{}", text(&workflow, "id"));
    let tasks = format!("{path}/tasks");
    let empty = edge.get(&tasks).await;
    assert_eq!(empty.json(), json!([]));
    let tag = empty.header("etag");
    let held = get_unless(&edge, Method::GET, &tasks, tag).await;
    assert_eq!(held.status, StatusCode::NOT_MODIFIED);
    edge.request(Method::DELETE, &path).await;
    for held in [tag, "*"] {
        let gone = get_unless(&edge, Method::GET, &tasks, held).await;
        assert_eq!(gone.status, StatusCode::NOT_FOUND, "{held}");
        assert_eq!(gone.query_count(), 1, "{held}");
    }
}

#[tokio::test]
async fn list_tag_changes_if_the_next_page_disappears() {
    let database = Database::migrated().await;
    let client = database.client().await;
    let edge = Edge::start(&database).await;
    let channel = channel(&edge, "general").await;
    // Thirty messages of 100,000 characters exceed the 2 MiB limit of a page. So the page ends early and omits the oldest rows.
    client
        .batch_execute(&format!(
            "INSERT INTO messages (channel_id, author_type, author_name, content, created_at)
             SELECT '{channel}', 'user', 'user', repeat('x', 100000), now() - n * interval '1 s' FROM generate_series(1, 30) AS n"
        ))
        .await
        .unwrap();
    let path = format!("/api/channels/{channel}/messages?limit=200");
    let forget_all_but = async |count: usize| {
        let sql = format!(
            "DELETE FROM messages WHERE id IN (SELECT id FROM messages ORDER BY created_at DESC OFFSET {count})"
        );
        client.batch_execute(&sql).await.unwrap();
    };
    let page = edge.get(&path).await;
    let count = page.json().as_array().unwrap().len();
    assert!(count < 29, "{count}");
    forget_all_but(count + 1).await;
    let page = edge.get(&path).await;
    assert!(page.next().is_some());
    let tag = page.header("etag");
    let held = get_unless(&edge, Method::GET, &path, tag).await;
    assert_eq!(held.status, StatusCode::NOT_MODIFIED);
    forget_all_but(count).await;
    let last = get_unless(&edge, Method::GET, &path, tag).await;
    assert_eq!(last.status, StatusCode::OK);
    assert_eq!(last.body, page.body);
    assert_eq!(last.next(), None);
}

#[tokio::test]
async fn list_tag_changes_if_rows_swap_values() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let agents = [agent(&edge, "qa").await, agent(&edge, "devops").await];
    let mut tasks = Vec::new();
    for (n, agent) in agents.iter().enumerate() {
        let task = json!({"description": "t", "assigned_to": agent, "priority": n});
        let task = edge.post("/api/tasks", &task).await.json();
        tasks.push(format!("/api/tasks/{}", text(&task, "id")));
    }
    let before = edge.get("/api/tasks").await;
    for (n, (task, agent)) in tasks.iter().zip(agents.iter().rev()).enumerate() {
        let swapped = json!({"assigned_to": agent, "priority": 1 - n});
        let swapped = edge.patch(task, &swapped).await;
        assert_eq!(swapped.status, StatusCode::OK);
    }
    let after = get_unless(&edge, Method::GET, "/api/tasks", before.header("etag")).await;
    assert_eq!(after.status, StatusCode::OK);
    assert_ne!(after.body, before.body);
}

#[tokio::test]
async fn task_list_tag_distinguishes_contexts_with_equal_jsonb_hash() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let task = edge.post("/api/tasks", &json!({"description": "t"})).await;
    let task = format!("/api/tasks/{}", text(&task.json(), "id"));
    // PostgreSQL computes the same jsonb hash for most neighbours in `contexts`, although their values differ.
    let flag = |n: usize| {
        let flags = (0..17).map(|i| (format!("{i:02}"), json!(i == n)));
        Value::Object(flags.collect())
    };
    let contexts = [
        json!({"a": {}, "b": 1}),
        json!({"a": {"b": 1}}),
        json!({"a": [1], "b": 2}),
        json!({"a": [1, "b", 2]}),
        json!({"m": [[1], 2]}),
        json!({"m": [[1, 2]]}),
        json!({"v": [true, false]}),
        json!({"v": [null, true]}),
        json!({"v": 1.0}),
        flag(0),
        flag(16),
    ];
    let client = database.client().await;
    let same = client
        .query_one(
            "SELECT jsonb_hash_extended($1::text::jsonb, 0) = jsonb_hash_extended($2::text::jsonb, 0)",
            &[&contexts[0].to_string(), &contexts[1].to_string()],
        )
        .await
        .unwrap();
    assert!(
        same.get::<_, bool>(0),
        "these two values must have the same hash"
    );
    let mut held = edge.get("/api/tasks").await;
    for context in contexts {
        let changed = edge.patch(&task, &json!({"context": context})).await;
        assert_eq!(changed.status, StatusCode::OK);
        let asked = get_unless(&edge, Method::GET, "/api/tasks", held.header("etag")).await;
        assert_eq!(asked.status, StatusCode::OK, "{context}");
        held = asked;
    }
}
