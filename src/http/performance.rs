//! The routes below /api/performance: what the database's statistics tell.

use super::JsonText;
use super::input::Input;
use super::problem::ApiError;
use crate::db::Db;
use crate::queries::performance;

/// GET /api/performance/database
pub async fn performance_database(db: Db, input: Input) -> Result<JsonText, ApiError> {
    input.check()?;
    Ok(JsonText(performance::performance_database(&db).await?))
}
