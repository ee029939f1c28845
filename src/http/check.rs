//! Checks values of requests against the tables in `contract`, and finds everything that is wrong with them in one pass.
//!
//! A body is checked as text, and rewritten for the statement. The new text has known members only, each of them once. Whole numbers
//! have no fraction, names are normalized, and free-form objects are as the client sent them.

use std::borrow::Cow;

use serde::Serialize;
use uuid::Uuid;

use super::contract::{Cursor, MAX_FIELD_ERRORS, Validation, epoch_us, is_uuid, json_pointer};
use super::json::{self, Token, Whole, free_form_error, items, members, whole_number};
use super::names;
use crate::queries::references::Reference;
use crate::schema::Target;
use crate::schema::{FieldType, Presence, Schema};

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Scalar {
    /// true or false
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Text in the form that its type requires.
    Text(String),
}

impl FieldType {
    /// Parses the text of a parameter; the error says what is wrong with it.
    pub fn parse(&self, text: &str) -> Result<Scalar, Cow<'static, str>> {
        match *self {
            // The original API accepts all of these words. Python clients send True.
            Self::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Ok(Scalar::Boolean(true)),
                "false" | "0" | "no" | "off" => Ok(Scalar::Boolean(false)),
                _ => Err(NOT_BOOLEAN.into()),
            },
            Self::Integer { min, max } => {
                let number = text.parse().map_err(|_| NOT_WHOLE)?;
                in_range(number, min, max).map_or(Ok(Scalar::Integer(number)), Err)
            }
            _ => {
                let text = match self {
                    // A client that does not encode the plus sign of an offset sends a space.
                    Self::Time => text.replace(' ', "+"),
                    _ => text.to_owned(),
                };
                self.text_error(&text).map_or(Ok(Scalar::Text(text)), Err)
            }
        }
    }

    /// Checks the JSON value `text`, which is at `pointer` in the body, and appends the value to `out` in the form that statements expect. The
    /// output is valid only if there are no field errors.
    pub fn check(
        &self,
        text: &str,
        pointer: &mut Vec<String>,
        validation: &mut Validation,
        out: &mut String,
    ) {
        let token = Token::of(text);
        match (self, token) {
            (Self::Record(schema), Token::Object) => schema.check(text, pointer, validation, out),
            (Self::List { of, max }, Token::List) => {
                of.check_items(*max, text, pointer, validation, out);
            }
            (Self::Object, Token::Object) => match free_form_error(text) {
                Some(error) => validation.add_at(pointer, error),
                None => out.push_str(text),
            },
            (Self::Record(_) | Self::Object, _) => {
                validation.add_at(pointer, "must be a JSON object");
            }
            (Self::List { .. }, _) => validation.add_at(pointer, "must be a JSON array"),
            (Self::Boolean, Token::Boolean(value)) => {
                out.push_str(if value { "true" } else { "false" });
            }
            (Self::Boolean, _) => validation.add_at(pointer, NOT_BOOLEAN),
            (Self::Integer { .. } | Self::EarlierPosition, token) => {
                match self.integer(&token, pointer) {
                    Ok(number) => out.push_str(&number.to_string()),
                    Err(error) => validation.add_at(pointer, error),
                }
            }
            (_, Token::Text(value)) => self.check_text(text, &value, pointer, validation, out),
            (Self::OneOf(words), _) => validation.add_at(pointer, not_one_of(words)),
            (Self::Uuid | Self::Reference(_) | Self::AgentWhere { .. }, _) => {
                validation.add_at(pointer, NOT_UUID);
            }
            (Self::Time, _) => validation.add_at(pointer, NOT_TIME),
            (_, _) => validation.add_at(pointer, "must be text"),
        }
    }

    fn check_items(
        &self,
        max: usize,
        list: &str,
        pointer: &mut Vec<String>,
        validation: &mut Validation,
        out: &mut String,
    ) {
        out.push('[');
        let mut count = 0;
        for item in items(list) {
            if count < max {
                if count > 0 {
                    out.push(',');
                }
                pointer.push(count.to_string());
                self.check(item, pointer, validation, out);
                pointer.pop();
            }
            count += 1;
        }
        out.push(']');
        if count > max {
            validation.add_at(
                pointer,
                format!("must have at most {max} items, has {count}"),
            );
        }
    }

    fn check_text(
        &self,
        literal: &str,
        value: &str,
        pointer: &[String],
        validation: &mut Validation,
        out: &mut String,
    ) {
        let normalized = match self {
            Self::Name { .. } => names::normalized(value),
            _ => value.into(),
        };
        if let Some(error) = self.text_error(&normalized) {
            validation.add_at(pointer, error);
            return;
        }
        if normalized == value {
            out.push_str(literal);
        } else {
            json::write_string(out, &normalized);
        }
        if let Self::Reference(to) = *self
            && let Ok(id) = Uuid::try_parse(value)
        {
            validation.references.push(Reference {
                pointer: json_pointer(pointer),
                to,
                id,
            });
        }
    }

    fn integer(&self, token: &Token, pointer: &[String]) -> Result<i64, Cow<'static, str>> {
        let number = match token {
            Token::Number(number) => whole_number(number),
            _ => None,
        };
        let number = number.ok_or(match self {
            Self::EarlierPosition => NOT_POSITION,
            _ => NOT_WHOLE,
        })?;
        let (min, max) = match *self {
            Self::Integer { min, max } => (min, max),
            // The upper limit is the position before the task that has the dependency, so the first task can't have a dependency.
            _ => (0, list_position(pointer).unwrap_or(i64::MAX) - 1),
        };
        let error = match number {
            Whole::Number(number) => match in_range(number, min, max) {
                None => return Ok(number),
                Some(error) => error,
            },
            Whole::TooLarge => format!("must be from {min} to {max}").into(),
        };
        Err(match self {
            Self::EarlierPosition => NOT_EARLIER.into(),
            _ => error,
        })
    }

    fn text_error(&self, text: &str) -> Option<Cow<'static, str>> {
        let unless = |holds: bool, error: &'static str| (!holds).then_some(Cow::Borrowed(error));
        match self {
            Self::Uuid | Self::Reference(_) | Self::AgentWhere { .. } => {
                unless(is_uuid(text), NOT_UUID)
            }
            Self::Text { min, max } => length_error(text, *min, *max),
            Self::Name { max } => {
                length_error(text, 1, *max).or_else(|| names::error(text).map(Cow::Owned))
            }
            Self::Pattern { regex, form } => unless(regex.is_match(text), form),
            Self::OneOf(words) => (!words.contains(&text)).then(|| not_one_of(words).into()),
            Self::Time => unless(epoch_us(text).is_some(), NOT_TIME),
            Self::Cursor => unless(
                Cursor::parse(text).is_some(),
                "must be a cursor from a Link header",
            ),
            // `parse` and `check` handle these types, because their values aren't text.
            Self::Boolean
            | Self::Integer { .. }
            | Self::EarlierPosition
            | Self::Object
            | Self::Record(_)
            | Self::List { .. } => None,
        }
    }
}

