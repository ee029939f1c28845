//! The outermost layer: every request comes in here, and every response leaves with its profile.
//!
//! Order, from outside: the clock starts, the profile goes around, errors become problem documents, a trailing slash goes
//! away, the router finds a handler. Holds no SQL and opens no connection.

mod agents;
mod channels;
mod contract;
mod health;
mod input;
mod messages;
mod openapi;
mod page;
mod performance;
mod problem;
mod reply;
mod routes;
mod schemas;
mod stats;
mod tasks;
mod workflow_tasks;
mod workflows;

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::from_fn;
use axum::response::Response;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt};
use tower_http::normalize_path::NormalizePathLayer;

use crate::config::{Config, ConfigError};
use crate::profile::ProfileLayer;

type Service = BoxCloneSyncService<Request, Response, Infallible>;

/// Answers one request.
pub async fn handle(mut request: Request) -> Response {
    // Before anything else: X-Process-Time counts from here, reading the configuration included.
    let profile = ProfileLayer::start(request.headers());
    request.extensions_mut().insert(profile);
    let method = request.method().clone();
    let Ok(mut response) = instance_service().await.oneshot(request).await;
    if response.status() == StatusCode::NO_CONTENT {
        // RFC 9110, 8.6: a 204 has no Content-Length; the router adds one.
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    if method == Method::HEAD {
        without_body(response)
    } else {
        response
    }
}

/// The service, made once an instance. A configuration that makes no sense isn't kept: the next request looks again.
async fn instance_service() -> Service {
    static SERVICE: OnceLock<Service> = OnceLock::new();
    if let Some(service) = SERVICE.get() {
        return service.clone();
    }
    match Config::from_variables().await {
        Ok(config) => SERVICE.get_or_init(|| service(Ok(config))).clone(),
        Err(error) => service(Err(error)),
    }
}

/// All routes behind all layers; or, without a configuration, the same layers before an error.
fn service(config: Result<Config, ConfigError>) -> Service {
    let thresholds = config
        .as_ref()
        .map(|config| config.thresholds)
        .unwrap_or_default();
    let router = match config {
        Ok(config) => routes::router(Arc::new(config)),
        Err(error) => routes::misconfigured(error),
    };
    let layers = ServiceBuilder::new()
        .layer(ProfileLayer::new(thresholds))
        .layer(from_fn(problem::render))
        .layer(NormalizePathLayer::trim_trailing_slash());
    BoxCloneSyncService::new(layers.service(router))
}

/// The answer to HEAD: as GET's, its length included, but nothing of the body.
fn without_body(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts
            .headers
            .entry(CONTENT_LENGTH)
            .or_insert(HeaderValue::from(length));
    }
    Response::from_parts(parts, Body::empty())
}
