//! Errors as clients see them: the status of each error, and problem documents (RFC 9457).
//!
//! Responses never contain SQL, an internal host name or a stack trace. The log has the details under the same request id.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::contract::{
    Audience, FieldError, IDEMPOTENCY_KEY, Location, MAX_BODY_BYTES, MAX_BODY_TIME,
};
use super::entity_tag::etag;
use crate::config::ConfigError;
use crate::db::{DbError, Failure};
use crate::profile::{self, Level, RequestProfile};

/// The `Retry-After` of a 503, in seconds.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("2");

/// The reason that a request failed.
#[derive(Clone, Debug)]
pub enum ApiError {
    /// The request has no token for the operation's audience.
    Unauthorized(Audience),
    /// A page of this origin made a browser send the request.
    ForeignOrigin(String),
    /// No token is configured, and the request's host is not one of the API's names.
    ForeignHost(String),
    /// The path has no route.
    NoRoute,
    /// The path has a route, but not for this method.
    MethodNotAllowed,
    /// The row does not exist.
    NotFound {
        /// The type of row: `agent`.
        what: &'static str,
        /// The member that identifies the row.
        by: &'static str,
        /// The value of that member.
        value: String,
    },
    /// The body isn't JSON, for this reason.
    NotJson(String),
    /// The body is too long.
    BodyTooLarge,
    /// The headers don't declare the body as JSON in UTF-8 without an encoding.
    NotJsonType,
    /// The body takes too long to arrive.
    BodyTooSlow,
    /// No tag in `If-Match` matches the row. Contains the row's current tag.
    Stale(String),
    /// The row's state, or another row, forbids the write. Contains the reason as a sentence.
    Conflict(String),
    /// The request has these field errors.
    Invalid(Vec<FieldError>),
    /// The body refers to rows that don't exist. `serve.rs` finds these rows, and replaces this error with [`Self::Invalid`].
    Dangling,
    /// The database doesn't meet the requirements of this version.
    NotReady {
        /// The unmet requirements.
        missing: Unready,
    },
    /// The database failed.
    Database(Arc<DbError>),
    /// The operator must correct the configuration.
    Misconfigured(ConfigError),
    /// An invariant is violated.
    Bug(&'static str),
}

/// The requirements that a database doesn't meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Unready {
    /// The missing migrations, as file names without `.sql`.
    pub missing_migrations: Vec<String>,
    /// Indexes that aren't there or aren't valid.
    pub missing_indexes: Vec<String>,
    /// The other errors that `requirements/requirements.sql` finds.
    pub problems: Vec<Finding>,
}

/// A requirement of the API that the database doesn't meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Finding {
    /// The type of requirement, for example `privilege`.
    pub kind: String,
    /// The object that doesn't meet the requirement, by the name that we use for the object.
    pub object: String,
    /// The difference from the requirement.
    pub detail: String,
}

impl Unready {
    /// Whether the database meets all requirements.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.missing_migrations.is_empty()
            && self.missing_indexes.is_empty()
            && self.problems.is_empty()
    }

    /// Returns the operator's first step, in one sentence.
    fn advice(&self) -> &'static str {
        let has = |kinds: &[&str]| {
            let kinds_found = self.problems.iter().map(|problem| problem.kind.as_str());
            kinds_found.into_iter().any(|kind| kinds.contains(&kind))
        };
        if has(&["server", "encoding", "foreign"]) {
            "This application cannot use the database; see `problems`. Run scripts/migrate plan to list the differences."
        } else if !self.missing_migrations.is_empty() && !has(&["privilege"]) {
            UNMIGRATED_DETAIL
        } else if has(&["privilege"]) {
            "The API lacks privileges in the database; see `problems`. Run scripts/migrate grant."
        } else if !self.problems.is_empty() {
            "The database does not meet the API's requirements; see `problems`. Run scripts/migrate verify, which prints what to do."
        } else {
            "The database lacks indexes that its migrations created; see `missing_indexes`. docs/indexes.md explains how to create each one again."
        }
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        if error.constraint() == Some("idempotency_keys_request_check") {
            return Self::Invalid(vec![FieldError {
                location: Location::Parameter(IDEMPOTENCY_KEY.to_owned()),
                detail: "was already used for a different request".into(),
            }]);
        }
        match error.constraint().and_then(on_constraint) {
            None if error.is_dangling() => Self::Dangling,
            Some(sentence) => Self::Conflict(sentence.to_owned()),
            None => Self::Database(Arc::new(error)),
        }
    }
}

