//! Tests of `migrations/optional/messages_by_month.sql`, which moves messages to partitions while clients write and read messages.

use std::collections::HashSet;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use support::{Database, Edge};
use tokio_postgres::Client;

use super::{channel, database, migrate, migrated, one, succeeds, text};

/// Clients that write and read messages until they are stopped.
struct Clients {
    stop: Arc<AtomicBool>,
    writers: Vec<tokio::task::JoinHandle<(Vec<String>, Duration)>>,
}

impl Clients {
    async fn start(edge: &Arc<Edge>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let channel = channel(edge, "general").await;
        let path = format!("/api/channels/{channel}/messages");
        let writers = (0..6).map(|writer| {
            let (edge, stop, path) = (edge.clone(), stop.clone(), path.clone());
            tokio::spawn(async move {
                let (mut written, mut longest) = (Vec::new(), Duration::ZERO);
                let mut thread: Option<String> = None;
                while !stop.load(Ordering::Relaxed) {
                    let body = json!({"content": format!("by {writer}"), "thread_id": thread});
                    let answer = edge.post(&path, &body).await;
                    assert_eq!(answer.status, 201, "{answer:?}");
                    longest = longest.max(answer.elapsed);
                    let id = text(&answer.json(), "id");
                    // The writer must see each message that it has written.
                    let one = edge.get(&format!("/api/messages/{id}")).await;
                    assert_eq!(one.status, 200, "{one:?}");
                    let newest = edge.get(&format!("{path}?limit=20")).await;
                    assert_eq!(newest.json().as_array().map(Vec::len).min(Some(1)), Some(1));
                    assert_eq!(newest.status, 200, "{newest:?}");
                    thread = (written.len() % 3 != 0).then(|| thread.unwrap_or(id.clone()));
                    written.push(id);
                }
                (written, longest)
            })
        });
        Self {
            writers: writers.collect(),
            stop,
        }
    }

    /// Stops the clients and returns the IDs of all messages they wrote.
    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let (mut ids, mut longest) = (Vec::new(), Duration::ZERO);
        for writer in self.writers {
            let (written, waited) = writer.await.expect("no client fails");
            ids.extend(written);
            longest = longest.max(waited);
        }
        println!("{} messages, of which one took {longest:?}", ids.len());
        ids
    }
}

/// Runs a migration several times and interrupts it at random moments. Then runs it to its end.
async fn interrupted(database: &Database, arguments: &[&str], random: &mut StdRng) {
    let client = database.client().await;
    let mut cut = 0;
    for round in 0..8 {
        let mut command = migrate(database, arguments);
        command
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut running = command.spawn().expect("scripts/migrate runs");
        let until = Instant::now() + Duration::from_millis(random.random_range(100..700));
        while Instant::now() < until && running.try_wait().is_ok_and(|ended| ended.is_none()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if running.try_wait().is_ok_and(|ended| ended.is_some()) {
            break;
        }
        if round % 2 == 0 {
            // Ends the migration's session in the middle of its work.
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name LIKE 'scripts/migrate%' AND datname = current_database()";
            client
                .query(end, &[])
                .await
                .expect("the session belongs to the same user");
        } else {
            // Kills the script and its psql. PostgreSQL may continue with the current statement of their session for a while.
            let group = format!("-{}", running.id());
            let _ = std::process::Command::new("kill")
                .args(["-KILL", "--", &group])
                .status();
        }
        cut += 1;
        let _ = tokio::task::spawn_blocking(move || running.wait()).await;
    }
    println!("{arguments:?} was interrupted {cut} times");
    // An undo may be so fast that every run ends before its interruption.
    assert!(
        cut > 0 || arguments[0] == "undo",
        "the migration was never interrupted"
    );
    let output = migrated(database, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// Fails unless the table has each message of `before` and `written` exactly once, and no other message.
async fn all_are_there(client: &Client, before: &[String], written: &[String]) {
    let rows = client
        .query("SELECT id::text FROM messages", &[])
        .await
        .unwrap();
    let there: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let distinct: HashSet<&String> = there.iter().collect();
    assert_eq!(distinct.len(), there.len(), "messages exist twice");
    let expected: HashSet<&String> = before.iter().chain(written).collect();
    assert_eq!(distinct, expected);
}

async fn ids(client: &Client) -> Vec<String> {
    let rows = client
        .query("SELECT id::text FROM messages", &[])
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn partitioning_and_undo_lose_no_message_despite_interruptions() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random);
    println!("SEED={seed}");
    let random = &mut StdRng::seed_from_u64(seed);
    let database = database().await;
    let client = database.client().await;
    let schema = dump(&database).await;
    let before = ids(&client).await;
    let edge = Arc::new(Edge::start(&database).await);

    let clients = Clients::start(&edge).await;
    interrupted(&database, &["optional", "messages_by_month"], random).await;
    let mut written = clients.stop().await;
    assert!(written.len() > 20, "only {} were written", written.len());
    let kind = "SELECT relkind::text FROM pg_class WHERE oid = 'messages'::regclass";
    assert_eq!(one::<String>(&client, kind).await, "p");
    all_are_there(&client, &before, &written).await;
    let spread = "SELECT count(*) FROM messages_partitions() AS part WHERE
        (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %s', partition), false, true, '')))[1]::text <> '0'";
    assert!(one::<i64>(&client, spread).await > 12);

    // A second run succeeds without changes, and `scripts/migrate verify` finds no difference from the declared schema.
    succeeds(&database, &["optional", "messages_by_month"]).await;
    succeeds(&database, &["verify"]).await;
    assert_eq!(edge.get("/api/health/ready").await.status, 200);

    // Undoes the migration twice. With the mirror, the undo uses the mirror as the table. Without the mirror, it must create a new table.
    for mirrored in [true, false] {
        if !mirrored {
            succeeds(&database, &["optional", "messages_by_month"]).await;
            client
                .batch_execute("CALL messages_mirror_drop()")
                .await
                .unwrap();
        }
        let clients = Clients::start(&edge).await;
        interrupted(&database, &["undo", "messages_by_month"], random).await;
        written.extend(clients.stop().await);
        assert_eq!(one::<String>(&client, kind).await, "r");
        all_are_there(&client, &before, &written).await;
    }
    succeeds(&database, &["undo", "messages_by_month"]).await;
    succeeds(&database, &["verify"]).await;
    assert_eq!(dump(&database).await, schema);
}

/// Returns the schema as `pg_dump` prints it.
async fn dump(database: &Database) -> String {
    let url = database.url();
    let output = tokio::task::spawn_blocking(move || {
        std::process::Command::new("pg_dump")
            .args(["--schema-only", &url])
            .output()
    });
    let output = output
        .await
        .expect("its thread ends")
        .expect("pg_dump is beside psql");
    assert!(output.status.success(), "{output:?}");
    let schema = String::from_utf8_lossy(&output.stdout).into_owned();
    // Removes the lines \restrict and \unrestrict, because pg_dump writes a random key into them.
    let lines = schema.lines().filter(|line| !line.contains("restrict "));
    lines.collect::<Vec<_>>().join("\n")
}
