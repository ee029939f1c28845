//! Tests of SQL injection. Requests contain each text of [`INJECTIONS`] in each parameter, body member and header of each operation.
//! Afterwards, every statement of the component's login in the database's log must be identical to a statement of the registry.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use http::Request;
use http_body_util::Full;
use hyper::body::Bytes;
use reznet_edge::queries;
use serde_json::{Value, json};
use support::contract::{OPENAPI, Operation, operations};
use support::{Cluster, Edge, database_variables, migrate};

use crate::values::INJECTIONS;
use crate::{Rows, percent_encoded, send};

/// The prefix with which the component explains slow statements (`src/db.rs`).
const EXPLAIN: &str = "EXPLAIN (FORMAT JSON) ";

/// The statements by which the host resets a session that may have changed (`host/src/postgres/session.rs`).
const UNDO: [&str; 2] = [
    "ROLLBACK",
    "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
     SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES;",
];

/// A statement that isn't in the registry. The test runs it with the component's login, and the check of the log must report it.
const CONTROL: &str = "SELECT 1 FROM agents WHERE name = '' OR 1=1 --'";

#[tokio::test]
async fn client_input_never_becomes_part_of_a_statement() {
    let cluster = Cluster::start();
    migrate(&cluster.url()).expect("the new cluster can be migrated");
    log_every_statement(&cluster).await;
    let url = cluster.app_url();
    let mut variables = database_variables(&url).to_vec();
    // Sets low limits for slow statements, so that the component explains some.
    variables.extend([("slow_query_warn_ms", "1"), ("slow_query_error_ms", "3")]);
    let edge = Edge::start_at(&variables, &[]).await;
    let rows = Rows::create(&edge).await;
    let requests: Vec<_> = operations()
        .iter()
        .flat_map(|operation| requests(operation, &rows, &edge.url()))
        .collect();
    assert!(requests.len() > 5_000, "{} requests", requests.len());
    stream::iter(requests)
        .for_each_concurrent(8, async |request| {
            let what = format!("{request:?}");
            send(&edge, request, &what).await;
        })
        .await;

    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .expect("the component's login can connect");
    tokio::spawn(connection);
    client
        .query(CONTROL, &[])
        .await
        .expect("the control is valid SQL");
    drop(client);
    drop(edge);
    cluster.stop();
    let (run, explained, guilty) = judge(&cluster.data().join("log/statements.json"));
    assert!(run > 2_000, "only {run} statements are in the log");
    assert!(explained > 0, "no statement was explained");
    assert_eq!(
        guilty,
        [CONTROL],
        "only the control may be missing from the registry"
    );
}

async fn log_every_statement(cluster: &Cluster) {
    let client = cluster.superuser().await;
    for setting in [
        "logging_collector = on",
        "log_destination = jsonlog",
        "log_directory = log",
        "log_filename = 'statements.log'",
        "log_rotation_age = 0",
        "log_rotation_size = 0",
        "log_statement = 'all'",
    ] {
        let sql = format!("ALTER SYSTEM SET {setting}");
        client
            .batch_execute(&sql)
            .await
            .expect("PostgreSQL is 15 or newer, which has jsonlog");
    }
    drop(client);
    cluster.stop();
    cluster.resume();
}

/// Returns how many statements the component's login has run, how many of them were explained, and the log's errors and statements
/// that aren't permitted.
fn judge(log: &Path) -> (usize, usize, Vec<String>) {
    let known: Vec<_> = queries::ALL.iter().map(|known| known.sql).collect();
    let known: BTreeSet<&str> = known.iter().map(|known| known.trim()).collect();
    // Waits for the last line, because the server ends without waiting for the process that writes its log.
    let patience = Instant::now() + Duration::from_secs(10);
    while !std::fs::read_to_string(log).is_ok_and(|text| text.contains("system is shut down")) {
        assert!(Instant::now() < patience, "the log's end is missing");
        std::thread::sleep(Duration::from_millis(50));
    }
    let text =
        std::fs::read_to_string(log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
    let (mut run, mut explained, mut guilty) = (0, 0, Vec::new());
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("the log is JSON, a line each");
        if line["user"] != "reznet_api" {
            continue;
        }
        let message = line["message"].as_str().unwrap_or_default();
        if line["error_severity"] == "ERROR" {
            // Violated constraints (class 23) are normal, because the API relies on constraints. Any other error means a broken statement.
            let state = line["state_code"].as_str().unwrap_or_default();
            if !state.starts_with("23") {
                guilty.push(line.to_string());
            }
        }
        let statement = match message.split_once(": ") {
            Some((what, statement)) if what == "statement" || what.starts_with("execute ") => {
                statement
            }
            _ => continue,
        };
        run += 1;
        if statement.contains("write_once(") && !runs_a_known_one(&line, &known) {
            guilty.push(line.to_string());
        }
        explained += usize::from(statement.starts_with(EXPLAIN));
        let bare = statement.strip_prefix(EXPLAIN).unwrap_or(statement).trim();
        if !known.contains(bare) && !UNDO.contains(&statement.trim()) {
            guilty.push(statement.to_owned());
        }
    }
    guilty.dedup();
    (run, explained, guilty)
}

