//! A guest's session and its cleanup. A session that a statement may have changed is reset before another guest gets it. A session with an
//! unfinished statement is closed. If the server has become read-only or doesn't respond, the server's idle sessions are closed too, because
//! the problem affects all of them.
//!
//! Spin resets a session whenever a guest takes it from the pool, which costs a round trip for every request. Nearly all statements can't
//! change a session, so this host resets only sessions that may have changed. The reset runs after use, when no request waits for the session.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool_postgres::{Object, RecyclingMethod};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tokio_postgres::error::SqlState;

use crate::lock::lock;

/// If a guest abandons a statement after at least this long, the server may be unresponsive.
const SUSPICIOUS_AFTER: Duration = Duration::from_secs(1);

/// The time limit of a reset. Without this limit, an unresponsive server would keep the permit.
const RESET_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection taken from its pool. On drop, the connection returns to the pool, and its permit goes to the next guest.
pub struct Session {
    /// `None` only during the drop.
    client: Option<Object>,
    permit: Option<OwnedSemaphorePermit>,
    changed: AtomicBool,
    /// The number of statements that have begun but not ended.
    unfinished: AtomicUsize,
    last_begun: Mutex<Instant>,
    /// Whether the server has become read-only, for example because of a failover. The address may then lead to another server.
    is_read_only: AtomicBool,
}

impl Session {
    /// Wraps a connection and its permit.
    pub fn new(client: Object, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            client: Some(client),
            permit,
            changed: AtomicBool::new(false),
            unfinished: AtomicUsize::new(0),
            last_begun: Mutex::new(Instant::now()),
            is_read_only: AtomicBool::new(false),
        }
    }

    /// Returns the connection to run this statement on. The caller must call [`Session::ended`] when the result has arrived.
    pub fn begin(&self, statement: &str) -> &Object {
        if may_change_session(statement) {
            self.changed.store(true, Ordering::Relaxed);
        }
        self.unfinished.fetch_add(1, Ordering::Relaxed);
        *lock(&self.last_begun) = Instant::now();
        self.client.as_ref().expect("only the drop takes it")
    }

    /// Records that a statement's result or error has arrived. Must not be called if the guest has abandoned the statement, because the result
    /// may still arrive and the session must then be closed.
    pub fn ended(&self, error: Option<&tokio_postgres::Error>) {
        if error.and_then(tokio_postgres::Error::code) == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
        {
            self.is_read_only.store(true, Ordering::Relaxed);
        }
        self.unfinished.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else {
            return;
        };
        if *self.is_read_only.get_mut() {
            close_idle(&client, Duration::ZERO);
            drop(Object::take(client));
        } else if *self.unfinished.get_mut() > 0 {
            let waited = lock(&self.last_begun).elapsed();
            if waited >= SUSPICIOUS_AFTER {
                close_idle(&client, waited);
            }
            // Closes the session, because the next guest would otherwise wait for the abandoned statement, which runs until PostgreSQL's
            // `statement_timeout`.
            drop(Object::take(client));
        } else if *self.changed.get_mut() {
            let permit = self.permit.take();
            tokio::spawn(async move {
                let done = timeout(RESET_TIMEOUT, reset(&client)).await;
                if !matches!(done, Ok(Ok(()))) {
                    // The reset failed, so no other guest may get the session.
                    drop(Object::take(client));
                }
                drop(permit);
            });
        }
    }
}

/// Closes the pool's idle sessions that were last used at least `unused_for` ago. The other sessions stay open, because the server has
/// responded to them since.
fn close_idle(client: &Object, unused_for: Duration) {
    if let Some(pool) = Object::pool(client) {
        pool.retain(|_, metrics| metrics.last_used() < unused_for);
    }
}

/// Undoes all changes that a guest may have made to a session, except prepared statements. The rollback comes first, because an open
/// transaction would keep its locks.
async fn reset(client: &Object) -> Result<(), tokio_postgres::Error> {
    client.batch_execute("ROLLBACK").await?;
    let clean = RecyclingMethod::Clean;
    client
        .batch_execute(clean.query().unwrap_or_default())
        .await
}

/// Returns whether a statement may change its session. Statements that read or write rows can't, except with the functions and forms in
/// `CHANGING`. User-defined functions aren't inspected. They should use SET LOCAL, which changes only the transaction.
fn may_change_session(statement: &str) -> bool {
    const PLAIN: [&str; 5] = ["select", "with", "insert", "update", "delete"];
    // The list matches set_config, pg_advisory_lock (but not pg_advisory_xact_lock), setval, SELECT INTO TEMP, dblink_connect …
    const CHANGING: [&str; 7] = [
        "set_config",
        "advisory_lock",
        "setseed",
        "setval",
        "nextval",
        "temp",
        "dblink",
    ];
    let statement = statement.trim_start().to_ascii_lowercase();
    let first = statement
        .split(|c: char| !c.is_ascii_alphabetic())
        .next()
        .unwrap_or_default();
    !PLAIN.contains(&first) || CHANGING.iter().any(|word| statement.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_reads_and_writes_do_not_change_session_state() {
        for statement in [
            "SELECT 1",
            "\n  with a AS (SELECT 1) SELECT * FROM a",
            "INSERT INTO agents (name) VALUES ($1)",
            "UPDATE agents SET name = $1",
            "DELETE FROM agents",
            "SELECT pg_try_advisory_xact_lock(1)",
        ] {
            assert!(!may_change_session(statement), "{statement}");
        }
    }

    #[test]
    fn statements_that_may_change_session_state_are_detected() {
        for statement in [
            "",
            "SET work_mem = '1GB'",
            "set role admin",
            "BEGIN",
            "LISTEN x",
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
            "CREATE TEMP TABLE t (n int)",
            "-- a comment\nSELECT 1",
            "(SELECT 1)",
            "SELECT Set_Config('role', 'admin', false)",
            "SELECT pg_advisory_lock(1)",
            "SELECT pg_try_advisory_lock(1)",
            "SELECT * INTO TEMPORARY t FROM agents",
            "SELECT * INTO pg_temp.t FROM agents",
            "DISCARD ALL",
        ] {
            assert!(may_change_session(statement), "{statement}");
        }
    }
}
