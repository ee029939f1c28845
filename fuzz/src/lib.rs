//! Code that the fuzz targets share. It passes a request to the parser of each operation, and creates examples of valid input.

use std::fmt::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::routing::any;
use axum::{Extension, Router};
use futures_util::FutureExt;
use reznet_edge::http::contract::{Cursor, Operation, Validation};
use reznet_edge::http::input::RawInput;
use reznet_edge::http::problem::ApiError;
use reznet_edge::http::routes;
use reznet_edge::profile::ProfileLayer;
use reznet_edge::schema::{FieldType, Schema};
use serde_json::{Map, Value, json};
use tower::ServiceExt;

/// The parts of a request. Each may be arbitrary bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The value of every path parameter, before percent-encoding.
    pub path: Vec<u8>,
    /// The query string. Bytes that a URI can't contain are percent-encoded.
    pub query: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
}

/// The result of parsing a request.
#[derive(Debug)]
pub enum Reading {
    /// The path has no route, for example because a parameter is empty.
    NoRoute,
    /// The body isn't JSON.
    NotJson,
    /// The operation rejects the request with this number of field errors.
    Faults(usize),
    /// The operation accepts the request, so its handler would run.
    Accepted(Accepted),
    /// Any other result. It shows a bug, because no request from a fuzz target may have it.
    Unexpected(String),
}

/// The input that a handler would get.
#[derive(Debug)]
pub struct Accepted {
    /// The parameters' values.
    pub parameters: Map<String, Value>,
    /// The body as JSON text, in the form in which SQL statements receive it.
    pub body: String,
    /// The ids of the rows that the body refers to. The JSON pointer before each id is the id's location in the body.
    pub references: Vec<(String, String)>,
    /// Whether the request has a keyset cursor.
    pub has_cursor: bool,
    /// The same request, rebuilt from the parsed input.
    pub written_out: Asked,
}

/// An operation behind a router that has no other route.
#[derive(Debug)]
pub struct Reader {
    operation: &'static Operation,
    router: Router,
}

type Read = Arc<Result<(RawInput, Validation), ApiError>>;

impl Reader {
    /// Returns a reader for every operation.
    #[must_use]
    pub fn all() -> Vec<Self> {
        routes::all().into_iter().map(Self::new).collect()
    }

    fn new(operation: &'static Operation) -> Self {
        let read = async move |request: Request| -> Extension<Read> {
            Extension(Arc::new(RawInput::read(operation, request).await))
        };
        let router = Router::new().route(operation.path, any(read));
        Self { operation, router }
    }

    /// Returns the operation's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.operation.id
    }

    /// Sends a request to the operation, and returns the result.
    #[must_use]
    pub fn read(&self, asked: &Asked) -> Reading {
        let request = Request::builder()
            .method(self.operation.method)
            .uri(self.uri(asked))
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(asked.body.clone()));
        let request = match request {
            Ok(request) => request,
            Err(error) => return Reading::Unexpected(error.to_string()),
        };
        // The future completes immediately, because the complete body is in memory.
        let Some(Ok(response)) = self.router.clone().oneshot(request).now_or_never() else {
            return Reading::Unexpected("it waited".to_owned());
        };
        let Some(read) = response.extensions().get::<Read>() else {
            return Reading::NoRoute;
        };
        match &**read {
            Ok((input, validation)) if validation.errors.is_empty() => {
                Reading::Accepted(self.accepted(input, validation))
            }
            Ok((_, validation)) => Reading::Faults(validation.errors.len()),
            Err(ApiError::Invalid(errors)) => Reading::Faults(errors.len()),
            Err(ApiError::NotJson(_)) => Reading::NotJson,
            Err(error) => Reading::Unexpected(format!("{error:?}")),
        }
    }

    fn accepted(&self, input: &RawInput, validation: &Validation) -> Accepted {
        let mut parameters = Map::new();
        let mut written_out = Asked::default();
        let mut query = form_urlencoded::Serializer::new(String::new());
        for name in self.operation.parameters.iter().map(|known| known.name) {
            let value = input.values.scalar(name).map(|value| json!(value));
            let Some(value) = value else { continue };
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            if self.operation.in_path(name) {
                written_out.path = text.into_bytes();
            } else {
                query.append_pair(name, &text);
            }
            parameters.insert(name.to_owned(), value);
        }
        written_out.query = query.finish().into_bytes();
        if self.operation.body.is_some() {
            written_out.body = input.body.as_bytes().to_vec();
        }
        let references = validation.references.iter();
        Accepted {
            parameters,
            body: input.body.clone(),
            references: references
                .map(|reference| (reference.pointer.clone(), reference.id.to_string()))
                .collect(),
            has_cursor: input.values.has("cursor"),
            written_out,
        }
    }

    fn uri(&self, asked: &Asked) -> String {
        let mut uri = String::new();
        for segment in self.operation.path.split('/').skip(1) {
            uri.push('/');
            if segment.starts_with('{') {
                encode(&mut uri, &asked.path, |byte| byte.is_ascii_alphanumeric());
            } else {
                uri.push_str(segment);
            }
        }
        uri.push('?');
        encode(&mut uri, &asked.query, |byte| {
            byte.is_ascii_alphanumeric() || b"&=%+-._~".contains(&byte)
        });
        uri
    }
}

