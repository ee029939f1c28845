//! What an operation takes and gives: the tables that check every request, and that openapi.json is made from.
//!
//! Pure description and checking of values; knows neither the router nor the database.

use std::borrow::Cow;

use chrono::DateTime;
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

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
        /// The form in words: "It must be …".
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

    fn add_at(&mut self, pointer: &[String], detail: impl Into<Cow<'static, str>>) {
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
    };
    /// What most actions have in common.
    pub const POST: Self = Self {
        method: "POST",
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
        ..Self::GET
    };
    /// What most deletions have in common.
    pub const DELETE: Self = Self {
        method: "DELETE",
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
    /// Whether a write answers with a row that GET returns, and so with its tag: a workflow that was deleted has none.
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

    /// A parameter's text as the value it stands for.
    pub fn parse(&self, text: &str) -> Result<Value, Cow<'static, str>> {
        let mut value = match self {
            // As the original took them; Python clients write True.
            Self::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Value::Bool(true),
                "false" | "0" | "no" | "off" => Value::Bool(false),
                _ => return Err("It must be true or false.".into()),
            },
            Self::Integer { .. } => match text.parse::<i64>() {
                Ok(number) => Value::from(number),
                Err(_) => return Err("It must be a whole number.".into()),
            },
            // A plus sign that nobody encoded arrives as a space.
            Self::Time => Value::String(text.replace(' ', "+")),
            _ => Value::String(text.to_owned()),
        };
        let mut findings = Findings::default();
        self.check(&mut value, &mut Vec::new(), &mut findings);
        match findings.faults.pop() {
            Some(fault) => Err(fault.detail),
            None => Ok(value),
        }
    }

    /// Finds all that's wrong with `value`, which stands at `pointer`, and what it refers to. Writes whole numbers without
    /// a fraction.
    pub fn check(&self, value: &mut Value, pointer: &mut Vec<String>, findings: &mut Findings) {
        match (self, value) {
            (Self::Record(schema), Value::Object(members)) => {
                schema.check(members, pointer, findings);
            }
            (Self::List { of, max }, Value::Array(items)) => {
                for (index, item) in items.iter_mut().enumerate().take(*max) {
                    pointer.push(index.to_string());
                    of.check(item, pointer, findings);
                    pointer.pop();
                }
                if items.len() > *max {
                    let detail = format!("It may hold at most {max} items, not {}.", items.len());
                    findings.add_at(pointer, detail);
                }
            }
            (_, value) => {
                if let (Self::Integer { .. } | Self::EarlierPosition, Some(number)) =
                    (self, whole_number(value))
                {
                    *value = number.into();
                }
                if let Some(detail) = self.wrong_scalar(value) {
                    findings.add_at(pointer, detail);
                } else if let Self::Reference(to) = *self {
                    findings.references.extend(reference(to, value, pointer));
                } else if matches!(self, Self::EarlierPosition)
                    && value.as_u64() >= list_position(pointer)
                {
                    findings.add_at(
                        pointer,
                        "It must be the place of an earlier task in this list.",
                    );
                }
            }
        }
    }

    fn wrong_scalar(&self, value: &Value) -> Option<Cow<'static, str>> {
        let must = |form: &'static str, holds: bool| (!holds).then_some(Cow::Borrowed(form));
        match self {
            Self::Uuid | Self::Reference(_) | Self::AgentWhere { .. } => {
                must("It must be a UUID.", value.as_str().is_some_and(is_uuid))
            }
            Self::EarlierPosition => must(
                "It must be the place of a task, from 0.",
                value.as_u64().is_some(),
            ),
            Self::Boolean => must("It must be true or false.", value.is_boolean()),
            Self::Integer { min, max } => match value.as_i64() {
                Some(number) if (*min..=*max).contains(&number) => None,
                Some(_) => Some(format!("It must be from {min} to {max}.").into()),
                None => Some("It must be a whole number.".into()),
            },
            Self::Text { min, max } => match value.as_str() {
                None => Some("It must be text.".into()),
                Some(text) => wrong_text(text, *min, *max),
            },
            Self::Pattern { matches, form, .. } => must(form, value.as_str().is_some_and(matches)),
            Self::OneOf(words) => {
                let known = value.as_str().is_some_and(|text| words.contains(&text));
                (!known).then(|| format!("It must be one of {}.", words.join(", ")).into())
            }
            Self::Time => must(
                "It must be a time as 2026-01-31T12:00:00Z.",
                value.as_str().is_some_and(|text| epoch_us(text).is_some()),
            ),
            Self::Cursor => must(
                "It must be a cursor out of a Link header.",
                value
                    .as_str()
                    .is_some_and(|text| Cursor::parse(text).is_some()),
            ),
            Self::Object => match value {
                Value::Object(_) if holds_nul(value) => Some("It holds a NUL character.".into()),
                Value::Object(_) if written_out_bytes(value) > MAX_OBJECT_BYTES => Some(
                    format!(
                        "It is longer than {MAX_OBJECT_BYTES} bytes of JSON, numbers written out."
                    )
                    .into(),
                ),
                Value::Object(_) => None,
                _ => Some("It must be a JSON object.".into()),
            },
            Self::Record(_) => Some("It must be a JSON object.".into()),
            Self::List { .. } => Some("It must be a JSON array.".into()),
        }
    }
}

