//! Applies each optional migration (`migrations/optional`) to a database in use, interrupts it, applies it again and undoes it. Except for
//! its documented effect, a migration must not change the API's behaviour.
//!
//! This suite doesn't check the speed. `scripts/bench options` and the suite `plans` check the speed.

mod months;
mod moving;
mod stats;

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::{Database, Edge, project};
use tokio_postgres::Client;

/// Returns the command that runs `scripts/migrate` on a database.
fn migrate(database: &Database, arguments: &[&str]) -> Command {
    let mut command = Command::new(project().join("scripts/migrate"));
    command
        .args(arguments)
        .args(["--database", &database.url()])
        .stdin(Stdio::null());
    command
}

/// Runs [`migrate`] to its end and returns its output.
async fn migrated(database: &Database, arguments: &[&str]) -> Output {
    let mut command = migrate(database, arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output
        .expect("its thread ends")
        .expect("scripts/migrate runs");
    support::keep_output(&output);
    output
}

/// Runs [`migrate`] and fails unless it succeeds.
async fn succeeds(database: &Database, arguments: &[&str]) {
    let output = migrated(database, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// Creates a database with 30,000 messages of the last fourteen months.
async fn database() -> Database {
    let database = Database::migrated().await;
    let client = database.client().await;
    client
        .batch_execute(
            "INSERT INTO messages (channel_id, author_type, author_name, content, created_at)
             SELECT id, 'user', 'someone', 'message ' || n, now() - n * interval '20 minutes'
             FROM generate_series(1, 30000) AS n, (SELECT id FROM channels WHERE name = 'planning') AS channel;
             ANALYZE messages",
        )
        .await
        .expect("rows can be written");
    database
}

/// Returns the first column of the first row.
async fn one<T: for<'a> tokio_postgres::types::FromSql<'a>>(client: &Client, sql: &str) -> T {
    client
        .query_one(sql, &[])
        .await
        .unwrap_or_else(|error| panic!("{error:?}: {sql}"))
        .get(0)
}

/// Returns the ID of a channel that the migrations have inserted.
async fn channel(edge: &Edge, name: &str) -> String {
    let channels = edge.get("/api/channels").await.json();
    let channels = channels.as_array().expect("a list");
    let channel = channels.iter().find(|channel| channel["name"] == name);
    text(channel.expect("the channel is there"), "id")
}

fn text(row: &Value, member: &str) -> String {
    let text = row[member].as_str();
    text.unwrap_or_else(|| panic!("no {member}: {row}"))
        .to_owned()
}
