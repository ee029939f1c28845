//! The input and the answers of each operation, as tables: `check` compares every request with them, and a test generates
//! openapi.json from them.
//!
//! The module contains descriptions only, and doesn't depend on the router or the database.

use std::borrow::Cow;
use std::time::Duration;

use chrono::DateTime;
use serde::Serialize;
use uuid::Uuid;

use crate::queries::references::Reference;
use crate::schema::{FieldType, Parameter, Schema};

/// One method of one path.
#[derive(Debug)]
pub struct Operation {
    /// The operation's id, which begins with the object: `agent_list`.
    pub id: &'static str,
    /// `GET`, `POST`, `PATCH` or `DELETE`.
    pub method: &'static str,
    /// The path, with parameters in braces: `/api/agents/{id}`.
    pub path: &'static str,
    /// The summary in openapi.json, one sentence.
    pub summary: &'static str,
    /// The parameters of the path and of the query.
    pub parameters: &'static [Parameter],
    /// The request body, if the operation has one.
    pub body: Option<&'static Schema>,
    /// The status of a successful response.
    pub status: u16,
    /// The type of a successful response's body.
    pub answer: FieldType,
    /// The error statuses besides those that every operation may return, for example 404 and 409.
    pub errors: &'static [u16],
    /// The media type of a successful response.
    pub media_type: &'static str,
    /// The clients that may call the operation.
    pub audience: Audience,
    /// The number of statements that a successful request sends.
    pub query_count: usize,
    /// Whether the operation changes nothing (RFC 9110, 9.2.1). Pages of any origin may make a browser send a safe request.
    pub is_safe: bool,
}

/// The clients that may call an operation if tokens are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Requires no token, because the response has no confidential data and the operation's clients can't send a token.
    Everyone,
    /// Requires an API token or an admin token.
    Clients,
    /// Requires an admin token.
    Administrators,
}

/// The result of checking a request: its field errors, and its references to rows, which may not exist.
#[derive(Debug, Default)]
pub struct Validation {
    /// The field errors, at most [`MAX_FIELD_ERRORS`].
    pub errors: Vec<FieldError>,
    /// The references, in the order of the body.
    pub references: Vec<Reference>,
}

impl Validation {
    /// Adds a field error, unless there are [`MAX_FIELD_ERRORS`] already.
    pub fn add(&mut self, location: Location, detail: Cow<'static, str>) {
        if self.errors.len() < MAX_FIELD_ERRORS {
            self.errors.push(FieldError { location, detail });
        }
    }

    /// Adds a field error in the body, unless there are [`MAX_FIELD_ERRORS`] already.
    pub fn add_at(&mut self, pointer: &[String], detail: impl Into<Cow<'static, str>>) {
        if self.errors.len() == MAX_FIELD_ERRORS {
            return;
        }
        self.add(Location::Pointer(json_pointer(pointer)), detail.into());
    }

    /// Adds the field errors of `other`, until there are [`MAX_FIELD_ERRORS`].
    pub fn add_all(&mut self, other: Self) {
        for error in other.errors {
            self.add(error.location, error.detail);
        }
    }
}

/// A field error: one error in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The location of the error.
    #[serde(flatten)]
    pub location: Location,
    /// The error message.
    pub detail: Cow<'static, str>,
}

/// A location in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// A parameter of the path or the query, by name.
    Parameter(String),
    /// A location in the body, as a JSON pointer (RFC 6901).
    Pointer(String),
}

impl Operation {
    /// The properties that most reads share.
    pub const GET: Self = Self {
        id: "",
        method: "GET",
        path: "",
        summary: "",
        parameters: &[],
        body: None,
        status: 200,
        answer: FieldType::Object,
        errors: &[],
        media_type: "application/json",
        audience: Audience::Clients,
        query_count: 1,
        is_safe: true,
    };
    /// The properties that most actions share.
    pub const POST: Self = Self {
        method: "POST",
        is_safe: false,
        ..Self::GET
    };
    /// The properties that most creations share.
    pub const CREATE: Self = Self {
        status: 201,
        ..Self::POST
    };
    /// The properties that most updates share.
    pub const PATCH: Self = Self {
        method: "PATCH",
        is_safe: false,
        ..Self::GET
    };
    /// The properties that most deletions share.
    pub const DELETE: Self = Self {
        method: "DELETE",
        is_safe: false,
        ..Self::GET
    };
}

