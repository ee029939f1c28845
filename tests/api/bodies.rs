//! JSON bodies. Free-form objects are stored unchanged, invalid bodies are refused, and no body makes the component run out of memory.

use std::time::{Duration, Instant};

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use support::contract::{OPENAPI, Operation, operations};
use support::{Answer, Database, Edge};

use super::{agent, channel, faults, text};

/// Sends `body` unchanged, even if it isn't valid JSON.
async fn send(edge: &Edge, method: &Method, path: &str, body: &str) -> Answer {
    send_as(
        edge,
        method,
        path,
        body,
        &[("content-type", "application/json")],
    )
    .await
}

async fn send_as(
    edge: &Edge,
    method: &Method,
    path: &str,
    body: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", edge.url()));
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    });
    let body = Full::from(body.to_owned());
    edge.send(request.body(body).expect("the request is valid"))
        .await
}

/// Returns each member of a request body that accepts any JSON object, with its operation.
fn free_form_members() -> Vec<(Operation, String)> {
    let mut found = Vec::new();
    for operation in operations() {
        let schema = &operation.described["requestBody"]["content"]["application/json"]["schema"];
        let Some(pointer) = schema["$ref"].as_str() else {
            continue;
        };
        let schema = &OPENAPI.pointer(&pointer[1..]).expect("a schema");
        for (name, member) in schema["properties"].as_object().expect("properties") {
            if member.to_string().contains("/JsonObject") {
                found.push((operation.clone(), name.clone()));
            }
        }
    }
    found
}

/// Returns a path of the operation with the id of an existing row.
async fn path_of(edge: &Edge, operation: &Operation) -> String {
    let id = match operation.path.as_str() {
        path if path.starts_with("/api/agents") => agent(edge, "backend").await,
        path if path.starts_with("/api/channels") => channel(edge, "general").await,
        _ => {
            let task = edge.post("/api/tasks", &json!({"description": "x"})).await;
            text(&task.json(), "id").to_owned()
        }
    };
    operation.path_with(&id)
}

/// Free-form objects, written exactly as PostgreSQL prints jsonb. So the test can expect the same text in the response.
const FREE_FORM: &[&str] = &[
    r#"{"$serde_json::private::Number": "12"}"#,
    r#"{"$serde_json::private::Number": "abc"}"#,
    r#"{"$serde_json::private::Number": 12}"#,
    r#"{"a": {"$serde_json::private::Number": "12"}}"#,
    r#"{"a": [[{"b": {"$serde_json::private::Number": "1e999999"}}]]}"#,
    r#"{"$serde_json::private::RawValue": "[1"}"#,
    r#"{"a": {"$serde_json::private::RawValue": "{}"}}"#,
    r#"{"$__toml_private_datetime": "2026-01-01"}"#,
    r#"{"__proto__": {"a": 1}, "constructor": null}"#,
    r#"{"a": 1.50, "b": 12345678901234567890123456789.1234567890}"#,
    r#"{"": {"": [{}, [], "", false]}}"#,
    r#"{"a": "\"\\\b\f\n\r\t/ ü😀"}"#,
];

#[tokio::test]
async fn free_form_objects_in_jsonb_form_are_returned_unchanged() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let members = free_form_members();
    assert!(members.len() >= 5, "{members:?}");
    for (operation, member) in members {
        let path = path_of(&edge, &operation).await;
        let deep = format!("{{\"a\": {}1{}}}", "[".repeat(59), "]".repeat(59));
        for (number, object) in FREE_FORM.iter().copied().chain([deep.as_str()]).enumerate() {
            let mut body = operation.example().expect("an example");
            body.as_object_mut().expect("an object").remove(&member);
            if operation.path == "/api/agents" {
                body["name"] = format!("agent-{number}").into();
            }
            let others = body.to_string();
            let others = others.strip_suffix('}').expect("an object");
            let comma = if others == "{" { "" } else { "," };
            let body = format!("{others}{comma}\"{member}\":{object}}}");
            let answer = send(&edge, &operation.method, &path, &body).await;
            assert!(answer.status.is_success(), "{body}: {answer:?}");
            let shown = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(shown.contains(object), "{object} came back as {shown}");
        }
    }
}

