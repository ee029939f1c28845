//! The input and the answers of each operation, as tables: `check` compares every request with them, and a test generates
//! openapi.json from them.
//!
//! Contains descriptions only, and doesn't depend on the router or the database.

use std::borrow::Cow;

use chrono::DateTime;
use serde::Serialize;
use uuid::Uuid;

use super::check::is_uuid;
use crate::queries::references::{Reference, Target};

/// One method of one path.
#[derive(Debug)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "openapi.json is made of all of it, by a test")
)]
pub struct Operation {
    /// Object first: `agent_list`.
    pub id: &'static str,
    /// `GET`, `POST`, `PATCH` or `DELETE`.
    pub method: &'static str,
    /// With parameters in braces: `/api/agents/{id}`.
    pub path: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Those of the path and of the query.
    pub parameters: &'static [Parameter],
    /// The JSON object it takes, if it takes one.
    pub body: Option<&'static Schema>,
    /// The status when all goes well.
    pub status: u16,
    /// What it then answers.
    pub answer: Kind,
    /// The errors it may end in, beside those every operation may: 404 and 409.
    pub errors: &'static [u16],
    /// The form of what it answers.
    pub media_type: &'static str,
    /// Who may have it, where there are tokens.
    pub audience: Audience,
    /// How many statements it sends where all is well.
    pub query_count: usize,
    /// Whether it changes nothing, so that a page of any origin may make a browser send it (RFC 9110, 9.2.1).
    pub is_safe: bool,
}

/// Who may have an operation's answer, where tokens are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everyone: it tells nothing of anybody, and who asks can't bring a token.
    Everyone,
    /// Who brings a token of the API's, or an administrator's.
    Clients,
    /// Who brings an administrator's.
    Administrators,
}

/// A parameter of the path or the query.
#[derive(Debug)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "openapi.json is made of all of it, by a test")
)]
pub struct Parameter {
    /// Its name; in the path if the path has it in braces, else in the query.
    pub name: &'static str,
    /// What values it may have.
    pub kind: Kind,
    /// What it's for, one sentence.
    pub about: &'static str,
    /// What holds where it isn't given, as it would be written.
    pub default: Option<&'static str>,
}

/// A JSON object with known members.
#[derive(Debug)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "openapi.json is made of all of it, by a test")
)]
pub struct Schema {
    /// Its name in openapi.json.
    pub name: &'static str,
    /// All it may have.
    pub members: &'static [Member],
    /// One as it might be, in JSON.
    pub example: &'static str,
}

/// A member of a JSON object.
#[derive(Debug)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "openapi.json is made of all of it, by a test")
)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// What values it may have.
    pub kind: Kind,
    /// Whether it's there.
    pub presence: Presence,
    /// What it's for, one sentence.
    pub about: &'static str,
}

/// Whether a member is there, and may be null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Always there, never null.
    Required,
    /// Always there, may be null.
    Nullable,
    /// May be left out, not null.
    Optional,
    /// May be left out or null.
    OptionalNullable,
}

/// A text that's only for openapi.json, which a test makes: it isn't in the component, where nobody reads it.
pub const fn documented(text: &'static str) -> &'static str {
    if cfg!(any(test, fuzzing)) { text } else { "" }
}

/// What an operation answers, likewise only for openapi.json: 30 KB less in the component.
pub const fn answered(kind: Kind) -> Kind {
    if cfg!(any(test, fuzzing)) {
        kind
    } else {
        Kind::Object
    }
}

/// The values something may have.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A UUID in its usual form.
    Uuid,
    /// The UUID of a row that must be there.
    Reference(Target),
    /// The UUID of an agent that must be there where another member has a certain value; of anyone else otherwise.
    AgentWhere {
        /// The other member.
        member: &'static str,
        /// Its value.
        is: &'static str,
    },
    /// In a list inside an item of a list: the position of an item before that one, from 0.
    EarlierPosition,
    /// true or false.
    Boolean,
    /// A whole number.
    Integer {
        /// The smallest possible.
        min: i64,
        /// The largest possible.
        max: i64,
    },
    /// A name by which people identify things, in normalization form C and without invisible characters.
    Name {
        /// The most characters; the fewest are 1.
        max: usize,
    },
    /// Text without NUL characters.
    Text {
        /// The fewest characters.
        min: usize,
        /// The most characters.
        max: usize,
    },
    /// Text of a certain form.
    Pattern {
        /// A regular expression that means the same in Rust and in ECMA 262.
        #[cfg_attr(
            not(test),
            expect(dead_code, reason = "openapi.json is made of it, by a test")
        )]
        regex: &'static str,
        /// Whether it matches, without the 60 KB that an engine for regular expressions takes.
        matches: fn(&str) -> bool,
        /// The form in words: "must be …".
        form: &'static str,
    },
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A time, RFC 3339; without an offset it's UTC.
    Time,
    /// Where a page begins: a keyset cursor out of a `Link` header.
    Cursor,
    /// Any JSON object.
    Object,
    /// A JSON object with known members.
    Record(&'static Schema),
    /// A JSON array.
    List {
        /// What's in it.
        of: &'static Kind,
        /// The most it may hold.
        max: usize,
    },
}

