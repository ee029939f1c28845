//! CORS: pages of the configured origins may use the API from a browser. Without configured origins, no response has a CORS
//! header, and browsers let only the API's own pages read responses.
//!
//! tower-http implements the protocol (<https://fetch.spec.whatwg.org/#http-cors-protocol>).

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, ETAG, LINK, LOCATION, ORIGIN,
    RETRY_AFTER, VARY,
};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tower::{Layer, ServiceExt};
use tower_http::cors::{AllowHeaders, CorsLayer};

use super::read_your_writes::X_WRITTEN;
use crate::profile::HEADERS;

/// How long a browser may cache the answer to a preflight.
const MAX_AGE: Duration = Duration::from_hours(1);

/// Returns the CORS rules for pages of these origins; `None` without origins.
///
/// A page may send any header, because its origin is trusted, and tracing libraries keep adding headers (`baggage`, `sentry-trace`). The answer
/// repeats the requested headers, because `*` would exclude `Authorization`.
pub fn layer(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let origins: Vec<HeaderValue> = origins
        .iter()
        .filter_map(|origin| origin.parse().ok())
        .collect();
    let shown = [
        &[ETAG, LINK, LOCATION, RETRY_AFTER, X_WRITTEN],
        &HEADERS[..],
    ];
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(shown.concat())
        .max_age(MAX_AGE)
        .vary([]);
    Some(layer)
}

/// Adds the CORS headers to responses, and answers preflights.
pub async fn answer(
    State(layer): State<Option<CorsLayer>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(layer) = layer else {
        return next.run(request).await;
    };
    let has_origin = request.headers().contains_key(ORIGIN);
    let is_options = request.method() == Method::OPTIONS;
    let asks_method = request
        .headers()
        .contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let is_preflight = is_options && has_origin && asks_method;
    // The CORS layer treats every OPTIONS request as a preflight, so other OPTIONS requests bypass the layer.
    let mut response = if is_preflight || has_origin && !is_options {
        let Ok(response) = layer.layer(next).oneshot(request).await;
        response
    } else {
        next.run(request).await
    };
    if is_preflight {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    // Responses without CORS headers need Vary too, because a cache must not return them to pages of other origins.
    let vary = HeaderValue::from_static(if is_preflight {
        "origin, access-control-request-method, access-control-request-headers"
    } else {
        "origin"
    });
    response.headers_mut().append(VARY, vary);
    // Pages of other origins may also read the timing: <https://www.w3.org/TR/resource-timing/#sec-timing-allow-origin>.
    if let Some(origin) = response.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN).cloned() {
        let name = HeaderName::from_static("timing-allow-origin");
        response.headers_mut().insert(name, origin);
    }
    response
}
