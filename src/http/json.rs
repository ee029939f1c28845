//! JSON text of request bodies, read without building a tree.
//!
//! `serde_json::Value` is avoided on purpose. Two of `serde_json`'s features make it read some objects as other types (an
//! object whose first member is `$serde_json::private::Number` becomes a number), and a tree needs many times the memory of
//! its text. Here a value is a slice of the body, [`members`] and [`items`] split it, and free-form objects go to PostgreSQL
//! as the client sent them.
//!
//! Every function but [`size_error`] and [`check_syntax`] expects text that `check_syntax` has accepted. Other text gives wrong
//! slices, but no panic.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// The maximum nesting of a body, with four levels for the records around a free-form object. Valid bodies need fewer levels.
const MAX_DEPTH: usize = MAX_OBJECT_DEPTH + 4;

/// The maximum number of values in a body. An object's member counts as two, and so does an empty array or object. Valid bodies have far fewer.
const MAX_VALUES: usize = 100_000;

/// Returns the error of a body that is nested too deeply or has too many values; `None` if there is none. Accepts any text, also invalid
/// JSON.
///
/// Scans the text once and stops at the first exceeded limit, so refusing a deep or large tree costs little CPU time.
pub fn size_error(text: &str) -> Option<String> {
    let all = text.as_bytes();
    let (mut at, mut depth, mut values) = (0, 0_usize, 1_usize);
    while let Some(&byte) = all.get(at) {
        match byte {
            b'"' => {
                at += string_length(all.get(at..).unwrap_or_default());
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                values += 1;
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' | b':' => values += 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Some(format!("must have at most {MAX_DEPTH} levels of nesting"));
        }
        if values > MAX_VALUES {
            return Some(format!("must have at most {MAX_VALUES} values"));
        }
        at += 1;
    }
    None
}

/// Checks that `text` is one JSON value whose strings are Unicode; the error has the position. The check uses no recursion, and one byte of
/// memory for each level of nesting.
pub fn check_syntax(text: &str) -> Result<(), String> {
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| error.to_string())?;
    match lone_surrogate(text.as_bytes()) {
        None => Ok(()),
        Some(at) => Err(format!(
            "the escape at byte {at} is half of a surrogate pair, not a character"
        )),
    }
}

/// Returns the position of a lone surrogate, an escape such as `\ud800` without its pair, because PostgreSQL stores only valid Unicode.
fn lone_surrogate(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        at += rest.iter().position(|byte| *byte == b'\\')?;
        at += match code_unit(text, at) {
            0xd800..=0xdbff if matches!(code_unit(text, at + 6), 0xdc00..=0xdfff) => 12,
            0xd800..=0xdfff => return Some(at),
            _ => 2,
        };
    }
}

/// One JSON value: a scalar with its value, or the type of a container.
#[derive(Debug, PartialEq)]
pub enum Token<'a> {
    /// null
    Null,
    /// true or false
    Boolean(bool),
    /// A number, as it is written.
    Number(&'a str),
    /// A string, without its escapes.
    Text(Cow<'a, str>),
    /// An array.
    List,
    /// An object.
    Object,
}

impl<'a> Token<'a> {
    /// Reads `text`, which is one value.
    pub fn of(text: &'a str) -> Self {
        let text = text.trim_matches(is_white_space);
        match text.as_bytes().first() {
            Some(b'"') => Self::Text(string(text).unwrap_or_default()),
            Some(b'{') => Self::Object,
            Some(b'[') => Self::List,
            Some(b't') => Self::Boolean(true),
            Some(b'f') => Self::Boolean(false),
            Some(b'-' | b'0'..=b'9') => Self::Number(text),
            _ => Self::Null,
        }
    }
}

/// Returns the characters of a string literal.
fn string(literal: &str) -> Option<Cow<'_, str>> {
    if literal.contains('\\') {
        return serde_json::from_str(literal).ok().map(Cow::Owned);
    }
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    Some(Cow::Borrowed(inner))
}

