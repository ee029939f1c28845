//! The route table: one line for each operation of the API.

use std::sync::Arc;

use axum::Router;

use super::contract::Operation;
use super::problem::ApiError;
use super::serve::serve;
use super::{
    agents, channels, health, messages, openapi, performance, stats, tasks, workflow_tasks,
    workflows,
};
use crate::config::ConfigError;
use crate::db::Database;

/// The route table: each operation with its handler, passed to the macro `$with`.
macro_rules! operations {
    ($with:ident) => {
        [
            $with!(health::HEALTH, health::health),
            $with!(health::READINESS, health::readiness),
            $with!(agents::AGENT_LIST, agents::agent_list),
            $with!(agents::AGENT_CREATE, agents::agent_create),
            $with!(agents::AGENT_GET, agents::agent_get),
            $with!(agents::AGENT_UPDATE, agents::agent_update),
            $with!(agents::AGENT_GET_BY_NAME, agents::agent_get_by_name),
            $with!(agents::AGENT_ACTIVATE, agents::agent_activate),
            $with!(agents::AGENT_DEACTIVATE, agents::agent_deactivate),
            $with!(agents::AGENT_STATUS, agents::agent_status),
            $with!(agents::AGENT_MESSAGE_LIST, agents::agent_message_list),
            $with!(agents::AGENT_DM_CHANNEL, agents::agent_dm_channel),
            $with!(channels::CHANNEL_LIST, channels::channel_list),
            $with!(channels::CHANNEL_CREATE, channels::channel_create),
            $with!(channels::CHANNEL_GET, channels::channel_get),
            $with!(channels::CHANNEL_UPDATE, channels::channel_update),
            $with!(channels::CHANNEL_ARCHIVE, channels::channel_archive),
            $with!(channels::CHANNEL_CLEAR, channels::channel_clear),
            $with!(
                channels::CHANNEL_MESSAGE_LIST,
                channels::channel_message_list
            ),
            $with!(channels::MESSAGE_CREATE, channels::message_create),
            $with!(messages::MESSAGE_LIST, messages::message_list),
            $with!(messages::MESSAGE_GET, messages::message_get),
            $with!(workflows::WORKFLOW_LIST, workflows::workflow_list),
            $with!(workflows::WORKFLOW_CREATE, workflows::workflow_create),
            $with!(workflows::WORKFLOW_GET, workflows::workflow_get),
            $with!(workflows::WORKFLOW_DELETE, workflows::workflow_delete),
            $with!(workflows::WORKFLOW_START, workflows::workflow_start),
            $with!(workflows::WORKFLOW_CANCEL, workflows::workflow_cancel),
            $with!(
                workflow_tasks::WORKFLOW_TASK_LIST,
                workflow_tasks::workflow_task_list
            ),
            $with!(
                workflow_tasks::WORKFLOW_TASK_CREATE,
                workflow_tasks::workflow_task_create
            ),
            $with!(
                workflow_tasks::WORKFLOW_TASK_GET,
                workflow_tasks::workflow_task_get
            ),
            $with!(
                workflow_tasks::WORKFLOW_TASK_UPDATE,
                workflow_tasks::workflow_task_update
            ),
            $with!(
                workflow_tasks::WORKFLOW_TASK_CLAIM,
                workflow_tasks::workflow_task_claim
            ),
            $with!(tasks::TASK_LIST, tasks::task_list),
            $with!(tasks::TASK_CREATE, tasks::task_create),
            $with!(tasks::TASK_GET, tasks::task_get),
            $with!(tasks::TASK_UPDATE, tasks::task_update),
            $with!(stats::STATS, stats::stats),
            $with!(
                performance::PERFORMANCE_DATABASE,
                performance::performance_database
            ),
            $with!(
                performance::PERFORMANCE_METRICS,
                performance::performance_metrics
            ),
            $with!(
                performance::PERFORMANCE_CACHE,
                performance::performance_cache
            ),
            $with!(performance::PERFORMANCE_PAGE, performance::performance_page),
            $with!(openapi::OPENAPI, openapi::openapi),
            $with!(openapi::OPENAPI_PAGE, openapi::openapi_page),
        ]
    };
}

/// Returns every operation. A test generates openapi.json from these operations.
#[must_use]
pub fn all() -> Vec<&'static Operation> {
    macro_rules! operation {
        ($operation:path, $handler:path) => {
            &$operation
        };
    }
    operations!(operation).to_vec()
}

/// Returns the router with a route for every operation.
pub fn router(database: Arc<Database>) -> Router {
    macro_rules! route {
        ($operation:path, $handler:path) => {
            (
                $operation.path,
                serve(&$operation, |db, input| {
                    Box::pin(async move { $handler(db, input.typed()?).await })
                }),
            )
        };
    }
    let router = operations!(route)
        .into_iter()
        .fold(Router::new(), |router, (path, route)| {
            router.route(path, route)
        });
    #[cfg(feature = "test-routes")]
    let router = super::test_routes::added_to(router);
    router
        .fallback(async || ApiError::NoRoute)
        .with_state(database)
}

/// Returns a router that answers every request with the configuration error.
pub fn misconfigured(error: ConfigError) -> Router {
    Router::new().fallback(async move || ApiError::Misconfigured(error.clone()))
}