/// Returns the client's message for a violated constraint. Requests are validated before the statement runs, so only a bug can violate a constraint
/// that is neither listed here nor a foreign key.
fn on_constraint(name: &str) -> Option<&'static str> {
    Some(match name {
        "idx_agents_name" => "An agent with this name already exists. Choose another name.",
        "channels_name_key" => "A channel with this name already exists. Choose another name.",
        "workflow_tasks_count_check" => {
            "The workflow has 1,000 tasks, the maximum, so no task can be added to it."
        }
        // An `order_index` in the request is validated before the statement. So this constraint can fail only if the request omits `order_index` and
        // the database computes a value above the maximum.
        "workflow_tasks_order_index_check" => {
            "The last task of this workflow has order_index 100000, the maximum, so no task can be added after it. Send an order_index."
        }
        "channels_dm_check" => "The type of a direct-message channel cannot be changed.",
        _ => return None,
    })
}

/// The members of a problem document. `type` has its default value, because the status identifies the problem.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: String,
    instance: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(flatten)]
    missing: Option<&'a Unready>,
}

impl ApiError {
    /// Returns the error for a row that does not exist.
    pub fn not_found(what: &'static str, by: &'static str, value: &impl ToString) -> Self {
        Self::NotFound {
            what,
            by,
            value: value.to_string(),
        }
    }

