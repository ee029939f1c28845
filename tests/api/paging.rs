//! Following `Link`: nothing twice, nothing missed while others write, and the last page costs what the first does.

use std::collections::HashSet;
use std::time::Duration;

use http::Method;
use serde_json::json;
use support::{Answer, Database, Edge};

use super::{channel, each, text};

const MESSAGES: usize = 100_000;

async fn with_messages() -> Database {
    let database = Database::migrated().await;
    let client = database.client().await;
    // Many share their time: the id must tell them apart.
    client
        .batch_execute(&format!(
            "INSERT INTO messages (channel_id, author_type, author_name, content, created_at)
             SELECT (SELECT id FROM channels WHERE name = 'general'), 'user', 'u', 'm' || n,
                    '2026-01-01'::timestamptz + (n / 7) * interval '1 millisecond'
             FROM generate_series(1, {MESSAGES}) AS n;
             ANALYZE messages"
        ))
        .await
        .unwrap();
    database
}

/// Reads a list to its end while another writes; gives back the contents of all rows there were before.
async fn follow(edge: &Edge, first: String) -> (Vec<String>, Vec<f64>) {
    let (mut seen, mut query_ms) = (Vec::new(), Vec::new());
    let mut next = Some(first);
    while let Some(page) = next {
        let answer = edge.get(&page).await;
        assert_eq!(answer.query_count(), 1);
        query_ms.push(answer.query_ms());
        seen.extend(
            each(&answer, "content")
                .into_iter()
                .filter(|content| content.starts_with('m')),
        );
        next = answer.next();
    }
    (seen, query_ms)
}

fn assert_each_once(seen: &[String]) {
    let distinct: HashSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), MESSAGES, "some are missing");
    assert_eq!(seen.len(), MESSAGES, "some came twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn following_link_meets_each_of_100_000_messages_once_while_others_write() {
    let database = with_messages().await;
    let edge = Edge::start(&database).await;
    let path = format!("/api/channels/{}/messages", channel(&edge, "general").await);
    let write = async {
        let mut written: usize = 0;
        loop {
            edge.post(&path, &json!({"content": "new"})).await;
            written += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert!(written < 1_000_000);
        }
    };
    let read = async {
        let newest_first = follow(&edge, format!("{path}?limit=200")).await;
        let oldest_first = follow(&edge, "/api/messages?limit=200".to_owned()).await;
        (newest_first, oldest_first)
    };
    let (newest_first, oldest_first) = tokio::select! {
        read = read => read,
        () = write => unreachable!("it writes until it's stopped"),
    };
    assert_each_once(&newest_first.0);
    assert_each_once(&oldest_first.0);
}

/// A ratio of medians, the two taken in turn: the machine is shared.
#[tokio::test]
async fn the_last_page_costs_at_most_one_and_a_half_times_the_first() {
    let database = with_messages().await;
    let edge = Edge::start(&database).await;
    let general = format!(
        "/api/channels/{}/messages?limit=50",
        channel(&edge, "general").await
    );
    for first in [general, "/api/messages?limit=50".to_owned()] {
        let mut last = first.clone();
        // Straight to the end by offset, and one page by cursor from there.
        let separator = format!("{first}&offset={}", MESSAGES - 100);
        if let Some(next) = edge.get(&separator).await.next() {
            last = next;
        }
        assert_eq!(each(&edge.get(&last).await, "content").len(), 50);
        let (mut first_ms, mut last_ms) = (Vec::new(), Vec::new());
        for _ in 0..60 {
            first_ms.push(edge.get(&first).await.query_ms());
            last_ms.push(edge.get(&last).await.query_ms());
        }
        let (first_ms, last_ms) = (median(first_ms), median(last_ms));
        assert!(
            last_ms <= 1.5 * first_ms,
            "{first}: {last_ms} ms after {first_ms} ms"
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::test]
async fn every_list_has_a_limit_an_offset_and_a_next_page() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let general = channel(&edge, "general").await;
    for n in 0..3 {
        let backend = super::agent(&edge, "backend").await;
        let message =
            json!({"content": format!("{n}"), "author_type": "agent", "author_id": backend});
        edge.post(&format!("/api/channels/{general}/messages"), &message)
            .await;
        edge.post("/api/tasks", &json!({"description": "t"})).await;
        let tasks = json!([{"description": "a"}, {"description": "b"}, {"description": "c"}]);
        edge.post(
            "/api/workflows",
            &json!({"description": "w", "tasks": tasks}),
        )
        .await;
    }
    let workflow = edge.get("/api/workflows").await.json()[0].clone();
    let lists = support::contract::operations()
        .into_iter()
        .filter(|operation| {
            operation.method == Method::GET
                && operation.described.to_string().contains("\"cursor\"")
        });
    let mut count = 0;
    for operation in lists {
        let id = match operation.path.as_str() {
            path if path.starts_with("/api/agents/") => super::agent(&edge, "backend").await,
            path if path.starts_with("/api/channels/") => general.clone(),
            _ => text(&workflow, "id").to_owned(),
        };
        let path = operation.path_with(&id);
        let ids = |answer: &Answer| each(answer, "id");
        let all = ids(&edge.get(&path).await);
        assert!(all.len() >= 3, "{path}: {all:?}");
        let mut paged = HashSet::new();
        let mut next = Some(format!("{path}?limit=2"));
        while let Some(page) = next {
            let answer = edge.get(&page).await;
            for id in ids(&answer) {
                assert!(paged.insert(id), "{path}: one came twice");
            }
            next = answer.next();
        }
        assert_eq!(paged, all.iter().cloned().collect(), "{path}");
        assert_eq!(
            ids(&edge.get(&format!("{path}?limit=1&offset=1")).await).len(),
            1
        );
        count += 1;
    }
    assert!(count >= 8, "only {count} lists");
}

/// 60 messages of 100,000 control characters are 36 MB of JSON; sixteen times that is more than an instance has memory for.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_long_messages_end_early_and_link_to_the_rest() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let client = database.client().await;
    client
        .batch_execute(
            "INSERT INTO messages (channel_id, author_type, author_name, content)
             SELECT (SELECT id FROM channels WHERE name = 'general'), 'user', 'm' || n, repeat(chr(1), 100000)
             FROM generate_series(1, 60) AS n",
        )
        .await
        .unwrap();
    let general = channel(&edge, "general").await;
    let lists = [
        format!("/api/channels/{general}/messages?limit=200"),
        "/api/messages?limit=200".to_owned(),
    ];
    let at_once = lists.iter().cycle().take(16).map(|list| edge.get(list));
    for answer in futures_util::future::join_all(at_once).await {
        assert_eq!(answer.status, 200, "{}", answer.body.len());
    }
    for list in lists {
        let (mut seen, mut next) = (HashSet::new(), Some(list));
        while let Some(page) = next {
            let answer = edge.get(&page).await;
            // Two mebibytes and one message.
            assert!(answer.body.len() < 2 * 1024 * 1024 + 700_000);
            for name in each(&answer, "author_name") {
                assert!(seen.insert(name), "{page}: one came twice");
            }
            next = answer.next();
        }
        assert_eq!(seen.len(), 60);
    }
}
