//! The routes below /api/performance: what the database's statistics tell.

use super::contract::{Kind, Operation};
use super::input::Input;
use super::problem::ApiError;
use super::reply::Reply;
use super::schemas;
use crate::db::Db;
use crate::queries::performance;

pub static PERFORMANCE_DATABASE: Operation = Operation {
    id: "performance_database",
    path: "/api/performance/database",
    summary: "Connections, index usage and table sizes, as the database's own statistics tell them.",
    answer: Kind::Record(&schemas::PERFORMANCE_DATABASE),
    ..Operation::GET
};

pub async fn performance_database(db: Db, _: Input) -> Result<Reply, ApiError> {
    Ok(Reply::ok(performance::performance_database(&db).await?))
}
