//! Paging. A client that follows the `Link` headers gets each row once, even while other clients write. The query for the last page
//! takes about as long as the query for the first.

use std::collections::HashSet;
use std::time::Duration;

use http::Method;
use serde_json::json;
use support::{Answer, Database, Edge};

use super::{agent, channel, each, text};

const MESSAGES: usize = 100_000;

async fn with_messages() -> Database {
    let database = Database::migrated().await;
    let client = database.client().await;
    // Several messages share a time, so that cursors must distinguish them by the id.
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

/// Reads a list to its end. Returns the contents of all rows that existed at the start, and each page's query time in ms.
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
    assert_eq!(distinct.len(), MESSAGES, "messages are missing");
    assert_eq!(seen.len(), MESSAGES, "messages came twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn next_links_return_each_message_once_during_concurrent_writes() {
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

/// Requests the first page and the last page alternately, and compares the medians. A single time isn't reliable, because other
/// processes also use the machine.
#[tokio::test]
async fn query_time_of_last_page_is_at_most_1_5_times_the_first() {
    let database = with_messages().await;
    let edge = Edge::start(&database).await;
    let general = format!(
        "/api/channels/{}/messages?limit=50",
        channel(&edge, "general").await
    );
    for first in [general, "/api/messages?limit=50".to_owned()] {
        let mut last = first.clone();
        // Requests the second-last page by its offset. Its `Link` header has the cursor of the last page.
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
            "{first}: the last page takes {last_ms} ms, the first {first_ms} ms"
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
                assert!(paged.insert(id), "{path}: a row came twice");
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

/// 60 messages of 100,000 control characters are 36 MB of JSON. Sixteen such responses exceed the memory of an instance.
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
            // A page may exceed 2 MiB by one message.
            assert!(answer.body.len() < 2 * 1024 * 1024 + 700_000);
            for name in each(&answer, "author_name") {
                assert!(seen.insert(name), "{page}: a message came twice");
            }
            next = answer.next();
        }
        assert_eq!(seen.len(), 60);
    }
}

/// Reads a list to its end in pages of one row. Returns the member `member` of each row, in the order of the list.
async fn follow_one_by_one(edge: &Edge, first: &str, member: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let mut next = Some(format!("{first}limit=1"));
    while let Some(page) = next {
        let answer = edge.get(&page).await;
        assert_eq!(answer.status, 200, "{page}: {answer:?}");
        seen.extend(each(&answer, member));
        next = answer.next();
        assert!(seen.len() < 100, "{first} has no end: {seen:?}");
    }
    seen
}

/// Times in ascending order. Some are far apart. Others differ by one microsecond, a difference that is lost if the component converts
/// the times to floating-point numbers.
const TIMES: [&str; 14] = [
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00.000001Z",
    "1582-10-15T12:34:56.789012Z",
    "1969-07-20T20:17:40Z",
    "1969-12-31T23:59:59.999999Z",
    "1970-01-01T00:00:00Z",
    "1970-01-01T00:00:00.000001Z",
    "2026-03-29T01:30:00Z",
    "2255-06-05T23:47:34.740993Z",
    "2300-01-01T00:00:00.000001Z",
    "2300-01-01T00:00:00.000002Z",
    "9999-12-31T23:59:59.999997Z",
    "9999-12-31T23:59:59.999998Z",
    "9999-12-31T23:59:59.999999Z",
];

#[tokio::test]
async fn paging_reaches_rows_with_any_valid_timestamp() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let client = database.client().await;
    let general = channel(&edge, "general").await;
    // Each time has two rows, so that cursors must distinguish them by the id.
    let rows = |columns: &str, values: &str| {
        let times = TIMES
            .map(|time| format!("('{time}'::timestamptz)"))
            .join(",");
        format!(
            "INSERT INTO {columns} SELECT {values} FROM (VALUES {times}) AS times(t), generate_series(1, 2) AS copy;"
        )
    };
    let author = agent(&edge, "backend").await;
    let sql = [
        "DELETE FROM messages;".to_owned(),
        rows(
            "messages (channel_id, author_type, author_id, author_name, content, created_at)",
            &format!("'{general}', 'agent', '{author}', 'u', t::text, t"),
        ),
        rows("tasks (description, created_at)", "t::text, t"),
        rows(
            "workflows (description, channel_id, created_at)",
            &format!("t::text, '{general}', t"),
        ),
        rows(
            "channels (name, topic, created_at)",
            "gen_random_uuid(), t::text, t",
        ),
        "UPDATE channels SET is_archived = true WHERE topic IS NULL OR topic NOT LIKE '%+00';"
            .to_owned(),
        rows(
            "agents (name, agent_type, persona, created_at)",
            "'@' || gen_random_uuid(), 'time', jsonb_build_object('role', t::text), t",
        ),
    ];
    client
        .batch_execute(&format!(
            "SET TimeZone = 'UTC'; SET DateStyle = ISO; {}",
            sql.concat()
        ))
        .await
        .unwrap();
    let mut oldest_first = Vec::new();
    for row in client
        .query(
            "SELECT t::timestamptz::text FROM unnest($1::text[]) AS t",
            &[&TIMES.as_slice()],
        )
        .await
        .unwrap()
    {
        let time: String = row.get(0);
        oldest_first.extend([time.clone(), time]);
    }
    let newest_first: Vec<_> = oldest_first.iter().rev().cloned().collect();
    let channel_messages = format!("/api/channels/{general}/messages?");
    let agent_messages = format!("/api/agents/{author}/messages?");
    for (path, member, expected) in [
        ("/api/messages?", "content", &oldest_first),
        (
            "/api/messages?since=0001-01-01T00:00:00Z&",
            "content",
            &oldest_first,
        ),
        (&channel_messages, "content", &newest_first),
        (&agent_messages, "content", &newest_first),
        ("/api/tasks?", "description", &newest_first),
        ("/api/workflows?", "description", &newest_first),
        ("/api/channels?", "topic", &oldest_first),
    ] {
        assert_eq!(
            &follow_one_by_one(&edge, path, member).await,
            expected,
            "{path}"
        );
    }
    let agents = follow_one_by_one(&edge, "/api/agents?agent_type=time&", "name").await;
    assert_eq!(agents.len(), 2 * TIMES.len());

    // `since` is inclusive, so it must return the rows of exactly this time, and all later rows.
    for (n, time) in TIMES.iter().enumerate() {
        let path = format!("/api/messages?since={time}&");
        let found = follow_one_by_one(&edge, &path, "content").await;
        assert_eq!(found, oldest_first[2 * n..], "{time}");
    }
    let cursors = edge.get("/api/tasks?limit=3").await;
    let link = cursors.next().expect("a next page");
    assert!(link.contains("cursor=25340230079999999"), "{link}");
}

