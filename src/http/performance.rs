//! The routes under /api/performance, which report the performance of all instances together, and the page that shows the reports.

use axum::http::HeaderValue;

use super::contract::{Audience, Operation};
use super::html;
use super::input::Input;
use super::parameters::{Parameters as _, parameters};
use super::problem::ApiError;
use super::reply::Reply;
use crate::db::Db;
use crate::queries::{cache, metrics, performance};
use crate::schema;
use crate::schema::performance::Window;
use crate::schema::{FieldType, Parameter};

parameters! {
    ReportParameters {
        window: Window = Parameter {
            default: Some("15m"),
            ..Parameter::new(
                FieldType::OneOf(Window::NAMES),
                "Length of the period that the report covers, up to now.",
            )
        },
    }
}

pub static PERFORMANCE_DATABASE: Operation = Operation {
    id: "performance_database",
    path: "/api/performance/database",
    summary: "Returns the measurements of all instances in a period of time, and the database's own statistics.",
    parameters: ReportParameters::TABLE,
    answer: FieldType::Record(&schema::performance::PERFORMANCE_DATABASE),
    audience: Audience::Administrators,
    query_count: 3,
    ..Operation::GET
};

pub async fn performance_database(
    db: Db,
    input: Input<ReportParameters>,
) -> Result<Reply, ApiError> {
    let ReportParameters { window } = input.parameters;
    let report = performance::performance_database(&db, window).await?;
    Ok(Reply::ok(report))
}

pub static PERFORMANCE_CACHE: Operation = Operation {
    id: "performance_cache",
    path: "/api/performance/cache",
    summary: "Returns the cache lookups and hits of all instances together in a period of time.",
    parameters: ReportParameters::TABLE,
    answer: FieldType::Record(&schema::performance::PERFORMANCE_CACHE),
    audience: Audience::Administrators,
    ..Operation::GET
};

pub async fn performance_cache(db: Db, input: Input<ReportParameters>) -> Result<Reply, ApiError> {
    let ReportParameters { window } = input.parameters;
    Ok(Reply::ok(cache::performance_cache(&db, window).await?))
}

pub static PERFORMANCE_METRICS: Operation = Operation {
    id: "performance_metrics",
    path: "/api/performance/metrics",
    summary: "Returns the measurements of all instances for Prometheus, in OpenMetrics format with OpenTelemetry's names; scraping any one instance is enough.",
    answer: FieldType::Text {
        min: 1,
        max: 10_000_000,
    },
    media_type: metrics::MEDIA_TYPE,
    audience: Audience::Administrators,
    ..Operation::GET
};

pub async fn performance_metrics(db: Db, _: Input) -> Result<Reply, ApiError> {
    let text = metrics::performance_metrics(&db).await?;
    let text = text.ok_or(ApiError::Bug("metrics are JSON of another shape"))?;
    Ok(Reply::text(metrics::MEDIA_TYPE, text))
}

pub static PERFORMANCE_PAGE: Operation = Operation {
    id: "performance_page",
    path: "/performance",
    summary: "Returns the performance report as an HTML page; the page itself asks for the admin token.",
    ..html::OPERATION
};

const POLICY: HeaderValue = HeaderValue::from_static(include_str!("performance.csp").trim_ascii());

pub async fn performance_page(_: Db, _: Input) -> Result<Reply, ApiError> {
    Ok(html::page(include_str!("performance.html"), POLICY))
}
