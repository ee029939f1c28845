//! Fuzz target: requests. Every operation parses each request. If an operation accepts a request, this target rebuilds the request from the
//! parsed input. The operation must accept the rebuilt request too, and parse it to the same values. If an operation rejects a request, the
//! answer must have 1 to [`MAX_FIELD_ERRORS`] field errors.
//!
//! An input has three lines: the path parameter, the query, and the body. The names of parameters and members come from
//! the component's own tables, so that this file needn't list them.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use reznet_edge::http::contract::MAX_FIELD_ERRORS;
use reznet_fuzz::{Accepted, Asked, Reader, Reading, examples, members, words};
use serde_json::{Map, Value};

static READERS: LazyLock<Vec<Reader>> = LazyLock::new(Reader::all);

fuzz_target!(|data: &[u8]| {
    let asked = asked(data);
    for reader in READERS.iter() {
        let name = reader.name();
        match reader.read(&asked) {
            Reading::NoRoute | Reading::NotJson => {}
            Reading::Faults(count) => {
                assert!(
                    (1..=MAX_FIELD_ERRORS).contains(&count),
                    "{name} reports {count} field errors, not 1 to {MAX_FIELD_ERRORS}"
                );
            }
            Reading::Accepted(accepted) => check(reader, &accepted),
            Reading::Unexpected(what) => panic!("{name}: {what}"),
        }
    }
});

fn check(reader: &Reader, first: &Accepted) {
    let name = reader.name();
    let body: Value = match first.body.as_str() {
        "" => Value::Null,
        text => serde_json::from_str(text).expect("an accepted body is JSON"),
    };
    for value in first.parameters.values().chain([&body]) {
        // No accepted body may contain a NUL character, because PostgreSQL would refuse it.
        assert!(
            !holds_nul(value),
            "{name} accepts a NUL character: {first:?}"
        );
    }
    assert_eq!(
        first.has_cursor,
        first.parameters.contains_key("cursor"),
        "{name}: has_cursor and the parameters disagree: {first:?}"
    );
    for (pointer, id) in &first.references {
        let there = body.pointer(pointer).and_then(Value::as_str);
        let there = there.map(str::to_ascii_lowercase);
        assert_eq!(
            there.as_ref(),
            Some(id),
            "{name}: the body has no reference to {id} at {pointer}"
        );
    }
    let Reading::Accepted(second) = reader.read(&first.written_out) else {
        panic!(
            "{name} accepts the request, but refuses the same request rebuilt from the parsed input: {first:?}"
        );
    };
    assert_eq!(first.parameters, second.parameters, "{name}");
    assert_eq!(first.body, second.body, "{name}");
    assert_eq!(first.references, second.references, "{name}");
    assert_eq!(first.written_out, second.written_out, "{name}");
}

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

fn asked(data: &[u8]) -> Asked {
    let mut lines = data.splitn(3, |&byte| byte == b'\n');
    let mut line = || lines.next().unwrap_or_default().to_vec();
    Asked {
        path: line(),
        query: line(),
        body: line(),
    }
}

// --- generation of inputs ---

/// Values just inside or outside of the limits that the component checks. Mutations use these values and the values of the examples.
const VALUES: &str = r##"[null, true, false, 0, -1, 1, 5.0, 0.5, 100, 101, 18446744073709551615,
    -9223372036854775808, "", "0", "true", "\u0000", "\ufffd", "\ud83d\ude00", "agent", "user",
    "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6", "4A922D03-4C26-4CA9-A1CE-5625FD2F50F6", "4a922d034c264ca9a1ce5625fd2f50f6",
    "17.4a922d03-4c26-4ca9-a1ce-5625fd2f50f6", "00.4a922d03-4c26-4ca9-a1ce-5625fd2f50f6", "@name", "a_word", "A-Word",
    "2026-01-31T12:00:00Z", "2026-01-31T12:00:00 02:00", "2026-01-31T12:00:60.999999999", "9999-12-31T23:59:59-23:59",
    {}, [], [0], [1, 0.0], {"a": [{"\u0000": 1}]}, {"n": [1e308, "#1E400"]}, {"$serde_json::private::Number": "1"}]"##;

/// Numbers that a `Value` can't represent exactly as they are written. In a `Value`, a string with a `#` and the number represents each of
/// them. [`json`] and [`text`] replace the string by the number.
const NUMBERS: [&str; 7] = [
    "-0",
    "1e2",
    "1E-9",
    "1E400",
    "-1e-400",
    "9007199254740993.0",
    "18446744073709551616",
];

/// A path parameter that is valid for most operations, because most path parameters are ids.
const ID: &str = "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6";

/// Enough repetitions to cause more field errors than are reported, and to make lists too long.
const MANY: usize = 2 * MAX_FIELD_ERRORS + 1;

static EXAMPLES: LazyLock<Vec<Value>> = LazyLock::new(examples);