#[tokio::test]
async fn paging_reaches_rows_with_infinite_timestamps() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let client = database.client().await;
    client
        .batch_execute(
            "ALTER TABLE tasks DISABLE TRIGGER USER;
             DO $$ DECLARE c text; BEGIN
                 FOR c IN SELECT conname FROM pg_constraint WHERE conrelid = 'tasks'::regclass
                          AND contype = 'c' AND pg_get_constraintdef(oid) LIKE '%created_at%' LOOP
                     EXECUTE format('ALTER TABLE tasks DROP CONSTRAINT %I', c);
                 END LOOP;
             END $$;
             INSERT INTO tasks (description, created_at) VALUES
                 ('first', 'infinity'), ('second', 'infinity'), ('third', '2026-01-01'), ('fourth', '4713-01-01 BC'),
                 ('fifth', '-infinity'), ('sixth', '-infinity')",
        )
        .await
        .unwrap();
    let mut ids = Vec::new();
    let mut next = Some("/api/tasks?limit=1".to_owned());
    while let Some(page) = next {
        let request = http::Request::get(format!("{}{page}", edge.url()));
        // Uses `exchange`, which doesn't compare the response with openapi.json. These times don't match the pattern there.
        let answer = edge
            .exchange(request.body(http_body_util::Full::default()).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        ids.extend(each(&answer, "description"));
        next = answer.next();
        assert!(ids.len() < 20, "no end: {ids:?}");
    }
    assert_eq!(ids.len(), 6, "{ids:?}");
    assert_eq!(ids[2..4], ["third", "fourth"]);
}

#[tokio::test]
async fn paging_reaches_tasks_with_any_order_index() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let client = database.client().await;
    let workflow = edge
        .post("/api/workflows", &json!({"description": "w"}))
        .await;
    let id = text(&workflow.json(), "id").to_owned();
    let positions = [i32::MIN, -2, -1, -1, 0, 100_000, i32::MAX, i32::MAX];
    client
        .batch_execute(
            "ALTER TABLE workflow_tasks DROP CONSTRAINT workflow_tasks_order_index_check",
        )
        .await
        .unwrap();
    for position in positions {
        client
            .execute(
                "INSERT INTO workflow_tasks (workflow_id, description, order_index) VALUES ($1::text::uuid, $2::int::text, $2)",
                &[&id, &position],
            )
            .await
            .unwrap();
    }
    let mut seen = Vec::new();
    let mut next = Some(format!("/api/workflows/{id}/tasks?limit=1"));
    while let Some(page) = next {
        let request = http::Request::get(format!("{}{page}", edge.url()));
        // Uses `exchange`, which doesn't compare the response with openapi.json. These positions are outside the range there.
        let answer = edge
            .exchange(request.body(http_body_util::Full::default()).unwrap())
            .await
            .unwrap();
        seen.extend(each(&answer, "description"));
        next = answer.next();
        assert!(seen.len() < 20, "no end: {seen:?}");
    }
    assert_eq!(seen, positions.map(|position| position.to_string()));
}

#[tokio::test]
async fn cursor_keys_up_to_19_digits_are_accepted_and_others_refused() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let id = "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6";
    for list in ["/api/tasks", "/api/messages", "/api/agents"] {
        for key in [
            "0",
            "-0",
            "-1",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775806",
            "-9223372036854775807",
            "9999999999999999999",
            "-9999999999999999999",
        ] {
            let answer = edge.get(&format!("{list}?cursor={key}.{id}")).await;
            assert_eq!(answer.status, 200, "{key}: {answer:?}");
        }
        for cursor in ["99999999999999999999", "--1", "1e3", "+1", "", "-"] {
            let answer = edge.get(&format!("{list}?cursor={cursor}.{id}")).await;
            assert_eq!(super::faults(&answer), ["cursor"], "{cursor}");
        }
    }
}
