//! The input of a request, parsed and checked against its operation. One response lists all field errors.
//!
//! Handlers read the request only through [`Input`]. Unknown parameters and members are field errors too.

use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::check::REPEATED;
use super::contract::{
    FieldError, IDEMPOTENCY_KEY, Location, MAX_BODY_BYTES, MAX_BODY_TIME, MAX_FIELD_ERRORS,
    Operation, Validation,
};
use super::entity_tag::{if_match, if_none_match};
use super::json;
use super::parameters::{Parameters, Values};
use super::problem::ApiError;
use crate::db::within;
use crate::queries::IfMatch;
use crate::schema::FieldType;

/// The checked input of a request, as its handler gets it.
#[derive(Debug)]
pub struct Input<P = ()> {
    /// The parameters of the path and the query.
    pub parameters: P,
    /// The body, as JSON text for a statement.
    pub body: String,
    /// The tags of `If-Match`. A write is executed only if the row has one of these tags.
    pub if_match: IfMatch,
    /// The path and the query, for links.
    pub uri: RequestUri,
    /// The tags of `If-None-Match`: the client's entity tags.
    pub if_none_match: Vec<String>,
}

impl<P> Input<P> {
    /// Returns the members of the body.
    pub fn body_as<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_str(&self.body)
            .map_err(|_| ApiError::Bug("a checked body lacks a member that its handler needs"))
    }
}

/// The path and the decoded query of a request.
#[derive(Clone, Debug)]
pub struct RequestUri {
    /// The path.
    pub path: String,
    /// The query parameters.
    pub query: Vec<(String, String)>,
}

/// The parsed input of a request. Every value is valid if there are no field errors.
#[derive(Debug)]
pub struct RawInput {
    /// The idempotency key. Writes with the same key are executed only once.
    pub idempotency_key: Option<String>,
    /// The parameters, by name.
    pub values: Values,
    /// See [`Input`].
    pub body: String,
    /// See [`Input`].
    pub if_none_match: Vec<String>,
    if_match: IfMatch,
    uri: RequestUri,
}

impl RawInput {
    /// Parses a request for `operation`, and checks it. The [`Validation`] has all field errors.
    pub async fn read(
        operation: &Operation,
        request: Request<Body>,
    ) -> Result<(Self, Validation), ApiError> {
        let (mut parts, body) = request.into_parts();
        let sent = match operation.body {
            Some(_) => read_json(&parts.headers, body).await?,
            None => Vec::new(),
        };
        let mut validation = Validation::default();
        let path_parameters = path_parameters(&mut parts, &mut validation).await;
        let query = parts.uri.query().unwrap_or_default();
        // Parses no more parameters than can change the response. Unknown and repeated parameters are errors, so if a request has even more
        // parameters, the parsed ones already cause MAX_FIELD_ERRORS errors.
        let query: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
            .take(operation.parameters.len() + MAX_FIELD_ERRORS + 1)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        let values = check_parameters(operation, &path_parameters, &query, &mut validation);
        let mut body = String::new();
        if let Some(schema) = operation.body {
            let sent = std::str::from_utf8(&sent).unwrap_or_default();
            FieldType::Record(schema).check(sent, &mut Vec::new(), &mut validation, &mut body);
        }
        let idempotency_key = match operation.method {
            "GET" => None,
            _ => idempotency_key(&parts.headers, &mut validation),
        };
        let input = Self {
            idempotency_key,
            values,
            body,
            if_none_match: if_none_match(&parts.headers),
            if_match: if_match(&parts.headers),
            uri: RequestUri {
                path: parts.uri.path().to_owned(),
                query,
            },
        };
        Ok((input, validation))
    }

    /// Returns the id in the path; `None` if there is none, or if it's invalid.
    #[must_use]
    pub fn id(&self) -> Option<Uuid> {
        self.values.get("id").ok()
    }

    /// Converts the parameters to the handler's parameter type.
    pub fn typed<P: Parameters>(self) -> Result<Input<P>, ApiError> {
        Ok(Input {
            parameters: P::from_values(&self.values)?,
            body: self.body,
            if_match: self.if_match,
            uri: self.uri,
            if_none_match: self.if_none_match,
        })
    }
}

