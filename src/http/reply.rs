//! What handlers answer with: JSON text as the database gave it, and the few headers that go with it.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH, LINK, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use twox_hash::XxHash64;
use uuid::Uuid;

use super::problem::ApiError;
use crate::queries::{ANY_TAG, Outcome, TAG_LENGTH, is_held};

const JSON: &str = "application/json";

/// An answer where all went well.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    body: Option<(&'static str, String)>,
    /// Its tag, where that isn't made of the body.
    tag: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Reply {
    /// 200 with JSON text.
    pub fn ok(json: impl Into<String>) -> Self {
        Self {
            status: StatusCode::OK,
            body: Some((JSON, json.into())),
            tag: None,
            headers: Vec::new(),
        }
    }

    /// 200 with text of another form.
    pub fn text(media_type: &'static str, text: impl Into<String>) -> Self {
        Self {
            status: StatusCode::OK,
            body: Some((media_type, text.into())),
            tag: None,
            headers: Vec::new(),
        }
    }

    /// 200 with a list's page and its tag; 304 where there's only the tag, as the client holds the page.
    pub fn page(json: Option<String>, tag: String) -> Self {
        let reply = match json {
            Some(json) => Self::ok(json),
            None => Self {
                status: StatusCode::NOT_MODIFIED,
                ..Self::nothing()
            },
        };
        Self {
            tag: Some(tag),
            ..reply
        }
    }

    /// 204: there's nothing to give.
    pub fn nothing() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            body: None,
            tag: None,
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
            tag: None,
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

    /// With its entity tag (RFC 9110, 8.8.3); and without the body, as 304, where that's one of those that the client holds.
    pub fn revalidated(mut self, held: &[String]) -> Self {
        let (strength, tag) = match (self.tag.take(), &self.body) {
            // Rows that are equal may be written in two ways: 1.0 and 1.00 in a member that holds anything.
            (Some(tag), _) => ("W/", tag),
            (None, Some((_, text))) => ("", body_tag(text)),
            (None, None) => return self,
        };
        if is_held(held, &tag) {
            self.status = StatusCode::NOT_MODIFIED;
            self.body = None;
        }
        // Digits between quotes: always a valid value.
        match HeaderValue::try_from(format!("{strength}\"{tag}\"")) {
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
fn body_tag(text: &str) -> String {
    format!("{:016x}", XxHash64::oneshot(0, text.as_bytes()))
}

/// The tags that `If-None-Match` names (RFC 9110, 13.1.2), as far as they can be ours, which have no comma. Whether they're
/// weak is no matter: a proxy that packs bodies makes them so.
pub fn held_tags(headers: &HeaderMap) -> Vec<String> {
    let lists = headers.get_all(IF_NONE_MATCH).iter();
    let lists = lists.filter_map(|tags| tags.to_str().ok());
    let tags = lists.flat_map(|tags| tags.split(',')).map(str::trim);
    let ours = tags.filter_map(|tag| {
        if tag == ANY_TAG {
            return Some(tag);
        }
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        let tag = tag.strip_prefix('"')?.strip_suffix('"')?;
        (tag.len() == TAG_LENGTH).then_some(tag)
    });
    ours.map(str::to_owned).collect()
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

    fn held(tags: &str) -> Vec<String> {
        let tags = HeaderValue::try_from(tags).unwrap();
        held_tags(&HeaderMap::from_iter([(IF_NONE_MATCH, tags)]))
    }

    #[test]
    fn a_body_that_the_client_holds_is_not_sent_again() {
        let tag = format!("\"{}\"", body_tag("{}"));
        assert_ne!(body_tag("{}"), body_tag("[]"));
        let status = |tags: &str| {
            let reply = Reply::ok("{}").revalidated(&held(tags));
            assert_eq!(reply.body.is_none(), reply.status != StatusCode::OK);
            assert_eq!(
                reply.headers,
                [(ETAG, HeaderValue::try_from(&tag).unwrap())]
            );
            reply.status
        };
        for tags in [
            "*".to_owned(),
            tag.clone(),
            format!("W/{tag}"),
            format!("\"a,b\" , {tag}"),
        ] {
            assert_eq!(status(&tags), StatusCode::NOT_MODIFIED, "{tags}");
        }
        for other in [
            "",
            "\"",
            "\"*\"",
            "\"a\"",
            tag.trim_matches('"'),
            "w/*",
            "\u{e4}",
        ] {
            assert_eq!(status(other), StatusCode::OK, "{other}");
        }
        assert_eq!(Reply::nothing().revalidated(&[]).headers, []);
    }

    #[test]
    fn a_page_has_its_own_tag_with_and_without_its_rows() {
        let tag = "0123456789abcdef";
        let held = held("W/\"0123456789abcdef\"");
        for (json, held, expected) in [
            (Some("[]"), &[][..], StatusCode::OK),
            (Some("[]"), &held, StatusCode::NOT_MODIFIED),
            (None, &held, StatusCode::NOT_MODIFIED),
        ] {
            let page = Reply::page(json.map(str::to_owned), tag.to_owned());
            let reply = page.revalidated(held);
            assert_eq!(reply.status, expected);
            assert_eq!(reply.body.is_some(), expected == StatusCode::OK);
            assert_eq!(reply.headers[0].1, "W/\"0123456789abcdef\"");
        }
    }
}