/// Returns whether the statement that `write_once` runs, which is its third parameter, is in the registry.
fn runs_a_known_one(line: &Value, known: &BTreeSet<&str>) -> bool {
    let detail = line["detail"].as_str().unwrap_or_default();
    let Some((_, given)) = detail.split_once(", $3 = '") else {
        return false;
    };
    known.iter().any(|sql| {
        let quoted = format!("{}', $4 = ", sql.replace('\'', "''"));
        given.trim_start().starts_with(&quoted)
    })
}

/// Returns a request for each text of [`INJECTIONS`] and each location in a request where the operation accepts text.
fn requests(operation: &Operation, rows: &Rows, url: &str) -> Vec<Request<Full<Bytes>>> {
    let mut requests = Vec::new();
    for text in INJECTIONS {
        let encoded = percent_encoded(text);
        let mut add = |path: &str, headers: &[(&str, &str)], body: Option<&Value>| {
            let mut request = Request::builder()
                .method(operation.method.clone())
                .uri(format!("{url}{path}"));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if body.is_some() {
                request = request.header("content-type", "application/json");
            }
            let body = body.map(Value::to_string).unwrap_or_default();
            // Skips texts that aren't valid in a header.
            if let Ok(request) = request.body(Full::from(body)) {
                requests.push(request);
            }
        };
        let path = filled(operation, rows, None);
        let example = operation.example();
        for name in path_parameters(operation) {
            add(
                &filled(operation, rows, Some((name, &encoded))),
                &[],
                example.as_ref(),
            );
        }
        for name in query_parameters(operation) {
            add(&format!("{path}?{name}={encoded}"), &[], example.as_ref());
        }
        add(
            &format!("{path}?{encoded}={encoded}"),
            &[],
            example.as_ref(),
        );
        if let Some(example) = &example {
            for body in bodies(operation, example, text) {
                add(&path, &[], Some(&body));
            }
        }
        for header in [
            "idempotency-key",
            "traceparent",
            "authorization",
            "origin",
            "x-profile",
        ] {
            add(&path, &[(header, text)], example.as_ref());
        }
    }
    requests
}

fn path_parameters(operation: &Operation) -> impl Iterator<Item = &str> {
    let segments = operation.path.split('/');
    segments.filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

fn query_parameters(operation: &Operation) -> impl Iterator<Item = &str> {
    let parameters = operation.described["parameters"].as_array();
    let parameters = parameters.into_iter().flatten();
    parameters
        .filter(|parameter| parameter["in"] == "query")
        .filter_map(|parameter| parameter["name"].as_str())
}

/// Returns the operation's path with the ids of existing rows. `but` is a path parameter that gets another value.
fn filled(operation: &Operation, rows: &Rows, but: Option<(&str, &str)>) -> String {
    let mut path = operation.path.clone();
    for name in path_parameters(operation) {
        let value = match but {
            Some((other, value)) if other == name => value,
            _ => rows.in_path(operation, name),
        };
        path = path.replace(&format!("{{{name}}}"), value);
    }
    path
}

/// Returns copies of `example`. Each copy has the text in another member, in an additional member, or in a free-form object.
fn bodies(operation: &Operation, example: &Value, text: &str) -> Vec<Value> {
    let schema =
        &operation.described["requestBody"]["content"]["application/json"]["schema"]["$ref"];
    let schema = schema
        .as_str()
        .and_then(|pointer| OPENAPI.pointer(pointer.strip_prefix('#')?));
    let properties = schema.and_then(|schema| schema["properties"].as_object());
    let mut bodies = Vec::new();
    for name in properties.expect("a body has members").keys() {
        for value in [
            json!(text),
            json!([text]),
            json!({text: text}),
            json!([{"description": text}]),
            json!({"role": text, "capabilities": [text]}),
        ] {
            let mut body = example.clone();
            body[name] = value;
            bodies.push(body);
        }
    }
    let mut body = example.clone();
    body[text] = json!(text);
    bodies.push(body);
    bodies
}
