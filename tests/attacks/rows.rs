//! Tests that common JSON parsers can read every value that the API stores. Python's parser is tested because it limits the digits of
//! integers. `serde_json` is tested because it refuses large numbers that other parsers accept.

use std::io::Write;
use std::process::{Command, Stdio};

use http::{Method, StatusCode};
use serde_json::json;
use support::{Database, Edge};

use crate::{bodies, create, send, with_member};

/// Returns free-form objects at the limits, and beyond.
fn objects() -> Vec<String> {
    let nested = |levels: usize| {
        format!(
            "{{\"a\":{}{}}}",
            "[".repeat(levels - 1),
            "]".repeat(levels - 1)
        )
    };
    let mut objects: Vec<_> = [
        "1e308",
        "-1e308",
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "1e309",
        "1e5000",
        "1e-400",
        "-1e-5000",
        "1e-16370",
        "1e99999999999999999999",
        "-0.0",
        "123456789012345678901234567890.123456789",
    ]
    .map(|number| format!("{{\"n\": {number}}}"))
    .into();
    for digits in [308, 309, 310, 4300, 4301, 16_000] {
        objects.push(format!("{{\"n\": {}}}", "9".repeat(digits)));
        objects.push(format!("{{\"n\": 1{}}}", "0".repeat(digits - 1)));
        objects.push(format!("{{\"n\": 0.{}}}", "9".repeat(digits)));
        objects.push(format!("{{\"n\": 1.{}e-10}}", "9".repeat(digits)));
    }
    objects.extend([59, 60, 61, 100, 1000].map(nested));
    objects.extend(
        [
            r#"{"a": 1, "a": 2}"#,
            r#"{"a": {"b": 1, "b": [1], "b": {"b": 1e308}}}"#,
            r#"{"": {"": ""}, "__proto__": 1, "constructor": {}, "\u0001\u007f\u0080\u2028\ufeff": "\u2028"}"#,
            r#"{"a": "\ud800"}"#,
            r#"{"\udc00\ud800": 1}"#,
            r#"{"a": "\u0000"}"#,
            r#"{"a": "\ud83d\ude00"}"#,
            r#"{"a": NaN}"#,
            r#"{"a": Infinity}"#,
        ]
        .map(str::to_owned),
    );
    for bytes in [16 * 1024 - 8, 16 * 1024, 64 * 1024] {
        objects.push(format!("{{\"t\":\"{}\"}}", "a".repeat(bytes)));
        objects.push(format!("{{\"{}\":1}}", "k".repeat(bytes)));
    }
    objects
}

/// Fails if Python can't parse a line, or if an object in it has a member twice.
fn python_reads(text: &[u8]) {
    const PROGRAM: &str = "import json, sys
def once(pairs):
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)
for line in sys.stdin.buffer:
    json.dumps(json.loads(line, object_pairs_hook=once)).encode('utf-8')";
    let mut python = Command::new("python3")
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 starts: the examples need it too");
    python
        .stdin
        .take()
        .expect("piped")
        .write_all(text)
        .expect("Python reads");
    let ended = python.wait_with_output().expect("Python ends");
    let shown: String = String::from_utf8_lossy(text).chars().take(2000).collect();
    assert!(
        ended.status.success(),
        "{}\n{shown}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

#[tokio::test]
async fn every_storable_value_is_read_by_serde_json_and_python() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let channel = create(&edge, "/api/channels", json!({"name": "poison"})).await;
    let task = create(&edge, "/api/tasks", json!({"description": "x"})).await;
    let workflow = create(
        &edge,
        "/api/workflows",
        json!({"description": "x", "tasks": [{"description": "x"}]}),
    )
    .await;
    let workflow_tasks = edge
        .get(&format!("/api/workflows/{workflow}/tasks"))
        .await
        .json();
    let workflow_task = workflow_tasks[0]["id"].as_str().expect("an id").to_owned();
    let agent = create(
        &edge,
        "/api/agents",
        json!({"name": "poison", "agent_type": "qa"}),
    )
    .await;
    let (mut stored, mut answers) = (0, Vec::new());
    for (operation, members) in bodies() {
        let path = operation.path.replace("{task_id}", &workflow_task);
        let id = match path.split('/').nth(2) {
            Some("agents") => &agent,
            Some("channels") => &channel,
            Some("workflows") => &workflow,
            _ => &task,
        };
        let path = path.replace("{id}", id);
        let free_form = members
            .iter()
            .filter(|(_, schema)| schema.to_string().contains("/JsonObject"));
        for (name, _) in free_form {
            for (number, object) in objects().into_iter().enumerate() {
                let mut body = operation.example().expect("an example");
                if operation.id == "agent_create" {
                    body["name"] = json!(format!("poison-{name}-{number}"));
                }
                let answer = send(
                    &edge,
                    &operation.method,
                    &path,
                    with_member(&body, name, &object),
                )
                .await;
                let object: String = object.chars().take(100).collect();
                let what = format!("{} {name} {object}: {answer:?}", operation.id);
                if answer.status.is_success() {
                    answers.extend_from_slice(&answer.body);
                    answers.push(b'\n');
                    let read: Result<serde_json::Value, _> = serde_json::from_slice(&answer.body);
                    assert!(read.is_ok(), "{read:?} {what}");
                    stored += 1;
                } else {
                    let is_refused = [
                        StatusCode::BAD_REQUEST,
                        StatusCode::UNPROCESSABLE_ENTITY,
                        StatusCode::CONFLICT,
                    ]
                    .contains(&answer.status);
                    assert!(is_refused, "{what}");
                }
            }
        }
    }
    python_reads(&answers);
    assert!(stored > 60, "only {stored} objects were stored");
    for path in [
        "/api/agents",
        "/api/messages",
        "/api/tasks",
        "/api/workflows",
    ] {
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let page = edge.request(Method::GET, &path).await;
            assert_eq!(page.status, StatusCode::OK);
            python_reads(&page.body);
            serde_json::from_slice::<serde_json::Value>(&page.body).expect("serde_json reads it");
            next = page.next();
        }
    }
}