impl Schema {
    /// Finds all that's wrong with an object's members, those it mustn't have included, and what they refer to.
    pub fn check(
        &self,
        members: &mut Map<String, Value>,
        pointer: &mut Vec<String>,
        findings: &mut Findings,
    ) {
        for member in self.members {
            pointer.push(member.name.to_owned());
            let agent = match member.kind {
                Kind::AgentWhere { member, is } => {
                    members.get(member).and_then(Value::as_str) == Some(is)
                }
                _ => false,
            };
            match (members.get_mut(member.name), member.presence) {
                (None | Some(Value::Null), _) if agent => {
                    findings.add_at(pointer, "It is missing: an agent must be named.");
                }
                (None, Presence::Required | Presence::Nullable) => {
                    findings.add_at(pointer, "It is missing.");
                }
                (None, _)
                | (Some(Value::Null), Presence::Nullable | Presence::OptionalNullable) => {}
                (Some(value), _) if agent => {
                    Kind::Reference(Target::Agent).check(value, pointer, findings);
                }
                (Some(value), _) => member.kind.check(value, pointer, findings),
            }
            pointer.pop();
        }
        for name in members.keys() {
            if !self.members.iter().any(|member| member.name == name) {
                pointer.push(name.chars().take(100).collect());
                findings.add_at(pointer, "There is no such member here.");
                pointer.pop();
            }
        }
    }
}

/// The JSON pointer (RFC 6901) of these steps.
fn json_pointer(steps: &[String]) -> String {
    steps.iter().fold(String::new(), |text, step| {
        text + "/" + &step.replace('~', "~0").replace('/', "~1")
    })
}

fn reference(to: Target, value: &Value, pointer: &[String]) -> Option<Reference> {
    Some(Reference {
        pointer: json_pointer(pointer),
        to,
        id: Uuid::try_parse(value.as_str()?).ok()?,
    })
}

/// Of `…/3/depends_on/0`, the 3: where the item stands that the value belongs to.
fn list_position(pointer: &[String]) -> Option<u64> {
    pointer.iter().rev().nth(2)?.parse().ok()
}

/// A request of a thousand faults needs no thousand sentences.
pub const MOST_FAULTS: usize = 50;

/// Hyphenated only: the parser would take other forms too, which openapi.json doesn't promise.
fn is_uuid(text: &str) -> bool {
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

/// A whole number that's written with a fraction, as 5.0: to JSON Schema it's an integer too, to PostgreSQL it isn't.
fn whole_number(value: &Value) -> Option<i64> {
    // Beyond 2^53 a float no longer says which whole number it is.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let float = value.as_f64().filter(|_| value.is_f64())?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked to be whole and in range"
    )]
    (float.fract() == 0.0 && float.abs() <= EXACT).then_some(float as i64)
}

fn wrong_text(text: &str, min: usize, max: usize) -> Option<Cow<'static, str>> {
    let length = text.chars().count();
    if length < min || length > max {
        Some(format!("It is {length} characters long; {min} to {max} are possible.").into())
    } else if text.contains('\0') {
        Some("It holds a NUL character.".into())
    } else {
        None
    }
}

/// The most that a free-form object may take: lists show many of them at once.
pub const MAX_OBJECT_BYTES: usize = 16 * 1024;

/// How long a value's JSON is when it comes back: PostgreSQL writes every number out, 1e308 as 309 digits.
fn written_out_bytes(value: &Value) -> usize {
    fn digits(value: &Value) -> usize {
        match value {
            Value::Number(number) => match number.to_string().split_once(['e', 'E']) {
                Some((_, exponent)) => exponent
                    .trim_start_matches(['+', '-'])
                    .parse()
                    .unwrap_or(usize::MAX),
                None => 0,
            },
            Value::Array(items) => items.iter().map(digits).fold(0, usize::saturating_add),
            Value::Object(members) => members.values().map(digits).fold(0, usize::saturating_add),
            _ => 0,
        }
    }
    value.to_string().len().saturating_add(digits(value))
}

