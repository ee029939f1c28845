//! The API writes every time in UTC with six fractional digits and `Z`, regardless of the session's settings.

use http::StatusCode;
use serde_json::Value;
use support::{Database, Edge};

use super::text;

/// Times for which PostgreSQL's own output is shorter than the API's, and the limits of the permitted range.
const TIMES: [(&str, &str); 9] = [
    ("0001-01-01 00:00:00+00", "0001-01-01T00:00:00.000000Z"),
    ("0987-06-05 04:03:02.1+00", "0987-06-05T04:03:02.100000Z"),
    (
        "1969-12-31 23:59:59.999999+00",
        "1969-12-31T23:59:59.999999Z",
    ),
    ("1970-01-01 00:00:00+00", "1970-01-01T00:00:00.000000Z"),
    ("2024-02-29 12:00:00+05:30", "2024-02-29T06:30:00.000000Z"),
    (
        "2026-11-27 13:11:09.06581+00",
        "2026-11-27T13:11:09.065810Z",
    ),
    ("2026-11-27 13:11:09.5+00", "2026-11-27T13:11:09.500000Z"),
    (
        "2026-11-27 13:11:09.000001+00",
        "2026-11-27T13:11:09.000001Z",
    ),
    (
        "9999-12-31 23:59:59.999999+00",
        "9999-12-31T23:59:59.999999Z",
    ),
];

/// Fails unless each time in `value` has six digits and `Z`. Returns the number of times.
fn check(value: &Value) -> usize {
    match value {
        Value::Array(values) => values.iter().map(check).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| match value.as_str() {
                Some(time) if name.ends_with("_at") => {
                    let form = "0000-00-00T00:00:00.000000Z";
                    let digits = time.replace(|c: char| c.is_ascii_digit(), "0");
                    assert_eq!(digits, form, "{name}: {time}");
                    1
                }
                _ => check(value),
            })
            .sum(),
        _ => 0,
    }
}

#[tokio::test]
async fn every_timestamp_has_six_fraction_digits_and_z() {
    let database = Database::migrated().await;
    let client = database.client().await;
    for setting in ["DateStyle = 'German, DMY'", "TimeZone = 'Asia/Kolkata'"] {
        let sql = format!("ALTER DATABASE {} SET {setting}", database.name());
        client.batch_execute(&sql).await.unwrap();
    }
    let edge = Edge::start(&database).await;
    let owner = text(&edge.get("/api/agents/name/backend").await.json(), "id").to_owned();
    for (index, (time, expected)) in TIMES.into_iter().enumerate() {
        let sql = format!(
            "WITH agent AS (
                INSERT INTO agents (name, agent_type, created_at, updated_at)
                VALUES ('@t{index}', 'timer', '{time}', '{time}') RETURNING id
            ), channel AS (
                INSERT INTO channels (name, context_cleared_at, created_at, updated_at)
                VALUES ('t{index}', '0001-01-01 00:00:00+00', '{time}', '{time}') RETURNING id
            ), message AS (
                INSERT INTO messages (channel_id, author_type, author_name, content, created_at)
                SELECT id, 'user', 'u', 'x', '{time}' FROM channel RETURNING id
            ), task AS (
                INSERT INTO tasks (description, status, created_at, started_at, completed_at)
                VALUES ('t', 'completed', '{time}', '{time}', '{time}') RETURNING id
            ), workflow AS (
                INSERT INTO workflows (description, status, orchestrator_id, created_at, started_at, completed_at)
                VALUES ('w', 'completed', '{owner}', '{time}', '{time}', '{time}') RETURNING id
            ), workflow_task AS (
                INSERT INTO workflow_tasks (workflow_id, description, order_index, status, created_at, started_at, completed_at)
                SELECT id, 't', 0, 'completed', '{time}', '{time}', '{time}' FROM workflow RETURNING id
            ) SELECT '/api/agents/' || agent.id, '/api/channels/' || channel.id, '/api/messages/' || message.id,
                '/api/tasks/' || task.id, '/api/workflows/' || workflow.id,
                '/api/workflows/' || workflow.id || '/tasks/' || workflow_task.id
            FROM agent, channel, message, task, workflow, workflow_task"
        );
        let row = client.query_one(&sql, &[]).await.unwrap();
        for column in 0..row.len() {
            let path: String = row.get(column);
            let answer = edge.get(&path).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            let found = answer.json();
            assert_eq!(found["created_at"], expected, "{path}");
            assert!(check(&found) > 0, "{path}");
        }
    }
    for path in [
        "/api/agents?agent_type=timer",
        "/api/channels",
        "/api/messages",
        "/api/tasks",
        "/api/workflows",
    ] {
        let answer = edge.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert!(check(&answer.json()) >= TIMES.len(), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn times_outside_the_years_1_to_9999_are_refused_by_the_database() {
    let database = Database::migrated().await;
    let client = database.client().await;
    for time in [
        "infinity",
        "-infinity",
        "10000-01-01 00:00:00+00",
        "0001-12-31 23:59:59.999999+00 BC",
        "294276-12-31 23:59:59+00",
        "4713-01-01 00:00:00+00 BC",
    ] {
        for (table, column) in [
            ("agents", "updated_at"),
            ("channels", "context_cleared_at"),
            ("messages", "created_at"),
            ("tasks", "started_at"),
            ("workflows", "completed_at"),
            ("workflow_tasks", "created_at"),
        ] {
            let sql = format!("UPDATE public.{table} SET {column} = '{time}'");
            // Creates rows for the UPDATE in `sql`, because the migrations insert only agents and channels.
            let rows = "INSERT INTO public.messages (channel_id, author_type, author_name, content)
                    SELECT id, 'user', 'u', 'x' FROM public.channels LIMIT 1;
                INSERT INTO public.tasks (description) VALUES ('t');
                INSERT INTO public.workflows (description, status, completed_at) VALUES ('w', 'completed', now());
                INSERT INTO public.workflow_tasks (workflow_id, description, order_index)
                    SELECT id, 't', 0 FROM public.workflows LIMIT 1;";
            let error = client
                .batch_execute(&format!("BEGIN; {rows} {sql}; COMMIT"))
                .await
                .unwrap_err();
            client.batch_execute("ROLLBACK").await.unwrap();
            let error = error.as_db_error().expect("the server refuses it");
            let constraint = format!("{table}_times_check");
            assert_eq!(
                error.constraint(),
                Some(constraint.as_str()),
                "{time}: {error}"
            );
        }
    }
}
