//! The profiler over HTTP: the data that instances record together, and its accuracy.

mod accuracy;
mod gathered;

use std::time::Duration;

use tokio_postgres::Client;

/// Repeats a query for up to 20 s, until it returns the expected value.
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