impl Schema {
    /// Checks the members of an object: unknown, missing and repeated ones, and the value of each. Appends the object to `out`, unless the
    /// check stops early because of [`MAX_FIELD_ERRORS`] unknown or repeated members.
    pub fn check(
        &self,
        object: &str,
        pointer: &mut Vec<String>,
        validation: &mut Validation,
        out: &mut String,
    ) {
        let mut given: Vec<Given> = self.members.iter().map(|_| Given::Absent).collect();
        let mut unknown = Validation::default();
        let mut repetitions = 0;
        for (name, value) in members(object) {
            let name = Token::of(name);
            let mut known = self.members.iter().zip(&mut given);
            let known = known.find(|(member, _)| name == Token::Text(member.name.into()));
            if let Some((member, given)) = known {
                if let Given::Absent = given {
                    *given = Given::Once(value);
                    continue;
                }
                *given = Given::Repeated;
                repetitions += 1;
                if repetitions == MAX_FIELD_ERRORS {
                    pointer.push(member.name.to_owned());
                    validation.add_at(pointer, REPEATED);
                    pointer.pop();
                }
            } else {
                pointer.push(shown(&name));
                unknown.add_at(pointer, "unknown field");
                pointer.pop();
            }
            // The response lists at most MAX_FIELD_ERRORS errors, so checking more members would only cost CPU time.
            if repetitions.max(unknown.errors.len()) == MAX_FIELD_ERRORS {
                validation.add_all(unknown);
                return;
            }
        }
        out.push('{');
        let start = out.len();
        for (member, value) in self.members.iter().zip(&given) {
            pointer.push(member.name.to_owned());
            if let Given::Once(_) = value {
                if out.len() > start {
                    out.push(',');
                }
                json::write_string(out, member.name);
                out.push(':');
            }
            let names_agent = match member.field_type {
                FieldType::AgentWhere { member, is } => self.is_given(&given, member, is),
                _ => false,
            };
            match (value, member.presence) {
                (Given::Repeated, _) => validation.add_at(pointer, REPEATED),
                (Given::Absent | Given::Once("null"), _) if names_agent => {
                    validation.add_at(pointer, NO_AGENT);
                }
                (Given::Absent, Presence::Required | Presence::Nullable) => {
                    validation.add_at(pointer, "is missing");
                }
                (Given::Absent, _) => {}
                (Given::Once("null"), Presence::Nullable | Presence::OptionalNullable) => {
                    out.push_str("null");
                }
                (Given::Once(value), _) if names_agent => {
                    FieldType::Reference(Target::Agent).check(value, pointer, validation, out);
                }
                (Given::Once(value), _) => member.field_type.check(value, pointer, validation, out),
            }
            pointer.pop();
        }
        out.push('}');
        validation.add_all(unknown);
    }