async fn path_parameters(parts: &mut Parts, validation: &mut Validation) -> Vec<(String, String)> {
    match RawPathParams::from_request_parts(parts, &()).await {
        Ok(parameters) => parameters
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        Err(rejection) => {
            let location = Location::Parameter("path".to_owned());
            validation.add(location, rejection.body_text().into());
            Vec::new()
        }
    }
}

/// Returns the header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header); `None` if it's missing or invalid.
fn idempotency_key(headers: &HeaderMap, validation: &mut Validation) -> Option<String> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let first = given.next()?;
    let key = first.to_str().unwrap_or_default();
    let is_key = (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    if is_key && given.next().is_none() {
        return Some(key.to_owned());
    }
    let location = Location::Parameter(IDEMPOTENCY_KEY.to_owned());
    validation.add(
        location,
        "must be one key of 1 to 255 visible ASCII characters".into(),
    );
    None
}

/// Parses the parameters, and adds their errors to `validation`. Returns the values by name, and the defaults of missing parameters.
fn check_parameters(
    operation: &Operation,
    path: &[(String, String)],
    query: &[(String, String)],
    validation: &mut Validation,
) -> Values {
    let mut error = |name: &str, detail| {
        validation.add(
            Location::Parameter(name.chars().take(100).collect()),
            detail,
        );
    };
    let mut values = Values::default();
    for (name, text) in path.iter().chain(query) {
        let known = operation.parameters.iter().find(|known| known.name == name);
        match known {
            None => error(name, "unknown parameter".into()),
            Some(_) if values.has(name) => {
                error(name, REPEATED.into());
            }
            Some(_) if text.contains(char::REPLACEMENT_CHARACTER) => {
                error(name, "is not valid UTF-8".into());
            }
            Some(known) => match known.field_type.parse(text) {
                Ok(value) => values.add(known.name, value),
                Err(detail) => error(name, detail),
            },
        }
    }
    for parameter in operation.parameters {
        if let Some(Ok(default)) = parameter
            .default
            .map(|text| parameter.field_type.parse(text))
        {
            values.add(parameter.name, default);
        }
    }
    values
}

/// Reads a body of well-formed JSON, which is UTF-8. A body over [`MAX_BODY_BYTES`] is refused because of its
/// Content-Length, or as soon as more bytes have arrived.
async fn read_json(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, ApiError> {
    if !is_json(headers) || is_encoded(headers) {
        return Err(ApiError::NotJsonType);
    }
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        return Err(ApiError::BodyTooLarge);
    }
    let read = within(MAX_BODY_TIME, read_all(body)).await;
    let bytes = read.ok_or(ApiError::BodyTooSlow)??;
    let text = std::str::from_utf8(&bytes).map_err(|error| ApiError::NotJson(error.to_string()))?;
    if let Some(error) = json::size_error(text) {
        let location = Location::Pointer(String::new());
        let detail = error.into();
        return Err(ApiError::Invalid(vec![FieldError { location, detail }]));
    }
    json::check_syntax(text).map_err(ApiError::NotJson)?;
    Ok(bytes)
}

/// Reads a body to its end. Copies each part as it arrives and frees its buffer. spin-sdk allocates 16 KiB for each part, so the buffers
/// of a body in parts of one byte would exhaust the memory.
async fn read_all(mut body: Body) -> Result<Vec<u8>, ApiError> {
    let mut all = Vec::new();
    while let Some(part) = body.frame().await {
        let part = part.map_err(|_| ApiError::NotJson("it is incomplete".to_owned()))?;
        // A part without data consists of trailers, which are ignored.
        let data = part.into_data().unwrap_or_default();
        if all.len() + data.len() > MAX_BODY_BYTES {
            return Err(ApiError::BodyTooLarge);
        }
        all.extend_from_slice(&data);
    }
    Ok(all)
}

