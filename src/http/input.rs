//! What a request asks for: parsed and checked against its operation, with all its faults in one answer.
//!
//! Whatever a handler uses comes through here. A parameter or member the operation doesn't have is a fault as well.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request};
use http_body_util::LengthLimitError;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::contract::{Cursor, Findings, Operation, Place};
use super::problem::ApiError;
use super::reply::{if_match, if_none_match};
use crate::db::within;
use crate::queries::IfMatch;

/// The largest body taken.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The name of the header by which a client names a write.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// How long a body may take to arrive.
pub const MAX_BODY_TIME: Duration = Duration::from_secs(10);

/// A request as its operation wants it: without faults every value fits.
#[derive(Debug)]
pub struct Input {
    /// The path as it was asked for.
    pub path: String,
    /// The query as it was asked for, decoded.
    pub query: Vec<(String, String)>,
    /// The tags of what the client holds of it already.
    pub held: Vec<String>,
    /// The tags that the row must have for a write to be done.
    pub if_match: IfMatch,
    /// What the client calls this write, so that a repeat isn't done twice.
    pub idempotency_key: Option<String>,
    parameters: Map<String, Value>,
    body: Map<String, Value>,
}

impl Input {
    /// Reads a request as `operation` wants it, and finds what's wrong with it.
    pub async fn read(
        operation: &Operation,
        request: Request<Body>,
    ) -> Result<(Self, Findings), ApiError> {
        let (mut parts, body) = request.into_parts();
        let mut body = match operation.body {
            Some(_) => read_object(&parts.headers, body).await?,
            None => Map::new(),
        };
        let mut findings = Findings::default();
        let path_parameters = path_parameters(&mut parts, &mut findings).await;
        let query: Vec<(String, String)> =
            form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let parameters = check_parameters(operation, &path_parameters, &query, &mut findings);
        if let Some(schema) = operation.body {
            schema.check(&mut body, &mut Vec::new(), &mut findings);
        }
        let idempotency_key = match operation.method {
            "GET" => None,
            _ => idempotency_key(&parts.headers, &mut findings),
        };
        let input = Self {
            path: parts.uri.path().to_owned(),
            query,
            held: if_none_match(&parts.headers),
            if_match: if_match(&parts.headers),
            idempotency_key,
            parameters,
            body,
        };
        Ok((input, findings))
    }

    /// A parameter that's a UUID. Every operation that asks for one has it, checked.
    pub fn uuid(&self, name: &str) -> Uuid {
        self.text(name)
            .and_then(|text| Uuid::try_parse(text).ok())
            .unwrap_or_default()
    }

    /// A parameter that's text, where it was given.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.parameters.get(name)?.as_str()
    }

    /// A parameter that's true or false, where it was given.
    pub fn boolean(&self, name: &str) -> Option<bool> {
        self.parameters.get(name)?.as_bool()
    }

    /// A parameter that's a whole number, where it was given.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.parameters.get(name)?.as_i64()
    }

    /// The keyset cursor, where one was given.
    pub fn cursor(&self) -> Option<Cursor> {
        Cursor::parse(self.text("cursor")?)
    }

    /// The body.
    pub fn body(&self) -> &Map<String, Value> {
        &self.body
    }

    /// The body as the JSON text a statement takes.
    pub fn body_json(&self) -> String {
        // Through Display: a map of JSON values always has a JSON text.
        Value::Object(self.body.clone()).to_string()
    }
}

async fn path_parameters(parts: &mut Parts, findings: &mut Findings) -> Vec<(String, String)> {
    match RawPathParams::from_request_parts(parts, &()).await {
        Ok(parameters) => parameters
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        Err(rejection) => {
            let place = Place::Parameter("path".to_owned());
            findings.add(place, rejection.body_text().into());
            Vec::new()
        }
    }
}

/// The header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header), where there's one.
fn idempotency_key(headers: &HeaderMap, findings: &mut Findings) -> Option<String> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let first = given.next()?;
    let key = first.to_str().unwrap_or_default();
    let is_key = (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    if is_key && given.next().is_none() {
        return Some(key.to_owned());
    }
    let place = Place::Parameter(IDEMPOTENCY_KEY.to_owned());
    findings.add(
        place,
        "It must be one key of 1 to 255 visible ASCII characters.".into(),
    );
    None
}

