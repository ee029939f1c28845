//! The path of a request from its route to its handler and back. [`serve`] lists the steps; each call names the module that implements the
//! step.

use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, IF_NONE_MATCH};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use uuid::Uuid;

use super::contract::{Location, Operation, Validation};
use super::input::RawInput;
use super::problem::ApiError;
use super::reply::Reply;
use super::{auth, read_your_writes};
use crate::config::Config;
use crate::db::{Database, Db};
use crate::profile::RequestProfile;
use crate::queries::{idempotency, references};

/// The function that executes an operation. All operations share one type, so that the router's code is compiled only once.
type Handler = fn(Db, RawInput) -> Pin<Box<dyn Future<Output = Result<Reply, ApiError>> + Send>>;

/// The state that all routes share.
pub type Shared = Arc<Database>;

/// Returns the route for an operation.
pub fn serve(operation: &'static Operation, handler: Handler) -> MethodRouter<Shared> {
    let serve = async move |State(database): State<Shared>, request: Request| {
        let profile = request.extensions().get::<Arc<RequestProfile>>().cloned();
        let profile = profile.ok_or(ApiError::Bug("a request came without its profile"))?;
        let config = database.config();
        // The profile has the route's pattern instead of the request's path, because a client may put any text into the path.
        let route = format!("{} {}", request.method(), operation.path);
        profile.set_route(route, query_budget(operation, &request, config));
        auth::admit(operation, &request, config)?;
        let cache_control = auth::cache_control(operation, config);

        let db = Db::new(database.clone(), profile.clone());
        let db = read_your_writes::allow_stale_reads(db, operation, request.headers());
        let (mut input, validation) = RawInput::read(operation, request).await?;
        let db = match input.idempotency_key.take() {
            Some(key) => idempotency::keyed(db, key),
            None => db,
        };
        let if_none_match = input.if_none_match.clone();
        let outcome = run(handler, &db, &profile, input, validation).await;

        let succeeded = outcome.is_ok();
        let mut response: Response = match outcome {
            Ok(reply) if operation.is_read() => reply.revalidated(&if_none_match).into_response(),
            outcome => outcome.into_response(),
        };
        read_your_writes::set_token(&db, succeeded, response.headers_mut()).await;
        response.headers_mut().insert(CACHE_CONTROL, cache_control);
        Ok::<_, ApiError>(response)
    };
    on(filter(operation.method), serve)
}

/// Returns the number of statements that a request may send before the profiler logs a warning.
fn query_budget(operation: &Operation, request: &Request, config: &Config) -> usize {
    let budget = if operation.is_read() {
        config.read_query_budget
    } else {
        config.write_query_budget
    };
    // A read may query the replica's state, and repeat a failed query on the primary. A write queries the WAL position.
    let of_replica = if config.db_read_address.is_some() {
        2
    } else {
        0
    };
    // A read with `If-None-Match` queries a page's tag before the page.
    let of_tag = usize::from(operation.is_read() && request.headers().contains_key(IF_NONE_MATCH));
    budget.max(operation.query_count) + of_replica * (1 + of_tag) + of_tag
}

/// Calls the handler, unless there are field errors. If the handler finds that the body refers to rows that don't exist, returns the field
/// errors for these references.
async fn run(
    handler: Handler,
    db: &Db,
    profile: &RequestProfile,
    input: RawInput,
    validation: Validation,
) -> Result<Reply, ApiError> {
    let parent = input.id();
    if !validation.errors.is_empty() {
        // Frees the memory before the database query.
        drop(input);
        return Err(field_errors(db, validation, parent).await);
    }
    profile.admit();
    match handler(db.clone(), input).await {
        Err(ApiError::Dangling) => Err(field_errors(db, validation, parent).await),
        outcome => outcome,
    }
}

/// Returns the error with all field errors, including the references to rows that don't exist.
///
/// `parent` is the id of the parent row: the channel of a thread, or the workflow of a dependency.
async fn field_errors(db: &Db, validation: Validation, parent: Option<Uuid>) -> ApiError {
    let Validation { errors, references } = validation;
    let mut validation = Validation {
        errors,
        references: Vec::new(),
    };
    match references::dangling(db, &references, parent).await {
        Ok(pointers) => {
            for pointer in pointers {
                let detail = "refers to a row that does not exist".into();
                validation.add(Location::Pointer(pointer), detail);
            }
        }
        Err(error) if validation.errors.is_empty() => return error.into(),
        // If the query for the missing rows fails, the response lists the other field errors.
        Err(_) => {}
    }
    if validation.errors.is_empty() {
        ApiError::Dangling
    } else {
        ApiError::Invalid(validation.errors)
    }
}

/// Returns the router's filter for a method. The filter for GET handles HEAD as well.
fn filter(method: &str) -> MethodFilter {
    match method {
        "POST" => MethodFilter::POST,
        "PATCH" => MethodFilter::PATCH,
        "DELETE" => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    }
}