#[tokio::test]
async fn object_with_serde_json_private_key_is_not_a_scalar() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for value in [
        r#"{"$serde_json::private::Number": "12"}"#,
        r#"{"$serde_json::private::RawValue": "12"}"#,
    ] {
        let body = format!("{{\"description\": {value}, \"priority\": {value}}}");
        let answer = send(&edge, &Method::POST, "/api/tasks", &body).await;
        assert_eq!(faults(&answer), ["/description", "/priority"]);
    }
}

#[tokio::test]
async fn whole_numbers_are_compared_as_decimals() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for (priority, stored) in [
        ("5", Some(5)),
        ("5.0", Some(5)),
        ("5e0", Some(5)),
        ("0.05E+2", Some(5)),
        ("-0.0", Some(0)),
        ("100.000", Some(100)),
        ("99.9999999999999999999", None),
        ("5.0000000000000000000000001", None),
        ("-0.0000000000000000000000001", None),
        ("1e300", None),
        ("1e99999999999999999999", None),
        ("0.5", None),
        ("\"5\"", None),
    ] {
        let body = format!("{{\"description\": \"x\", \"priority\": {priority}}}");
        let answer = send(&edge, &Method::POST, "/api/tasks", &body).await;
        match stored {
            Some(stored) => assert_eq!(answer.json()["priority"], stored, "{priority}"),
            None => assert_eq!(faults(&answer), ["/priority"], "{priority}"),
        }
    }
}

#[tokio::test]
async fn duplicate_field_is_refused_but_last_wins_in_free_form_objects() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let body = r#"{"description": "a", "descr\u0069ption": "b", "priority": 1, "priority": 1}"#;
    let answer = send(&edge, &Method::POST, "/api/tasks", body).await;
    assert_eq!(faults(&answer), ["/description", "/priority"]);
    assert_eq!(answer.json()["errors"][0]["detail"], "given more than once");
    let body = r#"{"description": "a", "context": {"a": 1, "a": 2}}"#;
    let answer = send(&edge, &Method::POST, "/api/tasks", body).await;
    assert_eq!(answer.json()["context"], json!({"a": 2}));
}

#[tokio::test]
async fn every_field_error_of_a_body_is_in_one_answer() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let body = r#"{"nmae": "x", "name": "", "agent_type": 1, "persona": {"role": [], "x~/": null},
        "config": {"a": "\u0000"}, "is_active": "true"}"#;
    let answer = send(&edge, &Method::POST, "/api/agents", body).await;
    let errors = answer.json()["errors"].clone();
    let errors = errors.as_array().expect("errors").iter();
    let errors: Vec<_> = errors
        .map(|error| format!("{} {}", text(error, "pointer"), text(error, "detail")))
        .collect();
    assert_eq!(
        errors,
        [
            "/name must be up to 99 letters, digits, _ . and -, not beginning with a dot, with or without a leading @",
            "/agent_type must be text",
            "/persona/role must be text",
            "/persona/x~0~1 unknown field",
            "/config contains a NUL character",
            "/is_active must be true or false",
            "/nmae unknown field",
        ]
    );
}

#[tokio::test]
async fn free_form_values_beyond_common_parser_limits_are_refused() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(60), "]".repeat(60));
    for object in [
        r#"{"a": ["\u0000"]}"#,
        r#"{"\u0000": 1}"#,
        r#"{"a": 1e309}"#,
        r#"{"a": -1e5000}"#,
        r#"{"a": 1e-99999}"#,
        r#"{"a": 0e99999999999}"#,
        &deep,
        &format!("{{\"a\": \"{}\"}}", "x".repeat(16 * 1024)),
    ] {
        let body = format!("{{\"description\": \"x\", \"context\": {object}}}");
        let answer = send(&edge, &Method::POST, "/api/tasks", &body).await;
        assert_eq!(faults(&answer), ["/context"], "{object}");
    }
}