/// The parameters' values by name, and what's wrong with them.
fn check_parameters(
    operation: &Operation,
    path: &[(String, String)],
    query: &[(String, String)],
    findings: &mut Findings,
) -> Map<String, Value> {
    let mut fault = |name: &str, detail| {
        findings.add(Place::Parameter(name.chars().take(100).collect()), detail);
    };
    let mut values = Map::new();
    for (name, text) in path.iter().chain(query) {
        let known = operation.parameters.iter().find(|known| known.name == name);
        match known {
            None => fault(name, "There is no such parameter here.".into()),
            Some(_) if values.contains_key(name) => {
                fault(name, "It is given more than once.".into());
            }
            Some(_) if text.contains(char::REPLACEMENT_CHARACTER) => {
                fault(name, "It isn't valid UTF-8.".into());
            }
            Some(known) => match known.kind.parse(text) {
                Ok(value) => {
                    values.insert(name.clone(), value);
                }
                Err(detail) => fault(name, detail),
            },
        }
    }
    values
}

/// The body as a JSON object. Over [`MAX_BODY_BYTES`] it's refused by its length, or as soon as it has come that far.
async fn read_object(headers: &HeaderMap, body: Body) -> Result<Map<String, Value>, ApiError> {
    if !is_json(headers) || headers.contains_key(CONTENT_ENCODING) {
        return Err(ApiError::NotJsonType);
    }
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        return Err(ApiError::BodyTooLarge);
    }
    let read = within(MAX_BODY_TIME, to_bytes(body, MAX_BODY_BYTES)).await;
    let bytes = read.ok_or(ApiError::BodyTooSlow)?.map_err(|error| {
        let too_large = std::error::Error::source(&error)
            .is_some_and(<dyn std::error::Error>::is::<LengthLimitError>);
        if too_large {
            ApiError::BodyTooLarge
        } else {
            ApiError::NotJson("it ended early".to_owned())
        }
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|error| ApiError::NotJson(error.to_string()))?;
    // As text like all JSON here: the parser for bytes would be another one, of 8 KB.
    match serde_json::from_str(text) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => {
            let mut findings = Findings::default();
            let place = Place::Pointer(String::new());
            findings.add(place, "It must be a JSON object.".into());
            Err(ApiError::Invalid(findings.faults))
        }
        Err(error) => Err(ApiError::NotJson(error.to_string())),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    // JSON is UTF-8; another charset would be read wrong.
    let utf8 = parts.all(|parameter| {
        let parameter = parameter.to_ascii_lowercase();
        let charset = parameter.strip_prefix("charset=");
        charset.is_none_or(|charset| charset.trim_matches('"') == "utf-8")
    });
    essence.eq_ignore_ascii_case("application/json") && utf8
}

#[cfg(test)]
mod tests {
    use super::super::contract::{Kind, MOST_FAULTS, Parameter};
    use super::*;

    static OPERATION: Operation = Operation {
        id: "x",
        method: "GET",
        path: "/x/{id}",
        summary: "",
        parameters: &[
            Parameter {
                name: "id",
                kind: Kind::Uuid,
                about: "",
                default: None,
            },
            Parameter {
                name: "t",
                kind: Kind::Text { min: 1, max: 3 },
                about: "",
                default: None,
            },
        ],
        body: None,
        status: 200,
        answer: Kind::Object,
        errors: &[],
        ..Operation::GET
    };

    fn faults(query: &str) -> Vec<String> {
        let mut findings = Findings::default();
        let query: Vec<_> = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let path = vec![("id".to_owned(), "x".to_owned())];
        check_parameters(&OPERATION, &path, &query, &mut findings);
        findings
            .faults
            .into_iter()
            .map(|fault| match fault.place {
                Place::Parameter(name) => format!("{name}: {}", fault.detail),
                Place::Pointer(pointer) => panic!("{pointer}"),
            })
            .collect()
    }

    #[test]
    fn all_faults_come_in_one_answer() {
        assert_eq!(
            faults("t=&bogus=1"),
            [
                "id: It must be a UUID.",
                "t: It is 0 characters long; 1 to 3 are possible.",
                "bogus: There is no such parameter here.",
            ]
        );
    }

    #[test]
    fn what_could_be_misread_is_a_fault() {
        for (query, fault) in [
            ("t=a&t=b", "t: It is given more than once."),
            ("t=%ff", "t: It isn't valid UTF-8."),
            ("t=%00", "t: It holds a NUL character."),
        ] {
            assert_eq!(faults(query)[1..], [fault.to_owned()]);
        }
    }

    #[test]
    fn the_number_of_faults_told_is_limited() {
        let query = (0..1000).fold(String::new(), |query, n| format!("{query}&p{n}=1"));
        assert_eq!(faults(&query).len(), MOST_FAULTS);
    }

    #[test]
    fn json_is_known_by_its_type() {
        for (text, json) in [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json; charset=\"utf-8\"", true),
            ("application/json; charset=latin1", false),
            ("application/jsonp", false),
            ("text/plain", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, text.parse().unwrap());
            assert_eq!(is_json(&headers), json, "{text}");
        }
    }
}