impl Operation {
    /// Whether the method is GET.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.method == "GET"
    }

    /// Whether the operation writes a row and returns it with its tag, as GET does. The deletion of a workflow returns no tag.
    #[must_use]
    pub fn answers_a_row(&self) -> bool {
        self.method != "GET" && self.id != "workflow_delete"
    }

    /// Whether a parameter of this name is in the path.
    #[must_use]
    pub fn in_path(&self, name: &str) -> bool {
        self.path.split('/').any(|segment| {
            segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) == Some(name)
        })
    }
}

/// Returns the JSON pointer (RFC 6901) with these steps.
#[must_use]
pub fn json_pointer(steps: &[String]) -> String {
    steps.iter().fold(String::new(), |text, step| {
        text + "/" + &step.replace('~', "~0").replace('/', "~1")
    })
}

/// The maximum size of a body in bytes.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The header with the client's idempotency key for a write.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The time limit for receiving a body.
pub const MAX_BODY_TIME: Duration = Duration::from_secs(10);

/// The maximum number of field errors in a response. More errors would not help the client.
pub const MAX_FIELD_ERRORS: usize = 50;

/// Whether the text is a UUID with hyphens. The parser also accepts other forms, which openapi.json does not allow.
#[must_use]
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

/// A keyset cursor: the last row of a page. The next page begins after this row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The sort key of the list: microseconds since 1970, or a position.
    pub key: i64,
    /// The row's id, which orders rows with the same key.
    pub id: Uuid,
}

impl Cursor {
    /// The regular expression for the texts that `parse` accepts.
    pub const REGEX: &str =
        "^-?[0-9]{1,19}[.][0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";

    /// Parses `key.id`, as statements write it. A key outside of `i64` becomes the nearest `i64`, which is beyond all times and
    /// positions.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (key, id) = text.split_once('.')?;
        let digits = key.strip_prefix('-').unwrap_or(key);
        let is_key = (1..=19).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        let is_lower = !id.bytes().any(|byte| byte.is_ascii_uppercase());
        let key: i128 = key.parse().ok().filter(|_| is_key)?;
        let limit = if key < 0 { i64::MIN } else { i64::MAX };
        (is_lower && is_uuid(id)).then_some(Self {
            key: i64::try_from(key).unwrap_or(limit),
            id: Uuid::try_parse(id).ok()?,
        })
    }
}

/// Returns a time in microseconds since 1970, the unit of keyset cursors; `None` if the text isn't a time (RFC 3339).
pub fn epoch_us(text: &str) -> Option<i64> {
    // RFC 3339 requires a year of four digits without a sign. This check also keeps the time within PostgreSQL's range.
    let year = text.bytes().take_while(u8::is_ascii_digit).count();
    if year != 4 {
        return None;
    }
    DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_rfc3339(&format!("{text}Z")))
        .map(|time| time.timestamp_micros())
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_parser_agrees_with_its_regex() {
        let regex = regex_lite::Regex::new(Cursor::REGEX).unwrap();
        let id = "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6";
        for text in [
            format!("0.{id}"),
            format!("9223372036854775807.{id}"),
            format!("9999999999999999999.{id}"),
            format!("99999999999999999999.{id}"),
            format!("-1.{id}"),
            format!("-0.{id}"),
            format!("--1.{id}"),
            format!("-.{id}"),
            format!("-9999999999999999999.{id}"),
            format!("+1.{id}"),
            format!(".{id}"),
            format!("1.{}", id.to_uppercase()),
            "1.".to_owned(),
            String::new(),
        ] {
            assert_eq!(
                Cursor::parse(&text).is_some(),
                regex.is_match(&text),
                "{text}"
            );
        }
        let cursor = Cursor::parse(&format!("17.{id}")).unwrap();
        assert_eq!((cursor.key, cursor.id.to_string().as_str()), (17, id));
        for (text, key) in [
            ("-62135596800000000", -62_135_596_800_000_000),
            ("9223372036854775808", i64::MAX),
            ("-9223372036854775809", i64::MIN),
        ] {
            assert_eq!(Cursor::parse(&format!("{text}.{id}")).unwrap().key, key);
        }
    }

    #[test]
    fn times_are_counted_in_microseconds() {
        assert_eq!(epoch_us("1970-01-01T00:00:01.000002Z"), Some(1_000_002));
        assert_eq!(epoch_us("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(epoch_us("1970-01-01T00:00:00"), Some(0));
        assert_eq!(epoch_us("1970-01-01T00:00:00.5"), Some(500_000));
        assert_eq!(epoch_us("1970-01-01T00:00:00+01"), None);
        assert_eq!(epoch_us("1970-01-01"), None);
    }
}