/// What checking a request found: all that's wrong with its form, and the rows it refers to, which may not be there.
#[derive(Debug, Default)]
pub struct Findings {
    /// At most [`MOST_FAULTS`].
    pub faults: Vec<Fault>,
    /// In the order they stand in the body.
    pub references: Vec<Reference>,
}

impl Findings {
    /// Adds a fault, up to a number that's still of use to a person.
    pub fn add(&mut self, place: Place, detail: Cow<'static, str>) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(Fault { place, detail });
        }
    }

    /// Adds a fault of the body.
    pub fn add_at(&mut self, pointer: &[String], detail: impl Into<Cow<'static, str>>) {
        if self.faults.len() == MOST_FAULTS {
            return;
        }
        self.add(Place::Pointer(json_pointer(pointer)), detail.into());
    }
}

/// One thing that's wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
    /// What's wrong with it, one sentence.
    pub detail: Cow<'static, str>,
}

/// Where in a request something is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A parameter of the path or the query, by name.
    Parameter(String),
    /// A place in the body, as a JSON pointer (RFC 6901).
    Pointer(String),
}

impl Operation {
    /// What most reads have in common.
    pub const GET: Self = Self {
        id: "",
        method: "GET",
        path: "",
        summary: "",
        parameters: &[],
        body: None,
        status: 200,
        answer: Kind::Object,
        errors: &[],
        media_type: "application/json",
        audience: Audience::Clients,
        query_count: 1,
        is_safe: true,
    };
    /// What most actions have in common.
    pub const POST: Self = Self {
        method: "POST",
        is_safe: false,
        ..Self::GET
    };
    /// What is common to most of those that make something.
    pub const CREATE: Self = Self {
        status: 201,
        ..Self::POST
    };
    /// What most changes have in common.
    pub const PATCH: Self = Self {
        method: "PATCH",
        is_safe: false,
        ..Self::GET
    };
    /// What most deletions have in common.
    pub const DELETE: Self = Self {
        method: "DELETE",
        is_safe: false,
        ..Self::GET
    };
}

impl Parameter {
    /// The id of something, in the path.
    pub const fn id(name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Uuid,
            about,
            default: None,
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Operation {
    /// Whether a write returns a row that GET returns, and so the row's tag. A deleted workflow has none.
    pub fn answers_a_row(&self) -> bool {
        self.method != "GET" && self.id != "workflow_delete"
    }

    /// Whether a parameter of this name is in the path.
    pub fn in_path(&self, name: &str) -> bool {
        self.path.split('/').any(|segment| {
            segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) == Some(name)
        })
    }
}

impl Kind {
    /// A page of a list.
    pub const fn page(of: &'static Self) -> Self {
        Self::List { of, max: 200 }
    }
}

/// The JSON pointer (RFC 6901) of these steps.
pub fn json_pointer(steps: &[String]) -> String {
    steps.iter().fold(String::new(), |text, step| {
        text + "/" + &step.replace('~', "~0").replace('/', "~1")
    })
}

/// A request of a thousand faults needs no thousand sentences.
pub const MOST_FAULTS: usize = 50;

/// The last row of a page: the next one begins after it, however deep it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// What the list is sorted by: microseconds since 1970, or a position.
    pub key: i64,
    /// What tells rows of the same key apart.
    pub id: Uuid,
}

impl Cursor {
    /// The form of a cursor's text, as `parse` takes it.
    #[cfg(test)]
    pub const REGEX: &str =
        "^-?[0-9]{1,19}[.][0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";

    /// Parses `key.id`, as statements write it. A key outside of `i64` becomes the nearest `i64`, which is beyond all times and
    /// positions.
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

/// A time as microseconds since 1970, as keyset cursors count it.
pub fn epoch_us(text: &str) -> Option<i64> {
    // Four digits of year and no sign, as the RFC has it: PostgreSQL's own times end in 4714 BC.
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
    fn a_cursor_is_what_its_regex_says() {
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
