//! The route table: one line for each operation of the API.

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, IF_NONE_MATCH};
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, MethodRouter, on};
use uuid::Uuid;

use super::contract::{Audience, Fault, Findings, Operation, Place};
use super::input::RawInput;
use super::problem::ApiError;
use super::reply::Reply;
use super::written::{freshness, tell};
use super::{
    agents, auth, channels, health, messages, openapi, performance, stats, tasks, workflow_tasks,
    workflows,
};
use crate::config::ConfigError;
use crate::db::{Database, Db};
use crate::profile::RequestProfile;
use crate::queries::references::{self, Reference};
use crate::queries::{cache, idempotency, replica};

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

/// Returns every operation. openapi.json is generated from them.
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

/// The function that executes an operation. All operations share one type, so that the router's code is compiled only once.
type Handler = fn(Db, RawInput) -> Pin<Box<dyn Future<Output = Result<Reply, ApiError>> + Send>>;

/// The state that all routes share.
pub type Shared = Arc<Database>;

/// Returns the route for an operation. It sets the profile's route, checks the input, and calls the handler.
pub fn serve(operation: &'static Operation, handler: Handler) -> MethodRouter<Shared> {
    let serve = async move |State(database): State<Shared>, request: Request| {
        let config = database.config();
        let profile = request.extensions().get::<Arc<RequestProfile>>().cloned();
        let profile = profile.ok_or(ApiError::Bug("a request came without its profile"))?;
        let is_read = operation.method == "GET";
        let budget = if is_read {
            config.read_query_budget
        } else {
            config.write_query_budget
        };
        let has_replica = config.db_read_address.is_some();
        let caches = !config.cache_ttl.is_zero();
        // A read may query the replica's state, and repeat a failed query on the primary. A write queries the WAL position.
        let of_replica = if has_replica { 2 } else { 0 };
        // A read with `If-None-Match` queries a page's tag before the page.
        let of_tag = usize::from(is_read && request.headers().contains_key(IF_NONE_MATCH));
        let budget = budget.max(operation.query_count) + of_replica * (1 + of_tag) + of_tag;
        // The profile has the route's pattern, because the request's path may contain anything.
        profile.set_route(format!("{} {}", request.method(), operation.path), budget);
        auth::admit(operation, &request, config)?;
        let cache_control =
            HeaderValue::from_static(match auth::tokens_for(operation.audience, config).next() {
                Some(_) => "no-store",
                None => "no-cache",
            });
        let db = Db::new(database.clone(), profile.clone());
        let db = match operation.audience {
            Audience::Clients if is_read && (has_replica || caches) => {
                replica::reading(db, freshness(request.headers()))
            }
            _ => db,
        };
        let (mut input, Findings { faults, references }) =
            RawInput::read(operation, request).await?;
        let db = match input.idempotency_key.take() {
            Some(key) => idempotency::keyed(db, key),
            None => db,
        };
        let parent = input.id();
        if !faults.is_empty() {
            // Frees the memory before the database query.
            drop(input);
            return Err(all_faults(&db, faults, &references, parent).await);
        }
        profile.admit();
        let if_none_match = input.if_none_match.clone();
        let outcome = match handler(db.clone(), input).await {
            Err(ApiError::Dangling) => Err(all_faults(&db, faults, &references, parent).await),
            outcome => outcome,
        };
        let is_done = outcome.is_ok();
        let mut response = match outcome {
            Ok(reply) if is_read => reply.revalidated(&if_none_match).into_response(),
            outcome => outcome.into_response(),
        };
        let hides_write = caches && cache::has_changed(&db);
        if hides_write || has_replica && replica::has_written(&db) {
            // A failed write may have taken effect, and its client must see it. Its WAL position is unknown.
            let position = if is_done && has_replica {
                replica::write_position(&db).await
            } else {
                None
            };
            let lag = config.db_read_max_lag;
            let hidden_for = if hides_write {
                lag.max(config.cache_ttl)
            } else {
                lag
            };
            tell(response.headers_mut(), position, hidden_for);
        }
        response.headers_mut().insert(CACHE_CONTROL, cache_control);
        Ok(response)
    };
    on(filter(operation.method), serve)
}

/// Returns the error with all field errors, including the references to rows that don't exist.
///
/// `parent` is the id of the parent row: the channel of a thread, or the workflow of a dependency.
async fn all_faults(
    db: &Db,
    faults: Vec<Fault>,
    references: &[Reference],
    parent: Option<Uuid>,
) -> ApiError {
    let mut findings = Findings {
        faults,
        references: Vec::new(),
    };
    match references::dangling(db, references, parent).await {
        Ok(pointers) => {
            for pointer in pointers {
                let detail = "refers to a row that does not exist".into();
                findings.add(Place::Pointer(pointer), detail);
            }
        }
        Err(error) if findings.faults.is_empty() => return error.into(),
        // The other field errors are valid even if the database query fails.
        Err(_) => {}
    }
    if findings.faults.is_empty() {
        ApiError::Dangling
    } else {
        ApiError::Invalid(findings.faults)
    }
}

/// Returns the router's filter for a method. GET handles HEAD as well.
fn filter(method: &str) -> MethodFilter {
    match method {
        "POST" => MethodFilter::POST,
        "PATCH" => MethodFilter::PATCH,
        "DELETE" => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    }
}