static MEMBERS: LazyLock<Vec<(&'static str, Value)>> = LazyLock::new(members);

static WORDS: LazyLock<Vec<&'static str>> = LazyLock::new(words);

static ALL_VALUES: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let mut values: Vec<Value> = serde_json::from_str(VALUES).expect("VALUES is JSON");
    values.extend(NUMBERS.map(|number| format!("#{number}").into()));
    values.extend(WORDS.iter().map(|&word| word.into()));
    EXAMPLES
        .iter()
        .for_each(|example| add_parts(example, &mut values));
    values
});

fn add_parts(value: &Value, parts: &mut Vec<Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| add_parts(item, parts)),
        Value::Object(members) => members.values().for_each(|member| add_parts(member, parts)),
        _ => {}
    }
    parts.push(value.clone());
}

// Random bytes are almost never a valid JSON body. So most mutations change the path, the query or a value in the body instead of bytes.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut dice = Dice(seed.into());
    if dice.falls_on_one_of(4) {
        return fuzzer_mutate(data, size, max_size);
    }
    let mut asked = asked(&data[..size]);
    for _ in 0..=dice.below(4) {
        change(&mut asked, &mut dice);
    }
    let new = [asked.path, asked.query, asked.body].join(&b'\n');
    if new.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..new.len()].copy_from_slice(&new);
    new.len()
});

fn change(asked: &mut Asked, dice: &mut Dice) {
    match dice.below(16) {
        // Starts again with a valid path and body. After several mutations, a request would otherwise hardly ever be accepted.
        0..4 => {
            asked.path = ID.into();
            asked.query.clear();
            asked.body = json(dice.one(&EXAMPLES));
        }
        4 => asked.path = text(dice.one(&ALL_VALUES)),
        5..8 => {
            let value = text(dice.one(&ALL_VALUES));
            let parameter = [dice.one(&WORDS).as_bytes(), b"=", &value, b"&"].concat();
            asked.query.extend(parameter);
            if dice.falls_on_one_of(32) {
                asked.query = asked.query.repeat(MANY);
            }
        }
        _ => {
            let parsed = serde_json::from_slice(&asked.body).ok();
            let mut body = parsed.unwrap_or_else(|| dice.one(&EXAMPLES).clone());
            change_value(&mut body, dice);
            asked.body = json(&body);
        }
    }
}

/// Returns a value as it is written in a path or a query.
fn text(value: &Value) -> Vec<u8> {
    match value.as_str() {
        Some(text) => text.trim_start_matches('#').into(),
        None => json(value),
    }
}

/// Returns a value as it is written in a body.
fn json(value: &Value) -> Vec<u8> {
    let mut text = value.to_string();
    for number in NUMBERS {
        text = text.replace(&format!("\"#{number}\""), number);
    }
    text.into_bytes()
}

/// Changes one random part of a value.
fn change_value(value: &mut Value, dice: &mut Dice) {
    match value {
        Value::Object(members) if !members.is_empty() && !dice.falls_on_one_of(4) => {
            let at = dice.below(members.len());
            if let Some(member) = members.values_mut().nth(at) {
                change_value(member, dice);
            }
        }
        Value::Object(members) => {
            let name = members.keys().nth(dice.below(members.len() + 1)).cloned();
            match name {
                Some(name) if dice.falls_on_one_of(2) => drop(members.remove(&name)),
                _ => add_member(members, dice),
            }
        }
        Value::Array(items) if !items.is_empty() && !dice.falls_on_one_of(3) => {
            let at = dice.below(items.len());
            change_value(&mut items[at], dice);
        }
        Value::Array(items) => match items.last().cloned() {
            Some(last) if dice.falls_on_one_of(8) => items.resize(items.len() + MANY, last),
            Some(last) if dice.falls_on_one_of(2) => items.push(last),
            _ => items.push(dice.one(&ALL_VALUES).clone()),
        },
        // Makes a text too long.
        Value::String(text) if dice.falls_on_one_of(16) => *text = text.repeat(MANY),
        _ => *value = dice.one(&ALL_VALUES).clone(),
    }
}

/// Adds a member to a JSON object. Usually the name is a member of some operation's body and the value is valid for it, so that operation can
/// accept the request. One in eight names is invalid, and one in four values is chosen from [`ALL_VALUES`].
fn add_member(members: &mut Map<String, Value>, dice: &mut Dice) {
    let (name, fitting) = dice.one(&MEMBERS);
    let name = if dice.falls_on_one_of(8) { "\0" } else { name };
    let other = dice.falls_on_one_of(4);
    let value = if other {
        dice.one(&ALL_VALUES)
    } else {
        fitting
    };
    members.insert(name.to_owned(), value.clone());
}

/// Generates pseudo-random numbers from a seed (SplitMix64), so that the fuzzer can repeat a mutation.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from(mixed >> 33).unwrap_or(0) % limit.max(1)
    }

    fn falls_on_one_of(&mut self, sides: usize) -> bool {
        self.below(sides) == 0
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}
