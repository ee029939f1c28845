//! Counts of the rows in tables. The functions return JSON text and don't depend on HTTP.

use crate::db::{Access, Db, DbError, Effect, Statement};
use crate::schema::time;

pub(super) static STATS: Statement = Statement {
    name: "stats",
    // The view of migrations/0009_stats.sql counts rows. An optional migration replaces it with a view that returns stored, possibly older counts.
    sql: constcat::concat![
        "SELECT row_to_json(item)::text FROM (SELECT agents, messages, tasks, workflows, ",
        time!("counted_at"),
        " AS counted_at FROM public.stats) AS item"
    ],
    effect: Effect::Reads,
    access: Access::Scans(
        "it counts: every workflow and task, by index where the visibility map allows",
    ),
    max_rows: 1,
};

/// Returns the counts of agents, messages, tasks and workflows as a JSON object.
pub async fn stats(db: &Db) -> Result<String, DbError> {
    Ok(db.answer(&STATS, vec![]).await?.json.unwrap_or_default())
}