/// Appends a string literal.
pub fn write_string(out: &mut String, text: &str) {
    // Every string can be written as JSON.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// Returns the members of an object in order: the name's literal and the value, both as they are written.
pub fn members(object: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = inside(object);
    std::iter::from_fn(move || {
        let name = next_value(&mut rest)?;
        let value = next_value(&mut rest)?;
        Some((name, value))
    })
}

/// Returns the items of an array in order, as they are written.
pub fn items(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = inside(list);
    std::iter::from_fn(move || next_value(&mut rest))
}

/// Whether a literal is the string `text`.
pub fn is_string(literal: &str, text: &str) -> bool {
    string(literal).is_some_and(|string| string == text)
}

/// Whether the character is white space in JSON (RFC 8259). Unicode has more white space.
fn is_white_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}

/// Returns a container without its brackets.
fn inside(container: &str) -> &str {
    let container = container.trim_matches(is_white_space);
    let mut characters = container.chars();
    characters.next();
    characters.next_back();
    characters.as_str()
}

/// Takes the next value from the rest of a container. A name counts as a value; `:` and `,` are both skipped.
fn next_value<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let text = rest.trim_start_matches(|c| is_white_space(c) || c == ',' || c == ':');
    let (value, after) = text.split_at_checked(value_length(text.as_bytes()))?;
    *rest = after;
    (!value.is_empty()).then_some(value)
}

/// Returns the number of bytes of the value that `text` begins with.
fn value_length(text: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => at += string_length(text.get(at..).unwrap_or_default()),
            b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => break,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth -= 1;
                at += 1;
            }
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Returns the number of bytes of the string literal that `text` begins with, including the quotes.
fn string_length(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// A whole number in any notation: 5, 5.0 and 50e-1 are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// A number that fits an `i64`.
    Number(i64),
    /// A whole number outside the range of `i64`.
    TooLarge,
}

/// Reads a JSON number as a whole number; `None` if it has a fraction. The function computes with decimal digits, because a float would turn
/// 99.9999999999999999999 into 100.
pub fn whole_number(number: &str) -> Option<Whole> {
    let (number, sign) = match number.strip_prefix('-') {
        Some(number) => (number, "-"),
        None => (number, ""),
    };
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [integer, fraction].concat();
    let significant = digits.trim_end_matches('0');
    let zeros = digits.len() - significant.len();
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Some(Whole::Number(0));
    }
    let exponent = match exponent.parse::<i64>() {
        Ok(exponent) => exponent,
        // The exponent doesn't fit an `i64`, so the number is far too large, or a tiny fraction if the exponent is negative.
        Err(_) if exponent.starts_with('-') => return None,
        Err(_) => return Some(Whole::TooLarge),
    };
    let length = |text: usize| i64::try_from(text).unwrap_or(i64::MAX);
    let shift = exponent
        .saturating_add(length(zeros))
        .saturating_sub(length(fraction.len()));
    let Ok(shift) = usize::try_from(shift) else {
        return (shift > 0).then_some(Whole::TooLarge);
    };
    if significant.len().saturating_add(shift) > 19 {
        return Some(Whole::TooLarge);
    }
    let text = [sign, significant, &"0".repeat(shift)].concat();
    Some(text.parse().map_or(Whole::TooLarge, Whole::Number))
}

/// The maximum size of a free-form object in bytes. The limit is low, because a page of a list contains up to 200 of them.
pub const MAX_OBJECT_BYTES: usize = 16 * 1024;

/// The maximum nesting of a free-form object, including the object itself. Responses put at most three levels around one, and common parsers
/// read at least 64 levels (.NET reads 64, Ruby 100, `serde_json` 127).
pub const MAX_OBJECT_DEPTH: usize = 60;