/// PostgreSQL stores no NUL character, not even in JSON.
fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains('\0') || holds_nul(value)),
        _ => false,
    }
}

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
        "^[0-9]{1,16}[.][0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";

    /// Reads `key.id`, as statements write it.
    pub fn parse(text: &str) -> Option<Self> {
        let (key, id) = text.split_once('.')?;
        let digits = (1..=16).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_digit());
        let lower = !id.bytes().any(|byte| byte.is_ascii_uppercase());
        (digits && lower && is_uuid(id)).then_some(Self {
            key: key.parse().ok()?,
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
    use serde_json::json;

    static INNER: Schema = Schema {
        name: "Inner",
        members: &[Member {
            name: "n",
            kind: Kind::Integer { min: 0, max: 9 },
            presence: Presence::Required,
            about: "",
        }],
        example: "",
    };

    static OUTER: Schema = Schema {
        name: "Outer",
        members: &[
            Member {
                name: "a/b",
                kind: Kind::Text { min: 1, max: 3 },
                presence: Presence::OptionalNullable,
                about: "",
            },
            Member {
                name: "list",
                kind: Kind::List {
                    of: &Kind::Record(&INNER),
                    max: 2,
                },
                presence: Presence::Optional,
                about: "",
            },
        ],
        example: "",
    };

    fn faults(value: &Value) -> Vec<String> {
        let mut findings = Findings::default();
        Kind::Record(&OUTER).check(&mut value.clone(), &mut Vec::new(), &mut findings);
        findings
            .faults
            .into_iter()
            .map(|fault| match fault.place {
                Place::Pointer(pointer) => format!("{pointer} {}", fault.detail),
                Place::Parameter(name) => panic!("{name}"),
            })
            .collect()
    }

    #[test]
    fn what_fits_has_no_faults() {
        for value in [
            json!({}),
            json!({"a/b": null}),
            json!({"a/b": "äöü", "list": [{"n": 0}, {"n": 9.0}]}),
        ] {
            assert_eq!(faults(&value), [""; 0], "{value}");
        }
    }

    #[test]
    fn every_fault_is_named_where_it_is() {
        let value = json!({"a/b": "toolong", "list": [{"n": 10}, {}, {}], "x~": 1});
        assert_eq!(
            faults(&value),
            [
                "/a~1b It is 7 characters long; 1 to 3 are possible.",
                "/list/0/n It must be from 0 to 9.",
                "/list/1/n It is missing.",
                "/list It may hold at most 2 items, not 3.",
                "/x~0 There is no such member here.",
            ]
        );
        assert_eq!(faults(&json!([])), [" It must be a JSON object."]);
        assert_eq!(
            faults(&json!({"list": null})),
            ["/list It must be a JSON array."]
        );
    }

    #[test]
    fn kinds_take_what_they_should_and_nothing_else() {
        let name = Kind::Pattern {
            regex: "^[a-z]{1,3}$",
            matches: |text| {
                (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase())
            },
            form: "It must be letters.",
        };
        for (kind, good, bad) in [
            (
                Kind::Uuid,
                vec![json!("4a922d03-4c26-4ca9-a1ce-5625fd2f50f6")],
                vec![
                    json!("4a922d034c264ca9a1ce5625fd2f50f6"),
                    json!(1),
                    json!(""),
                ],
            ),
            (
                Kind::Boolean,
                vec![json!(true)],
                vec![json!("true"), json!(1), json!(null)],
            ),
            (
                Kind::Integer { min: -1, max: 5 },
                vec![json!(-1), json!(5), json!(5.0)],
                vec![
                    json!(6),
                    json!(0.5),
                    json!("1"),
                    json!(1e300),
                    json!(u64::MAX),
                ],
            ),
            (
                Kind::Text { min: 0, max: 2 },
                vec![json!(""), json!("é€")],
                vec![json!("abc"), json!("\0"), json!(1)],
            ),
            (
                name,
                vec![json!("abc")],
                vec![json!("abcd"), json!("abc\n"), json!(""), json!(1)],
            ),
            (
                Kind::OneOf(&["a", "b"]),
                vec![json!("a")],
                vec![json!("A"), json!(null)],
            ),
            (
                Kind::Time,
                vec![
                    json!("2026-01-31T12:00:00Z"),
                    json!("2026-01-31T12:00:00.5+02:00"),
                    json!("2026-01-31T12:00:00"),
                ],
                vec![
                    json!("-4800-01-01T00:00:00"),
                    json!("+12026-01-01T00:00:00Z"),
                    json!("2026-02-30T12:00:00Z"),
                    json!("now"),
                    json!("infinity"),
                    json!(0),
                ],
            ),
            (
                Kind::Object,
                vec![
                    json!({}),
                    json!({"a": [1, {"b": null}], "n": [1e308, -1e-308, 0.0]}),
                ],
                vec![
                    json!([]),
                    json!("{}"),
                    json!({"a": ["\0"]}),
                    json!({"\0": 1}),
                    json!({"n": vec![1e308; 60]}),
                    serde_json::from_str(r#"{"n": 1e99999}"#).unwrap(),
                    serde_json::from_str(r#"{"n": [-1E-99999999999999999999]}"#).unwrap(),
                    json!({"t": "a".repeat(16 * 1024)}),
                ],
            ),
        ] {
            let check = |value: &Value| {
                let mut findings = Findings::default();
                kind.check(&mut value.clone(), &mut Vec::new(), &mut findings);
                findings.faults
            };
            for value in good {
                assert_eq!(check(&value), [], "{kind:?} {value}");
            }
            for value in bad {
                assert_eq!(check(&value).len(), 1, "{kind:?} {value}");
            }
        }
    }

    static TASKS: Schema = Schema {
        name: "Tasks",
        members: &[
            Member {
                name: "kind",
                kind: Kind::OneOf(&["user", "agent"]),
                presence: Presence::Optional,
                about: "",
            },
            Member {
                name: "author",
                kind: Kind::AgentWhere {
                    member: "kind",
                    is: "agent",
                },
                presence: Presence::OptionalNullable,
                about: "",
            },
            Member {
                name: "tasks",
                kind: Kind::List {
                    of: &Kind::Record(&TASK),
                    max: 9,
                },
                presence: Presence::Optional,
                about: "",
            },
        ],
        example: "",
    };

    static TASK: Schema = Schema {
        name: "Task",
        members: &[
            Member {
                name: "channel",
                kind: Kind::Reference(Target::Channel),
                presence: Presence::Optional,
                about: "",
            },
            Member {
                name: "after",
                kind: Kind::List {
                    of: &Kind::EarlierPosition,
                    max: 9,
                },
                presence: Presence::Optional,
                about: "",
            },
        ],
        example: "",
    };

    fn found(mut value: Value) -> (Vec<String>, Vec<String>) {
        let mut findings = Findings::default();
        Kind::Record(&TASKS).check(&mut value, &mut Vec::new(), &mut findings);
        let faults = findings.faults.into_iter().map(|fault| match fault.place {
            Place::Pointer(place) | Place::Parameter(place) => place,
        });
        let references = findings.references.into_iter();
        let references =
            references.map(|reference| format!("{:?} {}", reference.to, reference.pointer));
        (faults.collect(), references.collect())
    }

    #[test]
    fn a_task_depends_on_earlier_ones_only() {
        let tasks = json!({"tasks": [
            {"after": [0]}, {"after": [0, 2, -1, 1e300]}, {"after": [0, 1.0]}, {}]});
        let (faults, references) = found(tasks);
        assert_eq!(
            faults,
            [
                "/tasks/0/after/0",
                "/tasks/1/after/1",
                "/tasks/1/after/2",
                "/tasks/1/after/3"
            ]
        );
        assert_eq!(references, [""; 0]);
    }

    #[test]
    fn references_are_found_beside_faults_and_only_where_they_are_ids() {
        const ID: &str = "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6";
        let tasks = json!([{"channel": ID}, {"channel": 1}, {"bad": 1, "channel": ID}]);
        let (faults, references) = found(json!({"kind": "agent", "author": ID, "tasks": tasks}));
        assert_eq!(faults, ["/tasks/1/channel", "/tasks/2/bad"]);
        assert_eq!(
            references,
            [
                "Agent /author",
                "Channel /tasks/0/channel",
                "Channel /tasks/2/channel"
            ]
        );
        let none: (Vec<String>, Vec<String>) = Default::default();
        assert_eq!(found(json!({"kind": "user", "author": ID})), none);
        assert_eq!(found(json!({"author": null})), none);
        assert_eq!(
            found(json!({"kind": "agent", "author": null})).0,
            ["/author"]
        );
        assert_eq!(found(json!({"kind": "agent"})).0, ["/author"]);
        assert_eq!(found(json!({"kind": "user", "author": 1})).0, ["/author"]);
    }

    #[test]
    fn a_cursor_is_what_its_regex_says() {
        let regex = regex_lite::Regex::new(Cursor::REGEX).unwrap();
        let id = "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6";
        for text in [
            format!("0.{id}"),
            format!("9999999999999999.{id}"),
            format!("99999999999999999.{id}"),
            format!("-1.{id}"),
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
