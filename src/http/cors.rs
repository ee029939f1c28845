//! Which pages may use the API from a browser: those of the configured origins, and no others. Without any, no answer
//! says a word about origins, and browsers let no other page read it.
//!
//! The protocol (<https://fetch.spec.whatwg.org/#http-cors-protocol>) is tower-http's; here is what it's told.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LINK, LOCATION,
    ORIGIN, RETRY_AFTER,
};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tower::{Layer, ServiceExt};
use tower_http::cors::CorsLayer;

use super::written::X_WRITTEN;
use crate::profile::HEADERS;

/// How long a browser may go by the answer to a preflight.
const MAX_AGE: Duration = Duration::from_hours(1);

/// What pages of these origins may do; nothing where there are none.
pub fn layer(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let origins: Vec<HeaderValue> = origins
        .iter()
        .filter_map(|origin| origin.parse().ok())
        .collect();
    let asked = ["idempotency-key", "traceparent", "x-profile"].map(HeaderName::from_static);
    let asked = [
        &[AUTHORIZATION, CONTENT_TYPE, IF_NONE_MATCH, X_WRITTEN],
        &asked[..],
    ];
    let shown = [
        &[ETAG, LINK, LOCATION, RETRY_AFTER, X_WRITTEN],
        &HEADERS[..],
    ];
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers(asked.concat())
        .expose_headers(shown.concat())
        .max_age(MAX_AGE);
    Some(layer)
}

/// Answers pages of other origins as their browsers want it; who brings no origin is no such page.
pub async fn answer(
    State(layer): State<Option<CorsLayer>>,
    request: Request,
    next: Next,
) -> Response {
    let layer = match layer {
        Some(layer) if request.headers().contains_key(ORIGIN) => layer,
        _ => return next.run(request).await,
    };
    let is_preflight = request.method() == Method::OPTIONS;
    let Ok(mut response) = layer.layer(next).oneshot(request).await;
    if is_preflight {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    // They may see how long it took as well: <https://www.w3.org/TR/resource-timing/#sec-timing-allow-origin>.
    if let Some(origin) = response.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN).cloned() {
        let name = HeaderName::from_static("timing-allow-origin");
        response.headers_mut().insert(name, origin);
    }
    response
}