/// Returns the error of a free-form object that PostgreSQL can't store or common JSON parsers can't read; `None` if the object is
/// valid. Scans the text once and stops at the first error.
pub fn free_form_error(text: &str) -> Option<Cow<'static, str>> {
    let all = text.as_bytes();
    let (mut at, mut depth, mut size) = (0, 0_usize, 0_usize);
    while let Some(&byte) = all.get(at)
        && size <= MAX_OBJECT_BYTES
    {
        match byte {
            b'"' => {
                let length = string_length(all.get(at..).unwrap_or_default());
                match string_size(all.get(at..at + length).unwrap_or_default()) {
                    Ok(bytes) => size = size.saturating_add(bytes),
                    Err(error) => return Some(error.into()),
                }
                at += length;
                continue;
            }
            b'-' | b'0'..=b'9' => {
                let length = value_length(all.get(at..).unwrap_or_default());
                let number = text.get(at..at + length).unwrap_or_default();
                if !number
                    .parse::<f64>()
                    .is_ok_and(|number| number.abs() <= 1e308)
                {
                    return Some("contains a number beyond ±1e308".into());
                }
                size = size.saturating_add(number_size(number));
                at += length;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_OBJECT_DEPTH {
            return Some(format!("is nested more than {MAX_OBJECT_DEPTH} levels deep").into());
        }
        size = size.saturating_add(usize::from(!is_white_space(char::from(byte))));
        at += 1;
    }
    (size > MAX_OBJECT_BYTES).then(|| {
        format!("is longer than {MAX_OBJECT_BYTES} bytes of JSON with its numbers written without exponents")
            .into()
    })
}

/// Returns an upper limit for the length of a number as PostgreSQL writes the number, for example 309 digits for 1e308.
fn number_size(number: &str) -> usize {
    let exponent = match number.split_once(['e', 'E']) {
        Some((_, exponent)) => exponent
            .trim_start_matches(['+', '-'])
            .parse()
            .unwrap_or(usize::MAX),
        None => 0,
    };
    number.len().saturating_add(exponent)
}

/// Returns the length of a string literal after unnecessary escapes are replaced.
fn string_size(literal: &[u8]) -> Result<usize, &'static str> {
    let (mut at, mut size) = (0, 0);
    while let Some(&byte) = literal.get(at) {
        if byte != b'\\' {
            (at, size) = (at + 1, size + 1);
            continue;
        }
        let escape = literal.get(at + 1).copied().unwrap_or_default();
        if escape != b'u' {
            (at, size) = (at + 2, size + if escape == b'/' { 1 } else { 2 });
            continue;
        }
        let unit = code_unit(literal, at);
        let (length, bytes) = match unit {
            0 => return Err(NUL_ERROR),
            // The first half of a surrogate pair: the pair is 12 bytes long, and 4 bytes as UTF-8.
            0xd800..=0xdbff => (12, 4),
            0x08..=0x0a | 0x0c | 0x0d | 0x22 | 0x5c | 0x80..=0x7ff => (6, 2),
            0x01..=0x1f => (6, 6),
            0x20..=0x7f => (6, 1),
            _ => (6, 3),
        };
        (at, size) = (at + length, size + bytes);
    }
    Ok(size)
}

/// The error for a NUL character, which PostgreSQL can't store, even in JSON.
pub const NUL_ERROR: &str = "contains a NUL character";

