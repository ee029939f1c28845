//! Whether the component is up, and whether it can do its work: what load balancers and Kubernetes ask.

use super::JsonText;
use super::input::Input;
use super::problem::{ApiError, Missing};
use crate::db::Db;
use crate::queries::health;

/// GET /api/health: the component is up. Asks the database nothing.
pub async fn health(input: Input) -> Result<JsonText, ApiError> {
    input.check()?;
    Ok(JsonText(
        concat!(
            r#"{"status":"healthy","version":""#,
            env!("CARGO_PKG_VERSION"),
            r#""}"#
        )
        .to_owned(),
    ))
}

/// GET /api/health/ready: the database answers, and has every migration and named index.
pub async fn readiness(db: Db, input: Input) -> Result<JsonText, ApiError> {
    input.check()?;
    let missing = match health::readiness(&db).await? {
        Some(json) => serde_json::from_str(&json)
            .map_err(|_| ApiError::Bug("readiness returned JSON of another shape"))?,
        None => Missing {
            missing_migrations: health::MIGRATIONS.iter().map(ToString::to_string).collect(),
            missing_indexes: health::INDEXES.iter().map(ToString::to_string).collect(),
        },
    };
    if missing.missing_migrations.is_empty() && missing.missing_indexes.is_empty() {
        Ok(JsonText(r#"{"status":"ready"}"#.to_owned()))
    } else {
        Err(ApiError::NotReady { missing })
    }
}
