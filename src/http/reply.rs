//! The responses of handlers: JSON text as the database returned it, and its headers.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG, LINK, LOCATION};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use twox_hash::XxHash64;

use super::entity_tag::etag;
use super::problem::ApiError;
use crate::queries::{Outcome, Row, tag_is_in};

const JSON: &str = "application/json";

/// A successful response.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    /// The media type and the text.
    body: Option<(&'static str, Cow<'static, str>)>,
    /// `None` if the response has no tag, or if [`Reply::revalidated`] computes it from the body.
    tag: Option<Tag>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// An entity tag (RFC 9110, 8.8.3), without its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tag {
    /// The same tag means the same bytes.
    Strong(String),
    /// The same tag means the same rows, possibly in different text, such as 1.0 and 1.00 in a free-form object.
    Weak(String),
}

impl Reply {
    fn new(
        status: StatusCode,
        body: Option<(&'static str, Cow<'static, str>)>,
        tag: Option<Tag>,
    ) -> Self {
        Self {
            status,
            body,
            tag,
            headers: Vec::new(),
        }
    }

    /// Returns 200 with JSON text.
    pub fn ok(json: impl Into<Cow<'static, str>>) -> Self {
        Self::text(JSON, json)
    }

    /// Returns 200 with text of another media type.
    pub fn text(media_type: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::OK, Some((media_type, text.into())), None)
    }

    /// Returns 200 with a row and its tag.
    pub fn row(row: Row) -> Self {
        let Row { json, tag, .. } = row;
        Self::new(
            StatusCode::OK,
            Some((JSON, json.into())),
            tag.map(Tag::Strong),
        )
    }

    /// Returns 200 with a list's page and its tag; 304 if `json` is `None`, because the client has the page.
    pub fn page(json: Option<String>, tag: String) -> Self {
        let status = match json {
            Some(_) => StatusCode::OK,
            None => StatusCode::NOT_MODIFIED,
        };
        Self::new(
            status,
            json.map(|json| (JSON, json.into())),
            Some(Tag::Weak(tag)),
        )
    }

    /// Returns 204 without a body.
    pub fn nothing() -> Self {
        Self::new(StatusCode::NO_CONTENT, None, None)
    }

    /// Returns 201 with the new row, its tag, and its path, which is `collection` and the row's id.
    pub fn created(collection: &str, row: Row) -> Self {
        // A path of visible ASCII characters is always a valid value.
        let location = row
            .created_id
            .and_then(|id| HeaderValue::try_from(format!("{collection}/{id}")).ok());
        let mut reply = Self::row(row);
        reply.headers.extend(location.map(|path| (LOCATION, path)));
        reply.status = StatusCode::CREATED;
        reply
    }

    /// Adds a `Link` to the next page.
    pub fn with_next(self, path_and_query: &str) -> Self {
        // A percent-encoded query is always a valid value.
        match HeaderValue::try_from(format!("<{path_and_query}>; rel=\"next\"")) {
            Ok(link) => self.with(LINK, link),
            Err(_) => self,
        }
    }

    /// Completes the response to a read: adds a tag if it has none, and returns 304 without the body if the tag is in
    /// `if_none_match`.
    pub fn revalidated(mut self, if_none_match: &[String]) -> Self {
        if self.tag.is_none()
            && let Some((_, text)) = &self.body
        {
            self.tag = Some(Tag::Strong(body_tag(text)));
        }
        if let Some(Tag::Strong(tag) | Tag::Weak(tag)) = &self.tag
            && tag_is_in(if_none_match, tag)
        {
            self.status = StatusCode::NOT_MODIFIED;
            self.body = None;
        }
        self
    }

    /// Adds a header.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// Computes the tag of a text that is neither a row nor a list. The same text has the same tag in every instance.
fn body_tag(text: &str) -> String {
    format!("{:016x}", XxHash64::oneshot(0, text.as_bytes()))
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
        let tag = match &self.tag {
            Some(Tag::Strong(tag)) => etag(tag),
            Some(Tag::Weak(tag)) => HeaderValue::try_from(format!("W/\"{tag}\"")).ok(),
            None => None,
        };
        let tag = tag.map(|tag| (ETAG, tag));
        for (name, value) in self.headers.into_iter().chain(tag) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Returns the row of a write, or the error that says why the write did nothing. `refused` returns the error's sentence for the state that
/// forbids the write.
pub fn written(
    outcome: Outcome,
    absent: ApiError,
    refused: impl FnOnce(&str) -> String,
) -> Result<Row, ApiError> {
    match outcome {
        Outcome::Done(row) => Ok(row),
        Outcome::Absent => Err(absent),
        Outcome::Stale(tag) => Err(ApiError::Stale(tag)),
        Outcome::Refused(state) => Err(ApiError::Conflict(refused(&state))),
        Outcome::Dangling => Err(ApiError::Dangling),
    }
}

/// The error for a new row that the database has not stored, although it reported no error.
pub const NOT_STORED: ApiError = ApiError::Bug(
    "the database has not stored a new row and has given no reason: look for a trigger that returns NULL",
);

/// The argument `refused` of [`written`], for writes that no state forbids.
pub fn never(state: &str) -> String {
    format!("The row is {state}.")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use axum::http::header::IF_NONE_MATCH;

    use super::super::entity_tag::if_none_match;
    use super::*;

    const TAG: &str = "0123456789abcdef";

    fn with_if_none_match(value: &str) -> HeaderMap {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        HeaderMap::from_iter([(IF_NONE_MATCH, value)])
    }

    #[test]
    fn a_matching_if_none_match_is_answered_with_304() {
        let tag = format!("\"{}\"", body_tag("{}"));
        assert_ne!(body_tag("{}"), body_tag("[]"));
        let status = |tags: &str| {
            let known = if_none_match(&with_if_none_match(tags));
            let response = Reply::ok("{}").revalidated(&known).into_response();
            assert_eq!(
                response.headers()[ETAG],
                HeaderValue::try_from(&tag).unwrap()
            );
            response.status()
        };
        for tags in [
            "*".to_owned(),
            tag.clone(),
            format!("W/{tag}"),
            format!("\"a,b\" , {tag}"),
            format!("\"a\",,W/{tag}"),
            format!("{}-gzip\"", tag.trim_end_matches('"')),
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
            &format!("{}-other\"", tag.trim_end_matches('"')),
            &format!("{}gzip\"", tag.trim_end_matches('"')),
        ] {
            assert_eq!(status(other), StatusCode::OK, "{other}");
        }
        let nothing = Reply::nothing().revalidated(&[]).into_response();
        assert!(!nothing.headers().contains_key(ETAG));
    }

    #[test]
    fn a_page_keeps_its_weak_etag_with_and_without_a_body() {
        let known = if_none_match(&with_if_none_match("W/\"0123456789abcdef\""));
        for (json, known, expected) in [
            (Some("[]"), &[][..], StatusCode::OK),
            (Some("[]"), &known, StatusCode::NOT_MODIFIED),
            (None, &known, StatusCode::NOT_MODIFIED),
        ] {
            let page = Reply::page(json.map(str::to_owned), TAG.to_owned());
            let reply = page.revalidated(known);
            assert_eq!(reply.status, expected);
            assert_eq!(reply.body.is_some(), expected == StatusCode::OK);
            let response = reply.into_response();
            assert_eq!(response.headers()[ETAG], "W/\"0123456789abcdef\"");
        }
    }
}