/// Returns the UTF-16 code unit of the escape `\uXXXX` at this position, or 1, which passes all checks, if there is no escape.
fn code_unit(literal: &[u8], at: usize) -> u16 {
    let digits = match literal.get(at..at + 6) {
        Some([b'\\', b'u', digits @ ..]) => std::str::from_utf8(digits).unwrap_or_default(),
        _ => return 1,
    };
    u16::from_str_radix(digits, 16).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    #[test]
    fn splitting_preserves_the_text_of_members_and_items() {
        let object = " {\"a\" : {\"x\":[1,\"}\"]}\n,\"b\\\"\":\"]\\\\\", \"\":[ ], \"c\":-1.50e+3 , \"d\":null} ";
        assert_eq!(
            members(object).collect::<Vec<_>>(),
            [
                ("\"a\"", "{\"x\":[1,\"}\"]}"),
                ("\"b\\\"\"", "\"]\\\\\""),
                ("\"\"", "[ ]"),
                ("\"c\"", "-1.50e+3"),
                ("\"d\"", "null"),
            ]
        );
        assert_eq!(
            items("[1 , [2,[3]],{\"a\":\",\"} ]").collect::<Vec<_>>(),
            ["1", "[2,[3]]", "{\"a\":\",\"}"]
        );
        assert_eq!(items(" [ ] ").count(), 0);
        assert_eq!(members("{}").count(), 0);
    }

    #[test]
    fn each_json_value_is_parsed_to_its_token() {
        for (text, token) in [
            ("null", Token::Null),
            (" true\n", Token::Boolean(true)),
            ("false", Token::Boolean(false)),
            ("-0.50e1", Token::Number("-0.50e1")),
            ("\"a\\u0062\\n\"", Token::Text("ab\n".into())),
            ("\"\u{e4}\"", Token::Text("\u{e4}".into())),
            ("\"\\ud83d\\ude00\"", Token::Text("\u{1f600}".into())),
            ("[]", Token::List),
            ("{}", Token::Object),
        ] {
            assert_eq!(Token::of(text), token, "{text}");
        }
    }

    #[test]
    fn whole_numbers_are_compared_as_decimals() {
        for (text, number) in [
            ("0", 0),
            ("-0", 0),
            ("-0.0e5", 0),
            ("0e99999999999999999999", 0),
            ("5", 5),
            ("5.0", 5),
            ("5e0", 5),
            ("50e-1", 5),
            ("0.05E+2", 5),
            ("-1200.00", -1200),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808.0", i64::MIN),
            ("9007199254740993.0", 9_007_199_254_740_993),
        ] {
            assert_eq!(whole_number(text), Some(Whole::Number(number)), "{text}");
        }
        for text in [
            "9223372036854775808",
            "1e19",
            "1e300",
            "-1e99999999999999999999",
        ] {
            assert_eq!(whole_number(text), Some(Whole::TooLarge), "{text}");
        }
        for text in [
            "0.5",
            "99.9999999999999999999",
            "5e-1",
            "1e-300",
            "1e-99999999999999999999",
            "1.00000000000000000000000000000000001",
        ] {
            assert_eq!(whole_number(text), None, "{text}");
        }
    }

    #[test]
    fn free_form_objects_are_bounded() {
        let nested = |levels: usize| {
            let inner = levels - 1;
            format!("{{\"a\":{}{}}}", "[".repeat(inner), "]".repeat(inner))
        };
        for fits in [
            "{}",
            r#"{"$serde_json::private::Number": "12"}"#,
            r#"{"a": [1, {"b": null}], "n": [1e308, -1e-308, 0.0, -0], "t": "\\u0000 \\\\u0000"}"#,
            r#"{"\ud83d\ude00": "\ud83d\ude00"}"#,
            &nested(MAX_OBJECT_DEPTH),
            &format!("{{\"t\":\"{}\"}}", "a".repeat(MAX_OBJECT_BYTES - 8)),
            &format!("{{\"t\":\"{}\"}}", "\\u00e9".repeat(8000)),
            &format!("{{\"t\":{}1}}", " ".repeat(MAX_OBJECT_BYTES)),
        ] {
            check_syntax(fits).unwrap();
            assert_eq!(free_form_error(fits), None, "{fits}");
        }
        for (text, error) in [
            (r#"{"a": ["\u0000"]}"#, NUL_ERROR),
            (r#"{"\\\u0000": 1}"#, NUL_ERROR),
            (&nested(MAX_OBJECT_DEPTH + 1), "is nested"),
            (r#"{"n": [1e400]}"#, "contains a number"),
            (r#"{"n": -1e99999}"#, "contains a number"),
            // Parsers that round intermediate results read this number as infinite.
            (r#"{"n": 1.7976931348623157e308}"#, "contains a number"),
            (r#"{"n": [-1E-99999999999999999999]}"#, "is longer"),
            (&json!({"n": vec![1e308; 60]}).to_string(), "is longer"),
            (
                &json!({"t": "a".repeat(16 * 1024)}).to_string(),
                "is longer",
            ),
            (
                &format!("{{\"t\":\"{}\"}}", "\\u0001".repeat(3000)),
                "is longer",
            ),
        ] {
            check_syntax(text).unwrap();
            let found = free_form_error(text).unwrap_or_default();
            assert!(found.starts_with(error), "{text}: {found}");
        }
    }

    #[test]
    fn unpaired_surrogates_in_strings_are_refused() {
        for text in [
            r#""\ud83d\ude00""#,
            r#"["\ud83d\ude00\\ud800", "\u00e9\"\\"]"#,
            r#""\\ud800""#,
        ] {
            assert_eq!(check_syntax(text), Ok(()), "{text}");
        }
        for (text, at) in [
            (r#""\ud800""#, 1),
            (r#"{"a": "\ud800"}"#, 7),
            (r#"{"\udc00": 1}"#, 2),
            (r#""\ude00\ud83d""#, 1),
            (r#""\ud800\ud800\udc00""#, 1),
            (r#"["\ud83d\ude00\uDFFF"]"#, 14),
            (r#""\\\udBFF\\udc00""#, 3),
        ] {
            let error = check_syntax(text).unwrap_err();
            assert!(error.contains(&format!("byte {at} ")), "{text}: {error}");
        }
    }

    #[test]
    fn bodies_with_excessive_nesting_or_values_are_refused() {
        let nested = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(size_error(&nested(MAX_DEPTH)), None);
        let error = size_error(&nested(MAX_DEPTH + 1));
        assert_eq!(error.unwrap(), "must have at most 64 levels of nesting");
        let list = |items| format!("[{}0]", "0,".repeat(items - 1));
        assert_eq!(size_error(&list(MAX_VALUES - 1)), None);
        let error = size_error(&list(MAX_VALUES));
        assert_eq!(error.unwrap(), "must have at most 100000 values");
        // Brackets and commas in a string don't count.
        let text = format!("\"{}\"", "[,\\\"".repeat(MAX_VALUES));
        assert_eq!(size_error(&text), None);
    }

    #[test]
    fn deep_nesting_is_checked_without_recursion() {
        let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
        check_syntax(&deep).unwrap();
        assert!(free_form_error(&format!("{{\"a\":{deep}}}")).is_some());
        assert!(check_syntax(&deep[1..]).is_err());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            // `serde_json` reads some other numbers as a neighbouring float, so they aren't generated.
            any::<i32>().prop_map(|number| Value::from(f64::from(number) / 4.0)),
            "[a\"\\\\/{}\\[\\]:, \u{0}\n\u{e4}\u{1f600}]{0,6}".prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-c\"\\\\{\\]]{0,3}", inner, 0..5)
                    .prop_map(|members| Value::from(Map::from_iter(members))),
            ]
        })
    }

    proptest! {
        #[test]
        fn splitting_agrees_with_serde_json(value in any_json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            match &value {
                Value::Object(expected) => {
                    let found: Map<_, _> = members(&text)
                        .map(|(name, value)| (serde_json::from_str(name).unwrap(), serde_json::from_str(value).unwrap()))
                        .collect();
                    prop_assert_eq!(&found, expected);
                }
                Value::Array(expected) => {
                    let found: Vec<Value> = items(&text).map(|item| serde_json::from_str(item).unwrap()).collect();
                    prop_assert_eq!(&found, expected);
                }
                _ => {}
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}\",:\\\\u0d8c1e. \u{e4}\u{1f600}-]{0,40}") {
            let _ = (members(&text).count(), items(&text).count(), Token::of(&text), whole_number(&text));
            let _ = (free_form_error(&text), size_error(&text));
        }
    }
}