    /// Whether the body has the member `name` with the string `text` as its value.
    fn is_given(&self, given: &[Given], name: &str, text: &str) -> bool {
        let mut members = self.members.iter().zip(given);
        let member = members.find(|(member, _)| member.name == name);
        matches!(member, Some((_, Given::Once(value))) if json::is_string(value, text))
    }
}

/// How often the body has a member, with the member's value if the body has it once.
enum Given<'a> {
    Absent,
    Once(&'a str),
    Repeated,
}

const NOT_BOOLEAN: &str = "must be true or false";
const NOT_WHOLE: &str = "must be a whole number";
const NOT_UUID: &str = "must be a UUID";
const NOT_TIME: &str = "must be a time such as 2026-01-31T12:00:00Z";
const NOT_POSITION: &str = "must be the position of a task, counted from 0";
const NOT_EARLIER: &str = "must be the position of an earlier task in this list";
const NO_AGENT: &str = "is missing; must be the id of an agent";
/// The error for a parameter or a member that a request has more than once.
pub const REPEATED: &str = "given more than once";

fn not_one_of(words: &[&str]) -> String {
    format!("must be one of {}", words.join(", "))
}

fn in_range(number: i64, min: i64, max: i64) -> Option<Cow<'static, str>> {
    let is_in_range = (min..=max).contains(&number);
    (!is_in_range).then(|| format!("must be from {min} to {max}, is {number}").into())
}

fn length_error(text: &str, min: usize, max: usize) -> Option<Cow<'static, str>> {
    let length = text.chars().count();
    if length < min || length > max {
        Some(format!("must have {min} to {max} characters, has {length}").into())
    } else if text.contains('\0') {
        Some(json::NUL_ERROR.into())
    } else {
        None
    }
}

/// Returns an unknown member's name for a JSON pointer, at most 100 characters.
fn shown(name: &Token) -> String {
    match name {
        Token::Text(name) => name.chars().take(100).collect(),
        _ => char::REPLACEMENT_CHARACTER.to_string(),
    }
}

