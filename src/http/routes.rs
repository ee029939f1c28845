//! The route table: the API's index, one line a route.

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::map_request;
use axum::routing::get;

use super::problem::ApiError;
use super::{agents, health, performance};
use crate::config::{Config, ConfigError};
use crate::profile::RequestProfile;

/// Every route there is, in front of one configuration.
pub fn router(config: Arc<Config>) -> Router {
    Router::new()
        .route("/api/health", get(health::health))
        .route("/api/health/ready", get(health::readiness))
        .route("/api/agents", get(agents::agent_list))
        .route("/api/agents/{id}", get(agents::agent_get))
        .route("/api/agents/name/{name}", get(agents::agent_get_by_name))
        .route(
            "/api/performance/database",
            get(performance::performance_database),
        )
        .fallback(async || ApiError::NoRoute)
        .with_state(config)
        .layer(map_request(name_route))
}

/// No routes: every request is told that the configuration is wrong, and the log says where.
pub fn misconfigured(error: ConfigError) -> Router {
    Router::new().fallback(async move || ApiError::Misconfigured(error.clone()))
}

/// Tells the profile which route it is. The pattern, not the path: that may hold anything.
async fn name_route(request: Request) -> Request {
    let matched = request.extensions().get::<MatchedPath>();
    let profile = request.extensions().get::<Arc<RequestProfile>>();
    if let (Some(matched), Some(profile)) = (matched, profile) {
        // A method may hold anything too.
        let method = match *request.method() {
            Method::GET | Method::HEAD | Method::OPTIONS => request.method().as_str(),
            Method::POST | Method::PUT | Method::PATCH | Method::DELETE => {
                request.method().as_str()
            }
            _ => "(other method)",
        };
        profile.set_route(format!("{method} {}", matched.as_str()));
    }
    request
}
