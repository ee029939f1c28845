//! The HTTP layer: handles every request, and adds its profile to the response.
//!
//! From the outside in, it starts the clock, records the profile, applies CORS, turns errors into problem documents, trims a trailing slash,
//! and routes the request to a handler. The layer contains no SQL and opens no connection.

mod agents;
mod auth;
mod browser;
mod channels;
pub mod check;
pub mod contract;
mod cors;
mod entity_tag;
mod health;
mod html;
pub mod input;
mod json;
mod messages;
pub mod names;
mod openapi;
mod page;
pub mod parameters;
mod performance;
pub mod problem;
mod read_your_writes;
mod reply;
pub mod routes;
mod serve;
mod stats;
mod tasks;
#[cfg(feature = "test-routes")]
mod test_routes;
mod workflow_tasks;
mod workflows;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt};
use tower_http::normalize_path::NormalizePathLayer;

use crate::config::{Config, ConfigError};
use crate::db::{Database, Db};
use crate::profile::{Fleet, Flushed, ProfileLayer, set_log_format};
use crate::queries::{cache, fleet};

type Service = BoxCloneSyncService<Request, Response, Infallible>;

/// Answers one request.
pub async fn handle(mut request: Request) -> Response {
    // The clock starts first, because X-Process-Time includes reading the configuration.
    let profile = ProfileLayer::start(request.headers());
    request.extensions_mut().insert(profile);
    let method = request.method().clone();
    let Ok(mut response) = instance_service().await.oneshot(request).await;
    // Browsers must not guess a media type other than the Content-Type.
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    if method == Method::HEAD {
        response = without_body(response);
    }
    if [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&response.status()) {
        // The router adds a Content-Length. RFC 9110, 8.6, forbids it for a 204, and allows only the length of the omitted body for a 304.
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response
}

/// Returns the service, created once per instance. An invalid configuration isn't cached, so the next request reads it again.
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

/// Builds the service: all routes behind all layers. With an invalid configuration, every request gets the error.
fn service(config: Result<Config, ConfigError>) -> Service {
    let mut cors = None;
    let (layer, router) = match config {
        Ok(config) => {
            set_log_format(config.log_format);
            cors = cors::layer(&config.cors_origins);
            let database = Database::new(config, cache::TABLES);
            let show_statements = from_fn_with_state(database.clone(), auth::show_statements);
            let router = routes::router(database.clone()).layer(show_statements);
            (profile_layer(&database), router)
        }
        Err(error) => (ProfileLayer::default(), routes::misconfigured(error)),
    };
    let layers = ServiceBuilder::new()
        .layer(layer)
        .layer(from_fn_with_state(cors, cors::answer))
        .layer(from_fn(problem::render))
        .layer(from_fn(refuse_empty_segments))
        .layer(NormalizePathLayer::trim_trailing_slash());
    BoxCloneSyncService::new(layers.service(router))
}

/// Answers 404 to a path with an empty segment. A proxy in front may block a prefix such as `/performance`. If empty segments were ignored,
/// `//performance` would bypass that block.
async fn refuse_empty_segments(request: Request, next: Next) -> Response {
    if request.uri().path().contains("//") {
        return problem::ApiError::NoRoute.into_response();
    }
    next.run(request).await
}

/// Returns the configured profiler, which writes its recorded data to the database.
fn profile_layer(database: &Arc<Database>) -> ProfileLayer {
    let config = database.config();
    let layer = ProfileLayer::new(config.thresholds).hiding_headers(config.hides_profiling_headers);
    match config.fleet {
        None => layer,
        Some(settings) => {
            let database = database.clone();
            let flush = move |batch| -> Pin<Box<dyn Future<Output = Flushed> + Send>> {
                Box::pin(fleet::flush(Db::in_the_background(database.clone()), batch))
            };
            layer.gathering(Fleet::new(settings, config.target, Box::new(flush)))
        }
    }
}

/// Returns the response to HEAD: the headers of the response to GET, including Content-Length, without the body.
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
