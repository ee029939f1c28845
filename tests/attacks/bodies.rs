//! Attacks with bodies of at most 1 MiB that a parser could turn into very large trees. Many bodies also have a reference, so the
//! component keeps the body during a query. The host may use only a few times the size of the bodies as memory.

use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use support::{Database, Edge};

use crate::{NOBODY, bodies, send, with_member};

/// The size of each attack's value, a little below the largest permitted body.
const BYTES: usize = 1_000_000;

/// JSON values of [`BYTES`] bytes that have as many nodes as possible.
fn shapes() -> Vec<(&'static str, String)> {
    let nested = |open: &str, close: &str, inner: &str| {
        let levels = BYTES / (open.len() + close.len());
        format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
    };
    let flat = |open: &str, item: &str, close: &str| {
        let items = BYTES / (item.len() + 1);
        format!(
            "{open}{item}{}{close}",
            format!(",{item}").repeat(items - 1)
        )
    };
    vec![
        ("nested objects", nested("{\"\":", "}", "0")),
        ("nested arrays", nested("[", "]", "")),
        ("one object", flat("{", "\"\":0", "}")),
        ("one array", flat("[", "0", "]")),
        ("empty objects", flat("[", "{}", "]")),
        ("escapes", format!("\"{}\"", "\\u0041".repeat(BYTES / 6))),
    ]
}

/// The number of concurrent attacks, equal to the number of requests that an instance serves at once.
const AT_ONCE: usize = 16;

/// A request of an attack: its description, method, path and body.
type Attack = (String, Method, String, String);

/// Returns an attack for each member of each operation's body and each of the [`shapes`]. If the body has references, one of them names
/// a row that doesn't exist.
fn attacks() -> Vec<Attack> {
    let mut attacks = Vec::new();
    for (operation, members) in bodies() {
        let mut example = operation.example().expect("an example");
        for reference in [
            "assigned_to",
            "agent_id",
            "orchestrator_id",
            "thread_id",
            "author_id",
        ] {
            if members.iter().any(|(name, _)| name == reference) {
                example[reference] = json!(NOBODY);
            }
        }
        let path = operation.path_with(NOBODY);
        for (shape, value) in shapes() {
            let unknown = ["x".to_owned(), String::new()];
            for name in members.iter().map(|(name, _)| name).chain(&unknown) {
                let what = format!("{} {path}: {name} is {shape}", operation.method);
                attacks.push((
                    what,
                    operation.method.clone(),
                    path.clone(),
                    with_member(&example, name, &value),
                ));
            }
            // Sends the shape as the complete body, instead of a member's value.
            attacks.push((
                format!("{} {path}: {shape}", operation.method),
                operation.method.clone(),
                path.clone(),
                value,
            ));
        }
    }
    // A body that contains as many references as possible, and no other values.
    let task = json!({"description": "x", "assigned_to": NOBODY});
    let tasks = vec![task; 1000];
    let workflow = json!({"description": "x", "orchestrator_id": NOBODY, "tasks": tasks});
    for _ in 0..AT_ONCE {
        attacks.push((
            "a workflow of references".to_owned(),
            Method::POST,
            "/api/workflows".to_owned(),
            workflow.to_string(),
        ));
    }
    attacks
}

#[tokio::test]
async fn small_bodies_with_large_json_trees_do_not_affect_other_requests() {
    let database = Database::migrated().await;
    // All attacks reach the same instance, which is the worst case.
    let flags = [
        "--max-instance-reuse-count",
        "100000",
        "--max-instance-concurrent-reuse-count",
        "20",
    ];
    let edge = Edge::start_with(&database, &[], &flags).await;
    let attacks = attacks();
    println!("{} attacks", attacks.len());
    edge.get("/api/agents").await;
    let calm = edge.memory_kib();
    let mut peak = calm;
    for attacks in attacks.chunks(AT_ONCE) {
        let answers = attacks.iter().map(async |(what, method, path, body)| {
            let answer = send(&edge, method, path, body.as_str()).await;
            (what, answer)
        });
        let harmless = async {
            let answer = edge.get("/api/agents").await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        };
        let attack = async { tokio::join!(join_all(answers), harmless).0 };
        let watch = async {
            loop {
                peak = peak.max(edge.memory_kib());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let answers = tokio::select! {
            answers = attack => answers,
            () = watch => unreachable!("it never ends"),
        };
        for (what, answer) in answers {
            let is_refused = [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY]
                .contains(&answer.status);
            let problem: Value = answer.json();
            let detail: String = problem["detail"].to_string().chars().take(200).collect();
            assert!(is_refused, "{what}: {} {detail}", answer.status);
            assert!(
                answer.body.len() < 20_000,
                "{what}: {} bytes",
                answer.body.len()
            );
        }
    }
    assert!(!edge.log().contains("error: "), "{}", edge.log());
    let grown = peak.saturating_sub(calm);
    println!(
        "memory: {} MiB before, {} MiB more at most",
        calm >> 10,
        grown >> 10
    );
    // On Spin the memory isn't checked, because the serving process is a child of the measured process.
    if std::env::var_os("SPIN").is_none() {
        let of_bodies = (AT_ONCE * BYTES / 1024) as u64;
        assert!(
            grown < 6 * of_bodies,
            "{grown} KiB for bodies of {of_bodies} KiB"
        );
    }
}
