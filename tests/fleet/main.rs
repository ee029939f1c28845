//! The profiler over HTTP: what instances gather together, and whether it's true.

mod accuracy;
mod gathered;

use std::time::Duration;

use tokio_postgres::Client;

/// Asks until the answer is what's expected; for 20 s at most.
async fn soon(client: &Client, sql: &str, expected: i64) {
    let mut found = None;
    for _ in 0..200 {
        found = client
            .query_one(sql, &[])
            .await
            .unwrap()
            .get::<_, Option<i64>>(0);
        if found == Some(expected) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{sql}: {found:?}, not {expected}");
}
