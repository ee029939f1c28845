//! A session while a guest has it, and what it leaves behind: a session that a statement may have changed is reset before
//! anyone else gets it, and one with a statement still under way is closed. What a session shows of its server is true of
//! the idle ones too: they're closed with it where the server takes no writes any more, or doesn't answer.
//!
//! Spin resets each session each time it's taken, which is a round trip for every request. Nearly all statements can't
//! change a session, so here it's done where one could have, and after use, when nobody waits for it.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool_postgres::{Object, RecyclingMethod};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tokio_postgres::error::SqlState;

/// Whoever gives up on a statement after so long has waited for a server that may be gone without a word.
const SUSPICIOUS_AFTER: Duration = Duration::from_secs(1);

/// A server that's gone without a word must not keep the permit.
const RESET_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection out of its pool. Dropped, it goes back there, and its permit to the next guest.
pub struct Session {
    /// Taken out by the drop alone.
    client: Option<Object>,
    permit: Option<OwnedSemaphorePermit>,
    changed: AtomicBool,
    /// Statements that were begun and haven't ended.
    unfinished: AtomicUsize,
    last_begun: Mutex<Instant>,
    /// The server is read-only: after a failover, its address may lead to another one.
    is_read_only: AtomicBool,
}

impl Session {
    /// Takes charge of a connection.
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

    /// The connection, for running this statement; [`Session::ended`] is told when its answer is in.
    pub fn begin(&self, statement: &str) -> &Object {
        if may_change_session(statement) {
            self.changed.store(true, Ordering::Relaxed);
        }
        self.unfinished.fetch_add(1, Ordering::Relaxed);
        *self
            .last_begun
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.client.as_ref().expect("only the drop takes it")
    }

    /// A statement's answer is in, an error or not. Whoever gives up on one doesn't say so: its answer may still come.
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
            let begun = self.last_begun.get_mut();
            let waited = begun.unwrap_or_else(PoisonError::into_inner).elapsed();
            if waited >= SUSPICIOUS_AFTER {
                close_idle(&client, waited);
            }
            // The next one would wait for an answer that's nobody's. PostgreSQL ends the statement by its own limit.
            drop(Object::take(client));
        } else if *self.changed.get_mut() {
            let permit = self.permit.take();
            tokio::spawn(async move {
                let done = timeout(RESET_TIMEOUT, reset(&client)).await;
                if !matches!(done, Ok(Ok(()))) {
                    // Nobody may have it as it is.
                    drop(Object::take(client));
                }
                drop(permit);
            });
        }
    }
}

/// Closes the idle sessions beside this one that nobody has taken for so long. Those taken since were alive.
fn close_idle(client: &Object, untaken_for: Duration) {
    if let Some(pool) = Object::pool(client) {
        pool.retain(|_, metrics| metrics.last_used() < untaken_for);
    }
}

/// Undoes all that a guest may have done to a session, but for prepared statements. A transaction that's left open would
/// keep its locks.
async fn reset(client: &Object) -> Result<(), tokio_postgres::Error> {
    client.batch_execute("ROLLBACK").await?;
    let undo = RecyclingMethod::Clean
        .query()
        .unwrap_or_default()
        .to_owned();
    client.batch_execute(&undo).await
}

/// Whether a session may be another one after this statement: anything but reading and writing rows, and the functions
/// and forms by which these can do it. What functions of the database's own do isn't seen: they should use SET LOCAL.
fn may_change_session(statement: &str) -> bool {
    const PLAIN: [&str; 5] = ["select", "with", "insert", "update", "delete"];
    // set_config, pg_advisory_lock (but not pg_advisory_xact_lock), setval, SELECT INTO TEMP, dblink_connect …
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
    fn what_reads_and_writes_rows_leaves_a_session_as_it_is() {
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
    fn what_could_change_a_session_is_seen() {
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