/// Whether the only `Content-Type` declares JSON in UTF-8. US-ASCII, a subset of UTF-8, and the spelling `utf8` are also accepted.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(content_type), None) = (types.next(), types.next()) else {
        return false;
    };
    let content_type = content_type.to_str().unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let is_utf8 = parts.all(|parameter| {
        let parameter = parameter.to_ascii_lowercase();
        let charset = parameter.strip_prefix("charset=");
        let charset = charset.map(|charset| charset.trim_matches('"'));
        matches!(
            charset,
            None | Some("utf-8" | "utf8" | "us-ascii" | "ascii")
        )
    });
    essence.eq_ignore_ascii_case("application/json") && is_utf8
}

/// Whether the body is compressed or otherwise encoded. The coding `identity` means no encoding (RFC 9110, 8.4.1).
fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|codings| {
        let mut codings = codings.to_str().unwrap_or("unknown").split(',');
        codings.any(|coding| {
            let coding = coding.trim();
            !coding.is_empty() && !coding.eq_ignore_ascii_case("identity")
        })
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;
    use crate::schema::Parameter;

    static OPERATION: Operation = Operation {
        id: "x",
        method: "GET",
        path: "/x/{id}",
        summary: "",
        parameters: &[
            Parameter {
                name: "id",
                field_type: FieldType::Uuid,
                about: "",
                default: None,
            },
            Parameter {
                name: "t",
                field_type: FieldType::Text { min: 1, max: 3 },
                about: "",
                default: None,
            },
        ],
        body: None,
        status: 200,
        answer: FieldType::Object,
        errors: &[],
        ..Operation::GET
    };

    fn errors(query: &str) -> Vec<String> {
        let mut validation = Validation::default();
        let query: Vec<_> = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let path = vec![("id".to_owned(), "x".to_owned())];
        check_parameters(&OPERATION, &path, &query, &mut validation);
        validation
            .errors
            .into_iter()
            .map(|error| match error.location {
                Location::Parameter(name) => format!("{name}: {}", error.detail),
                Location::Pointer(pointer) => panic!("{pointer}"),
            })
            .collect()
    }

    #[test]
    fn one_response_lists_all_parameter_errors() {
        assert_eq!(
            errors("t=&bogus=1"),
            [
                "id: must be a UUID",
                "t: must have 1 to 3 characters, has 0",
                "bogus: unknown parameter",
            ]
        );
    }

    #[test]
    fn duplicate_non_utf8_and_nul_parameters_are_refused() {
        for (query, error) in [
            ("t=a&t=b", "t: given more than once"),
            ("t=%ff", "t: is not valid UTF-8"),
            ("t=%00", "t: contains a NUL character"),
        ] {
            assert_eq!(errors(query)[1..], [error.to_owned()]);
        }
    }

    #[test]
    fn the_number_of_reported_parameter_errors_is_limited() {
        let query = (0..1000).fold(String::new(), |query, n| format!("{query}&p{n}=1"));
        assert_eq!(errors(&query).len(), MAX_FIELD_ERRORS);
    }

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn json_is_recognized_by_its_content_type() {
        for (types, json) in [
            (&["application/json"][..], true),
            (&["Application/JSON; charset=UTF-8"], true),
            (&["application/json; charset=\"utf-8\""], true),
            (&["application/json;charset=utf8"], true),
            (&["application/json; charset=US-ASCII"], true),
            (&["application/json; version=1"], true),
            (&["application/json; charset=latin1"], false),
            (&["application/json; charset=utf-16"], false),
            (&["application/json", "text/plain"], false),
            (&["application/jsonp"], false),
            (&["text/plain"], false),
            (&[""], false),
            (&[], false),
        ] {
            assert_eq!(is_json(&headers(&CONTENT_TYPE, types)), json, "{types:?}");
        }
    }

    #[test]
    fn identity_does_not_count_as_a_content_encoding() {
        for (codings, encoded) in [
            (&[][..], false),
            (&["identity"], false),
            (&["Identity, identity"], false),
            (&[""], false),
            (&["gzip"], true),
            (&["identity, gzip"], true),
            (&["identity", "br"], true),
        ] {
            let found = is_encoded(&headers(&CONTENT_ENCODING, codings));
            assert_eq!(found, encoded, "{codings:?}");
        }
    }
}