#[tokio::test]
async fn only_utf_8_charsets_and_identity_encoding_are_accepted() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let (json, body) = ("application/json", r#"{"description": "ü"}"#);
    for headers in [
        &[("content-type", json)][..],
        &[("content-type", "application/json; charset=utf8")],
        &[("content-type", "application/json;charset=\"UTF-8\"")],
        &[("content-type", "application/json; charset=us-ascii")],
        &[("content-type", json), ("content-encoding", "identity")],
        &[("content-type", json), ("content-encoding", "Identity")],
    ] {
        let answer = send_as(&edge, &Method::POST, "/api/tasks", body, headers).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{headers:?}");
        assert_eq!(answer.json()["description"], "ü");
    }
    for headers in [
        &[("content-type", "application/json; charset=latin1")][..],
        &[("content-type", "application/json; charset=utf-16")],
        &[("content-type", "text/json")],
        &[("content-type", json), ("content-type", "text/plain")],
        &[],
        &[("content-type", json), ("content-encoding", "gzip")],
        &[("content-type", json), ("content-encoding", "identity, br")],
    ] {
        let answer = send_as(&edge, &Method::POST, "/api/tasks", body, headers).await;
        assert_eq!(
            answer.status,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{headers:?}"
        );
        assert_eq!(answer.header("accept-encoding"), "identity");
    }
}

/// A parser that builds a tree from these bodies would need a hundred times their size. An instance has 128 MiB for sixteen requests, so
/// a few trees would exhaust its memory.
#[tokio::test(flavor = "multi_thread")]
async fn deep_and_wide_bodies_do_not_affect_other_requests() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let orchestrator = json!("00000000-0000-0000-0000-000000000000");
    let bodies = [
        // Deep and wide values. Each is sent as an unknown member, as `tasks` and as `description`. Each body also refers to an agent that
        // doesn't exist, so that the API has to query the database.
        format!("{}1{}", "{\"\":".repeat(170_000), "}".repeat(170_000)),
        format!("[{}0]", "{\"\":0},".repeat(120_000)),
        format!("[{}0]", "[],".repeat(300_000)),
    ];
    let bodies = bodies.iter().flat_map(|value| {
        ["unknown", "tasks", "description"]
            .map(|member| format!("{{\"orchestrator_id\": {orchestrator}, \"{member}\": {value}}}"))
    });
    let bodies: Vec<_> = bodies.cycle().take(27).collect();
    let clock = Instant::now();
    let hostile = bodies
        .iter()
        .map(|body| send(&edge, &Method::POST, "/api/workflows", body));
    let harmless = (0..50).map(|_| edge.get("/api/agents"));
    let (hostile, harmless) = tokio::join!(
        futures_util::future::join_all(hostile),
        futures_util::future::join_all(harmless)
    );
    for answer in hostile {
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        let errors = answer.json()["errors"].as_array().map(Vec::len);
        assert!(errors.is_some_and(|errors| errors <= 50), "{errors:?}");
    }
    for answer in harmless {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    assert!(
        clock.elapsed() < Duration::from_secs(20),
        "{:?}",
        clock.elapsed()
    );
    let log = edge.log();
    assert!(!log.contains("error: "), "{log}");
}

#[tokio::test]
async fn text_that_is_not_json_is_400() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for body in [
        "",
        "{",
        "{\"description\": \"x\"} x",
        "{\"description\": 'x'}",
        "{\"description\": \"x\",}",
        "{\"description\": \"a\nb\"}",
        "{\"description\": 01}",
        "{description: \"x\"}",
        "\u{feff}{\"description\": \"x\"}",
        "{\"description\": \"\\ud800\"}",
        "{\"description\": \"x\", \"context\": {\"a\": [\"\\udc00\\ud800\"]}}",
        "{\"description\": \"x\", \"context\": {\"\\udfff\": 1}}",
    ] {
        let answer = send(&edge, &Method::POST, "/api/tasks", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body:.40}");
    }
    for body in ["[]", "null", "1", "\"x\""] {
        let answer = send(&edge, &Method::POST, "/api/tasks", body).await;
        assert_eq!(faults(&answer), [""], "{body}");
        let detail: Value = answer.json()["errors"][0]["detail"].clone();
        assert_eq!(detail, "must be a JSON object");
    }
    // The limits are checked before the syntax, so these bodies get 422 although they are invalid JSON.
    for body in ["[".repeat(65), format!("[{}", "0,".repeat(100_000))] {
        let answer = send(&edge, &Method::POST, "/api/tasks", &body).await;
        assert_eq!(faults(&answer), [""]);
    }
}
