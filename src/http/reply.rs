//! What handlers answer with: JSON text as the database gave it, and the few headers that go with it.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG, LINK, LOCATION};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use twox_hash::XxHash64;
use uuid::Uuid;

use super::problem::ApiError;
use crate::queries::Outcome;

const JSON: &str = "application/json";

/// An answer where all went well.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    body: Option<(&'static str, String)>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Reply {
    /// 200 with JSON text.
    pub fn ok(json: impl Into<String>) -> Self {
        Self {
            status: StatusCode::OK,
            body: Some((JSON, json.into())),
            headers: Vec::new(),
        }
    }

    /// 200 with text of another form.
    pub fn text(media_type: &'static str, text: impl Into<String>) -> Self {
        Self {
            status: StatusCode::OK,
            body: Some((media_type, text.into())),
            headers: Vec::new(),
        }
    }

    /// 204: there's nothing to give.
    pub fn nothing() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            body: None,
            headers: Vec::new(),
        }
    }

    /// 201 with the row that was made, and the path where it is from now on: `collection` and its id.
    pub fn created(collection: &str, row: String) -> Result<Self, ApiError> {
        // Its first member, as PostgreSQL shaped it.
        let id = row
            .strip_prefix("{\"id\":\"")
            .and_then(|rest| rest.get(..36));
        let id = id.and_then(|id| Uuid::try_parse(id).ok());
        let id = id.ok_or(ApiError::Bug(
            "a row that was created doesn't begin with its id",
        ))?;
        // Letters, digits and dashes: always a valid value.
        let location = HeaderValue::try_from(format!("{collection}/{id}"))
            .map_err(|_| ApiError::Bug("an id can't be in a path"))?;
        Ok(Self {
            status: StatusCode::CREATED,
            body: Some((JSON, row)),
            headers: vec![(LOCATION, location)],
        })
    }

    /// With a link to the next page.
    pub fn with_next(self, path_and_query: &str) -> Self {
        // Percent-encoded before: always a valid value.
        match HeaderValue::try_from(format!("<{path_and_query}>; rel=\"next\"")) {
            Ok(link) => self.with(LINK, link),
            Err(_) => self,
        }
    }

    /// With its body's entity tag (RFC 9110, 8.8.3); and without the body, as 304, where it's one of those that the client
    /// holds, by the values of its `If-None-Match`.
    pub fn revalidated(mut self, held: &[HeaderValue]) -> Self {
        let Some((_, text)) = &self.body else {
            return self;
        };
        let tag = entity_tag(text);
        if held.iter().any(|tags| names(tags, &tag)) {
            self.status = StatusCode::NOT_MODIFIED;
            self.body = None;
        }
        // Digits between quotes: always a valid value.
        match HeaderValue::try_from(tag) {
            Ok(tag) => self.with(ETAG, tag),
            Err(_) => self,
        }
    }

    /// With a header.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// The same for the same text, from whichever instance. Two texts that somebody chose for it may share one: who can
/// choose them can only hide a change of their own.
fn entity_tag(text: &str) -> String {
    format!("\"{:016x}\"", XxHash64::oneshot(0, text.as_bytes()))
}

/// Whether an `If-None-Match` names this tag, or any (RFC 9110, 13.1.2). Tags of ours have no comma.
fn names(tags: &HeaderValue, tag: &str) -> bool {
    let tags = tags.to_str().unwrap_or_default();
    tags.split(',').map(str::trim).any(|held| {
        // A proxy that packs bodies makes them weak.
        held == "*" || held.strip_prefix("W/").unwrap_or(held) == tag
    })
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = match self.body {
            Some((media_type, text)) => {
                let mut response = Response::new(Body::from(text));
                let media_type = HeaderValue::from_static(media_type);
                response.headers_mut().insert(CONTENT_TYPE, media_type);
                response
            }
            None => Response::new(Body::empty()),
        };
        *response.status_mut() = self.status;
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// The row a write gave, or the error that says why it did nothing. `refused` words the state that forbids it.
pub fn written(
    outcome: Outcome,
    absent: ApiError,
    refused: impl FnOnce(&str) -> String,
) -> Result<String, ApiError> {
    match outcome {
        Outcome::Done(row) => Ok(row),
        Outcome::Absent => Err(absent),
        Outcome::Refused(state) => Err(ApiError::Conflict(refused(&state))),
        Outcome::Dangling => Err(ApiError::Dangling),
    }
}

/// For writes that no state forbids.
pub fn never(state: &str) -> String {
    format!("It is {state}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_the_client_holds_is_not_sent_again() {
        let tag = entity_tag("{}");
        assert_eq!(tag.len(), 18, "{tag}");
        assert_ne!(tag, entity_tag("[]"));
        let status = |held: &str| {
            let held = [HeaderValue::try_from(held).unwrap()];
            let reply = Reply::ok("{}").revalidated(&held);
            assert_eq!(reply.body.is_none(), reply.status != StatusCode::OK);
            assert_eq!(
                reply.headers,
                [(ETAG, HeaderValue::try_from(&tag).unwrap())]
            );
            reply.status
        };
        for held in [
            "*".to_owned(),
            tag.clone(),
            format!("W/{tag}"),
            format!("\"a,b\" , {tag}"),
        ] {
            assert_eq!(status(&held), StatusCode::NOT_MODIFIED, "{held}");
        }
        for other in ["", "\"", "\"a\"", tag.trim_matches('"'), "w/*", "\u{e4}"] {
            assert_eq!(status(other), StatusCode::OK, "{other}");
        }
        assert_eq!(Reply::nothing().revalidated(&[]).headers, []);
    }
}
