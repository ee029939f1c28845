//! What handlers answer with: JSON text as the database gave it, and the few headers that go with it.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, LINK, LOCATION};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

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
        #[derive(serde::Deserialize)]
        struct Row<'a> {
            id: &'a str,
        }
        let Row { id } = serde_json::from_str(&row)
            .map_err(|_| ApiError::Bug("a row that was created has no id"))?;
        let location = HeaderValue::try_from(format!("{collection}/{id}")).map_err(|_| {
            ApiError::Bug("a row that was created has an id that can't be in a path")
        })?;
        Ok(Self {
            status: StatusCode::CREATED,
            body: Some((JSON, row)),
            headers: vec![(LOCATION, location)],
        })
    }

    /// With a link to the next page.
    pub fn with_next(mut self, path_and_query: &str) -> Self {
        // Percent-encoded before: always a valid value.
        if let Ok(link) = HeaderValue::try_from(format!("<{path_and_query}>; rel=\"next\"")) {
            self.headers.push((LINK, link));
        }
        self
    }

    /// With a header that's always the same.
    pub fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }
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