fn encode(text: &mut String, bytes: &[u8], stays: impl Fn(u8) -> bool) {
    for &byte in bytes {
        if stays(byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String doesn't fail.
            let _ = write!(text, "%{byte:02x}");
        }
    }
}

/// Returns a valid value of a type. An object has all members of its schema.
fn sample(field_type: &FieldType) -> Value {
    match field_type {
        FieldType::Uuid | FieldType::Reference(_) | FieldType::AgentWhere { .. } => {
            json!("4a922d03-4c26-4ca9-a1ce-5625fd2f50f6")
        }
        FieldType::EarlierPosition => json!(0),
        FieldType::Boolean => json!(true),
        FieldType::Integer { min, .. } => json!(min),
        FieldType::Text { min, .. } => json!("a".repeat(*min)),
        FieldType::Name { .. } => json!("a name"),
        FieldType::Pattern { .. } => json!("name"),
        FieldType::OneOf(words) => json!(words.first()),
        FieldType::Time => json!("2026-01-31T12:00:00Z"),
        FieldType::Cursor => json!("17.4a922d03-4c26-4ca9-a1ce-5625fd2f50f6"),
        FieldType::Object => json!({"a": {"b": ["c"]}}),
        FieldType::Record(schema) => {
            let members = schema.members.iter();
            members
                .map(|member| (member.name.to_owned(), sample(&member.field_type)))
                .collect::<Map<_, _>>()
                .into()
        }
        // Each position in such a list is the index of an earlier item in an outer list. The first item of the outer list has no earlier item, so
        // its list of positions must be empty.
        FieldType::List {
            of: FieldType::EarlierPosition,
            ..
        } => json!([]),
        FieldType::List { of, .. } => json!([sample(of), sample(of)]),
    }
}

/// Returns the names of all members of bodies and of objects inside them, each with a valid value.
#[must_use]
pub fn members() -> Vec<(&'static str, Value)> {
    fn of_type(field_type: &FieldType, members: &mut Vec<(&'static str, Value)>) {
        match field_type {
            FieldType::List { of, .. } => of_type(of, members),
            FieldType::Record(schema) => of_schema(schema, members),
            _ => {}
        }
    }
    fn of_schema(schema: &Schema, members: &mut Vec<(&'static str, Value)>) {
        for member in schema.members {
            members.push((member.name, sample(&member.field_type)));
            of_type(&member.field_type, members);
        }
    }
    let mut members = Vec::new();
    let bodies = routes::all()
        .into_iter()
        .filter_map(|operation| operation.body);
    bodies.for_each(|schema| of_schema(schema, &mut members));
    members
}

/// Returns the names of all parameters and members, and all values of enumerations.
#[must_use]
pub fn words() -> Vec<&'static str> {
    fn of_type(field_type: &FieldType, words: &mut Vec<&'static str>) {
        match field_type {
            FieldType::OneOf(known) => words.extend(*known),
            FieldType::List { of, .. } => of_type(of, words),
            FieldType::Record(schema) => of_schema(schema, words),
            _ => {}
        }
    }
    fn of_schema(schema: &Schema, words: &mut Vec<&'static str>) {
        for member in schema.members {
            words.push(member.name);
            of_type(&member.field_type, words);
        }
    }
    let mut words = Vec::new();
    for operation in routes::all() {
        for parameter in operation.parameters {
            words.push(parameter.name);
            of_type(&parameter.field_type, &mut words);
        }
        if let Some(schema) = operation.body {
            of_schema(schema, &mut words);
        }
    }
    words.sort_unstable();
    words.dedup();
    words
}

/// Returns two bodies for every operation with a body: the example, and a body with all members.
#[must_use]
pub fn examples() -> Vec<Value> {
    let bodies = routes::all()
        .into_iter()
        .filter_map(|operation| operation.body);
    bodies
        .flat_map(|schema| {
            let example = serde_json::from_str(schema.example).unwrap_or_default();
            [example, sample(&FieldType::Record(schema))]
        })
        .collect()
}

/// Parses a cursor into its key and its id.
#[must_use]
pub fn cursor(text: &str) -> Option<(i64, String)> {
    Cursor::parse(text).map(|cursor| (cursor.key, cursor.id.to_string()))
}

/// Returns the id of a request with this `traceparent`; `None` if a header can't contain these bytes.
#[must_use]
pub fn request_id(traceparent: &[u8]) -> Option<String> {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", HeaderValue::from_bytes(traceparent).ok()?);
    Some(ProfileLayer::start(&headers).request_id().to_owned())
}