    /// Returns the HTTP status of the error.
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::ForeignOrigin(_) | Self::ForeignHost(_) => StatusCode::FORBIDDEN,
            Self::NoRoute | Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotJson(_) => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJsonType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Stale(_) => StatusCode::PRECONDITION_FAILED,
            Self::Conflict(_) | Self::Dangling => StatusCode::CONFLICT,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NotReady { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Database(error) => status_of(error.failure()),
            Self::Misconfigured(_) | Self::Bug(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the `detail` of the problem document.
    fn detail(&self, method: &Method) -> String {
        match self {
            Self::Unauthorized(Audience::Administrators) => {
                "This operation requires an admin token. Send it in the header Authorization: Bearer <token>.".to_owned()
            }
            Self::Unauthorized(_) => "This operation requires a token. Send it in the header Authorization: Bearer <token>.".to_owned(),
            Self::ForeignOrigin(origin) => format!(
                "Pages of the origin \"{origin}\" are not allowed to write. To allow them, add the origin to the variable cors_origins."
            ),
            Self::ForeignHost(host) => format!(
                "The host \"{host}\" is not a name of this server. Without an api_token, the API is served only as localhost, by \
                 IP address, and by the names in the variable allowed_hosts. Add the name there, or set api_token."
            ),
            Self::NoRoute => "There is no operation at this path.".to_owned(),
            Self::MethodNotAllowed => {
                format!("{method} is not allowed for this path. The Allow header lists the allowed methods.")
            }
            Self::NotFound { what, by, value } => format!("There is no {what} with the {by} {value}."),
            Self::NotJson(reason) => format!("The body is not valid JSON: {reason}."),
            Self::BodyTooLarge => format!("The body is longer than {MAX_BODY_BYTES} bytes."),
            Self::NotJsonType => "Send the body as Content-Type: application/json in UTF-8, without a Content-Encoding.".to_owned(),
            Self::BodyTooSlow => {
                format!("The body did not arrive within {} s.", MAX_BODY_TIME.as_secs())
            }
            Self::Stale(tag) => format!(
                "No tag in If-Match is the row's current tag, \"{tag}\". Read the row again, and repeat the request with its current tag."
            ),
            Self::Conflict(sentence) => sentence.clone(),
            Self::Dangling => "A referenced row changed during the request; try again.".to_owned(),
            Self::Invalid(errors) => match errors.as_slice() {
                [FieldError { location: Location::Parameter(name), detail }] => format!("{name}: {detail}"),
                [FieldError { location: Location::Pointer(pointer), detail }] if pointer.is_empty() => {
                    format!("The body {detail}.")
                }
                [FieldError { location: Location::Pointer(pointer), detail }] => format!("{pointer}: {detail}"),
                _ => format!("The request has {} errors, listed in `errors`.", errors.len()),
            },
            Self::NotReady { missing } => missing.advice().to_owned(),
            Self::Database(error) => match error.failure() {
                Failure::Unavailable => UNAVAILABLE_DETAIL,
                Failure::NotMigrated => UNMIGRATED_DETAIL,
                Failure::NotPermitted => {
                    "The API lacks a privilege in the database. Run scripts/migrate grant."
                }
                Failure::TimedOut => "The database took too long to answer.",
                Failure::Failed => BUG_DETAIL,
            }
            .to_owned(),
            Self::Misconfigured(_) => {
                "The service's configuration is invalid. Its log says what to change, under this request_id.".to_owned()
            }
            Self::Bug(_) => BUG_DETAIL.to_owned(),
        }
    }

    /// Returns the log message, if the operator or a developer must act.
    fn for_the_log(&self) -> Option<String> {
        match self {
            Self::Database(error) => Some(format!("{}: {error}", log_words(error.failure()))),
            Self::Misconfigured(error) => Some(format!("CONFIGURATION: {error}")),
            Self::Bug(what) => Some(format!("INTERNAL ERROR: {what}")),
            _ => None,
        }
    }
}

/// Returns the HTTP status for a failed statement.
fn status_of(failure: Failure) -> StatusCode {
    match failure {
        Failure::Unavailable | Failure::NotMigrated | Failure::NotPermitted => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Failure::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        Failure::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Returns the words with which the log line begins.
fn log_words(failure: Failure) -> &'static str {
    match failure {
        Failure::Unavailable => "DATABASE UNAVAILABLE",
        Failure::NotMigrated => "DATABASE NOT MIGRATED",
        Failure::NotPermitted => "DATABASE NOT PERMITTED",
        Failure::TimedOut => "QUERY TIMEOUT",
        Failure::Failed => "INTERNAL ERROR",
    }
}

const UNAVAILABLE_DETAIL: &str = "The database is unavailable right now. Try again in a moment.";
const UNMIGRATED_DETAIL: &str = "The database lacks migrations. Run scripts/migrate.";
const BUG_DETAIL: &str =
    "An internal error occurred. The log has the details under this request_id.";

/// Attaches the error to the response. [`render`], which has the path and the request id, writes the document.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Turns the errors of all inner layers into problem documents, and the router's 405 for OPTIONS into a 204.
pub async fn render(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let profile = request.extensions().get::<Arc<RequestProfile>>().cloned();
    let mut response = next.run(request).await;
    let error = response.extensions_mut().remove::<ApiError>();
    match (error, response.status()) {
        (Some(error), _) => document(
            &error,
            &method,
            &path,
            profile.as_deref(),
            response.headers(),
        ),
        // The path has a route, but not for this method. The router has set `Allow`.
        (None, StatusCode::METHOD_NOT_ALLOWED) => {
            allow_options(response.headers_mut());
            if method == Method::OPTIONS {
                *response.status_mut() = StatusCode::NO_CONTENT;
                return response;
            }
            let error = ApiError::MethodNotAllowed;
            document(
                &error,
                &method,
                &path,
                profile.as_deref(),
                response.headers(),
            )
        }
        (None, _) => response,
    }
}

/// Adds OPTIONS to the methods in `Allow`.
fn allow_options(headers: &mut HeaderMap) {
    let methods = headers
        .get(ALLOW)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if let Ok(methods) = HeaderValue::try_from(format!("{methods},OPTIONS")) {
        headers.insert(ALLOW, methods);
    }
}

fn document(
    error: &ApiError,
    method: &Method,
    path: &str,
    profile: Option<&RequestProfile>,
    headers: &HeaderMap,
) -> Response {
    if let (Some(message), Some(profile)) = (error.for_the_log(), profile) {
        profile::line(
            Level::Error,
            &message,
            profile,
            &[("event", "error".into())],
        );
    }
    let status = error.status();
    let problem = Problem {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or_default(),
        status: status.as_u16(),
        detail: error.detail(method),
        instance: path,
        request_id: profile.map(RequestProfile::request_id).unwrap_or_default(),
        errors: match error {
            ApiError::Invalid(errors) => errors,
            _ => &[],
        },
        missing: match error {
            ApiError::NotReady { missing } => Some(missing),
            _ => None,
        },
    };
    // Serializing text, numbers and lists of text can't fail, and an empty body is better than a panic.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers.clone();
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    // The response must not be cached, because only a new request shows whether the error persists.
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let ApiError::Stale(tag) = error
        && let Some(tag) = etag(tag)
    {
        response.headers_mut().insert(ETAG, tag);
    }
    if status == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    }
    if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        // According to RFC 9110, 12.5.3, `Accept-Encoding` in a 415 lists the codings that a request body may have.
        let none = HeaderValue::from_static("identity");
        response.headers_mut().insert(ACCEPT_ENCODING, none);
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{MEANINGS, Meaning, OTHER, Repeat};

    fn documented(meaning: &Meaning) -> String {
        let failure = meaning.failure;
        let (done, again) = match meaning.repeat {
            Repeat::Never => ("no", "no"),
            Repeat::Always => ("no", "yes"),
            Repeat::IfHarmless => ("maybe", "reads, and writes with a key"),
        };
        format!(
            "| `{}` | {} | `{}` | {done} | {again} | {} |",
            meaning.sqlstate,
            status_of(failure).as_u16(),
            log_words(failure),
            meaning.advice
        )
    }

    #[test]
    fn operations_md_has_the_table_of_sqlstates() {
        let page = std::fs::read_to_string("docs/operations.md").unwrap();
        let begin = "| SQLSTATE | status | line begins | done | sent once more | advice |\n| --- | --- | --- | --- | --- | --- |\n";
        let (_, table) = page.split_once(begin).expect("the table's head");
        let table: Vec<_> = table
            .lines()
            .take_while(|line| line.starts_with('|'))
            .collect();
        let expected: Vec<_> = MEANINGS.iter().chain([&OTHER]).map(documented).collect();
        assert_eq!(table, expected, "it should be:\n{}", expected.join("\n"));
    }
}
