//! Statements for read-your-writes: a replica's lag and replayed position, and the primary's write position. Positions are bytes of
//! the write-ahead log since its beginning.

use std::time::Duration;

use crate::db::{Access, Db, Effect, Freshness, Reads, Statement, within};

pub(super) static REPLICA_STATE: Statement = Statement {
    name: "replica_state",
    // While the primary is idle, the last replayed transaction gets old although the replica doesn't lag. So a replica has no lag if it is
    // connected to its sender, and has replayed all WAL that it received and all that the sender last reported. A promoted replica counts as
    // far behind, because its data may differ from the primary's.
    sql: constcat::concat!["SELECT CASE
                WHEN NOT pg_is_in_recovery() THEN 1000000000
                WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() AND EXISTS (
                    SELECT FROM pg_stat_wal_receiver
                    WHERE pid IS NOT NULL AND coalesce(latest_end_lsn <= pg_last_wal_replay_lsn(), true)) THEN 0
                ELSE greatest(0, coalesce(
                    extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000, 1000000000)::bigint)
            END::text,
            (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END
                - '0/0'::pg_lsn)::text"],
    effect: Effect::Reads,
    access: Access::Scans("it reads no table, only the state of the server"),
    max_rows: 1,
};

pub(super) static WRITE_POSITION: Statement = Statement {
    name: "write_position",
    // This is a separate statement after the write's commit, because the position of the commit isn't known before the commit.
    sql: constcat::concat!["SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::text"],
    effect: Effect::Reads,
    access: Access::Scans("it reads no table, only the state of the server"),
    max_rows: 1,
};

/// Returns `db` with reads that may use the cache or the replica, as far as `freshness` allows.
#[must_use]
pub fn reading(db: Db, freshness: Freshness) -> Db {
    db.reading(Reads {
        freshness,
        replica_state: &REPLICA_STATE,
    })
}

/// Returns true if a statement of this request may have changed data.
#[must_use]
pub fn has_written(db: &Db) -> bool {
    !db.writes().is_empty()
}

/// How long the response to a write waits for the write's position.
const POSITION_LIMIT: Duration = Duration::from_millis(250);

/// Returns a position at or after all writes so far; `None` on an error or after `POSITION_LIMIT`.
pub async fn write_position(db: &Db) -> Option<u64> {
    let asked = db.primary_with_retry(&WRITE_POSITION, vec![]);
    let answer = within(POSITION_LIMIT, asked).await?.ok()?;
    answer.json?.parse().ok()
}
