//! GET /api/stats: the numbers of agents, messages, tasks and workflows.

use super::contract::Operation;
use super::input::Input;
use super::problem::ApiError;
use super::reply::Reply;
use crate::db::Db;
use crate::queries::stats;
use crate::schema;
use crate::schema::FieldType;

pub static STATS: Operation = Operation {
    id: "stats",
    path: "/api/stats",
    summary: "Returns the numbers of agents, messages, tasks and workflows.",
    answer: FieldType::Record(&schema::stats::STATS),
    ..Operation::GET
};

pub async fn stats(db: Db, _: Input) -> Result<Reply, ApiError> {
    Ok(Reply::ok(stats::stats(&db).await?))
}
