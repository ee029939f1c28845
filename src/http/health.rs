//! The health checks for load balancers and Kubernetes: whether the component is up, and whether it is ready.

use super::contract::{Audience, Operation};
use super::input::Input;
use super::problem::{ApiError, Unready};
use super::reply::Reply;
use crate::db::Db;
use crate::queries::health;
use crate::schema;
use crate::schema::FieldType;

pub static HEALTH: Operation = Operation {
    id: "health",
    path: "/api/health",
    summary: "Reports that the component is running, without querying the database.",
    answer: FieldType::Record(&schema::health::HEALTH),
    audience: Audience::Everyone,
    query_count: 0,
    ..Operation::GET
};

pub async fn health(_: Db, _: Input) -> Result<Reply, ApiError> {
    Ok(Reply::ok(concat!(
        r#"{"status":"healthy","version":""#,
        env!("CARGO_PKG_VERSION"),
        r#""}"#
    )))
}

pub static READINESS: Operation = Operation {
    id: "readiness",
    path: "/api/health/ready",
    summary: "Checks that the database responds and has every migration, named index and privilege that the API needs; otherwise returns 503 and lists what is missing.",
    answer: FieldType::Record(&schema::health::READINESS),
    audience: Audience::Everyone,
    ..Operation::GET
};

pub async fn readiness(db: Db, _: Input) -> Result<Reply, ApiError> {
    let json = health::readiness(&db).await?;
    let missing: Unready = json
        .and_then(|json| serde_json::from_str(&json).ok())
        .ok_or(ApiError::Bug("readiness returned JSON of another shape"))?;
    if missing.is_empty() {
        Ok(Reply::ok(r#"{"status":"ready"}"#))
    } else {
        Err(ApiError::NotReady { missing })
    }
}
