//! How far a replica is, and where the primary has got to: what's asked so that a client sees what it has written. Positions
//! are bytes of the write-ahead log since its beginning.

use std::time::Duration;

use super::{sql, writes_sent};
use crate::db::{Access, Db, Freshness, Reads, Statement, within};

pub(super) static REPLICA_STATE: Statement = Statement {
    name: "replica_state",
    // Nothing came for long on a quiet system too: one that still receives, and has replayed all that its sender had by the
    // last word of it, isn't behind. One that became a primary itself is nobody's replica: what it has may be something else.
    sql: sql!["SELECT CASE
                WHEN NOT pg_is_in_recovery() THEN 1000000000
                WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() AND EXISTS (
                    SELECT FROM pg_stat_wal_receiver
                    WHERE pid IS NOT NULL AND coalesce(latest_end_lsn <= pg_last_wal_replay_lsn(), true)) THEN 0
                ELSE greatest(0, coalesce(
                    extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000, 1000000000)::bigint)
            END::text,
            (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END
                - '0/0'::pg_lsn)::text"],
    access: Access::Scans("it reads no table, only what the server knows of itself"),
    max_rows: 1,
};

pub(super) static WRITE_POSITION: Statement = Statement {
    name: "write_position",
    // After the write's commit, in a statement of its own: within it, the position of the commit isn't known yet.
    sql: sql!["SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::text"],
    access: Access::Scans("it reads no table, only what the server knows of itself"),
    max_rows: 1,
};

/// Access whose reads may go to the cache or the replica, for a client that must see what it has written.
#[must_use]
pub fn reading(db: Db, freshness: Freshness) -> Db {
    db.reading(Reads {
        freshness,
        replica_state: &REPLICA_STATE,
    })
}

/// Whether anything was sent for this request that may have changed something.
#[must_use]
pub fn has_written(db: &Db) -> bool {
    writes_sent(db).next().is_some()
}

/// How long the answer to a write may wait for its position.
const POSITION_LIMIT: Duration = Duration::from_millis(250);

/// A position that all is before that was written so far. Nothing where it can't be had at once.
pub async fn write_position(db: &Db) -> Option<u64> {
    let asked = db.primary_answer(&WRITE_POSITION, vec![]);
    let answer = within(POSITION_LIMIT, asked).await?.ok()?;
    answer.json?.parse().ok()
}
