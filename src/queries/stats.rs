//! Counts over all tables. Knows nothing of requests; gives JSON text.

use super::sql;
use crate::db::{Access, Db, DbError, Statement};

pub(super) static STATS: Statement = Statement {
    name: "stats",
    // Messages are counted one by one up to 100,000; beyond, by the server's own estimate, which costs nothing.
    sql: sql!("WITH counted AS (
            SELECT count(*) AS messages FROM (SELECT FROM messages LIMIT 100000) AS first
        ), estimated AS (
            SELECT CASE WHEN messages < 100000 THEN messages
                        ELSE greatest((SELECT reltuples FROM pg_class WHERE oid = 'messages'::regclass)::bigint, messages)
                   END AS messages, messages >= 100000 AS is_estimate
            FROM counted
        )
        SELECT json_build_object(
            'agents', (SELECT json_build_object(
                'total', count(*),
                'active', count(*) FILTER (WHERE is_active),
                'busy', count(*) FILTER (WHERE is_busy)) FROM agents),
            'messages', (SELECT json_build_object('total', messages, 'is_estimate', is_estimate) FROM estimated),
            'tasks', (SELECT coalesce(json_object_agg(status, n ORDER BY status), '{}')
                      FROM (SELECT status, count(*) AS n FROM tasks GROUP BY status) AS by_status),
            'workflows', (SELECT coalesce(json_object_agg(status, n ORDER BY status), '{}')
                          FROM (SELECT status, count(*) AS n FROM workflows GROUP BY status) AS by_status)
        )::text"),
    access: Access::Scans("it counts: every workflow and task, by index where the visibility map allows"),
    max_rows: 1,
};

/// How many agents, messages, tasks and workflows there are.
pub async fn stats(db: &Db) -> Result<String, DbError> {
    Ok(db.answer(&STATS, vec![]).await?.json.unwrap_or_default())
}
