//! GET /api/stats: the numbers of agents, messages, tasks and workflows.

use super::contract::{FieldType, Operation};
use super::input::Input;
use super::problem::ApiError;
use super::reply::Reply;
use super::schemas;
use crate::db::Db;
use crate::queries::stats;

pub static STATS: Operation = Operation {
    id: "stats",
    path: "/api/stats",
    summary: "Returns the numbers of agents, messages, tasks and workflows.",
    answer: FieldType::Record(&schemas::STATS),
    ..Operation::GET
};

pub async fn stats(db: Db, _: Input) -> Result<Reply, ApiError> {
    Ok(Reply::ok(stats::stats(&db).await?))
}