/// Returns the position of the list item that contains the value: 3 in `…/3/depends_on/0`.
fn list_position(pointer: &[String]) -> Option<i64> {
    pointer.iter().rev().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::http::contract::Location;
    use crate::schema::{Member, Pattern};

    static INNER: Schema = Schema {
        name: "Inner",
        members: &[Member {
            name: "n",
            field_type: FieldType::Integer { min: 0, max: 9 },
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
                field_type: FieldType::Text { min: 1, max: 3 },
                presence: Presence::OptionalNullable,
                about: "",
            },
            Member {
                name: "list",
                field_type: FieldType::List {
                    of: &FieldType::Record(&INNER),
                    max: 2,
                },
                presence: Presence::Optional,
                about: "",
            },
        ],
        example: "",
    };

    /// Returns the field errors of a value, and the text that a statement would get.
    fn checked(field_type: &FieldType, text: &str) -> (Vec<String>, String) {
        json::check_syntax(text).unwrap();
        let (mut validation, mut out) = (Validation::default(), String::new());
        field_type.check(text, &mut Vec::new(), &mut validation, &mut out);
        let errors = validation
            .errors
            .into_iter()
            .map(|error| match error.location {
                Location::Pointer(pointer) => format!("{pointer} {}", error.detail),
                Location::Parameter(name) => panic!("{name}"),
            });
        (errors.collect(), out)
    }

    fn errors(value: &Value) -> Vec<String> {
        checked(&FieldType::Record(&OUTER), &value.to_string()).0
    }

    #[test]
    fn checking_stops_after_50_unknown_or_repeated_members() {
        let object = |name: &str| {
            let members = format!("\"{name}\":1,").repeat(MAX_FIELD_ERRORS + 1);
            let text = format!("{{{members}\"list\":1}}");
            checked(&FieldType::Record(&OUTER), &text).0
        };
        assert_eq!(object("\\u0061/b"), ["/a~1b given more than once"]);
        assert_eq!(object("x").len(), MAX_FIELD_ERRORS);
    }

    #[test]
    fn a_valid_object_has_no_field_errors() {
        for value in [
            json!({}),
            json!({"a/b": null}),
            json!({"a/b": "äöü", "list": [{"n": 0}, {"n": 9.0}]}),
        ] {
            assert_eq!(errors(&value), [""; 0], "{value}");
        }
    }

    #[test]
    fn every_field_error_has_a_json_pointer() {
        let value = json!({"a/b": "toolong", "list": [{"n": 10}, {}, {}], "x~": 1});
        assert_eq!(
            errors(&value),
            [
                "/a~1b must have 1 to 3 characters, has 7",
                "/list/0/n must be from 0 to 9, is 10",
                "/list/1/n is missing",
                "/list must have at most 2 items, has 3",
                "/x~0 unknown field",
            ]
        );
        assert_eq!(errors(&json!([])), [" must be a JSON object"]);
        assert_eq!(
            errors(&json!({"list": null})),
            ["/list must be a JSON array"]
        );
    }

    #[test]
    fn each_duplicate_field_is_reported_once() {
        let found = |text| checked(&FieldType::Record(&OUTER), text).0;
        assert_eq!(
            found(r#"{"a/b": "x", "a\u002fb": "y", "list": [{"n": 1, "n": 1, "n": 1}]}"#),
            [
                "/a~1b given more than once",
                "/list/0/n given more than once"
            ]
        );
    }

    #[test]
    fn accepted_json_is_rewritten_but_free_form_objects_are_not() {
        const FREE_FORM: &str =
            r#"{ "$serde_json::private::Number": "12", "n": 1.50, "n": 5e0, "t":"\u00e9\/" }"#;
        for (field_type, text, expected) in [
            (
                FieldType::Record(&OUTER),
                "{\"list\" : [ { \"n\": 50e-1 } ], \"\\u0061/b\": \"\\u00e9\"}",
                "{\"a/b\":\"\\u00e9\",\"list\":[{\"n\":5}]}",
            ),
            (FieldType::Object, FREE_FORM, FREE_FORM),
            (
                FieldType::Name { max: 5 },
                "\"cafe\\u0301\"",
                "\"caf\u{e9}\"",
            ),
            (
                FieldType::Text { min: 1, max: 5 },
                "\"cafe\u{301}\"",
                "\"cafe\u{301}\"",
            ),
            (FieldType::Boolean, " true", "true"),
        ] {
            assert_eq!(
                checked(&field_type, text),
                (Vec::new(), expected.to_owned())
            );
        }
    }

    #[test]
    fn serde_json_private_keys_do_not_turn_an_object_into_a_scalar() {
        for text in [
            r#"{"$serde_json::private::Number": "12"}"#,
            r#"{"$serde_json::private::RawValue": "12"}"#,
        ] {
            let found = |field_type| checked(&field_type, text).0;
            assert_eq!(
                found(FieldType::Integer { min: 0, max: 100 }),
                [" must be a whole number"]
            );
            assert_eq!(
                found(FieldType::Text { min: 0, max: 100 }),
                [" must be text"]
            );
            assert_eq!(found(FieldType::Boolean), [" must be true or false"]);
            assert_eq!(found(FieldType::Object), [""; 0]);
        }
    }

    #[test]
    fn each_type_accepts_its_values_only() {
        static NAME: Pattern = Pattern::new("^[a-z]{1,3}$");
        let name = FieldType::Pattern {
            regex: &NAME,
            form: "must be letters",
        };
        for (field_type, good, bad) in [
            (
                FieldType::Uuid,
                &[r#""4a922d03-4c26-4ca9-a1ce-5625fd2f50f6""#][..],
                &[r#""4a922d034c264ca9a1ce5625fd2f50f6""#, "1", r#""""#][..],
            ),
            (
                FieldType::Boolean,
                &["true"],
                &[r#""true""#, "1", "null", "[]", "{}"],
            ),
            (
                FieldType::Integer { min: -1, max: 100 },
                &["-1", "5", "5.0", "5e0", "1E2", "-0"],
                &[
                    "101",
                    "0.5",
                    r#""1""#,
                    "1e300",
                    "18446744073709551615",
                    "99.9999999999999999999",
                    "-1.0000000000000000000001",
                    "null",
                ],
            ),
            (
                FieldType::Text { min: 0, max: 2 },
                &[r#""""#, r#""é€""#, r#""\ud83d\ude00""#],
                &[r#""abc""#, r#""\u0000""#, "1"],
            ),
            (
                FieldType::Name { max: 4 },
                &[r#""abcd""#, r#""a b""#, r#""cafe\u0301""#],
                &[
                    r#""""#,
                    r#"" a""#,
                    r#""abcde""#,
                    r#""a\u200b""#,
                    "1",
                    r#""\u0000""#,
                ],
            ),
            (
                name,
                &[r#""abc""#],
                &[r#""abcd""#, r#""abc\n""#, r#""""#, "1"],
            ),
            (
                FieldType::OneOf(&["a", "b"]),
                &[r#""a""#, r#""\u0061""#],
                &[r#""A""#, "null", "{}"],
            ),
            (
                FieldType::Time,
                &[
                    r#""2026-01-31T12:00:00Z""#,
                    r#""2026-01-31T12:00:00.5+02:00""#,
                    r#""2026-01-31T12:00:00""#,
                    r#""0001-01-01T00:00:00Z""#,
                ],
                &[
                    r#""-4800-01-01T00:00:00""#,
                    r#""+12026-01-01T00:00:00Z""#,
                    r#""2026-02-30T12:00:00Z""#,
                    r#""now""#,
                    r#""infinity""#,
                    "0",
                ],
            ),
            (
                FieldType::Object,
                &["{}", r#"{"a": [1, {"b": null}]}"#],
                &["[]", r#""{}""#, r#"{"\u0000": 1}"#],
            ),
        ] {
            for text in good {
                assert_eq!(
                    checked(&field_type, text).0,
                    [""; 0],
                    "{field_type:?} {text}"
                );
            }
            for text in bad {
                assert_eq!(
                    checked(&field_type, text).0.len(),
                    1,
                    "{field_type:?} {text}"
                );
            }
        }
    }

    #[test]
    fn parameters_are_read_by_their_type() {
        for (field_type, text, expected) in [
            (FieldType::Boolean, "True", Ok(Scalar::Boolean(true))),
            (FieldType::Boolean, "2", Err("must be true or false")),
            (
                FieldType::Integer { min: 1, max: 200 },
                "200",
                Ok(Scalar::Integer(200)),
            ),
            (
                FieldType::Integer { min: 1, max: 200 },
                "201",
                Err("must be from 1 to 200, is 201"),
            ),
            (
                FieldType::Integer { min: 1, max: 200 },
                "1.0",
                Err("must be a whole number"),
            ),
            (
                FieldType::Time,
                "2026-01-31T12:00:00 02:00",
                Ok(Scalar::Text("2026-01-31T12:00:00+02:00".to_owned())),
            ),
            (
                FieldType::OneOf(&["a", "b"]),
                "c",
                Err("must be one of a, b"),
            ),
        ] {
            assert_eq!(
                field_type.parse(text),
                expected.map_err(Cow::Borrowed),
                "{text}"
            );
        }
    }

    static TASKS: Schema = Schema {
        name: "Tasks",
        members: &[
            Member {
                name: "kind",
                field_type: FieldType::OneOf(&["user", "agent"]),
                presence: Presence::Optional,
                about: "",
            },
            Member {
                name: "author",
                field_type: FieldType::AgentWhere {
                    member: "kind",
                    is: "agent",
                },
                presence: Presence::OptionalNullable,
                about: "",
            },
            Member {
                name: "tasks",
                field_type: FieldType::List {
                    of: &FieldType::Record(&TASK),
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
                field_type: FieldType::Reference(Target::Channel),
                presence: Presence::Optional,
                about: "",
            },
            Member {
                name: "after",
                field_type: FieldType::List {
                    of: &FieldType::EarlierPosition,
                    max: 9,
                },
                presence: Presence::Optional,
                about: "",
            },
        ],
        example: "",
    };

    fn found(value: &Value) -> (Vec<String>, Vec<String>) {
        let (mut validation, mut out) = (Validation::default(), String::new());
        let text = value.to_string();
        FieldType::Record(&TASKS).check(&text, &mut Vec::new(), &mut validation, &mut out);
        let errors = validation
            .errors
            .into_iter()
            .map(|error| match error.location {
                Location::Pointer(location) | Location::Parameter(location) => location,
            });
        let references = validation.references.into_iter();
        let references =
            references.map(|reference| format!("{:?} {}", reference.to, reference.pointer));
        (errors.collect(), references.collect())
    }

    #[test]
    fn a_task_may_depend_only_on_earlier_tasks() {
        let tasks = json!({"tasks": [
            {"after": [0]}, {"after": [0, 2, -1, 1e300]}, {"after": [0, 1.0]}, {}]});
        let (errors, references) = found(&tasks);
        assert_eq!(
            errors,
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
    fn valid_references_are_collected_despite_other_field_errors() {
        const ID: &str = "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6";
        let tasks = json!([{"channel": ID}, {"channel": 1}, {"bad": 1, "channel": ID}]);
        let (errors, references) = found(&json!({"kind": "agent", "author": ID, "tasks": tasks}));
        assert_eq!(errors, ["/tasks/1/channel", "/tasks/2/bad"]);
        assert_eq!(
            references,
            [
                "Agent /author",
                "Channel /tasks/0/channel",
                "Channel /tasks/2/channel"
            ]
        );
        let none: (Vec<String>, Vec<String>) = Default::default();
        assert_eq!(found(&json!({"kind": "user", "author": ID})), none);
        assert_eq!(found(&json!({"author": null})), none);
        assert_eq!(
            found(&json!({"kind": "agent", "author": null})).0,
            ["/author"]
        );
        assert_eq!(found(&json!({"kind": "agent"})).0, ["/author"]);
        assert_eq!(found(&json!({"kind": "user", "author": 1})).0, ["/author"]);
    }
}
